"""iPXE scripts: the bootstrap that a DHCP server hands out, and what one node boots (protocol 1.1).

Three things differ from the originals on purpose: no `maxcpus=1`, which falsified CPU counts (defect B02), one port for
everything, and the kernel line says what iPXE knows of the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mkcore.errors import BadInput

_NICS = 8
_PLACE = re.compile(r"\{(base|host|port|uuid|dialect)\}")

_BOOT_CARD = re.compile(r"01(-[0-9A-Fa-f]{2}){6}\Z")

_BOOTSTRAP_URL = {
    "hanlon": "http://{base}/hanlon/api/v1/boot?uuid=${{uuid}}&mac_id={macs}&dhcp_mac=${{dhcp_mac}}",
    "razor": "http://{base}/razor/api/boot?hw_id={macs}&dhcp_mac=${{dhcp_mac}}",
}

_IMAGE_URL = {
    "hanlon": "http://{base}/hanlon/api/v1/image/mk/{image}/{name}",
    "razor": "http://{base}/razor/image/mk/{image}/{name}",
}


def build_bootstrap(dialect: str, base: str) -> str:
    """Script that tries DHCP on each of eight NICs and then asks this server; `base` is HOST:PORT as nodes reach it."""
    lines = ["#!ipxe", ""]
    for nic in range(_NICS):
        following = f"n{nic + 1}" if nic + 1 < _NICS else "s1"
        lines += [
            f":n{nic}",
            f"isset ${{net{nic}/mac}} && dhcp net{nic} || goto {following}",
            "",
            f"echo net{nic} has DHCP",
            f"set dhcp_mac 01-${{net{nic}/mac:hexhyp}}",
            "",
        ]
    macs = "_".join(f"${{net{nic}/mac}}" for nic in range(_NICS))
    chain = _BOOTSTRAP_URL[dialect].format(base=base, macs=macs)
    lines += ["", ":s1", "", f"chain {chain} || goto error", "", "", ":error", "sleep 15", "reboot", ""]
    return "\n".join(lines)


def check_kernel_args(text: str) -> str:
    """Return kernel arguments that fit into one line of an iPXE script. Raises BadInput for what would end it."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise BadInput("boot_kernel_args: control characters and line breaks are not possible on a kernel line")
    for token in text.split():
        if token in ("||", "&&", ";;") or token.startswith("#"):
            raise BadInput(f"boot_kernel_args: {token!r} would end the kernel line in an iPXE script")
    return text


def expand_args(text: str, *, base: str, uuid: str, dialect: str = "hanlon") -> str:
    """Put a request's values in place of {base} (HOST:PORT), {host}, {port}, {uuid}, {dialect}; other braces stay."""
    host, _, port = base.rpartition(":") if ":" in base.rpartition("]")[2] else (base, "", "80")
    values = {"base": base, "host": host.strip("[]"), "port": port, "uuid": uuid, "dialect": dialect}
    return _PLACE.sub(lambda found: values[found.group(1)], text)


def _reboot_block(interval_s: int) -> list[str]:
    return ["", "", "", ":error", f"echo ERROR, will reboot in {interval_s}", f"sleep {interval_s}", "reboot", ""]


def build_boot(
    dialect: str, base: str, image: str, kernel: str, initrd: str, args: Iterable[str], interval_s: int
) -> str:
    """Script that boots the microkernel; `image` is the image's id, `args` pieces of the kernel line.

    `initrd=` is for UEFI: there the kernel itself reads the file from iPXE, and older iPXE tell it of none. With BIOS
    it says nothing.
    """
    url = _IMAGE_URL[dialect]
    pieces = [url.format(base=base, image=image, name=kernel), *(arg.strip() for arg in args), f"initrd={initrd}"]
    line = " ".join(piece for piece in pieces if piece)
    lines = [
        "#!ipxe",
        f"kernel {line} || goto error",
        f"initrd {url.format(base=base, image=image, name=initrd)} || goto error",
        "boot || goto error",
    ]
    return "\n".join(lines + _reboot_block(interval_s))


def network_args(dhcp_mac: str) -> list[str]:
    """Pieces of the kernel line that say what iPXE knows of the network: the card that it booted from, next-server.

    `dhcp_mac` is that card in iPXE's own spelling, which others may have sent otherwise; next-server it puts in itself.
    """
    card = [f"BOOTIF={dhcp_mac}"] if _BOOT_CARD.match(dhcp_mac) else []
    return [*card, "mk.next_server=${next-server}"]


def first_stage_args(base: str) -> list[str]:
    """Pieces of the kernel line that a first stage needs: where the layers lie."""
    return [f"mk.root=http://{base}/image"]


def build_no_image(interval_s: int) -> str:
    """Script for a server that has nothing to boot: it says so on the machine's screen, waits and asks again."""
    return "\n".join(
        [
            "#!ipxe",
            "echo This server has no microkernel: put vmlinuz and initrd into the folder image of its data directory",
            *_reboot_block(interval_s)[4:],
        ]
    )


def build_local(node_id: str) -> str:
    """Script for a node that a person bound to its local disk (the originals' boot_local model)."""
    lines = [
        "#!ipxe",
        "echo Hanlon local model boot_call",
        f"echo Installation node UUID : {node_id}",
        "echo Active Model node state: init",
        "echo Continuing local boot",
        "",
        "sleep 3",
        "sanboot --no-describe --drive 0x80",
        "",
    ]
    return "\n".join(lines)

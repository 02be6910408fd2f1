"""The script that tries eight network cards (protocol 1.1), in iPXE itself: both dialects, each node's own kernel line.

The machine has eight cards of which DHCP answers on two, neither the first nor the last. QEMU starts Debian's iPXE with
mkserver's script as its own, as a site's CD does; all that follows comes from the network. (Rows 2 and 105.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.network import Lab
from tests.machines.qemu import Machine, Nic, VirtualMachine
from tests.machines.server import PORT, ROOT, Server
from tests.machines.wire import Wire

pytestmark = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full waits for eight cards, twice")

FOLDER = ROOT / "build/image-tests/bootstrap"
IPXE = Path("/usr/lib/ipxe/ipxe.lkrn")
UUID = "6f1d0c52-7be4-4c0d-9d57-2f3a4b5c6d7e"
MACS = [f"52:54:00:4d:4c:{number:02x}" for number in range(8)]
WITH_DHCP = (2, 6)
BOOT_S = 1500.0
CARD = f"01-{MACS[WITH_DHCP[-1]]}".replace(":", "-")
FOR_ALL, FOR_ONE = "lab.all={dialect}", "lab.own=known console=ttyS1,115200"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("mk-bootstrap", FOLDER / "lab") as lab:
        yield lab


@pytest.fixture(scope="module")
def server(image: dict[str, str], lab: Lab) -> Iterator[Server]:
    """A server that adds arguments to every node's kernel line; what it is asked says `wire`."""
    reach = {"prefix": lab.prefix, "where": lab.call}
    with Server(FOLDER / "server", address=lab.address, password="of the lab", **reach) as server:
        server.configure(boot_kernel_args=f"mk.ip={{host}} console=ttyS0 {FOR_ALL}")
        yield server


@contextmanager
def boot(lab: Lab, server: Server, dialect: str) -> Iterator[tuple[VirtualMachine, Wire]]:
    """Switch the machine on with the script of a dialect."""
    status, script = server.exchange("GET", f"/ipxe/{dialect}", host=f"{lab.address}:{PORT}")
    assert status == 200
    file = FOLDER / f"{dialect}.ipxe"
    file.write_bytes(script)
    nets = [lab.add_tap() if number in WITH_DHCP else f"hubport,hubid={number}" for number in range(len(MACS))]
    nics = [Nic(mac, net, "virtio-net-pci,romfile=") for mac, net in zip(MACS, nets)]
    second = ("-chardev", "file,id=second,path=second.log", "-serial", "chardev:second")
    machine = Machine(
        uuid=UUID,
        nics=tuple(nics),
        accel=choose_accel(),
        kernel=IPXE,
        initrd=file,
        credentials=build_credentials(),
        channels=CHANNELS,
        extra=second,
    )
    with (
        Wire(lab.call, "br0", PORT) as wire,
        VirtualMachine(machine, FOLDER / dialect, prefix=lab.prefix) as vm,
    ):
        yield vm, wire


def asked(wire: Wire, path: str) -> str:
    """Return the one request below a path, as it passed the bridge but for the marks that iPXE writes as %3A."""
    (found,) = {sent.line for sent in wire.requests() if sent.line.startswith(f"GET {path}?")}
    return unquote(found)


def test_razors(lab: Lab, server: Server) -> None:
    """All cards are named, those without an answer too, and the kernel is fetched with what the server answered."""
    with boot(lab, server, "razor") as (vm, wire):
        kernel = "GET /razor/image/mk/"
        vm.wait_until(lambda: any(kernel in sent.line for sent in wire.requests()), "the kernel is fetched", BOOT_S)
        assert asked(wire, "/razor/api/boot").startswith(f"GET /razor/api/boot?hw_id={'_'.join(MACS)}&dhcp_mac={CARD} ")
    assert (server.node(MACS[0]) or {}).get("registrations") == 0


def test_hanlons_with_arguments_for_this_node(lab: Lab, server: Server) -> None:
    """The last card that has an address is the one that it goes on by; the serial console that a person asked for on
    the page of this node, which is known since it was sent to boot, is used; and the machine registers.
    """
    server.send("PATCH", "/api/config", {"node": MACS[0], "set": {"boot_kernel_args": FOR_ONE}})
    with boot(lab, server, "hanlon") as (vm, wire):
        vm.wait_until(lambda: bool((server.node(UUID) or {}).get("registered_ms")), "registered", BOOT_S)
        query = f"uuid={UUID}&mac_id={'_'.join(MACS)}&dhcp_mac={CARD}"
        assert asked(wire, "/hanlon/api/v1/boot").lower() == f"get /hanlon/api/v1/boot?{query} http/1.1"
        words = Channel(vm).run("cat", "/proc/cmdline").stdout.split()
        own = [word for word in words if word.startswith("lab.")]
        assert own == ["lab.all=hanlon", "lab.own=known"]
        assert words.index("console=ttyS0") < words.index("console=ttyS1,115200")
        said = (vm.folder / "second.log").read_text(encoding="utf-8", errors="replace")
        assert "Linux version" in said and "MK Loaded: v" in said
        assert len(server.nodes()) == 1

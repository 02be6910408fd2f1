"""Every way by which a form of the image is booted, as data: what the machine is, what the network offers it.

A way ends when the machine has registered at mkserver, whose address it has from the kernel line where a boot script
writes one, else from a credential of its firmware or from the medium itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import firmware
from .accel import choose_accel
from .journal import CHANNELS, build_credentials
from .qemu import Machine, Nic
from .server import IMAGE, PORT, ROOT

UUID = "3b0c5f8e-7d21-4e6a-8f95-c1a2b3d4e5f6"
MAC = "52:54:00:4d:4b:f1"
WEB_PORT = 8080
FOLDER = ROOT / "build/image-tests"
CMDLINE = "mk.ip={host} console=ttyS0"
"""Of what a boot script starts."""
IPXE_EFI = Path("/usr/lib/ipxe/ipxe.efi")
NETWORK_CARD = "virtio-net-pci"


@dataclass(frozen=True)
class Way:
    """One way to boot: ``how`` is its name in build/image/booted.json, ``files`` the shipped ones it is shown for
    (none for a copy that a test signed)."""

    how: str
    files: tuple[str, ...]
    medium: str = ""
    """"cd" or "usb": with mk.iso in it; "": from the network."""
    uefi: bool = True
    keys: str = ""
    """Whose keys the firmware has (see `firmware.VARIABLES`); with any there is Secure Boot."""
    http: str = ""
    """The program that UEFI HTTP boot is offered: the server's own, or what a key was put to ("signed/")."""
    typed: bool = False
    """The server's address is typed at the medium's prompt."""
    addressed: bool = False
    """The server's address is written into a copy of the ISO, as a site does it."""
    refused: bool = False
    """The firmware must not start it."""
    memory_mib: int = 512


# iPXE under BIOS is what the image tier's other tests boot by.
WAYS = {
    "ipxe-uefi": Way("iPXE/UEFI", ("vmlinuz", "initrd")),
    "iso-bios": Way("ISO/BIOS", ("mk.iso",), "cd", uefi=False, typed=True),
    "iso-uefi": Way("ISO/UEFI", ("mk.iso",), "cd"),
    "iso-secure": Way("ISO/Secure Boot", ("mk.iso",), "cd", keys="microsoft"),
    "usb-bios": Way("USB/BIOS", ("mk.iso",), "usb", uefi=False),
    "usb-uefi": Way("USB/UEFI", ("mk.iso",), "usb"),
    "usb-addressed": Way("", (), "usb", addressed=True),
    "uki-http": Way("HTTP/UEFI", ("mk.efi",), http="mk.efi"),
    "uki-secure": Way("Secure Boot, signed by a site", ("mk.efi",), http="signed/mk.efi", keys="test"),
    "uki-refused": Way("", (), http="mk.efi", keys="test", refused=True),
}
IN_MAKE_TEST = "iso-bios"
"""The fastest of the forms that no other test of the image tier boots."""


def build_dhcp(way: Way, address: str) -> list[str]:
    """Build dnsmasq's options for a way: which program UEFI firmware loads, and by what."""
    if way.http:
        signed = way.http.startswith("signed/")
        boot = f"http://{address}:{WEB_PORT}/{way.http}" if signed else f"http://{address}:{PORT}/image/{way.http}"
        return [
            "--dhcp-vendorclass=set:http,HTTPClient",
            "--dhcp-option-force=tag:http,60,HTTPClient",
            f"--dhcp-boot=tag:http,{boot}",
        ]
    if way.uefi and not way.medium:
        return [
            "--dhcp-match=set:efi,option:client-arch,7",
            "--dhcp-userclass=set:ipxe,iPXE",
            f"--dhcp-boot=tag:efi,tag:!ipxe,{IPXE_EFI.name}",
        ]
    return []


def build_machine(way: Way, folder: Path, netdev: str, server: str, iso: Path = IMAGE / "mk.iso") -> Machine:
    """Describe the machine; files of its own go to ``folder``. ``server`` is the address that a credential gives it.

    It has one processor: an emulated second one makes firmware with system management mode slower, not faster.
    """
    words = firmware.build_uefi(folder, way.keys) if way.uefi else []
    words += {"cd": firmware.build_cd, "usb": firmware.build_usb}[way.medium](iso) if way.medium else []
    words += firmware.skip_pxe() if way.http else []
    has_line = way.typed or way.addressed or not (way.medium or way.http)
    told: dict[str, bytes] = {} if has_line else {"mk.server": server.encode()}
    return Machine(
        uuid=UUID,
        # UEFI firmware has a driver for the card, and needs none from its ROM
        nics=(Nic(MAC, netdev, f"{NETWORK_CARD},romfile=" if way.uefi else NETWORK_CARD),),
        memory_mib=way.memory_mib,
        cpus=1 if way.keys else 2,
        accel=choose_accel(),
        credentials=build_credentials(told),
        channels=CHANNELS,
        extra=tuple(words),
    )


_KEYS = {" ": "spc", ".": "dot", "=": "equal", ":": "shift-semicolon", "-": "minus", "/": "slash", "\n": "ret"}


def build_keys(text: str) -> Sequence[list[str]]:
    """Return the keys of an American keyboard that type a text, each with what is held down beside it."""
    return [_KEYS.get(char, char).split("-") if char != "-" else ["minus"] for char in text]

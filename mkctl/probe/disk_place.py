"""Where a disk is attached, read from the name of its folder in /sys.

The kernel nests devices as they are wired, so the path of a block device tells controller, bus and address:
/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda. Pure: nothing is opened. Sources: the
transport classes of the kernel (Documentation/scsi, drivers/scsi/scsi_transport_*.c name the folders); udev's path_id
for the form of by-path names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_SCSI = re.compile(r"\d+:\d+:\d+:\d+")
_USB_INTERFACE = re.compile(r"(\d+-[\d.]+):\d+\.\d+")
# The first folder of the path that begins so decides, read from the disk upwards.
_TRANSPORTS = (
    ("end_device-", "sas"),
    ("rport-", "fc"),
    ("session", "iscsi"),
    ("ata", "sata"),
    ("nvme", "nvme"),
    ("mmc_host", "mmc"),
    ("virtio", "virtio"),
    ("vbd-", "xen"),
    ("ndbus", "nvdimm"),
    ("floppy", "floppy"),
    ("css", "ccw"),
    ("host", "scsi"),
)
_NUMBERED = frozenset({"virtio", "ata", "host", "session", "nvme", "ndbus", "css"})


@dataclass(frozen=True)
class DiskPlace:
    """controller: PCI address, "" where there is none. transport: "sata", "" if unknown. scsi_address: "0:0:1:0".

    ata_port: number of the kernel's ATA port, 0 for none. usb: folder name of the USB device that the disk is
    ("1-1.2"), usb_interface: of its interface ("1-1.2:1.0").
    """

    controller: str = ""
    transport: str = ""
    scsi_address: str = ""
    ata_port: int = 0
    usb: str = ""
    usb_interface: str = ""


def parse_place(path: str) -> DiskPlace:
    """Read the place off a path below /sys/devices, as the link in /sys/block has it; empty for one that says nothing.

    Example: ".../0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda" is sata, 0:0:0:0, on 0000:00:1f.2.
    """
    parts = path.split("/")
    folders = parts[: parts.index("block")] if "block" in parts else parts[:-1]
    controller = next((part for part in reversed(folders) if _PCI.fullmatch(part)), "")
    scsi_address = next((part for part in reversed(folders) if _SCSI.fullmatch(part)), "")
    ata_port = next((int(part[3:]) for part in folders if part[:3] == "ata" and _is_number(part[3:])), 0)
    interface = next((match for match in map(_USB_INTERFACE.fullmatch, reversed(folders)) if match), None)
    return DiskPlace(
        controller,
        "usb" if interface else _transport(parts[-1], folders),
        scsi_address,
        ata_port,
        interface[1] if interface else "",
        interface[0] if interface else "",
    )


def build_by_path(place: DiskPlace, name: str, port: int = 0, first_host: int = 0) -> str:
    """Build the name that udev would give in /dev/disk/by-path, without folder; "" where that takes more to know.

    port: number of the ATA port, from 1. first_host: the smallest SCSI host number of the controller, which udev counts
    from. Examples: "pci-0000:00:1f.2-ata-1", "pci-0000:05:00.0-nvme-1", "pci-0000:00:03.0" for virtio.
    """
    start = f"pci-{place.controller}"
    if not place.controller:
        return ""
    host, _, rest = place.scsi_address.partition(":")
    scsi = f"-scsi-{int(host) - first_host}:{rest}" if rest and int(host) >= first_host else ""
    if place.transport == "nvme":
        namespace = name.rpartition("n")[2]
        return f"{start}-nvme-{namespace}" if _is_number(namespace) else ""
    if place.transport == "usb":
        bus_and_interface = place.usb_interface.partition("-")[2]
        return f"{start}-usb-0:{bus_and_interface}{scsi}" if scsi else ""
    if place.transport == "sata":
        return f"{start}-ata-{port}" if port else ""
    if place.transport == "virtio":
        return start + scsi
    return start + scsi if place.transport == "scsi" and scsi else ""


def _transport(name: str, folders: list[str]) -> str:
    if name.startswith("nvme"):  # with several paths its folder is a virtual one
        return "nvme"
    for start, transport in _TRANSPORTS:
        for folder in folders:
            rest = folder[len(start) :]
            if folder.startswith(start) and (start not in _NUMBERED or _is_number(rest[:1])):
                return transport
    return ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()

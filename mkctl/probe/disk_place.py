"""Where a disk is attached, read from the name of its folder in /sys.

The kernel nests devices as they are wired, so the path of a block device tells controller, bus and address:
/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda. Pure: nothing is opened. Sources: the
transport classes of the kernel (Documentation/scsi, drivers/scsi/scsi_transport_*.c name the folders); udev's path_id
for the form of by-path names.
"""

from __future__ import annotations

from typing import NamedTuple

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


class DiskPlace(NamedTuple):
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
    controller = next((part for part in reversed(folders) if is_pci_address(part)), "")
    scsi_address = next((part for part in reversed(folders) if is_scsi_address(part)), "")
    ata_port = next((int(part[3:]) for part in folders if part[:3] == "ata" and _is_number(part[3:])), 0)
    interface = next((part for part in reversed(folders) if _is_usb_interface(part)), "")
    return DiskPlace(
        controller,
        "usb" if interface else _transport(parts[-1], folders),
        scsi_address,
        ata_port,
        interface.partition(":")[0],
        interface,
    )


def is_pci_address(text: str) -> bool:
    """Tell whether `text` is an address like "0000:00:1f.2"; VMD controllers have domains of five digits."""
    return text[-2:-1] == "." and text.count(":") == 2 and len(text) >= 12 and not text.strip("0123456789abcdef:.")


def is_scsi_address(text: str) -> bool:
    """Tell whether `text` is host, channel, target and logical unit: "0:0:1:0"."""
    return text.count(":") == 3 and all(map(_is_number, text.split(":")))


def build_by_path(place: DiskPlace, nsid: str = "", port: int = 0, first_host: int = 0) -> str:
    """Build the name that udev would give in /dev/disk/by-path, without folder; "" where that takes more to know.

    nsid: number of an NVMe namespace, which the kernel's name does not tell (nvme0n1 may be namespace 2). port: number
    of the ATA port, from 1. first_host: the smallest SCSI host number of the controller, which udev counts from.
    Examples: "pci-0000:00:1f.2-ata-1", "pci-0000:05:00.0-nvme-1", "pci-0000:00:03.0" for virtio.
    """
    start = f"pci-{place.controller}"
    if not place.controller:
        return ""
    host, _, rest = place.scsi_address.partition(":")
    scsi = f"-scsi-{int(host) - first_host}:{rest}" if rest and int(host) >= first_host else ""
    if place.transport == "nvme":
        return f"{start}-nvme-{nsid}" if _is_number(nsid) else ""
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


def _is_usb_interface(part: str) -> bool:
    """Tell whether a folder is the interface of a USB device: bus, ports, configuration, interface: "2-1.3:1.0"."""
    device, _, interface = part.partition(":")
    bus, _, ports = device.partition("-")
    return _is_number(bus) and _is_number(ports[:1]) and _is_number(interface[:1]) and "." in interface


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10  # of thousands Python makes no number

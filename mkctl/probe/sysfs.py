"""Block devices from /sys/block, without starting a process.

Gives Facter's `blockdevices`, `blockdevice_X_size|vendor|model` (protocol 6.8) and, beyond Facter,
`blockdevice_X_serial`. A device counts when it has a `device` link: loop, RAM, device-mapper and md devices have none.
Paths that only multipath NVMe shows (`hidden`) are left out. Sources: Documentation/ABI/stable/sysfs-block of the
kernel; SPC-4 7.7.16 for the page of the serial number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mkcore.errors import BadInput
from mkcore.files import read_bytes, read_line
from mkcore.jsonfields import Json

_SECTOR_BYTES = 512  # the unit of /sys/block/*/size, whatever the device's own sector is
_VPD_HEADER_BYTES = 4
_DISK = re.compile(r"(sd|hd|vd|xvd|dasd)[a-z]+|nvme\d+n\d+|mmcblk\d+")
_SCSI_ADDRESS = re.compile(r"\d+:\d+:\d+:\d+")
_VPD_LIMIT_BYTES = 4096


@dataclass(frozen=True)
class BlockDevice:
    """A disk or drive: name without /dev, size in bytes (0: no medium), texts of the device, "" where it gives none.

    address: the SCSI address that the kernel names the device by ("0:0:1:0" for host, channel, target, LUN), else "".
    """

    name: str
    size_bytes: int
    vendor: str = ""
    model: str = ""
    serial: str = ""
    revision: str = ""
    address: str = ""

    @property
    def disk(self) -> bool:
        """True for a disk with a medium; optical and floppy drives and the boot areas of an eMMC are none."""
        return self.size_bytes > 0 and bool(_DISK.fullmatch(self.name))


def read_block_devices(sys_root: Path) -> list[BlockDevice]:
    """Return the block devices with hardware behind them, sorted by name; none where there is no /sys/block."""
    folder = sys_root / "block"
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []
    return [
        _read_device(folder / name, name)
        for name in names
        if (folder / name / "device").exists() and read_line(folder / name / "hidden") != "1"
    ]


def block_facts(devices: list[BlockDevice]) -> dict[str, Json]:
    """Make the `blockdevice*` facts; vendor, model and serial only where the device gives them."""
    facts: dict[str, Json] = {}
    if devices:
        facts["blockdevices"] = ",".join(device.name for device in devices)
    for device in devices:
        prefix = f"blockdevice_{device.name}"
        facts[f"{prefix}_size"] = device.size_bytes
        for key, value in (("vendor", device.vendor), ("model", device.model), ("serial", device.serial)):
            if value:
                facts[f"{prefix}_{key}"] = value
    return facts


def _read_device(path: Path, name: str) -> BlockDevice:
    sectors = read_line(path / "size")
    return BlockDevice(
        name=name,
        size_bytes=int(sectors) * _SECTOR_BYTES if sectors.isascii() and sectors.isdigit() else 0,
        vendor=read_line(path / "device" / "vendor"),
        model=read_line(path / "device" / "model"),
        serial=_read_serial(path),
        revision=read_line(path / "device" / "rev") or read_line(path / "device" / "firmware_rev"),
        address=_read_address(path),
    )


def _read_address(path: Path) -> str:
    try:
        name = (path / "device").resolve(strict=True).name
    except (OSError, RuntimeError):
        return ""
    return name if _SCSI_ADDRESS.fullmatch(name) else ""


def _read_serial(path: Path) -> str:
    """Read the serial number: virtio shows it at the disk, NVMe and MMC at the device, SCSI and ATA as a VPD page."""
    serial = read_line(path / "serial") or read_line(path / "device" / "serial")
    if serial:
        return serial
    try:
        page = read_bytes(path / "device" / "vpd_pg80", _VPD_LIMIT_BYTES)
    except (OSError, BadInput):
        return ""  # a drive without this page has no serial to show
    return parse_serial_page(page)


def parse_serial_page(page: bytes) -> str:
    """Parse SCSI's page 0x80: four bytes of header with the length in the last two, then ASCII. "" for another page."""
    if len(page) < _VPD_HEADER_BYTES or page[1] != 0x80:
        return ""
    length = int.from_bytes(page[2:4], "big")
    text = page[_VPD_HEADER_BYTES : _VPD_HEADER_BYTES + length].decode("ascii", "replace")
    return text.strip("\0 ")

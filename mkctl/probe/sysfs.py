"""Block devices from /sys/block, without starting a process.

Gives Facter's `blockdevices`, `blockdevice_X_size|vendor|model` (protocol 6.8) and, beyond Facter,
`blockdevice_X_serial`. A device counts when it has a `device` link: loop, RAM, device-mapper and md devices have none.
Paths that only multipath NVMe shows (`hidden`) are left out. Source: Documentation/ABI/stable/sysfs-block of the
kernel.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from mkcore.files import link_name, list_names, read_attribute, read_line
from mkcore.jsonfields import Json
from mkctl.probe.disk_place import is_scsi_address
from mkctl.probe.texts import clean_text
from mkctl.probe.vpd import parse_serial_page

_SECTOR_BYTES = 512  # the unit of /sys/block/*/size, whatever the device's own sector is


class BlockDevice(NamedTuple):
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
        disk = re.fullmatch(r"(sd|hd|vd|xvd|dasd)[a-z]+|nvme\d+n\d+|mmcblk\d+", self.name)
        return self.size_bytes > 0 and disk is not None


def read_block_devices(sys_root: Path) -> list[BlockDevice]:
    """Return the block devices with hardware behind them, sorted by name; none where there is no /sys/block."""
    folder = f"{sys_root}/block"
    return [
        _read_device(f"{folder}/{name}", name)
        for name in list_names(folder)
        if os.path.exists(f"{folder}/{name}/device") and read_line(f"{folder}/{name}/hidden") != "1"
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


def _read_device(path: str, name: str) -> BlockDevice:
    sectors = read_line(f"{path}/size")
    return BlockDevice(
        name=name,
        size_bytes=int(sectors) * _SECTOR_BYTES if sectors.isascii() and sectors.isdigit() else 0,
        vendor=_text(f"{path}/device/vendor"),
        model=_text(f"{path}/device/model"),
        serial=_read_serial(path),
        revision=_text(f"{path}/device/rev") or _text(f"{path}/device/firmware_rev"),
        address=_read_address(path),
    )


def _read_address(path: str) -> str:
    name = link_name(f"{path}/device")
    return name if is_scsi_address(name) else ""


def _read_serial(path: str) -> str:
    """Read the serial number: virtio shows it at the disk, NVMe and MMC at the device, SCSI and ATA as a VPD page.

    A drive without that page has no serial to show.
    """
    serial = _text(f"{path}/serial") or _text(f"{path}/device/serial")
    return serial or parse_serial_page(read_attribute(f"{path}/device/vpd_pg80"))


def _text(path: str) -> str:
    return clean_text(read_line(path))

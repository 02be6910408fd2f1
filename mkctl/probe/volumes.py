"""Volumes that are made of disks: Linux md arrays, and what RAID controllers present as disks of their own.

Sources: Documentation/admin-guide/md.rst of the kernel for /sys/block/md*/md; drivers/scsi/raid_class.c for
/sys/class/raid_devices; hpsa and smartpqi show `raid_level` at the SCSI device; megaraid_sas keeps channels 0 and 1 for
physical drives, the higher ones for volumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mkcore.files import list_names, read_line
from mkcore.jsonfields import Json
from mkctl.probe.disk_place import DiskPlace
from mkctl.probe.texts import clean_text

_MEGARAID_PHYSICAL_CHANNELS = 2
_SECTOR_BYTES = 512
_MEMBER = "dev-"


def read_md_arrays(sys_root: Path) -> dict[str, Json]:
    """Return the md arrays by name: kind, level, state, members as disk or partition names, size. Raises nothing."""
    folder = f"{sys_root}/block"
    arrays: dict[str, Json] = {}
    for name in (each for each in list_names(folder) if each.startswith("md")):
        md = f"{folder}/{name}/md"
        level = clean_text(read_line(f"{md}/level"))
        if not level:  # made but not assembled, or gone
            continue
        texts = {"kind": "md", "level": level, "state": clean_text(read_line(f"{md}/array_state"))}
        entry: dict[str, Json] = {key: value for key, value in texts.items() if value}
        entry["members"] = _read_members(md)
        for key, file, unit in (
            ("size_bytes", f"{folder}/{name}/size", _SECTOR_BYTES),
            ("degraded", f"{md}/degraded", 1),
        ):
            number = read_line(file)
            if number.isascii() and number.isdigit():
                entry[key] = int(number) * unit
        arrays[name] = entry
    return arrays


def _read_members(md: str) -> list[Json]:
    return [name[len(_MEMBER) :] for name in list_names(md) if name.startswith(_MEMBER)]


def read_raid_levels(sys_root: Path) -> dict[str, dict[str, Json]]:
    """Return level and state of the volumes that the RAID class knows, by SCSI address; most machines have no such."""
    folder = f"{sys_root}/class/raid_devices"
    levels: dict[str, dict[str, Json]] = {}
    for address in list_names(folder):
        texts = {key: clean_text(read_line(f"{folder}/{address}/{key}")) for key in ("level", "state")}
        levels[address] = {key: text for key, text in texts.items() if text}
    return levels


def describe_volume(
    disk: str, place: DiskPlace, raid_level: str, driver: str, classes: Mapping[str, Mapping[str, Json]]
) -> dict[str, Json]:
    """Describe a disk that a RAID controller makes of others: {"disk": "sda", "level": "RAID 1"}; {} for a plain disk.

    raid_level: what the SCSI device shows, "RAID 1(1+0)" or "N/A". driver: of the controller.
    classes: as read_raid_levels returns them. The level is left out where only the driver's channels tell a volume.
    """
    known = classes.get(place.scsi_address)
    if known is not None:
        return {"disk": disk, **known}
    if raid_level not in {"", "N/A"}:
        return {"disk": disk, "level": raid_level}
    channel = int(place.scsi_address.split(":")[1]) if place.scsi_address else 0
    return {"disk": disk} if driver == "megaraid_sas" and channel >= _MEGARAID_PHYSICAL_CHANNELS else {}

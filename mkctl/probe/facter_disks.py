"""Disks and partitions: `disks` and `partitions` of Facter 4, `partitions` of Facter 2.4.

    4    disks      {"sda": {"size": "40.00 GiB", "size_bytes": …, "type": "hdd", "vendor", "model", "serial", "wwn"}}
         partitions {"/dev/sda1": {"size", "size_bytes", "filesystem", "uuid", "label", "partuuid", "partlabel",
                                   "mount"}, "/dev/mapper/vg-root": {…}, "/dev/loop0": {…, "backing_file"}}
    2.4  partitions {"sda1": {"size": "524288", "filesystem", "uuid", "label", "mount"}}, in sectors of 512 bytes

A disk is what has a `device` link in /sys/block, optical and floppy drives included, and also the hidden paths of a
multipath NVMe; a missing medium has size 0. A partition is also a device-mapper device and a loop device with a file.
Source: Documentation/ABI/stable/sysfs-block of the kernel, outputs of Facter 2.4 and 4.3.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mkcore.files import list_names, read_attribute, read_line
from mkcore.jsonfields import Json
from mkctl.probe.facter_amounts import amounts
from mkctl.probe.texts import clean_text
from mkctl.probe.udev import decode, read_udev, serial_of, wwn_of

_SECTOR_BYTES = 512
_MEMORY = ("ram", "zram")  # dozens of them may wait for use
_TYPES = {"0": "ssd", "1": "hdd"}
_KEYS = (
    ("filesystem", "ID_FS_TYPE"),
    ("uuid", "ID_FS_UUID_ENC"),
    ("label", "ID_FS_LABEL_ENC"),
    ("partuuid", "ID_PART_ENTRY_UUID"),
    ("partlabel", "ID_PART_ENTRY_NAME"),
)


class Partition(NamedTuple):
    """A block device that can hold a file system. path: "/dev/sda1"; texts: filesystem, uuid, label, partuuid,
    partlabel, backing_file, those there are. disk: it is a slice of a disk."""

    name: str
    path: str
    size_bytes: int
    texts: Mapping[str, str] = {}
    disk: bool = False


def read_disks(sys_root: Path, root: str = "") -> dict[str, Json]:
    """Make `disks`; empty on a machine without."""
    disks: dict[str, Json] = {}
    for name, folder in _block_devices(sys_root):
        if os.path.isdir(f"{folder}/device"):
            properties = read_udev(root, read_line(f"{folder}/dev"))
            disk = amounts("size", _size_bytes(folder))
            texts = {
                "vendor": clean_text(read_attribute(f"{folder}/device/vendor")),
                "model": clean_text(read_attribute(f"{folder}/device/model")),
                "type": _TYPES.get(read_line(f"{folder}/queue/rotational"), ""),
                "serial": serial_of(properties),
                "wwn": wwn_of(properties),
            }
            disks[name] = {**disk, **{key: value for key, value in texts.items() if value}}
    return disks


def read_partitions(sys_root: Path, root: str = "") -> list[Partition]:
    """Read the partitions of disks, the device-mapper devices and the loop devices that are in use."""
    found: list[Partition] = []
    for name, folder in _block_devices(sys_root):
        if os.path.isdir(f"{folder}/device"):
            slices = (entry for entry in list_names(folder) if entry.startswith(name))
            found += [_partition(root, f"{folder}/{entry}", entry, f"/dev/{entry}", True) for entry in slices]
        elif os.path.isdir(f"{folder}/dm"):
            mapped = read_line(f"{folder}/dm/name")
            found.append(_partition(root, folder, name, f"/dev/mapper/{mapped}" if mapped else f"/dev/{name}"))
        elif os.path.isdir(f"{folder}/loop"):
            file = clean_text(read_attribute(f"{folder}/loop/backing_file"))
            found.append(_partition(root, folder, name, f"/dev/{name}", backing_file=file))
    return found


def structured_partitions(partitions: list[Partition], mounted: Mapping[str, str]) -> dict[str, Json]:
    """Make `partitions` of Facter 4. mounted: device -> the first place where it is mounted."""
    facts: dict[str, Json] = {}
    for each in partitions:
        mount = {"mount": mounted[each.path]} if each.path in mounted else {}
        facts[each.path] = {**amounts("size", each.size_bytes), **each.texts, **mount}
    return facts


def flat_partitions(partitions: list[Partition], mounted: Mapping[str, str]) -> dict[str, Json]:
    """Make the fact `partitions` of Facter 2.4, which knows those of disks only; nothing without any."""
    facts: dict[str, Json] = {}
    for each in partitions:
        if each.disk:
            parts = {
                "size": str(each.size_bytes // _SECTOR_BYTES),
                **{key: each.texts[key] for key in ("filesystem", "uuid", "label") if key in each.texts},
            }
            if each.path in mounted:
                parts["mount"] = mounted[each.path]
            facts[each.name] = dict[str, Json](parts)
    return {"partitions": facts} if facts else {}


def _partition(root: str, folder: str, name: str, path: str, disk: bool = False, backing_file: str = "") -> Partition:
    properties = read_udev(root, read_line(f"{folder}/dev"))
    texts = {key: decode(properties[source]) for key, source in _KEYS if properties.get(source)}
    if backing_file:
        texts["backing_file"] = backing_file
    return Partition(name, path, _size_bytes(folder), texts, disk)


def _block_devices(sys_root: Path) -> Iterator[tuple[str, str]]:
    base = f"{sys_root}/block"
    return ((name, f"{base}/{name}") for name in list_names(base) if not name.startswith(_MEMORY))


def _size_bytes(folder: str) -> int:
    sectors = read_line(f"{folder}/size")
    return int(sectors) * _SECTOR_BYTES if sectors.isascii() and sectors.isdigit() and len(sectors) < 19 else 0

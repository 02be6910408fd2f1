"""The inventory's `disks`, and the volumes of RAID controllers among them, from sysfs and the links of udev.

A disk that vanishes meanwhile, or whose files cannot be read, costs itself only. Two disks with one serial number (two
paths to one disk, or a careless vendor) both stand here: the key is the kernel's name. Sources: Documentation/ABI/
stable/sysfs-block, testing/sysfs-block-device of the kernel; udev's 60-persistent-storage.rules for the links.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mkcore.files import link_name, read_attribute, read_line
from mkcore.jsonfields import Json
from mkctl.probe.disk_place import DiskPlace, build_by_path, parse_place
from mkctl.probe.enclosures import read_bays
from mkctl.probe.junk import is_junk
from mkctl.probe.nvme import read_namespace
from mkctl.probe.sysfs import BlockDevice
from mkctl.probe.texts import clean_text
from mkctl.probe.volumes import describe_volume, read_raid_levels
from mkctl.probe.vpd import AtaIdentity, parse_ata_page, parse_names_page

_SCSI_TYPES = {"5": "cdrom", "7": "optical"}
_ATA_VENDOR = "ATA"
_SPEED_UNKNOWN = "<unknown>"
_MAY_BE_JUNK = frozenset({"serial", "wwn", "vendor", "model", "firmware_version"})


class DiskLinks(NamedTuple):
    """Names of disks in a folder of /dev/disk, sorted, by the kernel's name; `there` is False without that folder."""

    names: Mapping[str, Sequence[str]]
    there: bool


class Disks(NamedTuple):
    """The sections that disks fill: `disks` by kernel name; volumes by their controller's PCI address, "" without."""

    disks: Mapping[str, Json]
    volumes: Mapping[str, list[Json]]


def read_links(folder: str) -> DiskLinks:
    """Read the symbolic links of /dev/disk/by-path or by-id. Raises nothing."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return DiskLinks({}, there=False)
    found: dict[str, list[str]] = {}
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}").rpartition("/")[2]
        except OSError:
            continue
        found.setdefault(target, []).append(name)
    return DiskLinks(found, there=True)


def read_disks(sys_root: Path, dev_root: str, devices: Sequence[BlockDevice]) -> Disks:
    """Read the disks and drives among the block devices. dev_root: "/dev". Raises nothing."""
    if not devices:
        return Disks({}, {})
    by_path, by_id = read_links(f"{dev_root}/disk/by-path"), read_links(f"{dev_root}/disk/by-id")
    levels, bays = read_raid_levels(sys_root), read_bays(sys_root)
    disks: dict[str, Json] = {}
    volumes: dict[str, list[Json]] = {}
    for device in devices:
        path = f"{sys_root}/block/{device.name}"
        place = _read_place(path)
        entry = _read_disk(sys_root, dev_root, path, device, place)
        paths = by_path.names.get(device.name) or ([] if by_path.there else _compute_by_path(sys_root, device, place))
        if paths:
            # what udev keeps for old configurations comes last ("virtio-pci-...") or is the longer form ("...ata-1.0")
            entry["by_path"] = (
                f"/dev/disk/by-path/{min(paths, key=lambda name: (not name.startswith('pci-'), len(name)))}"
            )
        if place.scsi_address in bays:
            entry["bay"] = bays[place.scsi_address]
        if device.name in by_id.names:
            entry["by_id"] = [f"/dev/disk/by-id/{name}" for name in by_id.names[device.name]]
        disks[device.name] = entry
        volume = _read_volume(sys_root, device.name, place, levels)
        if volume:
            volumes.setdefault(place.controller, []).append(volume)
    return Disks(disks, volumes)


def format_wwn(text: str) -> str:
    """Write a world-wide name as udev and lsblk do: "naa.5000c500a1b2c3d4" -> "0x5000c500a1b2c3d4".

    NVMe's "eui.…", "uuid.…" and "nvme.…" stay as they are; "t10.…", made of vendor and serial number, is none.
    """
    kind, _, rest = text.strip().partition(".")
    if kind == "naa" and rest and not rest.lower().strip("0123456789abcdef"):
        return f"0x{rest.lower()}" if rest.strip("0") else ""
    return f"{kind}.{rest}" if kind in {"eui", "uuid", "nvme"} and rest.strip("0-") else ""


def _read_place(path: str) -> DiskPlace:
    try:
        return parse_place(os.readlink(path))
    except OSError:  # a folder: a copied tree, or a kernel with the deprecated layout
        try:
            return parse_place(f"{os.readlink(f'{path}/device')}/block/x")
        except OSError:
            return DiskPlace()


def _read_disk(sys_root: Path, dev_root: str, path: str, device: BlockDevice, place: DiskPlace) -> dict[str, Json]:
    device_path = f"{path}/device"
    is_ata = device.vendor == _ATA_VENDOR
    identity = parse_ata_page(read_attribute(f"{device_path}/vpd_pg89")) if is_ata else AtaIdentity()
    serial = identity.serial or device.serial or _read_usb_serial(sys_root, place)
    texts = {
        "wwn": _read_wwn(path),
        "serial": serial or _read_udev_serial(dev_root, path, place),
        "vendor": "" if is_ata or device.vendor.startswith("0x") else device.vendor,
        "model": identity.model or device.model or clean_text(read_line(f"{device_path}/name")),
        "firmware_version": identity.firmware or device.revision or clean_text(read_line(f"{device_path}/fwrev")),
        "transport": _read_transport(sys_root, place, is_ata),
        "scsi_address": place.scsi_address or device.address,
        "controller": place.controller,
    }
    entry: dict[str, Json] = {"path": f"/dev/{device.name}", "kind": _read_kind(device_path, device.name)}
    known = {key: text for key, text in texts.items() if text and not (key in _MAY_BE_JUNK and is_junk(text))}
    entry.update(known)
    if device.name.startswith("nvme"):
        namespace = read_namespace(path)
        if namespace.entry:
            entry["namespace"] = namespace.entry
        if namespace.controllers:
            entry["controller"] = namespace.controllers[0]
    if device.size_bytes > 0:
        entry["size_bytes"] = device.size_bytes
    entry.update(_read_geometry(path, entry["kind"] == "disk"))
    return entry


def _read_geometry(path: str, is_disk: bool) -> dict[str, Json]:
    entry: dict[str, Json] = {}
    for key, file in (("rotational", "queue/rotational"), ("removable", "removable")):
        flag = read_line(f"{path}/{file}") if is_disk or key == "removable" else ""
        if flag in {"0", "1"}:
            entry[key] = flag == "1"
    for key, file in (
        ("logical_sector_bytes", "queue/logical_block_size"),
        ("physical_sector_bytes", "queue/physical_block_size"),
    ):
        size = read_line(f"{path}/{file}")
        if size.isascii() and size.isdigit() and int(size) > 0:
            entry[key] = int(size)
    return entry


def _read_wwn(path: str) -> str:
    """Read the world-wide name: NVMe has it at the disk, SCSI at the device, old kernels only inside a VPD page."""
    for file in ("wwid", "device/wwid"):
        wwn = format_wwn(read_line(f"{path}/{file}"))
        if wwn:
            return wwn
    return format_wwn(parse_names_page(read_attribute(f"{path}/device/vpd_pg83")))


def _read_usb_serial(sys_root: Path, place: DiskPlace) -> str:
    return clean_text(read_line(f"{sys_root}/bus/usb/devices/{place.usb}/serial")) if place.usb else ""


def _read_udev_serial(dev_root: str, path: str, place: DiskPlace) -> str:
    """Return the serial number of a drive at an ATA port that has no page for it, as optical drives: udev asked it."""
    if not place.ata_port:
        return ""
    from mkctl.probe.udev import read_udev  # few machines have such a drive

    properties = read_udev(dev_root.removesuffix("/dev"), read_line(f"{path}/dev"))
    return clean_text(properties.get("ID_SERIAL_SHORT", ""))


def _read_transport(sys_root: Path, place: DiskPlace, is_ata: bool) -> str:
    """Return how the disk is attached; a SATA disk behind a SAS controller is a SATA disk."""
    if place.transport in {"sas", "scsi"} and is_ata:
        return "sata"
    if place.ata_port:
        speed = read_line(f"{sys_root}/class/ata_link/link{place.ata_port}/sata_spd")
        return "ata" if speed == _SPEED_UNKNOWN else "sata"
    return place.transport


def _read_kind(device_path: str, name: str) -> str:
    """Return "disk", "cdrom", "optical", "floppy", "pmem", or "boot_area" for the small areas of an eMMC."""
    if name.startswith("mmcblk") and ("boot" in name or "rpmb" in name):
        return "boot_area"
    for start, kind in (("sr", "cdrom"), ("fd", "floppy"), ("pmem", "pmem")):
        if name.startswith(start):
            return kind
    return _SCSI_TYPES.get(read_line(f"{device_path}/type"), "disk")


def _read_volume(
    sys_root: Path, name: str, place: DiskPlace, levels: Mapping[str, Mapping[str, Json]]
) -> dict[str, Json]:
    if not place.scsi_address or place.transport not in {"scsi", "sas"}:
        return {}
    driver = link_name(f"{sys_root}/bus/pci/devices/{place.controller}/driver")
    level = clean_text(read_line(f"{sys_root}/block/{name}/device/raid_level"))
    return describe_volume(name, place, level, driver, levels)


def _compute_by_path(sys_root: Path, device: BlockDevice, place: DiskPlace) -> list[str]:
    """Compute what udev would name the disk; where no udev runs, an installer's rules still go by these names."""
    port = read_line(f"{sys_root}/class/ata_port/ata{place.ata_port}/port_no") if place.ata_port else ""
    first_host = 0
    if place.scsi_address and place.transport in {"scsi", "virtio", "usb"}:
        first_host = _first_host(f"{sys_root}/block/{device.name}", int(place.scsi_address.partition(":")[0]))
    nsid = read_line(f"{sys_root}/block/{device.name}/nsid") if place.transport == "nvme" else ""
    name = build_by_path(place, nsid, int(port) if port.isascii() and port.isdigit() else 0, first_host)
    return [name] if name else []


def _first_host(link: str, host: int) -> int:
    """Return the smallest SCSI host number beside `host`; udev counts from it, since probing decides the numbers."""
    try:
        folder = f"{os.path.dirname(link)}/{os.readlink(link)}".partition(f"/host{host}/")[0]
        numbers = [int(name[4:]) for name in os.listdir(folder) if name[:4] == "host" and name[4:].isdecimal()]
    except OSError:
        return host
    return min(numbers, default=host)

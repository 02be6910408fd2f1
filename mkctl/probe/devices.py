"""Collectors of what sits on the buses: PCI functions, USB devices, disks; no process is started.

The health of the disks is asked of a tool, and only where one is installed: a machine without has no health in its
inventory, and that is no error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Callable

from mkcore.jsonfields import Json
from mkctl.probe.collect import Collected, Collector
from mkctl.probe.disks import read_disks
from mkctl.probe.gpus import build_gpus
from mkctl.probe.pci import build_pci, list_without_driver, read_pci
from mkctl.probe.pci_names import PCI_LISTS, USB_LISTS, Names, read_names
from mkctl.probe.serials import describe_disk_serials
from mkctl.probe.storage import build_storage_controllers, read_fc_ports
from mkctl.probe.sysfs import block_facts, read_block_devices
from mkctl.probe.usb import build_usb, read_usb
from mkctl.probe.volumes import read_md_arrays

HEALTH_LIMIT_S = 40.0


def collect_pci(sys_root: Path, top: Path) -> Collected:
    """Collect PCI functions, those without driver, graphics, accelerators and storage controllers."""
    functions = read_pci(sys_root)
    if not functions:
        return Collected()
    numbers = {(function.vendor_id, function.device_id) for function in functions}
    names = read_names(top, PCI_LISTS, numbers, {function.class_id[:4] for function in functions})
    sections: dict[str, Json] = {
        "pci": {function.address: build_pci(function, names) for function in functions},
        "devices_without_driver": list_without_driver(functions),
        "gpus": build_gpus(functions, names),
        "storage_controllers": build_storage_controllers(functions, names, read_fc_ports(sys_root)),
    }
    return Collected(inventory={name: section for name, section in sections.items() if section})


def collect_usb(sys_root: Path, top: Path) -> Collected:
    """Collect the USB devices."""
    devices = read_usb(sys_root)
    if not devices:
        return Collected()
    nameless = {(each.vendor_id, each.product_id) for each in devices if not (each.vendor and each.product)}
    names = read_names(top, USB_LISTS, nameless) if nameless else Names({}, {}, {})
    return Collected(inventory={"usb": {device.place: build_usb(device, names) for device in devices}})


def collect_block(sys_root: Path, top: Path) -> Collected:
    """Collect the block devices: Facter's facts, and the inventory's disks, volumes of RAID controllers, md arrays."""
    devices = read_block_devices(sys_root)
    found = read_disks(sys_root, f"{top}/dev", devices)
    volumes: dict[str, Json] = {
        controller: {"volumes": list[Json](items)} for controller, items in found.volumes.items() if controller
    }
    sections: dict[str, Json] = {
        "disks": dict(found.disks),
        "storage_controllers": volumes,
        "volumes": read_md_arrays(sys_root),
    }
    inventory = {name: section for name, section in sections.items() if section}
    return Collected(block_facts(devices), error=describe_disk_serials(found.disks), inventory=inventory)


def build_health(
    root: str, sys_root: Path, before: Callable[[str], Mapping[str, Json]] = lambda _: {}
) -> list[Collector]:
    """Return the collector of the disks' health where smartctl or nvme is installed; a tree's disks are not here."""
    tool = "" if root else find_tool("smartctl", "nvme")
    return [Collector("disk-health", HEALTH_LIMIT_S, partial(_collect_health, sys_root, tool, before))] if tool else []


def find_tool(*names: str) -> str:
    """Return the first of the names that is an executable on PATH, "" for none; cheaper than trying to start it."""
    folders = os.get_exec_path()
    return next((name for name in names if any(os.access(f"{folder}/{name}", os.X_OK) for folder in folders)), "")


def _collect_health(sys_root: Path, tool: str, before: Callable[[str], Mapping[str, Json]]) -> Collected:
    from mkctl.probe.health import collect_health  # most machines have no tool for it

    return collect_health(sys_root, Path("/"), tool == "smartctl", before=before)

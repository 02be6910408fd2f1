"""Collectors of what sits on the buses: PCI functions, USB devices. No process is started."""

from __future__ import annotations

from pathlib import Path

from mkcore.jsonfields import Json
from mkctl.probe.collect import Collected
from mkctl.probe.gpus import build_gpus
from mkctl.probe.pci import build_pci, list_without_driver, read_pci
from mkctl.probe.pci_names import PCI_LISTS, USB_LISTS, Names, read_names
from mkctl.probe.storage import build_storage_controllers
from mkctl.probe.usb import build_usb, read_usb


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
        "storage_controllers": build_storage_controllers(functions, names),
    }
    return Collected(inventory={name: section for name, section in sections.items() if section})


def collect_usb(sys_root: Path, top: Path) -> Collected:
    """Collect the USB devices."""
    devices = read_usb(sys_root)
    if not devices:
        return Collected()
    nameless = {(each.vendor_id, each.product_id) for each in devices if not (each.vendor and each.product)}
    names = read_names(top, USB_LISTS, nameless) if nameless else Names()
    return Collected(inventory={"usb": {device.place: build_usb(device, names) for device in devices}})

"""PCI functions from /sys/bus/pci/devices, and which of them no driver has taken.

One `uevent` file holds numbers, class and driver of a function, so that two thousand of them (a host with SR-IOV) take
a tenth of a second. The kernel keeps all of that but the state of the link, for which it asks the function itself;
bridges and virtual functions are not asked. A function that went away meanwhile, or whose files cannot be read, is left
out; the others do not notice. Sources:
Documentation/ABI/testing/sysfs-bus-pci of the kernel; PCI Code and ID Assignment Specification for the classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mkcore.files import link_name, list_names, read_attribute, read_line
from mkcore.jsonfields import Json
from mkctl.probe.pci_names import Names

_BRIDGE = "06"
_UNKNOWN_WIDTH = 255

# Classes whose functions work without a driver of their own. A longer prefix says more and wins.
WITHOUT_DRIVER = {
    "06": "a bridge: firmware and the kernel's PCI core set it up; a driver only adds error reporting and hot plug",
    "0500": "memory that the chip set itself uses",
    "0501": "the flash of the firmware",
    "0580": "a memory controller: firmware trained it",
    "08": "registers of the chip set; interrupt controllers, timers, IOMMU and DMA are the kernel's own",
    "0805": "",  # an SD host controller: no card without its driver
    "1101": "performance counters",
    "13": "instrumentation that is not essential: the placeholder functions of processors",
}


class PciFunction(NamedTuple):
    """One function: address "0000:00:1f.2", numbers in lower case without "0x", "" where unknown.

    class_id: class, subclass and programming interface, six digits. numa_node: -1 where unknown. link_speed:
    "8.0 GT/s"; link_width: lanes, 0 where unknown; both as they are now and what the function can do at most.
    physical_function: address of the function that a virtual one (SR-IOV) belongs to.
    """

    address: str
    class_id: str
    vendor_id: str
    device_id: str
    subsystem_vendor_id: str = ""
    subsystem_device_id: str = ""
    revision: str = ""
    driver: str = ""
    numa_node: int = -1
    iommu_group: str = ""
    link_speed: str = ""
    link_width: int = 0
    max_link_speed: str = ""
    max_link_width: int = 0
    physical_function: str = ""


def read_pci(sys_root: Path) -> list[PciFunction]:
    """Return the functions sorted by address; none where there is no PCI bus. Raises nothing."""
    folder = f"{sys_root}/bus/pci/devices"
    found = (_read_function(f"{folder}/{address}", address) for address in list_names(folder))
    return [function for function in found if function.vendor_id]


def parse_uevent(data: bytes) -> dict[str, str]:
    """Parse a uevent file: lines KEY=value. Lines of another form are skipped; raises nothing."""
    lines = data.decode("utf-8", "replace").split("\n")
    return dict((line.split("=", 1)) for line in lines if "=" in line)


def list_without_driver(functions: Iterable[PciFunction]) -> list[Json]:
    """Return the addresses of the functions that no driver has taken though their class asks for one."""
    return [function.address for function in functions if not function.driver and not why_no_driver(function.class_id)]


def why_no_driver(class_id: str) -> str:
    """Return the reason why a class works without driver, "" for one that needs a driver."""
    for length in (4, 2):
        reason = WITHOUT_DRIVER.get(class_id[:length])
        if reason is not None:
            return reason
    return ""


def build_pci(function: PciFunction, names: Names) -> dict[str, Json]:
    """Build the inventory's entry of one function; what is unknown is left out."""
    entry: dict[str, Json] = {
        "class_id": function.class_id,
        "class": names.classes.get(function.class_id[:4], ""),
        "vendor_id": function.vendor_id,
        "vendor": names.vendors.get(function.vendor_id, ""),
        "device_id": function.device_id,
        "device": names.devices.get((function.vendor_id, function.device_id), ""),
        "subsystem_vendor_id": function.subsystem_vendor_id,
        "subsystem_device_id": function.subsystem_device_id,
        "revision": function.revision,
        "driver": function.driver,
        "iommu_group": function.iommu_group,
        "link_speed": function.link_speed,
        "max_link_speed": function.max_link_speed,
        "physical_function": function.physical_function,
    }
    kept: dict[str, Json] = {key: value for key, value in entry.items() if value}
    if function.numa_node >= 0:
        kept["numa_node"] = function.numa_node
    if function.link_width:
        kept["link_width"] = function.link_width
    if function.max_link_width:
        kept["max_link_width"] = function.max_link_width
    return kept


def build_card(function: PciFunction, kind: str, names: Names) -> dict[str, Json]:
    """Build what `gpus` and `storage_controllers` say of a function; what is unknown is left out."""
    texts = {
        "kind": kind,
        "vendor": names.vendors.get(function.vendor_id, ""),
        "model": names.devices.get((function.vendor_id, function.device_id), ""),
        "driver": function.driver,
        "physical_function": function.physical_function,
    }
    entry: dict[str, Json] = {key: value for key, value in texts.items() if value}
    if function.numa_node >= 0:
        entry["numa_node"] = function.numa_node
    return entry


def _read_function(path: str, address: str) -> PciFunction:
    event = parse_uevent(read_attribute(f"{path}/uevent"))
    if "PCI_ID" in event:
        vendor, _, device = event["PCI_ID"].partition(":")
        subsystem = event.get("PCI_SUBSYS_ID", "").partition(":")[::2]
        class_id, driver = event.get("PCI_CLASS", ""), event.get("DRIVER", "")
    else:  # a copied tree without it, or a kernel that refuses it
        vendor, device = read_line(f"{path}/vendor"), read_line(f"{path}/device")
        subsystem = (read_line(f"{path}/subsystem_vendor"), read_line(f"{path}/subsystem_device"))
        class_id, driver = read_line(f"{path}/class"), link_name(f"{path}/driver")
    class_id = _hex(class_id, 6)
    numa = read_line(f"{path}/numa_node")
    parent = link_name(f"{path}/physfn")
    # a bridge has its children's link, a virtual function that of its parent
    link = ("", 0, "", 0) if parent or class_id.startswith(_BRIDGE) else _read_link(path)
    return PciFunction(
        address,
        class_id,
        _hex(vendor, 4),
        _hex(device, 4),
        *_pair(subsystem),
        _hex(read_line(f"{path}/revision"), 2),
        driver,
        int(numa) if numa.isascii() and numa.isdigit() else -1,
        link_name(f"{path}/iommu_group"),
        *link,
        parent,
    )


def _read_link(path: str) -> tuple[str, int, str, int]:
    speed = read_line(f"{path}/current_link_speed")
    if not speed:  # conventional PCI
        return "", 0, "", 0
    return (
        _speed(speed),
        _width(read_line(f"{path}/current_link_width")),
        _speed(read_line(f"{path}/max_link_speed")),
        _width(read_line(f"{path}/max_link_width")),
    )


def _speed(text: str) -> str:
    """Shorten "8.0 GT/s PCIe" to "8.0 GT/s"; "Unknown" and "Unknown speed" say nothing."""
    return " ".join(text.split()[:2]) if text[:1].isdigit() else ""


def _width(text: str) -> int:
    width = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    return width if width < _UNKNOWN_WIDTH else 0


def _pair(subsystem: Sequence[str]) -> tuple[str, str]:
    """Return both numbers of a subsystem; a function that has none shows zeros."""
    vendor, device = _hex(subsystem[0], 4), _hex(subsystem[1], 4)
    return ("", "") if vendor in {"", "0000"} else (vendor, device)


def _hex(text: str, digits: int) -> str:
    """Return a number with so many hex digits, "" for what is none: "0x1AF4" -> "1af4", "20000" -> "020000"."""
    text = text.lower()
    if text.startswith("0x"):
        text = text[2:]
    if not text or len(text) > digits or text.strip("0123456789abcdef"):
        return ""
    return text.zfill(digits)

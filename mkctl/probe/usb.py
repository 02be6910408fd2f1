"""USB devices from /sys/bus/usb/devices: what is plugged in, without the controllers' own root hubs.

A device whose class stands at its interfaces (most do) has the class and driver of the first interface. Names that the
device does not give come from the list of USB numbers, where there is one. Sources: Documentation/ABI/testing/
sysfs-bus-usb of the kernel; USB class codes of usb.org.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mkcore.files import link_name, list_names, read_attribute, read_line
from mkcore.jsonfields import Json
from mkctl.probe.pci_names import Names
from mkctl.probe.texts import clean_text

_PER_INTERFACE = "00"
_CLASSES = {
    "01": "audio",
    "02": "communications",
    "03": "human interface",
    "05": "physical",
    "06": "image",
    "07": "printer",
    "08": "mass storage",
    "09": "hub",
    "0a": "communications data",
    "0b": "smart card",
    "0d": "content security",
    "0e": "video",
    "0f": "personal healthcare",
    "10": "audio and video",
    "11": "billboard",
    "12": "type-C bridge",
    "dc": "diagnostic",
    "e0": "wireless",
    "ef": "miscellaneous",
    "fe": "application specific",
    "ff": "vendor specific",
}


class UsbDevice(NamedTuple):
    """One device at its place ("1-1.2": bus, then ports); numbers of four hex digits, speed in Mbit/s, 0 if unknown."""

    place: str
    vendor_id: str
    product_id: str
    vendor: str = ""
    product: str = ""
    serial: str = ""
    speed_mbps: float = 0
    class_id: str = ""
    driver: str = ""


def read_usb(sys_root: Path) -> list[UsbDevice]:
    """Return the devices sorted by place; none where there is no USB. Raises nothing."""
    folder = f"{sys_root}/bus/usb/devices"
    entries = list_names(folder)
    interfaces: dict[str, list[str]] = {}
    for entry in entries:
        place, colon, _ = entry.partition(":")
        if colon:
            interfaces.setdefault(place, []).append(f"{folder}/{entry}")
    places = [entry for entry in entries if ":" not in entry and not entry.startswith("usb")]
    found = (_read_device(f"{folder}/{place}", place, interfaces.get(place, [])) for place in places)
    return [device for device in found if device.vendor_id]


def build_usb(device: UsbDevice, names: Names) -> dict[str, Json]:
    """Build the inventory's entry of one device; what is unknown is left out."""
    texts: Mapping[str, str] = {
        "vendor_id": device.vendor_id,
        "product_id": device.product_id,
        "vendor": device.vendor or names.vendors.get(device.vendor_id, ""),
        "product": device.product or names.devices.get((device.vendor_id, device.product_id), ""),
        "serial": device.serial,
        "class": _CLASSES.get(device.class_id, ""),
        "driver": device.driver,
    }
    entry: dict[str, Json] = {key: value for key, value in texts.items() if value}
    if device.speed_mbps:
        whole = int(device.speed_mbps)
        entry["speed_mbps"] = whole if whole == device.speed_mbps else device.speed_mbps
    return entry


def _read_device(path: str, place: str, interfaces: Sequence[str]) -> UsbDevice:
    device = UsbDevice(
        place,
        vendor_id=_number(f"{path}/idVendor"),
        product_id=_number(f"{path}/idProduct"),
        vendor=_text(f"{path}/manufacturer"),
        product=_text(f"{path}/product"),
        serial=_text(f"{path}/serial"),
        speed_mbps=_speed(read_line(f"{path}/speed")),
        class_id=read_line(f"{path}/bDeviceClass").lower(),
    )
    for interface in interfaces:
        kind = read_line(f"{interface}/bInterfaceClass").lower()
        if device.class_id in {"", _PER_INTERFACE}:
            device = device._replace(class_id=kind)
        driver = link_name(f"{interface}/driver")
        if driver:  # else no driver has taken this interface; the next may have one
            return device._replace(driver=driver)
    return device


def _number(path: str) -> str:
    number = read_line(path).lower()
    return number if len(number) == 4 and not number.strip("0123456789abcdef") else ""


def _text(path: str) -> str:
    return clean_text(read_attribute(path))


def _speed(text: str) -> float:
    """Read "480" or "1.5"; "unknown" is 0."""
    whole, _, rest = text.partition(".")
    digits = whole + rest
    return float(text) if digits.isascii() and digits.isdigit() and whole and len(text) < 12 else 0

"""SMBIOS identification strings from /sys/class/dmi/id.

The kernel decodes SMBIOS types 0 to 3 itself, so Facter's manufacturer, productname, serialnumber, uuid, board*, bios_*
and type need neither dmidecode nor its warnings. The serials and the UUID are readable by root alone. Values are passed
on as they are, fillers like "To Be Filled By O.E.M." too: servers' rules see what the vendor wrote. Protocol 6.8;
SMBIOS 3.6 section 7.4.1.
"""

from __future__ import annotations

from pathlib import Path

from mkcore.files import read_line
from mkcore.jsonfields import Json

_FACTS = (
    ("sys_vendor", "manufacturer"),
    ("product_name", "productname"),
    ("product_serial", "serialnumber"),
    ("board_vendor", "boardmanufacturer"),
    ("board_name", "boardproductname"),
    ("board_serial", "boardserialnumber"),
    ("bios_vendor", "bios_vendor"),
    ("bios_version", "bios_version"),
    ("bios_date", "bios_release_date"),
)
_CHASSIS = (
    "Other", "Unknown", "Desktop", "Low Profile Desktop", "Pizza Box", "Mini Tower", "Tower", "Portable", "Laptop",
    "Notebook", "Hand Held", "Docking Station", "All In One", "Sub Notebook", "Space-saving", "Lunch Box",
    "Main Server Chassis", "Expansion Chassis", "Sub Chassis", "Bus Expansion Chassis", "Peripheral Chassis",
    "RAID Chassis", "Rack Mount Chassis", "Sealed-case PC", "Multi-system", "CompactPCI", "AdvancedTCA", "Blade",
    "Blade Enclosing", "Tablet", "Convertible", "Detachable", "IoT Gateway", "Embedded PC", "Mini PC", "Stick PC",
)


def read_dmi(sys_root: Path) -> dict[str, str]:
    """Return the attributes of /sys/class/dmi/id that have a value: "sys_vendor": "Dell Inc."."""
    folder = sys_root / "class" / "dmi" / "id"
    names = [name for name, _ in _FACTS] + ["product_uuid", "chassis_type", "board_version"]
    found = {name: read_line(folder / name) for name in names}
    return {name: value for name, value in found.items() if value}


def dmi_facts(dmi: dict[str, str]) -> dict[str, Json]:
    """Make Facter's facts of the attributes; the UUID in upper case, as dmidecode wrote it in Facter's time."""
    facts: dict[str, Json] = {fact: dmi[name] for name, fact in _FACTS if name in dmi}
    if "product_uuid" in dmi:
        facts["uuid"] = dmi["product_uuid"].upper()
    if "chassis_type" in dmi:
        facts["type"] = chassis_text(dmi["chassis_type"])
    return facts


def board_fields(dmi: dict[str, str]) -> dict[str, str]:
    """Return what SMBIOS says of the main board under lshw's keys.

    Without a board record, as in most virtual machines, the vendor of the system stands for the board's: servers make
    a tag of `mk_hw_bus_vendor`.
    """
    board = {
        "vendor": dmi.get("board_vendor", dmi.get("sys_vendor", "")),
        "product": dmi.get("board_name", ""),
        "version": dmi.get("board_version", ""),
        "serial": dmi.get("board_serial", ""),
    }
    return {key: value for key, value in board.items() if value}


def chassis_text(number: str) -> str:
    """Name a chassis type as dmidecode does: "23" -> "Rack Mount Chassis"; "<OUT OF SPEC>" for an unknown one."""
    index = int(number) & 0x7F if number.isascii() and number.isdigit() else 0
    return _CHASSIS[index - 1] if 1 <= index <= len(_CHASSIS) else "<OUT OF SPEC>"

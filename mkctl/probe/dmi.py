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
from mkctl.probe.junk import without_junk
from mkctl.probe.texts import clean_text

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
# (attribute, section and key of the inventory), for machines whose whole table cannot be read
_INVENTORY = (
    ("sys_vendor", "system", "manufacturer"),
    ("product_name", "system", "product"),
    ("product_version", "system", "version"),
    ("product_serial", "system", "serial"),
    ("product_uuid", "system", "uuid"),
    ("product_sku", "system", "sku"),
    ("product_family", "system", "family"),
    ("board_vendor", "board", "manufacturer"),
    ("board_name", "board", "product"),
    ("board_version", "board", "version"),
    ("board_serial", "board", "serial"),
    ("board_asset_tag", "board", "asset_tag"),
    ("chassis_vendor", "chassis", "manufacturer"),
    ("chassis_version", "chassis", "version"),
    ("chassis_serial", "chassis", "serial"),
    ("chassis_asset_tag", "chassis", "asset_tag"),
    ("bios_vendor", "firmware", "vendor"),
    ("bios_version", "firmware", "version"),
    ("bios_date", "firmware", "date"),
    ("bios_release", "firmware", "release"),
)
_CHASSIS = (
    "Other",
    "Unknown",
    "Desktop",
    "Low Profile Desktop",
    "Pizza Box",
    "Mini Tower",
    "Tower",
    "Portable",
    "Laptop",
    "Notebook",
    "Hand Held",
    "Docking Station",
    "All In One",
    "Sub Notebook",
    "Space-saving",
    "Lunch Box",
    "Main Server Chassis",
    "Expansion Chassis",
    "Sub Chassis",
    "Bus Expansion Chassis",
    "Peripheral Chassis",
    "RAID Chassis",
    "Rack Mount Chassis",
    "Sealed-case PC",
    "Multi-system",
    "CompactPCI",
    "AdvancedTCA",
    "Blade",
    "Blade Enclosing",
    "Tablet",
    "Convertible",
    "Detachable",
    "IoT Gateway",
    "Embedded PC",
    "Mini PC",
    "Stick PC",
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


def read_dmi_sections(sys_root: Path) -> dict[str, dict[str, str]]:
    """Return what /sys/class/dmi/id has for the inventory: {"system": {"manufacturer": "Dell Inc.", ...}, ...}.

    For a kernel that shows no raw table. A machine described by a device tree has its model and serial number there.
    """
    sections: dict[str, dict[str, str]] = {}
    folder = sys_root / "class/dmi/id"
    if folder.exists():
        for attribute, section, key in _INVENTORY:
            sections.setdefault(section, {})[key] = clean_text(read_line(folder / attribute))
        sections["system"]["uuid"] = _uuid(sections["system"]["uuid"])
        sections["chassis"]["type"] = known_chassis(read_line(folder / "chassis_type"))
        return sections
    tree = sys_root / "firmware/devicetree/base"
    product, serial = clean_text(read_line(tree / "model")), clean_text(read_line(tree / "serial-number"))
    return {"system": {"product": product, "serial": serial}} if product or serial else {}


def build_dmi_inventory(sections: dict[str, dict[str, str]]) -> dict[str, Json]:
    """Make the inventory's sections, without placeholders and without empty ones."""
    found = {name: without_junk(values) for name, values in sections.items()}
    return {name: values for name, values in found.items() if values}


def known_chassis(number: str) -> str:
    """Name a chassis type as chassis_text does, "" where that would be no news."""
    text = chassis_text(number)
    return "" if text in ("Other", "Unknown", "<OUT OF SPEC>") else text


def _uuid(text: str) -> str:
    """Return a UUID in lower case with hyphens, "" for what is none."""
    try:
        digits = bytes.fromhex(text.replace("-", "")).hex()
    except ValueError:
        return ""
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts) if len(digits) == 32 else ""

"""Reads dmidecode's text, the independent truth beside a raw SMBIOS table, and compares it with what we decode.

A small reader for tests alone: the product reads no such text. Records are found by their handle; only what the text
has is compared, so every version of dmidecode serves.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Union

from mkctl.probe.dmi import chassis_text
from mkctl.probe.smbios import Smbios, Structure
from mkctl.probe.smbios_machine import parse_board, parse_chassis, parse_firmware, parse_oem_strings, parse_system
from mkctl.probe.smbios_memory import parse_array, parse_slot
from mkctl.probe.smbios_processor import parse_socket
from mkctl.probe.smbios_tpm import parse_tpm_device

UNITS = {"bytes": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40, "PB": 1 << 50, "EB": 1 << 60}
SAYS_NOTHING = {
    "Not Specified", "<BAD INDEX>", "Unknown", "Other", "<OUT OF SPEC>", "Unspecified", "Not Provided", "None", "0.0",
    "Not Settable", "Not Present", "",
}  # fmt: skip
Value = Union[str, int]


class Record(NamedTuple):
    """One structure of the text: handle, type and its "Key: value" lines; deeper lines are left out."""

    handle: int
    kind: int
    fields: dict[str, str]


def parse_dmidecode(text: str) -> list[Record]:
    """Split the text at its "Handle 0x0012, DMI type 17, 40 bytes" lines."""
    found: list[Record] = []
    for line in text.splitlines():
        head = re.match(r"Handle 0x([0-9A-F]{4}), DMI type (\d+), \d+ bytes", line)
        if head:
            found.append(Record(int(head.group(1), 16), int(head.group(2)), {}))
        elif found and line.startswith("\t") and not line.startswith("\t\t"):
            key, _, value = line.strip().partition(":")
            found[-1].fields[key] = value.strip()
    return found


def run_dmidecode(dump: Path) -> list[Record]:
    """Have dmidecode read a dump file."""
    command = ["dmidecode", "--from-dump", str(dump)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace", timeout=60).stdout
    return parse_dmidecode(text)


def same(ours: Value, theirs: str) -> bool:
    """Tell whether one field says the same: "3200 MT/s", "64 GB" (which dmidecode rounds down), "Not Specified"."""
    if not isinstance(ours, int):
        return ours == theirs or (theirs in SAYS_NOTHING and ours in SAYS_NOTHING)
    match = re.match(r"(\d+)(?: (\w+))?", theirs)
    if not match or (not ours and match.group(1) == "65535"):
        return not ours
    return ours // UNITS.get(match.group(2) or "", 1) == int(match.group(1))


def our_fields(structure: Structure, smbios: Smbios) -> dict[str, Value]:
    """Return what we decode of a structure, under dmidecode's names."""
    decoders = {
        0: _firmware, 2: _board, 3: _chassis, 4: _socket, 16: _array, 17: _slot, 43: _tpm,
    }  # fmt: skip
    if structure.kind == 1:
        return _system(structure, smbios)
    return decoders[structure.kind](structure) if structure.kind in decoders else {}


def _firmware(structure: Structure) -> dict[str, Value]:
    found = parse_firmware(structure)
    return {
        "Vendor": found.vendor,
        "Version": found.version,
        "Release Date": found.date,
        "BIOS Revision": found.release,
    }


def _system(structure: Structure, smbios: Smbios) -> dict[str, Value]:
    found = parse_system(structure, smbios.version)
    return {
        "Manufacturer": found.manufacturer,
        "Product Name": found.product,
        "Version": found.version,
        "Serial Number": found.serial,
        "UUID": found.uuid,
        "SKU Number": found.sku,
        "Family": found.family,
    }


def _board(structure: Structure) -> dict[str, Value]:
    found = parse_board(structure)
    return {
        "Manufacturer": found.manufacturer,
        "Product Name": found.product,
        "Version": found.version,
        "Serial Number": found.serial,
        "Asset Tag": found.asset_tag,
    }


def _chassis(structure: Structure) -> dict[str, Value]:
    found = parse_chassis(structure)
    return {
        "Manufacturer": found.manufacturer,
        "Type": chassis_text(str(found.type_number)),
        "Version": found.version,
        "Serial Number": found.serial,
        "Asset Tag": found.asset_tag,
        "Height": found.height_u,
        "SKU Number": found.sku,
    }


def _socket(structure: Structure) -> dict[str, Value]:
    found = parse_socket(structure)
    return {
        "Socket Designation": found.designation,
        "Manufacturer": found.manufacturer,
        "Version": found.product,
        "Max Speed": found.max_speed_mhz,
        "Current Speed": found.current_speed_mhz,
        "Serial Number": found.serial,
        "Asset Tag": found.asset_tag,
        "Part Number": found.part_number,
        "Core Count": found.cores,
        "Core Enabled": found.cores_enabled,
        "Thread Count": found.threads,
    }


def _array(structure: Structure) -> dict[str, Value]:
    found = parse_array(structure)
    return {
        "Location": found.location,
        "Use": found.use,
        "Error Correction Type": found.error_correction,
        "Maximum Capacity": found.max_capacity_bytes,
        "Number Of Devices": found.slots,
    }


def _slot(structure: Structure) -> dict[str, Value]:
    found = parse_slot(structure)
    return {
        "Total Width": found.total_width_bits,
        "Data Width": found.data_width_bits,
        "Size": found.size_bytes,
        "Form Factor": found.form_factor,
        "Locator": found.locator,
        "Bank Locator": found.bank_locator,
        "Type": found.type,
        "Memory Technology": found.technology,
        "Non-Volatile Size": found.nonvolatile_bytes,
        "Speed": found.speed_mts,
        "Manufacturer": found.manufacturer,
        "Serial Number": found.serial,
        "Asset Tag": found.asset_tag,
        "Part Number": found.part_number,
        "Rank": found.rank,
        "Configured Memory Speed": found.configured_speed_mts,
        "Configured Clock Speed": found.configured_speed_mts,
    }


def _tpm(structure: Structure) -> dict[str, Value]:
    found = parse_tpm_device(structure)
    return {
        "Vendor ID": found.vendor,
        "Specification Version": found.version,
        "Firmware Revision": found.firmware_version,
    }


def differences(smbios: Smbios, records: list[Record]) -> Iterator[str]:
    """Yield each field that the text has and we read otherwise, and each structure that one of both lacks."""
    ours = [(structure.handle, structure.kind) for structure in smbios.structures]
    theirs = [(record.handle, record.kind) for record in records]
    if ours != theirs:
        yield f"structures: {len(ours)} against {len(theirs)}"
    texts = [text for record in records if record.kind == 11 for text in record.fields.values() if text]
    if texts != parse_oem_strings(smbios):
        yield f"OEM strings: {parse_oem_strings(smbios)} against {texts}"
    for structure, record in zip(smbios.structures, records):
        for key, value in our_fields(structure, smbios).items():
            if key in record.fields and not same(value, record.fields[key]):
                yield f"type {record.kind} handle {record.handle:#06x} {key}: {value!r} against {record.fields[key]!r}"


def compared_fields(smbios: Smbios, records: list[Record]) -> int:
    """Count the fields that were compared, so that a test can see that it compared something."""
    return sum(
        len(our_fields(structure, smbios).keys() & record.fields.keys())
        for structure, record in zip(smbios.structures, records)
    )

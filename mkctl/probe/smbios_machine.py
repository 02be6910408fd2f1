"""SMBIOS types 0, 1, 2, 3 and 11: firmware, system, board, chassis and the vendor's own strings.

The kernel shows most of types 0 to 3 below /sys/class/dmi/id; the height of the chassis, its SKU and the OEM strings it
does not. "" and 0 mean that the table does not say. Source: SMBIOS 3.7 (DSP0134) sections 7.1 to 7.4 and 7.12.
"""

from __future__ import annotations

from typing import NamedTuple

from mkctl.probe.smbios import Smbios, Structure
from mkctl.probe.texts import clean_text

FIRMWARE, SYSTEM, BOARD, CHASSIS, OEM_STRINGS = 0, 1, 2, 3, 11
_UUID_BYTES = 16
_NOT_SET = 0xFF
_FIRST_MIXED_ENDIAN = (2, 6)


class Firmware(NamedTuple):
    """Type 0. date: as the vendor wrote it, "05/22/2018" by the standard; release: "6.6" or ""."""

    vendor: str
    version: str
    date: str
    release: str


class System(NamedTuple):
    """Type 1. uuid: lower case with hyphens, "" when it is missing, all zero or all F, which mean that none is set."""

    manufacturer: str
    product: str
    version: str
    serial: str
    uuid: str
    sku: str
    family: str


class Board(NamedTuple):
    """Type 2: one board."""

    manufacturer: str
    product: str
    version: str
    serial: str
    asset_tag: str


class Chassis(NamedTuple):
    """Type 3. type_number: of the standard's list, without the lock bit; height_u: rack units, 0 for unspecified."""

    manufacturer: str
    type_number: int
    version: str
    serial: str
    asset_tag: str
    height_u: int
    sku: str


def parse_firmware(structure: Structure) -> Firmware:
    """Decode type 0."""
    release = ""
    if structure.has(0x16):
        major, minor = structure.number(0x14, 1), structure.number(0x15, 1)
        release = f"{major}.{minor}" if _NOT_SET not in (major, minor) else ""
    return Firmware(structure.string(0x04), structure.string(0x05), structure.string(0x08), release)


def parse_system(structure: Structure, version: tuple[int, int]) -> System:
    """Decode type 1; the version of the table decides the byte order of the UUID."""
    raw = structure.area[0x08 : 0x08 + _UUID_BYTES]
    return System(
        manufacturer=structure.string(0x04),
        product=structure.string(0x05),
        version=structure.string(0x06),
        serial=structure.string(0x07),
        uuid=parse_uuid(raw, version) if len(raw) == _UUID_BYTES else "",
        sku=structure.string(0x19),
        family=structure.string(0x1A),
    )


def parse_uuid(raw: bytes, version: tuple[int, int]) -> str:
    """Write 16 bytes as a UUID in lower case; "" for all zero and all F.

    From version 2.6 on the first three fields are little-endian. An unknown version counts as a newer one, as do the
    kernel's own copies of later tables.
    """
    if raw in (b"\0" * _UUID_BYTES, b"\xff" * _UUID_BYTES):
        return ""
    if version == (0, 0) or version >= _FIRST_MIXED_ENDIAN:
        raw = raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_board(structure: Structure) -> Board:
    """Decode type 2."""
    return Board(
        manufacturer=structure.string(0x04),
        product=structure.string(0x05),
        version=structure.string(0x06),
        serial=structure.string(0x07),
        asset_tag=structure.string(0x08),
    )


def parse_chassis(structure: Structure) -> Chassis:
    """Decode type 3; its SKU stands behind a list whose size the structure gives."""
    elements_bytes = structure.number(0x13, 1) * structure.number(0x14, 1)
    return Chassis(
        manufacturer=structure.string(0x04),
        type_number=structure.number(0x05, 1) & 0x7F,
        version=structure.string(0x06),
        serial=structure.string(0x07),
        asset_tag=structure.string(0x08),
        height_u=structure.number(0x11, 1),
        sku=structure.string(0x15 + elements_bytes),
    )


def parse_oem_strings(smbios: Smbios) -> list[str]:
    """Return the strings of all structures of type 11, in order, empty ones left out."""
    return [text for structure in smbios.of(OEM_STRINGS) for text in map(clean_text, structure.strings) if text]

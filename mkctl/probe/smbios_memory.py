"""SMBIOS types 16 and 17: memory arrays and the slots in them, empty ones too.

Sizes and speeds outgrew their fields twice; the wider field counts where the narrow one points to it. "" and 0 mean
that the table does not say. Source: SMBIOS 3.8 (DSP0134) sections 7.17 and 7.18.
"""

from __future__ import annotations

from typing import NamedTuple

from mkctl.probe.smbios import Structure

ARRAY, SLOT = 16, 17
FOREIGN_USES = frozenset({"Video Memory", "Flash Memory", "Cache Memory"})
_UNKNOWN_WORD = 0xFFFF
_SIZE_IN_NEXT_FIELD = 0x7FFF
_SIZE_IN_KIB = 0x8000
_CAPACITY_IN_NEXT_FIELD = 0x8000_0000
_LOW_31_BITS = 0x7FFF_FFFF
_UNKNOWN_SIZE = 0xFFFF_FFFF_FFFF_FFFF

# "" stands for the standard's "Other" and "Unknown", which tell nothing.
_FORM_FACTORS = (
    "", "", "SIMM", "SIP", "Chip", "DIP", "ZIP", "Proprietary Card", "DIMM", "TSOP", "Row Of Chips", "RIMM", "SODIMM",
    "SRIMM", "FB-DIMM", "Die", "CAMM", "CUDIMM", "CSODIMM",
)  # fmt: skip
_TYPES = (
    "", "", "DRAM", "EDRAM", "VRAM", "SRAM", "RAM", "ROM", "Flash", "EEPROM", "FEPROM", "EPROM", "CDRAM", "3DRAM",
    "SDRAM", "SGRAM", "RDRAM", "DDR", "DDR2", "DDR2 FB-DIMM", "", "", "", "DDR3", "FBD2", "DDR4", "LPDDR", "LPDDR2",
    "LPDDR3", "LPDDR4", "Logical non-volatile device", "HBM", "HBM2", "DDR5", "LPDDR5", "HBM3", "MRDIMM",
)  # fmt: skip
_TECHNOLOGIES = ("", "", "DRAM", "NVDIMM-N", "NVDIMM-F", "NVDIMM-P", "Intel Optane persistent memory", "")
_LOCATIONS = (
    "", "", "System Board Or Motherboard", "ISA Add-on Card", "EISA Add-on Card", "PCI Add-on Card", "MCA Add-on Card",
    "PCMCIA Add-on Card", "Proprietary Add-on Card", "NuBus",
)  # fmt: skip
_FAR_LOCATIONS = {
    0xA0: "PC-98/C20 Add-on Card",
    0xA1: "PC-98/C24 Add-on Card",
    0xA2: "PC-98/E Add-on Card",
    0xA3: "PC-98/Local Bus Add-on Card",
    0xA4: "CXL Add-on Card",
}
_USES = ("", "", "System Memory", "Video Memory", "Flash Memory", "Non-volatile RAM", "Cache Memory")
_CORRECTIONS = ("", "", "None", "Parity", "Single-bit ECC", "Multi-bit ECC", "CRC")


class MemoryArray(NamedTuple):
    """Type 16. slots: how many devices the array takes; max_capacity_bytes: 0 for unknown."""

    handle: int
    location: str
    use: str
    error_correction: str
    max_capacity_bytes: int
    slots: int


class Slot(NamedTuple):
    """Type 17. size_bytes: 0 for an empty slot and for a module of unknown size, which `populated` tells apart.

    technology: "DRAM" or a kind of persistent memory; nonvolatile_bytes: how much of the size keeps its content, and is
    no memory to run programs in: all of a module of persistent memory, or none where it is set up to serve as memory.
    speed_mts: what the module bears, configured_speed_mts: what was set, both in megatransfers a second.
    """

    array_handle: int
    locator: str
    bank_locator: str
    populated: bool
    size_bytes: int
    form_factor: str
    type: str
    technology: str
    nonvolatile_bytes: int
    speed_mts: int
    configured_speed_mts: int
    manufacturer: str
    serial: str
    asset_tag: str
    part_number: str
    rank: int
    total_width_bits: int
    data_width_bits: int


def parse_array(structure: Structure) -> MemoryArray:
    """Decode type 16."""
    location = structure.number(0x04, 1)
    capacity_kib = structure.number(0x07, 4)
    capacity_bytes = capacity_kib << 10
    if capacity_kib == _CAPACITY_IN_NEXT_FIELD:
        capacity_bytes = structure.number(0x0F, 8)
    return MemoryArray(
        handle=structure.handle,
        location=_FAR_LOCATIONS.get(location) or _name(_LOCATIONS, location),
        use=_name(_USES, structure.number(0x05, 1)),
        error_correction=_name(_CORRECTIONS, structure.number(0x06, 1)),
        max_capacity_bytes=capacity_bytes,
        slots=structure.number(0x0D, 2),
    )


def parse_slot(structure: Structure) -> Slot:
    """Decode type 17."""
    populated, size_bytes = _size(structure)
    return Slot(
        array_handle=structure.number(0x04, 2),
        locator=structure.string(0x10),
        bank_locator=structure.string(0x11),
        populated=populated,
        size_bytes=size_bytes,
        form_factor=_name(_FORM_FACTORS, structure.number(0x0E, 1)),
        type=_name(_TYPES, structure.number(0x12, 1)),
        technology=_name(_TECHNOLOGIES, structure.number(0x28, 1)),
        nonvolatile_bytes=_known_size(structure.number(0x34, 8)),
        speed_mts=_speed(structure, 0x15, 0x54),
        configured_speed_mts=_speed(structure, 0x20, 0x58),
        manufacturer=structure.string(0x17),
        serial=structure.string(0x18),
        asset_tag=structure.string(0x19),
        part_number=structure.string(0x1A),
        rank=structure.number(0x1B, 1) & 0x0F,
        total_width_bits=_known(structure.number(0x08, 2)),
        data_width_bits=_known(structure.number(0x0A, 2)),
    )


def _size(structure: Structure) -> tuple[bool, int]:
    """Return whether the slot is populated, and its size: in MiB, in KiB by the highest bit, or in the wider field."""
    size = structure.number(0x0C, 2)
    if size == _UNKNOWN_WORD:
        return True, 0
    if size == _SIZE_IN_NEXT_FIELD and structure.has(0x20):
        wide_mib = structure.number(0x1C, 4) & _LOW_31_BITS
        return bool(wide_mib), wide_mib << 20
    if size & _SIZE_IN_KIB:
        size_bytes = (size & ~_SIZE_IN_KIB) << 10
    else:
        size_bytes = size << 20
    return size_bytes > 0, size_bytes


def _speed(structure: Structure, offset: int, wide_offset: int) -> int:
    speed = structure.number(offset, 2)
    return structure.number(wide_offset, 4) & _LOW_31_BITS if speed == _UNKNOWN_WORD else speed


def _known(number: int) -> int:
    return 0 if number == _UNKNOWN_WORD else number


def _known_size(size_bytes: int) -> int:
    return 0 if size_bytes == _UNKNOWN_SIZE else size_bytes


def _name(names: tuple[str, ...], number: int) -> str:
    """Name a number of a list that begins with 1; "" for one that is not in it."""
    return names[number - 1] if 1 <= number <= len(names) else ""

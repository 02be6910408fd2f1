"""SMBIOS structures as bytes, for what QEMU's own options cannot say: unlike memory modules, unlike sockets, a chassis.

Each structure goes into a file of its own (`-smbios file=`): QEMU counts one structure a file, and the kernel stops
reading the table at that count. A file's type replaces QEMU's own structures of that type.

Source: DMTF DSP0134 (SMBIOS 3.x), 6.1.2 for the frame, 7.4 (type 3), 7.5 (type 4), 7.17 (type 16), 7.18 (type 17);
QEMU, hw/smbios/smbios.c.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MEMORY_TYPES: Mapping[str, int] = {"": 0x02, "DDR3": 0x18, "DDR4": 0x1A, "LPDDR4": 0x1E, "DDR5": 0x22}
FORM_FACTORS: Mapping[str, int] = {"DIMM": 0x09, "SODIMM": 0x0D}
CHASSIS_TYPES: Mapping[str, int] = {"Other": 0x01, "Rack Mount Chassis": 0x17, "Blade": 0x1C}
SYSTEM_BOARD, SYSTEM_MEMORY, MULTI_BIT_ECC = 3, 3, 6
ARRAY_HANDLE = 0x1000
_NO_HANDLE, _NO_ERROR = 0xFFFF, 0xFFFE
_EXTENDED_MIB = 0x7FFF
_EXTENDED_KIB = 0x80000000
_SAFE = 3


@dataclass(frozen=True)
class Chassis:
    """A type 3 structure."""

    manufacturer: str
    type: str
    version: str
    serial: str
    asset_tag: str
    height_u: int
    sku: str


@dataclass(frozen=True)
class Socket:
    """A type 4 structure: one processor socket."""

    designation: str
    manufacturer: str
    product: str
    serial: str
    asset_tag: str
    part_number: str
    max_speed_mhz: int
    cores: int
    cores_enabled: int
    threads: int


@dataclass(frozen=True)
class Dimm:
    """A type 17 structure: one slot. Empty when it has no size; what its texts say then is a vendor's placeholder."""

    locator: str
    bank_locator: str
    size_mib: int = 0
    type: str = ""
    form_factor: str = "DIMM"
    speed_mts: int = 0
    configured_speed_mts: int = 0
    manufacturer: str = ""
    serial: str = ""
    asset_tag: str = ""
    part_number: str = ""
    rank: int = 0
    data_width_bits: int = 64
    total_width_bits: int = 72


def build_structure(kind: int, handle: int, fields: bytes, strings: Sequence[str]) -> bytes:
    """Build one structure: header, formatted area, strings, two zero bytes."""
    texts = b"".join(text.encode() + b"\0" for text in strings)
    return struct.pack("<BBH", kind, 4 + len(fields), handle) + fields + (texts or b"\0") + b"\0"


class _Strings:
    """Numbers strings from 1, as a structure refers to them; 0 is none."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str) -> int:
        if not text:
            return 0
        self.texts.append(text)
        return len(self.texts)


def build_chassis(chassis: Chassis, handle: int = 0x300) -> bytes:
    """Build a type 3 structure of version 2.7 (22 bytes)."""
    strings = _Strings()
    fields = struct.pack(
        "<BBBBBBBBBIBBBBB",
        strings.add(chassis.manufacturer),
        CHASSIS_TYPES[chassis.type],
        strings.add(chassis.version),
        strings.add(chassis.serial),
        strings.add(chassis.asset_tag),
        *(_SAFE, _SAFE, _SAFE, _SAFE),
        0,
        chassis.height_u,
        2,
        *(0, 0),
        strings.add(chassis.sku),
    )
    return build_structure(3, handle, fields, strings.texts)


def build_socket(socket: Socket, handle: int) -> bytes:
    """Build a type 4 structure of version 3.0 (48 bytes): populated and enabled."""
    strings = _Strings()
    fields = struct.pack(
        "<BBBB8sBBHHHBBHHHBBBBBBHHHHH",
        strings.add(socket.designation),
        3,
        0xB3,
        strings.add(socket.manufacturer),
        bytes(8),
        strings.add(socket.product),
        *(0, 100, socket.max_speed_mhz, socket.max_speed_mhz),
        *(0x41, 0x01, _NO_HANDLE, _NO_HANDLE, _NO_HANDLE),
        strings.add(socket.serial),
        strings.add(socket.asset_tag),
        strings.add(socket.part_number),
        *(socket.cores, socket.cores_enabled, socket.threads),
        *(0x04, 0xB3, socket.cores, socket.cores_enabled, socket.threads),
    )
    return build_structure(4, handle, fields, strings.texts)


def build_array(slots: int, max_capacity_bytes: int) -> bytes:
    """Build the type 16 structure of the array that all modules belong to: on the board, multi-bit ECC."""
    short_kib = max_capacity_bytes >> 10
    extended = max_capacity_bytes if short_kib >= _EXTENDED_KIB else 0
    capacity = _EXTENDED_KIB if extended else short_kib
    where = (SYSTEM_BOARD, SYSTEM_MEMORY, MULTI_BIT_ECC)
    return build_structure(16, ARRAY_HANDLE, struct.pack("<BBBIHHQ", *where, capacity, _NO_ERROR, slots, extended), ())


def build_dimm(dimm: Dimm, handle: int) -> bytes:
    """Build a type 17 structure of version 2.8 (40 bytes)."""
    strings = _Strings()
    large = dimm.size_mib >= _EXTENDED_MIB
    widths = (dimm.total_width_bits, dimm.data_width_bits) if dimm.size_mib else (0xFFFF, 0xFFFF)
    fields = struct.pack(
        "<HHHHHBBBBBHHBBBBBIHHHH",
        *(ARRAY_HANDLE, _NO_ERROR, *widths),
        _EXTENDED_MIB if large else dimm.size_mib,
        FORM_FACTORS[dimm.form_factor],
        0,
        strings.add(dimm.locator),
        strings.add(dimm.bank_locator),
        MEMORY_TYPES[dimm.type],
        0x80 if dimm.size_mib else 0x04,
        dimm.speed_mts,
        strings.add(dimm.manufacturer),
        strings.add(dimm.serial),
        strings.add(dimm.asset_tag),
        strings.add(dimm.part_number),
        dimm.rank,
        dimm.size_mib if large else 0,
        dimm.configured_speed_mts,
        *(0, 0, 1200 if dimm.size_mib else 0),
    )
    return build_structure(17, handle, fields, strings.texts)

"""Makes SMBIOS tables, field by field as the standard has them (DSP0134), for tests and for QEMU's -smbios file=."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Union

Field = Union[int, str, bytes]
END = 127
MIB = 1 << 20


def make_structure(
    kind: int,
    handle: int,
    length: int,
    fields: Mapping[int, Field] = {},
    sizes: Mapping[int, int] = {},
    strings: Sequence[Union[str, bytes]] = (),
) -> bytes:
    """Make a structure of `length` bytes. fields: by offset; a text becomes a string of the structure and its number
    stands there, bytes stand as they are, a number takes one byte or what `sizes` says. strings: further ones.
    """
    area = bytearray(length)
    area[:4] = struct.pack("<BBH", kind, length, handle)
    texts: list[bytes] = []
    for offset, value in fields.items():
        if isinstance(value, str):
            texts.append(value.encode())
            value = len(texts)
        if isinstance(value, int):
            value = value.to_bytes(sizes.get(offset, 1), "little")
        area[offset : offset + len(value)] = value
    assert len(area) == length, "a field beyond the end of the structure"
    texts += [text.encode() if isinstance(text, str) else text for text in strings]
    return bytes(area) + (b"".join(text + b"\0" for text in texts) or b"\0") + b"\0"


def make_table(*structures: bytes, end: bool = True) -> bytes:
    """Join structures, with the end mark."""
    return b"".join(structures) + (make_structure(END, 0xFEFF, 4) if end else b"")


def count_structures(table: bytes) -> int:
    """Count the structures of a well-formed table."""
    count = position = 0
    while position < len(table):
        position = table.index(b"\0\0", position + table[position + 1]) + 2
        count += 1
    return count


def _sum_to_zero(data: bytes, offset: int) -> bytes:
    return data[:offset] + bytes([-sum(data) & 0xFF]) + data[offset + 1 :]


def make_entry_point_2(table: bytes, version: tuple[int, int] = (2, 8), address: int = 0) -> bytes:
    """Make a 32-bit entry point (_SM_)."""
    inner = struct.pack("<5sBHIHB", b"_DMI_", 0, len(table), address, count_structures(table), 0x28)
    head = struct.pack("<4sBBBBHB5s", b"_SM_", 0, 0x1F, *version, 0x100, 0, b"")
    return _sum_to_zero(head + _sum_to_zero(inner, 5), 4)


def make_entry_point_3(table: bytes, version: tuple[int, int] = (3, 6), address: int = 0) -> bytes:
    """Make a 64-bit entry point (_SM3_)."""
    entry = struct.pack("<5sBBBBBBBIQ", b"_SM3_", 0, 0x18, *version, 0, 1, 0, len(table), address)
    return _sum_to_zero(entry, 5)


def make_dump(table: bytes, version: tuple[int, int] = (3, 6)) -> bytes:
    """Make a file as `dmidecode --dump-bin` writes it, which dmidecode --from-dump reads too."""
    make = make_entry_point_3 if version >= (3, 0) else make_entry_point_2
    return make(table, version, address=0x20).ljust(0x20, b"\0") + table


def make_firmware(vendor: str = "SeaBIOS", **more: str) -> bytes:
    """Make a type 0 of version 3.1."""
    fields: dict[int, Field] = {
        0x04: vendor,
        0x05: more.get("version", "1.16.2"),
        0x08: more.get("date", "04/01/2014"),
        0x14: 6,
        0x15: 7,
    }
    return make_structure(0, 0, 0x1A, fields)


def make_system(uuid: bytes = bytes(range(16)), length: int = 0x1B, **texts: str) -> bytes:
    """Make a type 1; a shorter length is an older version."""
    offsets = {"manufacturer": 0x04, "product": 0x05, "version": 0x06, "serial": 0x07, "sku": 0x19, "family": 0x1A}
    fields: dict[int, Field] = {offset: texts[name] for name, offset in offsets.items() if name in texts}
    if length >= 0x18:
        fields[0x08] = uuid
    return make_structure(1, 0x100, length, fields)


def make_board(**texts: str) -> bytes:
    """Make a type 2."""
    offsets = {"manufacturer": 0x04, "product": 0x05, "version": 0x06, "serial": 0x07, "asset_tag": 0x08}
    fields: dict[int, Field] = {offset: texts[name] for name, offset in offsets.items() if name in texts}
    return make_structure(2, 0x200, 0x0F, fields)


def make_chassis(
    type_number: int = 0x17, height_u: int = 1, elements: bytes = b"", sku: str = "", **texts: str
) -> bytes:
    """Make a type 3 with contained elements of three bytes each, and the SKU behind them."""
    offsets = {"manufacturer": 0x04, "version": 0x06, "serial": 0x07, "asset_tag": 0x08}
    fields: dict[int, Field] = {offset: texts[name] for name, offset in offsets.items() if name in texts}
    fields.update({0x05: type_number, 0x11: height_u, 0x13: len(elements) // 3, 0x14: 3, 0x15: elements})
    if sku:
        fields[0x15 + len(elements)] = sku
    return make_structure(3, 0x300, 0x16 + len(elements), fields)


def make_socket(
    number: int, cores: int = 8, length: int = 0x32, *, populated: bool = True, kind: int = 3, status: int = 1
) -> bytes:
    """Make a type 4 with twice as many threads as cores. status: 1 for enabled."""

    def narrow(count: int) -> int:
        return min(count, 0xFF)

    fields: dict[int, Field] = {
        0x04: f"CPU{number}", 0x05: kind, 0x07: "Intel", 0x10: "Xeon", 0x14: 4000, 0x16: 2600,
        0x18: 0x40 | status if populated else 0,
    }  # fmt: skip
    if length >= 0x26:
        fields.update({0x20: f"SN{number}", 0x21: f"TAG{number}", 0x22: "CM806", 0x23: narrow(cores)})
        fields.update({0x24: narrow(cores - 1), 0x25: narrow(2 * cores)})
    if length >= 0x30:
        fields.update({0x2A: cores, 0x2C: cores - 1, 0x2E: 2 * cores})
    return make_structure(4, 0x400 + number, length, fields, {0x14: 2, 0x16: 2, 0x2A: 2, 0x2C: 2, 0x2E: 2})


def make_array(
    handle: int = 0x1000, use: int = 3, capacity_kib: int = 64 * MIB, slots: int = 2, wide: int = 0
) -> bytes:
    """Make a type 16; wide: the capacity in bytes, in its own field."""
    fields: dict[int, Field] = {0x04: 3, 0x05: use, 0x06: 6, 0x07: capacity_kib, 0x0D: slots, 0x0F: wide}
    return make_structure(16, handle, 0x17, fields, {0x07: 4, 0x0D: 2, 0x0F: 8})


def make_slot(number: int, size_mib: int = 16384, array: int = 0x1000, length: int = 0x5C, **more: Field) -> bytes:
    """Make a type 17; 0 MiB is an empty slot. more: speed (MT/s), size (the raw field), serial, part, maker, kind,
    technology, nonvolatile (bytes).
    """
    speed = int(more.get("speed", 3200))
    size = more.get("size", size_mib if size_mib < 0x7FFF else 0x7FFF)
    fields: dict[int, Field] = {
        0x04: array, 0x06: 0xFFFE, 0x08: 72, 0x0A: 64, 0x0C: size, 0x0E: 9, 0x10: f"DIMM_{number}",
        0x11: f"BANK {number}", 0x12: more.get("kind", 26),
    }  # fmt: skip
    if length >= 0x1B:
        fields[0x15] = min(speed, 0xFFFF)
        if size:
            fields.update({0x17: more.get("maker", "Samsung"), 0x18: more.get("serial", f"{0xABC000 + number:08X}")})
            fields.update({0x19: f"TAG{number}", 0x1A: more.get("part", "M393A2K40DB3-CWE   ")})
    if length >= 0x22:
        fields.update({0x1B: 2, 0x1C: size_mib if size == 0x7FFF else 0, 0x20: min(speed, 0xFFFF)})
    if length >= 0x5C:
        fields.update({0x54: speed if speed >= 0xFFFF else 0, 0x58: speed if speed >= 0xFFFF else 0})
        fields.update({0x28: more.get("technology", 0), 0x34: more.get("nonvolatile", 0)})
    wide = (0x04, 0x06, 0x08, 0x0A, 0x0C, 0x15, 0x20)
    sizes = {**dict.fromkeys(wide, 2), 0x1C: 4, 0x34: 8, 0x54: 4, 0x58: 4}
    return make_structure(17, 0x1100 + number, length, fields, sizes)


def make_oem_strings(*texts: Union[str, bytes]) -> bytes:
    """Make a type 11."""
    return make_structure(11, 0xB00, 5, {0x04: len(texts)}, strings=texts)


def make_tpm(vendor: bytes = b"IFX\0", major: int = 2, first: int = 0x0007_0055) -> bytes:
    """Make a type 43."""
    fields: dict[int, Field] = {0x04: vendor, 0x08: major, 0x09: 0 if major == 2 else 2, 0x0A: first, 0x12: "TPM"}
    return make_structure(43, 0x2B00, 0x1F, fields, {0x0A: 4})


def make_server(slots: int = 24, sockets: int = 2) -> bytes:
    """Make the table of a whole server: every second slot is populated."""
    return make_table(
        make_firmware("American Megatrends Inc."),
        make_system(manufacturer="Acme", product="Rack 1", version="A1", serial="S-1001", sku="R1-24", family="Rack"),
        make_board(manufacturer="Acme", product="B1", version="2.0", serial="B-1001", asset_tag="BT-1"),
        make_chassis(height_u=2, elements=b"\x82\x01\x01", sku="C-2U", manufacturer="Acme", serial="C-1001"),
        *(make_socket(number, 28) for number in range(sockets)),
        make_oem_strings("Rack 12", "Default string"),
        make_array(slots=slots),
        *(make_slot(number, 0 if number % 2 else 65536) for number in range(slots)),
        make_tpm(),
    )

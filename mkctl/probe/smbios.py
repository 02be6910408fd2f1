"""The raw SMBIOS table: entry points and structures, for what the kernel does not decode.

Read from the kernel's copy (/sys/firmware/dmi/tables), so no process is started and /dev/mem stays closed. Firmware
writes these tables by hand: a length, a count or a string number is a claim, never trusted. What can be read is given,
with one line on where the table stopped making sense. Records are named tuples, as they are made at each start of the
probe and a dataclass takes four times as long. Sources: SMBIOS 3.7 (DSP0134) sections 5.2 (entry points) and 6.1
(structures); the kernel's ABI document sysfs-firmware-dmi-tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mkcore.errors import BadInput
from mkcore.files import read_bytes
from mkctl.probe.texts import clean_text

TABLE = "firmware/dmi/tables/DMI"
ENTRY_POINT = "firmware/dmi/tables/smbios_entry_point"
_LIMIT_BYTES = 4 << 20
_ENTRY_LIMIT_BYTES = 4096
_HEADER_BYTES = 4
_END = 127
# Versions that firmware wrote wrongly, and what they meant; known from the field since SMBIOS 2.3.
_MISTAKEN_VERSIONS = {(2, 31): (2, 3), (2, 33): (2, 3), (2, 51): (2, 6)}


class Structure(NamedTuple):
    """One SMBIOS structure: its type, the formatted area with its header, and the bytes of its strings, NUL between.

    The getters answer 0 or "" for what a short structure of an old version does not have.
    """

    kind: int
    area: bytes
    text: bytes

    @property
    def strings(self) -> tuple[bytes, ...]:
        """The strings as they are, the first one being number 1."""
        return tuple(filter(None, self.text.split(b"\0")))

    @property
    def handle(self) -> int:
        """The number by which other structures name this one."""
        return self.number(2, 2)

    def has(self, end: int) -> bool:
        """Tell whether the formatted area reaches up to the offset `end`."""
        return len(self.area) >= end

    def number(self, offset: int, size_bytes: int) -> int:
        """Return the little-endian number at `offset`; 0 when the area ends before it does."""
        field = self.area[offset : offset + size_bytes]
        return int.from_bytes(field, "little") if len(field) == size_bytes else 0

    def string(self, offset: int) -> str:
        """Return the clean text of the string whose number stands at `offset`; "" for none or a number out of range."""
        index = self.number(offset, 1)
        if not index:
            return ""
        strings = self.strings
        return clean_text(strings[index - 1]) if index <= len(strings) else ""


class EntryPoint(NamedTuple):
    """What an entry point says. structure_count: 0 for "until the end mark"; version (0, 0): unknown.

    address, length_bytes: where the table is; length_bytes is an upper bound in version 3.
    """

    version: tuple[int, int] = (0, 0)
    structure_count: int = 0
    address: int = 0
    length_bytes: int = 0


class Smbios(NamedTuple):
    """A table: its version and structures in order. problem: where and why reading ended early, "" for a whole one."""

    version: tuple[int, int] = (0, 0)
    structures: Sequence[Structure] = ()
    problem: str = ""

    def of(self, kind: int) -> list[Structure]:
        """Return the structures of one type, in the table's order."""
        return [structure for structure in self.structures if structure.kind == kind]

    def first(self, kind: int) -> Structure:
        """Return the first structure of a type; an empty one, whose getters answer "unknown", when there is none."""
        return next((structure for structure in self.structures if structure.kind == kind), Structure(kind, b"", b""))


NO_ENTRY_POINT = EntryPoint()


def parse_entry_point(data: bytes) -> EntryPoint:
    """Parse an entry point of any version; NO_ENTRY_POINT for what is none. Checksums are the kernel's concern."""
    view = Structure(-1, data, b"")
    if data.startswith(b"_SM3_") and view.has(0x18):
        return EntryPoint((data[7], data[8]), 0, view.number(0x10, 8), view.number(0x0C, 4))
    if data.startswith(b"_SM_") and view.has(0x1E):
        version = _MISTAKEN_VERSIONS.get((data[6], data[7]), (data[6], data[7]))
        return EntryPoint(version, view.number(0x1C, 2), view.number(0x18, 4), view.number(0x16, 2))
    if data.startswith(b"_DMI_") and view.has(0x0F):
        version = (data[0x0E] >> 4, data[0x0E] & 0x0F)
        return EntryPoint(version, view.number(0x0C, 2), view.number(0x08, 4), view.number(0x06, 2))
    return NO_ENTRY_POINT


def parse_dump(data: bytes) -> Smbios:
    """Parse a file of `dmidecode --dump-bin`: an entry point at 0 whose address is the table's offset in the file.

    Raises BadInput when the file does not begin with an entry point.
    """
    entry = parse_entry_point(data)
    if entry == NO_ENTRY_POINT:
        raise BadInput("begins with no SMBIOS entry point", "SMBIOS dump")
    return parse_smbios(data[entry.address : entry.address + entry.length_bytes], entry)


def parse_smbios(table: bytes, entry: EntryPoint = NO_ENTRY_POINT) -> Smbios:
    """Parse a table, with what its entry point says of it."""
    structures, problem = _walk(table, entry.structure_count)
    return Smbios(entry.version, structures, problem)


def parse_table(table: bytes) -> list[Structure]:
    """Return the structures of a table up to its end mark, or until the bytes stop making sense."""
    return _walk(table, 0)[0]


def _walk(table: bytes, count: int) -> tuple[list[Structure], str]:
    """Return the structures and what is wrong. With a count, an end mark in the middle is a structure like others."""
    found: list[Structure] = []
    position, size = 0, len(table)
    while position + _HEADER_BYTES <= size and (not count or len(found) < count):
        kind, length = table[position], table[position + 1]
        begin = position + length
        if length < _HEADER_BYTES:
            return found, f"broken at byte {position}: a structure of {length} bytes"
        if begin > size:
            return found, f"ends within the structure at byte {position}"
        end = table.find(b"\0\0", begin)
        if end < 0:
            # the last string may have lost its end, and half a serial number is a wrong one
            whole = table[begin:].rpartition(b"\0")[0]
            found.append(Structure(kind, table[position:begin], whole))
            return found, f"ends within the strings of the structure at byte {position}"
        found.append(Structure(kind, table[position:begin], table[begin:end]))
        if kind == _END and not count:
            return found, ""
        position = end + 2
    if len(found) < count:
        return found, f"{count - len(found)} of {count} structures are missing"
    return found, "" if count or not table else "ends without its end mark"


def read_smbios(sys_root: Path) -> Smbios:
    """Read the table of this machine; an empty Smbios where it has none.

    Raises OSError when the table is there and unreadable (it is root's alone), BadInput when it is too large.
    """
    try:
        table = read_bytes(sys_root / TABLE, _LIMIT_BYTES)
    except FileNotFoundError:
        return Smbios()
    try:
        entry = parse_entry_point(read_bytes(sys_root / ENTRY_POINT, _ENTRY_LIMIT_BYTES))
    except (OSError, BadInput):
        entry = NO_ENTRY_POINT
    return parse_smbios(table, entry)

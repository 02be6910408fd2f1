"""The raw SMBIOS table, for what the kernel does not decode.

Used here for one thing: the number of processor packages, when the kernel was told to start only some CPUs and shows no
topology of the others (defect B02). The walk is the general one and never trusts a length. Sources: SMBIOS 3.6
(DSP0134) section 6.1 for the structure, 7.5 for type 4; /sys/firmware/dmi/tables/DMI.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mkcore.errors import BadInput
from mkcore.files import read_bytes

TABLE = "firmware/dmi/tables/DMI"
_LIMIT_BYTES = 4 << 20
_HEADER_BYTES = 4
_PROCESSOR = 4
_END = 127
_STATUS_OFFSET = 0x18
_TYPE_OFFSET = 0x05
_POPULATED = 0x40
_CENTRAL_PROCESSOR = 3


@dataclass(frozen=True)
class Structure:
    """One SMBIOS structure: its type, the formatted area with its header, and its strings as raw bytes."""

    kind: int
    area: bytes
    strings: tuple[bytes, ...]


def parse_table(table: bytes) -> Iterator[Structure]:
    """Yield the structures of a table until its end mark, or until the bytes stop making sense."""
    position = 0
    while position + _HEADER_BYTES <= len(table):
        kind, length = table[position], table[position + 1]
        area = table[position : position + length]
        if length < _HEADER_BYTES or len(area) < length:
            return
        end = table.find(b"\0\0", position + length)
        if end < 0:
            return
        yield Structure(kind, area, tuple(filter(None, table[position + length : end].split(b"\0"))))
        if kind == _END:
            return
        position = end + 2


def count_processors(table: bytes) -> int:
    """Count the populated sockets of central processors."""
    return sum(
        1
        for structure in parse_table(table)
        if structure.kind == _PROCESSOR
        and len(structure.area) > _STATUS_OFFSET
        and structure.area[_TYPE_OFFSET] == _CENTRAL_PROCESSOR
        and structure.area[_STATUS_OFFSET] & _POPULATED
    )


def read_processor_count(sys_root: Path) -> int:
    """Count the populated processor sockets of this machine; 0 where it has no SMBIOS table."""
    try:
        return count_processors(read_bytes(sys_root / TABLE, _LIMIT_BYTES))
    except (OSError, BadInput):
        return 0

"""SMBIOS type 4: processor sockets, populated or not.

Sockets are the firmware's view: it knows empty ones, serial numbers and the cores that were fused off, which the kernel
does not. Source: SMBIOS 3.7 (DSP0134) section 7.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mkcore.errors import BadInput
from mkctl.probe.smbios import Structure, read_smbios

PROCESSOR = 4
_CENTRAL_PROCESSOR = 3
_POPULATED = 0x40
_STATUS = 0x07
_DISABLED_BY = {2: "user", 3: "firmware"}
_IN_NEXT_FIELD = 0xFF
_UNKNOWN_WORD = 0xFFFF


class Socket(NamedTuple):
    """Type 4. product: what the standard calls version, "Intel(R) Xeon(R) ..."; counts and speeds: 0 for unknown.

    cores, cores_enabled, threads: of the whole package; max_speed_mhz: what the socket bears, current_speed_mhz: what
    was set at boot. disabled_by: "user" for one that was turned off in the setup, "firmware" for one that failed its
    test at power-on, else "".
    """

    designation: str
    is_central: bool
    manufacturer: str
    product: str
    max_speed_mhz: int
    current_speed_mhz: int
    populated: bool
    serial: str
    asset_tag: str
    part_number: str
    cores: int
    cores_enabled: int
    threads: int
    disabled_by: str


def parse_socket(structure: Structure) -> Socket:
    """Decode type 4; counts of 255 and more stand in fields of their own since version 3.0."""
    return Socket(
        designation=structure.string(0x04),
        is_central=structure.number(0x05, 1) == _CENTRAL_PROCESSOR,
        manufacturer=structure.string(0x07),
        product=structure.string(0x10),
        max_speed_mhz=_known(structure.number(0x14, 2)),
        current_speed_mhz=_known(structure.number(0x16, 2)),
        populated=bool(structure.number(0x18, 1) & _POPULATED),
        serial=structure.string(0x20),
        asset_tag=structure.string(0x21),
        part_number=structure.string(0x22),
        cores=_count(structure, 0x23, 0x2A),
        cores_enabled=_count(structure, 0x24, 0x2C),
        threads=_count(structure, 0x25, 0x2E),
        disabled_by=_DISABLED_BY.get(structure.number(0x18, 1) & _STATUS, ""),
    )


def count_processors(structures: Iterable[Structure]) -> int:
    """Count the populated sockets of central processors."""
    sockets = (parse_socket(structure) for structure in structures if structure.kind == PROCESSOR)
    return sum(socket.is_central and socket.populated for socket in sockets)


def read_processor_count(sys_root: Path) -> int:
    """Count the populated processor sockets of this machine; 0 where it has no SMBIOS table that can be read."""
    try:
        return count_processors(read_smbios(sys_root).structures)
    except (OSError, BadInput):
        return 0


def _count(structure: Structure, offset: int, wide_offset: int) -> int:
    count = structure.number(offset, 1)
    if count == _IN_NEXT_FIELD and structure.has(wide_offset + 2):
        return _known(structure.number(wide_offset, 2))
    return count


def _known(number: int) -> int:
    return 0 if number == _UNKNOWN_WORD else number

"""What we decode of a table equals what dmidecode prints of it, field by field.

Made tables of every length that a version of the standard gave a structure, with random content, go through both.
"""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path

import pytest
from dmidecode_text import compared_fields, differences, run_dmidecode
from smbios_tables import make_dump, make_server, make_slot, make_socket, make_structure, make_system, make_table

from mkctl.probe.smbios import parse_dump

pytestmark = pytest.mark.skipif(shutil.which("dmidecode") is None, reason="dmidecode is not installed")

VERSIONS = [(2, 3), (2, 5), (2, 6), (2, 8), (3, 0), (3, 5)]
LENGTHS = {
    0: (0x12, 0x14, 0x18, 0x1A),
    1: (0x08, 0x19, 0x1B),
    2: (0x08, 0x09, 0x0E, 0x0F),
    3: (0x09, 0x0D, 0x11, 0x15, 0x16, 0x18),
    4: (0x1A, 0x20, 0x23, 0x28, 0x2A, 0x30, 0x32),
    7: (0x0F, 0x13, 0x1B),
    11: (0x05,),
    16: (0x0F, 0x17),
    17: (0x15, 0x1B, 0x1C, 0x22, 0x28, 0x54, 0x5C, 0x64),
    38: (0x10, 0x12),
    41: (0x0B,),
    43: (0x1B, 0x1F),
}
LIKELY = (0, 1, 2, 3, 4, 5, 0x7F, 0x80, 0xFF)


def any_structure(chance: random.Random, handle: int) -> bytes:
    """Make a structure with random content, as far as dmidecode and the standard agree on what it means."""
    kind = chance.choice(list(LENGTHS))
    length = chance.choice(LENGTHS[kind])
    area = bytearray(chance.choice((*LIKELY, chance.randrange(256))) for _ in range(length))
    area[:4] = struct.pack("<BBH", kind, length, handle)
    count = chance.randrange(5)
    strings = [f"S{number} {chance.randrange(1 << 30):x}".encode() for number in range(count)]
    if kind == 3 and length > 0x15:
        area[0x13:0x15] = chance.choice((0, 1)), 3
    if kind == 11:
        area[0x04] = count
    if kind == 17 and length > 0x54:
        area[0x57], area[0x5B] = 0, 0  # reserved bits, which dmidecode prints
    if kind == 43:
        area[0x04:0x09] = b"IFX\0" + bytes([chance.choice((1, 2))])
        area[0x0A:0x0E] = struct.pack("<I", chance.randrange(1, 1 << 32))
    return make_structure(kind, handle, length, {4: bytes(area[4:])}, strings=strings)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_random_structures(tmp_path: Path, version: tuple[int, int], seed: int) -> None:
    chance = random.Random(seed)
    dump = make_dump(make_table(*(any_structure(chance, handle) for handle in range(400))), version)
    path = tmp_path / "dump"
    path.write_bytes(dump)
    smbios, records = parse_dump(dump), run_dmidecode(path)
    assert smbios.version == version
    assert list(differences(smbios, records)) == []
    assert compared_fields(smbios, records) > 1000


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize(
    "table",
    [
        make_server(),
        make_server(slots=192, sockets=8),
        make_table(*(make_slot(number, size) for number, size in enumerate((0, 512, 32766, 32767, 32768, 524288)))),
        make_table(
            *(make_slot(number, 512, length=length) for number, length in enumerate(LENGTHS[17]) if length < 99)
        ),
        make_table(make_slot(0, speed=0xFFFE), make_slot(1, speed=0xFFFF), make_slot(2, speed=70000)),
        make_table(make_slot(0, size=0x8200), make_slot(1, size=0xFFFF)),
        make_table(*(make_socket(cores, cores) for cores in (1, 2, 127, 128, 254, 255, 256, 300))),
        make_table(make_socket(0, 300, length=0x28), make_socket(1, 8, length=0x1A), make_socket(2, populated=False)),
        make_table(make_system(), make_system(b"\0" * 16), make_system(b"\xff" * 16), make_system(length=0x08)),
    ],
    ids=["server", "huge", "sizes", "lengths", "speeds", "odd sizes", "cores", "sockets", "uuids"],
)
def test_made_tables(tmp_path: Path, version: tuple[int, int], table: bytes) -> None:
    """Sizes from 32 GiB, speeds from 65535 MT/s, 255 cores and more, the byte order of UUIDs by version."""
    path = tmp_path / "dump"
    path.write_bytes(make_dump(table, version))
    smbios, records = parse_dump(path.read_bytes()), run_dmidecode(path)
    assert list(differences(smbios, records)) == []
    assert compared_fields(smbios, records) > 0

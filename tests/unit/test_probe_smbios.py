"""The SMBIOS table: entry points of all versions, the walk, and damage of every kind."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_tree import make_tree
from smbios_tables import (
    Field,
    make_dump,
    make_entry_point_2,
    make_entry_point_3,
    make_oem_strings,
    make_server,
    make_slot,
    make_socket,
    make_structure,
    make_system,
    make_table,
)

from mkcore.errors import BadInput
from mkctl.probe.smbios import (
    NO_ENTRY_POINT,
    EntryPoint,
    Smbios,
    parse_dump,
    parse_entry_point,
    parse_smbios,
    parse_table,
    read_smbios,
)
from mkctl.probe.smbios_inventory import build_smbios_inventory
from mkctl.probe.smbios_machine import parse_system
from mkctl.probe.smbios_memory import parse_array, parse_slot
from mkctl.probe.smbios_processor import parse_socket, read_processor_count
from mkctl.probe.smbios_tpm import parse_tpm_device

TABLE = make_table(make_system(manufacturer="Acme", serial="S1"), make_socket(0), make_slot(0))
KINDS = [1, 4, 17, 127]


def kinds(smbios: Smbios) -> list[int]:
    return [structure.kind for structure in smbios.structures]


def test_entry_points() -> None:
    assert parse_entry_point(make_entry_point_2(TABLE, (2, 8), 0xE0000)) == EntryPoint((2, 8), 4, 0xE0000, len(TABLE))
    assert parse_entry_point(make_entry_point_3(TABLE, (3, 6), 1 << 40)) == EntryPoint((3, 6), 0, 1 << 40, len(TABLE))
    legacy = struct.pack("<5sBHIHB", b"_DMI_", 0, 99, 0xF0000, 7, 0x24)
    assert parse_entry_point(legacy) == EntryPoint((2, 4), 7, 0xF0000, 99)


@pytest.mark.parametrize(("wrong", "right"), [((2, 31), (2, 3)), ((2, 33), (2, 3)), ((2, 51), (2, 6))])
def test_versions_that_firmware_mistook(wrong: tuple[int, int], right: tuple[int, int]) -> None:
    assert parse_entry_point(make_entry_point_2(TABLE, wrong)).version == right


@pytest.mark.parametrize("data", [b"", b"_SM_", b"_SM3_" + b"\0" * 10, b"_DMI_", b"\0" * 64])
def test_no_entry_point(data: bytes) -> None:
    assert parse_entry_point(data) == NO_ENTRY_POINT
    with pytest.raises(BadInput, match="SMBIOS entry point"):
        parse_dump(data)


@given(st.binary(max_size=64))
def test_entry_point_of_any_bytes(data: bytes) -> None:
    for anchor in (b"", b"_SM_", b"_SM3_", b"_DMI_"):
        parse_entry_point(anchor + data)


@pytest.mark.parametrize("version", [(2, 8), (3, 6)])
def test_a_whole_table(version: tuple[int, int]) -> None:
    smbios = parse_dump(make_dump(TABLE, version))
    assert (smbios.version, smbios.problem, kinds(smbios)) == (version, "", KINDS)
    assert parse_system(smbios.first(1), version).manufacturer == "Acme"
    assert smbios.of(4)[0].handle == 0x400
    assert smbios.of(99) == []


def test_bytes_behind_the_end_mark_are_no_structures() -> None:
    """The kernel's copy of a version 3 table can be longer than the table."""
    assert kinds(parse_smbios(TABLE + TABLE)) == KINDS


def test_a_table_of_version_2_is_counted() -> None:
    """Some have no end mark, and some have one in the middle."""
    inside = make_table(make_system(), end=True) + make_table(make_socket(0))
    assert kinds(parse_smbios(inside, EntryPoint((2, 4), 4))) == [1, 127, 4, 127]
    without = make_table(make_system(), make_socket(0), end=False)
    assert parse_smbios(without, EntryPoint((2, 4), 2)).problem == ""
    smbios = parse_smbios(without, EntryPoint((2, 4), 9))
    assert (kinds(smbios), smbios.problem) == ([1, 4], "7 of 9 structures are missing")


def test_a_length_that_cannot_be() -> None:
    position = TABLE.index(b"\0\0", 0x1B) + 2
    broken = TABLE[:position] + bytes([4, 3]) + TABLE[position + 2 :]
    smbios = parse_smbios(broken)
    assert (kinds(smbios), smbios.problem) == ([1], f"broken at byte {position}: a structure of 3 bytes")


def test_a_table_that_is_cut() -> None:
    """Half a serial number is a wrong one: the string that lost its end is left out."""
    table = make_table(make_system(manufacturer="Acme", serial="S-123456"), end=False)
    area = 0x1B
    smbios = parse_smbios(table[: area + len("Acme\0S-12")])
    assert smbios.problem == "ends within the strings of the structure at byte 0"
    system = parse_system(smbios.structures[0], (3, 0))
    assert (system.manufacturer, system.serial) == ("Acme", "")
    smbios = parse_smbios(table[: area - 1])
    assert (kinds(smbios), smbios.problem) == ([], "ends within the structure at byte 0")
    assert parse_smbios(table[:3]).problem == "ends without its end mark"
    assert parse_smbios(table).problem == "ends without its end mark"
    assert parse_smbios(b"").problem == ""


def test_a_string_number_without_a_string() -> None:
    """What dmidecode prints as <BAD INDEX>."""
    structure = parse_table(make_structure(1, 0, 0x1B, {0x04: 1, 0x05: 9}, strings=["Acme"]))[0]
    system = parse_system(structure, (3, 0))
    assert (system.manufacturer, system.product, system.serial) == ("Acme", "", "")


def test_strings_that_are_not_utf8() -> None:
    serial = b"\xff\xfeAB\x07 "
    structure = parse_table(make_structure(17, 0, 0x1B, {0x18: 1}, strings=[serial]))[0]
    assert structure.strings == (serial,)
    assert parse_slot(structure).serial == "\ufffd\ufffdAB"
    assert build_smbios_inventory(Smbios(structures=parse_table(make_oem_strings(b"\xe9t\xe9"))))["oem_strings"] == [
        "\ufffdt\ufffd"
    ]


@given(st.binary(max_size=300), st.integers(0, 9))
def test_any_bytes(table: bytes, count: int) -> None:
    build_smbios_inventory(parse_smbios(table, EntryPoint(structure_count=count)))


@given(st.sampled_from([0, 1, 2, 3, 4, 7, 11, 16, 17, 38, 41, 43]), st.binary(max_size=120), st.binary(max_size=40))
def test_any_structure(kind: int, area: bytes, text: bytes) -> None:
    structure = parse_table(struct.pack("<BBH", kind, 4 + len(area), 0) + area + text + b"\0\0")[0]
    build_smbios_inventory(Smbios(structures=[structure]))
    for parse in (parse_tpm_device, parse_array, parse_socket):
        parse(structure)


def test_every_cut_and_every_changed_byte() -> None:
    table = make_server(slots=4)
    whole = parse_smbios(table)
    before = -1
    for length in range(len(table)):
        found = parse_smbios(table[:length])
        assert list(found.structures[:-1]) == list(whole.structures[: max(0, len(found.structures) - 1)])
        assert len(found.structures) >= before, "more bytes never tell less"
        before = len(found.structures)
        build_smbios_inventory(parse_smbios(table[:length] + bytes([table[length] ^ 0xFF]) + table[length + 1 :]))


def test_an_array_on_a_card_whose_capacity_outgrew_its_field() -> None:
    values: dict[int, Field] = {0x04: 0xA4, 0x05: 3, 0x07: 1 << 31, 0x0F: 1 << 45}
    array = parse_array(parse_table(make_table(make_structure(16, 7, 0x17, values, {0x07: 4, 0x0F: 8})))[0])
    assert (array.location, array.use, array.max_capacity_bytes) == ("CXL Add-on Card", "System Memory", 1 << 45)


def test_reading(tmp_path: Path) -> None:
    assert read_smbios(tmp_path) == Smbios()
    make_tree(tmp_path, {"firmware/dmi/tables/DMI": TABLE})
    assert read_smbios(tmp_path).version == (0, 0)
    assert kinds(read_smbios(tmp_path)) == KINDS
    make_tree(tmp_path, {"firmware/dmi/tables/smbios_entry_point": make_entry_point_3(TABLE, (3, 2))})
    assert read_smbios(tmp_path).version == (3, 2)
    assert read_processor_count(tmp_path) == 1
    make_tree(tmp_path, {"firmware/dmi/tables/DMI": b"\0" * (5 << 20)})
    with pytest.raises(BadInput, match="larger than"):
        read_smbios(tmp_path)
    assert read_processor_count(tmp_path) == 0


def test_a_huge_table_is_quick() -> None:
    """192 modules, 16 sockets: generous bounds here, the figures belong to the benchmark."""
    dump = make_dump(make_server(slots=192, sockets=16))
    began = time.thread_time()
    inventory = build_smbios_inventory(parse_dump(dump))
    assert time.thread_time() - began < 1.0
    assert len(inventory["memory"]["slots"]) == 192  # type: ignore[index,arg-type,call-overload]

"""Raw tables of real machines equal dmidecode's text of the same machine, field by field; their inventory is sound."""

from __future__ import annotations

import shutil
from pathlib import Path

import jsonschema
import pytest
from capture_files import CAPTURES, captures, unpack
from dmidecode_text import Record, compared_fields, differences, parse_dmidecode, run_dmidecode
from probe_tree import make_tree

from mkcore.paths import paths_under
from mkctl.probe.junk import is_junk
from mkctl.probe.machine import collect_smbios, collect_tpm
from mkctl.probe.model import INVENTORY_VERSION
from mkctl.probe.schema import build_schema
from mkctl.probe.smbios import parse_dump, parse_entry_point, parse_smbios, read_smbios
from mkctl.probe.smbios_inventory import build_smbios_inventory

RAW = captures("smbios-raw/*.bin")
TEXTS = captures("dmidecode/*.txt", "dmidecode-partial/*.txt")


@pytest.mark.parametrize("path", RAW)
def test_equals_the_text_beside_it(path: Path) -> None:
    text = CAPTURES / "dmidecode" / f"uroot-{path.stem}.txt"
    smbios, records = parse_dump(path.read_bytes()), parse_dmidecode(text.read_text(encoding="utf-8"))
    assert list(differences(smbios, records)) == []
    assert compared_fields(smbios, records) > 60


@pytest.mark.skipif(shutil.which("dmidecode") is None, reason="dmidecode is not installed")
@pytest.mark.parametrize("path", RAW)
def test_equals_dmidecode_here(path: Path) -> None:
    assert list(differences(parse_dump(path.read_bytes()), run_dmidecode(path))) == []


@pytest.mark.parametrize("path", RAW)
def test_inventory_counts(path: Path) -> None:
    """As many slots, arrays and sockets as the text has, none of them lost to a placeholder."""
    inventory = build_smbios_inventory(parse_dump(path.read_bytes()))
    records = parse_dmidecode((CAPTURES / "dmidecode" / f"uroot-{path.stem}.txt").read_text(encoding="utf-8"))
    slots = inventory["memory"]["slots"]
    assert len(slots) == len(memory_records(records))
    assert [slot["populated"] for slot in slots] == [
        record.fields["Size"] != "No Module Installed" for record in memory_records(records)
    ]
    assert len(inventory["memory"]["arrays"]) == sum(record.kind == 16 for record in records)
    sockets = [record for record in records if record.kind == 4]
    assert [socket["populated"] for socket in inventory["processors"]["sockets"]] == [
        record.fields["Status"].startswith("Populated") for record in sockets
    ]
    assert inventory["memory"]["installed_bytes"] == sum(slot.get("size_bytes", 0) for slot in slots)


def memory_records(records: list[Record]) -> list[Record]:
    """The memory devices that are slots: those of arrays for system memory."""
    arrays = {f"0x{record.handle:04X}" for record in records if record.fields.get("Use") == "System Memory"}
    return [record for record in records if record.kind == 17 and record.fields["Array Handle"] in arrays]


@pytest.mark.parametrize("path", RAW)
def test_inventory_follows_the_schema(path: Path) -> None:
    document = {"schema_version": INVENTORY_VERSION, **build_smbios_inventory(parse_dump(path.read_bytes()))}
    jsonschema.validate(document, build_schema())


@pytest.mark.parametrize("path", captures("smbios-raw/cockpit-DMI"))
def test_sysfs_pair(path: Path, tmp_path: Path) -> None:
    """The two files of sysfs: table and entry point."""
    table, entry = path.read_bytes(), path.with_name("cockpit-smbios_entry_point").read_bytes()
    make_tree(tmp_path, {"firmware/dmi/tables/DMI": table, "firmware/dmi/tables/smbios_entry_point": entry})
    smbios = read_smbios(tmp_path)
    assert smbios == parse_smbios(table, parse_entry_point(entry))
    assert (smbios.version, smbios.problem) == ((3, 1), "")
    inventory = build_smbios_inventory(smbios)
    assert inventory["system"]["product"] == "20KFCTO1WW"
    assert len(inventory["memory"]["slots"]) == 2


@pytest.mark.parametrize("path", RAW)
def test_cut_and_flipped_tables_yield_what_is_readable(path: Path) -> None:
    """Whatever is cut off or changed: no exception, and what stands before the damage is still read."""
    dump = path.read_bytes()
    whole = parse_dump(dump).structures
    for length in range(0x20, len(dump), 17):
        cut = parse_dump(dump[:length])
        good = cut.structures[:-1]
        assert list(good) == list(whole[: len(good)])
        build_smbios_inventory(cut)
    for position in range(0x20, len(dump), 13):
        build_smbios_inventory(parse_dump(dump[:position] + bytes([dump[position] ^ 0xFF]) + dump[position + 1 :]))


@pytest.mark.parametrize("path", TEXTS)
def test_what_counts_as_junk_in_the_field(path: Path) -> None:
    """Of all serial numbers that real firmware prints, those kept look like one: long enough and with a digit."""
    for record in parse_dmidecode(path.read_text(encoding="utf-8", errors="replace")):
        for key in ("Serial Number", "UUID"):
            value = record.fields.get(key, "")
            if not is_junk(value):
                assert any(map(str.isdigit, value)) or "X" in value.upper(), f"{path.name}: {key} {value!r} is kept"


@pytest.mark.parametrize("path", captures("sysfs/hwloc-*.tar.xz"))
def test_trees_of_sysfs(path: Path, tmp_path: Path) -> None:
    """What the kernel decoded stands in for the table; these trees were taken by a user who may not read that."""
    parts = ("*/sys/class/dmi/id/*", "*/sys/class/tpm*", "*/sys/firmware/efi/*", "*/sys/devices/system/cpu/cpu0/*")
    root = unpack(path, tmp_path, *parts)
    collected = collect_smbios(paths_under(str(root)))
    inventory = {**collected.inventory, **collect_tpm(paths_under(str(root)), root).inventory}
    jsonschema.validate({"schema_version": INVENTORY_VERSION, **inventory}, build_schema())
    folder = root / "sys/class/dmi/id"
    vendor = (folder / "sys_vendor").read_text(encoding="utf-8").strip() if (folder / "sys_vendor").exists() else ""
    assert inventory.get("system", {}).get("manufacturer", "") == ("" if is_junk(vendor) else vendor)
    assert ("boot_mode" in inventory.get("firmware", {})) is (folder.exists() or (root / "sys/firmware/efi").exists())

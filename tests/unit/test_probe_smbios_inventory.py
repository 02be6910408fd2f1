"""The inventory's parts that SMBIOS tells, against the table that was made; placeholders, secrets and odd modules."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from smbios_tables import (
    make_array,
    make_board,
    make_chassis,
    make_dump,
    make_firmware,
    make_oem_strings,
    make_server,
    make_slot,
    make_socket,
    make_structure,
    make_system,
    make_table,
    make_tpm,
)

from mkctl.probe.model import INVENTORY_VERSION
from mkctl.probe.schema import build_schema
from mkctl.probe.smbios import Smbios, parse_dump
from mkctl.probe.smbios_inventory import build_smbios_inventory

GIB = 1 << 30


def inventory_of(table: bytes, version: tuple[int, int] = (3, 6)) -> dict[str, Any]:
    """The inventory of a table, held to the published schema."""
    inventory = build_smbios_inventory(parse_dump(make_dump(table, version)))
    jsonschema.validate({"schema_version": INVENTORY_VERSION, **inventory}, build_schema())
    return inventory


def test_a_server() -> None:
    module = {
        "locator": "DIMM_0", "bank_locator": "BANK 0", "populated": True, "size_bytes": 64 * GIB, "form_factor": "DIMM",
        "type": "DDR4", "speed_mts": 3200, "configured_speed_mts": 3200, "manufacturer": "Samsung",
        "serial": "00ABC000", "asset_tag": "TAG0", "part_number": "M393A2K40DB3-CWE", "rank": 2,
        "total_width_bits": 72, "data_width_bits": 64,
    }  # fmt: skip
    assert inventory_of(make_server(slots=2, sockets=1)) == {
        "system": {
            "manufacturer": "Acme", "product": "Rack 1", "version": "A1", "serial": "S-1001", "sku": "R1-24",
            "family": "Rack", "uuid": "03020100-0504-0706-0809-0a0b0c0d0e0f",
        },
        "board": {"manufacturer": "Acme", "product": "B1", "version": "2.0", "serial": "B-1001", "asset_tag": "BT-1"},
        "chassis": {
            "manufacturer": "Acme", "type": "Rack Mount Chassis", "serial": "C-1001", "height_u": 2, "sku": "C-2U",
        },
        "firmware": {
            "vendor": "American Megatrends Inc.", "version": "1.16.2", "date": "04/01/2014", "release": "6.7",
        },
        "oem_strings": ["Rack 12"],
        "processors": {
            "sockets": [
                {
                    "designation": "CPU0", "manufacturer": "Intel", "product": "Xeon", "serial": "SN0",
                    "part_number": "CM806", "asset_tag": "TAG0", "max_speed_mhz": 4000, "cores": 28,
                    "cores_enabled": 27, "threads": 56, "populated": True,
                }
            ]
        },
        "memory": {
            "installed_bytes": 64 * GIB,
            "slots": [module, {"locator": "DIMM_1", "bank_locator": "BANK 1", "populated": False}],
            "arrays": [
                {
                    "location": "System Board Or Motherboard", "use": "System Memory", "slots": 2,
                    "error_correction": "Multi-bit ECC", "max_capacity_bytes": 64 * GIB,
                }
            ],
        },
        "tpm": {"present": True, "vendor": "IFX", "version": "2.0", "firmware_version": "7.85"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("version", "uuid"),
    [
        ((2, 5), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        ((2, 6), "03020100-0504-0706-0809-0a0b0c0d0e0f"),
        ((3, 6), "03020100-0504-0706-0809-0a0b0c0d0e0f"),
    ],
)
def test_the_byte_order_of_the_uuid(version: tuple[int, int], uuid: str) -> None:
    assert inventory_of(make_table(make_system()), version)["system"]["uuid"] == uuid


def test_placeholders_stay_out() -> None:
    inventory = inventory_of(
        make_table(
            make_firmware("Default string", version="0", date=" "),
            make_system(bytes.fromhex("00020003000400050006000700080009"), manufacturer="To Be Filled By O.E.M."),
            make_board(serial="0123456789", product="X11"),
            make_chassis(type_number=2, height_u=0, manufacturer="Default string"),
            make_slot(0, serial="00000000", maker="Unknown", part="NO DIMM"),
        )
    )
    assert inventory["firmware"] == {"release": "6.7"}
    assert "system" not in inventory
    assert inventory["board"] == {"product": "X11"}
    assert "chassis" not in inventory
    assert not {"serial", "manufacturer", "part_number"} & inventory["memory"]["slots"][0].keys()


def test_credentials_for_systemd_are_no_oem_strings() -> None:
    """B53: secrets are not reported; a virtual machine gets them as strings of type 11."""
    secret = "io.systemd.credential:passwd.hashed-password.root=$6$x"
    binary = "io.systemd.credential.binary:mk.token=c2VjcmV0"
    inventory = inventory_of(make_table(make_oem_strings(secret, "Rack 12", binary), make_oem_strings("Row 3")))
    assert inventory == {"oem_strings": ["Rack 12", "Row 3"]}
    line = "io.systemd.stub.kernel-cmdline-extra=mk.token=c2Vj"
    seeds = ("ds=nocloud;s=http://me:pw@192.0.2.7/", "https://me:pw@h/a?sig=x", "admin.password=x", "Size=2U  wide")
    assert inventory_of(make_table(make_oem_strings(line, *seeds)))["oem_strings"] == [
        "ds=nocloud;s=http://...@192.0.2.7/", "https://...@h/a?sig=...", "admin.password=...", "Size=2U wide",
    ]  # fmt: skip


def test_sockets() -> None:
    """More than 255 cores; an empty socket; a coprocessor is no socket of a processor."""
    sockets = (
        make_socket(0, 300),
        make_socket(1, populated=False),
        make_socket(2, kind=4),
        make_socket(3, length=0x1A),
    )
    found = inventory_of(make_table(*sockets))["processors"]["sockets"]
    assert [socket["designation"] for socket in found] == ["CPU0", "CPU1", "CPU3"]
    assert [found[0][key] for key in ("cores", "cores_enabled", "threads")] == [300, 299, 600]
    assert found[1] == {"designation": "CPU1", "populated": False}
    assert found[2] == {
        "designation": "CPU3", "manufacturer": "Intel", "product": "Xeon", "max_speed_mhz": 4000, "populated": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("slot", "expected"),
    [
        (make_slot(0, 32766), {"size_bytes": 32766 << 20}),
        (make_slot(0, 32767), {"size_bytes": 32767 << 20}),
        (make_slot(0, 32768), {"size_bytes": 32 * GIB}),
        (make_slot(0, 1 << 20), {"size_bytes": 1024 * GIB}),
        (make_slot(0, size=0x8200), {"size_bytes": 512 << 10}),
        (make_slot(0, speed=70000), {"speed_mts": 70000, "configured_speed_mts": 70000}),
        (make_slot(0, kind=34), {"type": "DDR5"}),
        (make_slot(0, kind=36), {"type": "HBM3"}),
        (make_slot(0, kind=37), {"type": "MRDIMM"}),
        (make_slot(0, technology=3), {"technology": "DRAM"}),
        (make_slot(0, 512, length=0x15), {"size_bytes": 512 << 20, "populated": True}),
    ],
)
def test_modules(slot: bytes, expected: dict[str, Any]) -> None:
    found = inventory_of(make_table(slot))["memory"]["slots"][0]
    assert {key: found[key] for key in expected} == expected


def test_a_module_of_unknown_size_or_kind() -> None:
    memory = inventory_of(make_table(make_slot(0, size=0xFFFF, kind=2), make_slot(1, kind=200)))["memory"]
    assert memory["installed_bytes"] == 16 * GIB
    assert memory["slots"][0]["populated"]
    assert not {"size_bytes", "type"} & memory["slots"][0].keys()
    assert "type" not in memory["slots"][1]


def test_persistent_memory_is_no_memory_to_run_programs_in() -> None:
    """Of two modules of 128 GiB one is set up to serve as memory, one to keep its content; a size may be unknown."""
    kept, used, unknown = 128 * GIB, 0, 0xFFFF_FFFF_FFFF_FFFF
    slots = (
        make_slot(0),
        make_slot(1, 128 << 10, kind=31, technology=7, nonvolatile=kept),
        make_slot(2, 128 << 10, kind=31, technology=7, nonvolatile=used),
        make_slot(3, technology=2, nonvolatile=unknown),
    )
    memory = inventory_of(make_table(*slots))["memory"]
    assert (memory["installed_bytes"], memory["persistent_bytes"]) == ((16 + 128 + 16) * GIB, 128 * GIB)
    assert [slot.get("nonvolatile_bytes") for slot in memory["slots"]] == [None, 128 * GIB, None, None]
    assert memory["slots"][1]["technology"] == "Intel Optane persistent memory"
    assert not {"technology", "nonvolatile_bytes"} & {*memory["slots"][0], *memory["slots"][3]}


@pytest.mark.parametrize(("status", "by"), [(0, None), (1, None), (2, "user"), (3, "firmware"), (4, None), (7, None)])
def test_a_processor_that_was_turned_off(status: int, by: object) -> None:
    """One that failed its test at power-on is there, and does not work; one that idles is the second of two."""
    socket = inventory_of(make_table(make_socket(0, status=status)))["processors"]["sockets"][0]
    assert (socket["populated"], socket.get("disabled_by")) == (True, by)


def test_chips_of_the_firmware_are_no_slots() -> None:
    """They have an array of their own in the table, or none and the type of flash memory."""
    flash = make_array(0x2000, use=5, capacity_kib=8192, slots=1)
    slots = (make_slot(0), make_slot(1, 8, array=0x2000), make_slot(2, 8, kind=9))
    memory = inventory_of(make_table(make_array(), flash, *slots))["memory"]
    assert [slot["locator"] for slot in memory["slots"]] == ["DIMM_0"]
    assert memory["installed_bytes"] == 16 * GIB
    assert [array["use"] for array in memory["arrays"]] == ["System Memory", "Flash Memory"]


def test_two_modules_with_one_serial_and_192_of_them() -> None:
    slots = [make_slot(number, serial="TWIN") for number in range(192)]
    memory = inventory_of(make_table(make_array(slots=192), *slots))["memory"]
    assert [slot["locator"] for slot in memory["slots"]] == [f"DIMM_{number}" for number in range(192)]
    assert {slot["serial"] for slot in memory["slots"]} == {"TWIN"}


def test_tpm_of_version_1() -> None:
    """Its firmware's version stands in two other bytes of the field."""
    assert inventory_of(make_table(make_tpm(b"STM\0", 1, 0x0C0D_0201)))["tpm"] == {
        "present": True, "vendor": "STM", "version": "1.2", "firmware_version": "13.12",
    }  # fmt: skip
    assert inventory_of(make_table(make_structure(43, 1, 0x1B)))["tpm"] == {"present": True}


def test_an_empty_table() -> None:
    assert build_smbios_inventory(Smbios()) == {}

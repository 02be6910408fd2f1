"""The hardware tables of a node's page, made of a stranger's inventory document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mkserver_live import Live

from mkserver import hardware, history, view

UUID = "4C4C4544-0042-3510-8052-000000000001"
DOCUMENT: dict[str, Any] = {
    "schema_version": 1,
    "system": {"manufacturer": "Maker", "product": "M1", "serial": "S1", "uuid": "u"},
    "identity": {"confidence": "weak", "problems": ["no serial"]},
    "firmware": {"boot_mode": "uefi", "secure_boot": True, "version": "3"},
    "processors": {
        "packages": {
            "10": {"model_name": "CPU"},
            "2": {"model_name": "CPU", "cores": 6, "caches": [{"level": 2, "size_bytes": 1 << 20, "count": 6}]},
        },
        "sockets": [{"populated": False}, {"populated": True, "designation": "CPU2", "disabled_by": "firmware"}],
    },
    "memory": {
        "installed_bytes": 16 << 30, "total_bytes": 15 << 30, "persistent_bytes": 128 << 30,
        "slots": [
            {"locator": "A1", "populated": True, "size_bytes": 16 << 30, "speed_mts": 3200},
            {"locator": "A2", "populated": False},
        ],
    },
    "disks": {"sda": {"size_bytes": 512 << 30, "serial": "D1", "rotational": True, "health": {"passed": False},
                      "bay": {"name": "Slot 01"}}},
    "storage_controllers": {
        "0000:08:00.0": {"kind": "raid", "driver": "d", "volumes": [{"disk": "sda", "level": "RAID 1", "state": "ok"}]},
        "0000:0b:00.0": {"kind": "fc", "fc_ports": [{"wwpn": "0x21000024ff7e0a1c"}]},
    },
    "volumes": {
        "md0": {"kind": "md", "level": "raid1", "state": "clean", "members": ["sda1", "sdb1"], "degraded": 1},
        "md1": {"kind": "md", "level": "raid0", "size_bytes": 1 << 30, "degraded": 0},
    },
    "nics": {
        "lo": {"type": "loopback"},
        "eno1": {
            "mac": "52:54:00:12:34:56", "speed_mbps": 1000, "boot": True, "pci_address": "0000:09:00.0",
            "bond": {"master": "bond0"},
        },
        "bond0": {"type": "bond", "carrier": False, "bond": {"mode": "802.3ad", "slaves": ["eno1", "eno2"]}},
        "v5": {"type": "vlan", "vlan": {"id": 5, "parent": "bond0"}},
        "vf0": {"sriov": {"physical_function": "0000:09:00.0"}, "bridge": {"master": "br0"}},
        "br0": {"type": "bridge", "bridge": {"ports": ["vf0"]}},
    },
    "lldp_neighbors": {"eno1": [{"system_name": "sw1", "port_id": "p1", "vlan_id": 5}]},
    "gpus": {"0000:0a:00.0": {"kind": "3d"}, "0000:0a:00.4": {"kind": "3d", "physical_function": "0000:0a:00.0"}},
    "pci": {
        "0000:08:00.0": {"class": "RAID", "vendor": "V", "device": "D", "vendor_id": "1000", "device_id": "0087"},
        "0000:09:00.0": {"vendor": "Intel", "device": "I350"},
    },
    "devices_without_driver": ["0000:08:00.0"],
    "bmc": {"present": True, "lan": {"1": {"ipv4": "192.0.2.9", "mac": "52:54:00:12:34:99"}}},
}  # fmt: skip


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path) as running:
        yield running


def tables(document: Any) -> dict[str, dict[str, Any]]:
    return {table["id"]: table for table in hardware.build_tables(document)}


def test_every_table() -> None:
    made = tables(DOCUMENT)
    names = "system cpus dimms disks controllers volumes nics driverless bmc"
    assert list(made) == [f"hw-{name}" for name in names.split()]
    pairs = dict(made["hw-system"]["pairs"])
    assert pairs["Machine"] == "Maker M1"
    assert pairs["Identity"] == "weak\nno serial"
    assert pairs["Graphics"] == "3d 0000:0a:00.0"
    assert pairs["Firmware"] == "3\nUEFI, Secure Boot on"
    assert [row[:3] for row in made["hw-cpus"]["rows"]] == [["2", "CPU", "6"], ["10", "CPU", ""]]
    assert made["hw-cpus"]["rows"][0][6] == "L2\u00a06\u00a0x\u00a01\u00a0MiB"
    assert made["hw-cpus"]["note"] == "1 of 2 sockets empty, CPU2 turned off by the firmware"
    note = "16 GiB installed, 128 GiB persistent, 15 GiB usable, 1 of 2 slots empty"
    assert made["hw-dimms"]["note"] == note
    assert [row[:4] for row in made["hw-dimms"]["rows"]] == [["A1", "16 GiB", "", "3200 MT/s"], ["A2", "empty", "", ""]]
    assert made["hw-disks"]["rows"] == [["sda\nSlot 01", "512 GiB", "", "D1", "rotational", "", "failed"]]
    assert made["hw-controllers"]["rows"] == [
        ["0000:08:00.0", "raid", "V D", "d", "", "sda RAID 1 ok"],
        ["0000:0b:00.0", "fc", "WWPN 0x21000024ff7e0a1c", "", "", ""],
    ]
    assert made["hw-volumes"]["rows"] == [
        ["md0", "", "raid1", "clean\n1 missing", "sda1, sdb1"],
        ["md1", "1 GiB", "raid0", "", ""],
    ]
    card = "Intel I350\n0000:09:00.0"
    nic = ["eno1 (boot)", "52:54:00:12:34:56", "1000 Mbit/s\nin bond0", card, "", "", "sw1 p1, VLAN 5"]
    rows = {row[0]: row for row in made["hw-nics"]["rows"]}
    assert rows["eno1 (boot)"] == nic
    assert {name: row[2] for name, row in rows.items() if name[-1:] != ")"} == {
        "bond0": "no link\n802.3ad of eno1, eno2", "br0": "bridge of vf0", "v5": "VLAN 5 on bond0",
        "vf0": "in br0\nvirtual function of 0000:09:00.0",
    }  # fmt: skip
    assert made["hw-driverless"]["rows"] == [["0000:08:00.0", "RAID", "V D", "1000:0087"]]
    assert dict(made["hw-bmc"]["pairs"]) == {"LAN 1": "192.0.2.9\n52:54:00:12:34:99"}
    for table in made.values():
        assert {len(row) for row in table["rows"]} <= {len(table["columns"])}


@pytest.mark.parametrize("text", [None, 5, "", "{", "[]", '"x"', "[" * 1000, {"system": {}}])
def test_what_is_no_document_gives_no_tables(text: Any) -> None:
    assert hardware.read_document({"mk_inventory": text}) is None
    assert view.group_facts({"mk_inventory": text})[0]["facts"][0][0] == "mk_inventory"


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
KEYS = st.sampled_from(
    ["packages", "slots", "caches", "health", "lan", "fru", "1", "eno1", "passed", "size_bytes", "serial", "ipv6"]
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


@given(st.dictionaries(st.sampled_from(sorted(DOCUMENT)), JSON))
def test_any_document_makes_tables_of_texts(document: dict[str, Any]) -> None:
    for table in hardware.build_tables(document):
        for row in [*table["rows"], *table["pairs"]]:
            assert all(isinstance(text, str) for text in row)


def test_tables_and_texts_are_cut() -> None:
    document = {"disks": {f"sd{number}": {"serial": "S" * 5000} for number in range(1000)}}
    table = tables(document)["hw-disks"]
    assert (len(table["rows"]), table["count"], table["note"]) == (256, 1000, "744 more are not shown")
    assert len(table["rows"][0][3]) == 200


def test_the_page_shows_the_tables_above_the_facts(live: Live) -> None:
    facts = {"hostname": "n1", "mk_inventory": json.dumps(DOCUMENT)}
    live.register(UUID, facts)
    page = live.get(f"/nodes/{UUID}").text
    assert page.index('id="hw-system"') < page.index('id="facts"')
    assert '<details id="all-facts"><summary>All 2 facts</summary>' in page
    assert 'id="hw-nics"' in live.get(f"/fragment/nodes/{UUID}/hardware").text
    other = UUID[:-1] + "2"
    live.register(other, {"hostname": "n2"})
    page = live.get(f"/nodes/{other}").text
    assert 'class="card hardware"' not in page
    assert '<details id="all-facts" open><summary hidden>' in page


def test_history_tells_what_changed_inside_the_inventory(live: Live) -> None:
    changed = json.loads(json.dumps(DOCUMENT))
    changed["disks"]["sda"]["serial"] = "D2"
    for document in (DOCUMENT, changed):
        live.register(UUID, {"hostname": "n1", "mk_inventory": json.dumps(document)})
    page = live.get(f"/nodes/{UUID}").text
    assert "<dt>mk_inventory.disks.sda.serial</dt><dd><del>D1</del> <ins>D2</ins></dd>" in page
    first = history.build_diff(*hardware.spread_documents({}, {"mk_inventory": json.dumps(DOCUMENT)}))
    assert list(first["added"]) == ["mk_inventory"]  # type: ignore[arg-type, call-overload]

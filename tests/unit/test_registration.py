"""Which facts are sent and what counts as a change (B35, B37, B48; row 57; protocol 6.2, 6.3, 6.8)."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore import keys
from mkcore.interfaces import Interface
from mkcore.jsonfields import Json
from mkcore.keys import FACT_SETS, HANLON_EXCLUDE, RAZOR_EXCLUDE
from mkcore.rubyregex import compile_ruby
from mkctl.cmdline import parse_cmdline
from mkctl.dialects.razor import flat_facts
from mkctl.factsview import compile_volatile
from mkctl.probe.model import CollectorState, FactsFile, Status
from mkctl.probe.schema import steady_inventory
from mkctl.registration import (
    INVENTORY,
    Steady,
    alias_facts,
    build_facts,
    choose_eth0,
    choose_facts,
    clean_name,
    set_of,
)  # fmt: skip

NIC = Interface(
    name="ens3", index=2, type=1, mac="52:54:00:aa:00:01", permanent_mac="52:54:00:aa:00:01", physical=True, mtu=1500,
    operstate="up", carrier=True, speed_mbps=1000, duplex="full", driver="virtio_net", device="0000:00:03.0",
    bond_master="",
)  # fmt: skip
SECOND = NIC._replace(name="ens4", mac="52:54:00:aa:00:02", permanent_mac="52:54:00:aa:00:02")
VOLATILE = re.compile(r"mk_hw_lscpu_CPU_MHz|mk_hw_cpu\d+_size")


def is_volatile(name: str) -> bool:
    return VOLATILE.fullmatch(name) is not None


def nothing(_name: str) -> bool:
    return False


def test_sorted_with_their_types() -> None:
    facts = build_facts({"z": "1", "a": True, "m": {"k": [1, None]}}, {}, None)
    assert list(facts) == ["a", "m", "z"]
    assert facts == {"a": True, "m": {"k": [1, None]}, "z": "1"}


@pytest.mark.parametrize("pattern", [RAZOR_EXCLUDE, HANLON_EXCLUDE])
def test_b35_the_exclusion_pattern_holds_for_every_name(pattern: str) -> None:
    collected = {"kernelversion": "6", "facterversion": "2", "mk_hw_bus_core_json_str": "{}", "mk_hw_cpu_count": "2"}
    assert build_facts(collected, {}, compile_ruby(pattern)) == {"mk_hw_cpu_count": "2"}
    assert build_facts({"mk_hw_cpu_count": "2"}, {"mtu_x": 1}, compile_ruby("mk_hw|mtu")) == {}


def test_fresh_addresses_replace_all_collected_ones() -> None:
    collected = {"ipaddress": "192.0.2.9", "ipaddress_gone0": "192.0.2.9", "interfaces": "gone0", "mtu_gone0": 1500}
    collected["uuid"] = "u"
    addresses = {"ipaddress": "192.0.2.1", "ipaddress_ens3": "192.0.2.1", "interfaces": "ens3,lo"}
    assert build_facts(collected, addresses, None) == {**addresses, "uuid": "u"}
    assert build_facts(collected, {}, None) == collected


def test_names_are_cleaned_as_the_originals_did() -> None:
    assert clean_name("mk_hw_lscpu_CPU_socket(s)") == "mk_hw_lscpu_CPU_sockets"
    assert clean_name("a!@#$%^&*()=+[]{}b-._/c") == "ab-._/c"
    assert build_facts({"{}": "gone", "x{1}": "v"}, {}, None) == {"x1": "v"}


def test_the_boot_nic_is_also_sent_as_eth0() -> None:
    addresses = {
        "ipaddress_ens3": "192.0.2.1", "macaddress_ens3": "52:54:00:aa:00:01", "mtu_ens3": 1500, "netmask_ens3": "m",
        "network_ens3": "n", "ipaddress6_ens3": "2001:db8::1", "ipaddress_ens4": "192.0.2.2", "interfaces": "ens3,ens4",
    }  # fmt: skip
    sent = build_facts({"lldp_neighbor_portid_ens3": "p1", "mk_hw_nic0_logical_name": "ens3"}, addresses, None, "ens3")
    copies = {name: value for name, value in sent.items() if name.endswith("_eth0")}
    assert copies == {
        "ipaddress_eth0": "192.0.2.1", "macaddress_eth0": "52:54:00:aa:00:01", "mtu_eth0": 1500, "netmask_eth0": "m",
        "network_eth0": "n", "ipaddress6_eth0": "2001:db8::1", "lldp_neighbor_portid_eth0": "p1",
    }  # fmt: skip
    assert sent["ipaddress_ens3"] == "192.0.2.1"
    assert not [name for name in build_facts({}, addresses, None) if name.endswith("_eth0")]


@pytest.mark.parametrize("item", ["chassisid", "portid", "sysname", "mngaddr_ipv4", "mngaddr_ipv6", "pvid", "mtu"])
def test_every_fact_of_a_neighbour_is_sent_as_eth0_s_too(item: str) -> None:
    facts: dict[str, Json] = {f"lldp_neighbor_{item}_ens3_5": "v", f"lldp_neighbor_{item}_br_ens3_5": "other"}
    assert alias_facts(facts, "ens3.5") == {f"lldp_neighbor_{item}_eth0": "v"}


@pytest.mark.parametrize(
    ("nics", "addresses", "line", "name"),
    [
        ([], {}, "", ""),
        ([NIC], {}, "", "ens3"),
        ([NIC, NIC._replace(name="eth0")], {}, "", ""),
        ([SECOND, NIC], {}, "", "ens3"),
        ([NIC, SECOND], {"ipaddress_ens4": "192.0.2.2"}, "", "ens4"),
        ([NIC._replace(carrier=False), SECOND], {}, "", "ens4"),
        ([NIC, SECOND], {"ipaddress_ens3": "192.0.2.1"}, "BOOTIF=01-52-54-00-AA-00-02", "ens4"),
        ([NIC, SECOND], {}, "BOOTIF=52:54:00:aa:00:02", "ens4"),
        ([NIC, SECOND], {}, "BOOTIF=01-00-00-00-00-00-09", "ens3"),
        ([NIC, SECOND], {}, "BOOTIF=garbage", "ens3"),
        ([NIC._replace(physical=False)], {}, "", ""),
    ],
)
def test_which_nic_is_the_boot_nic(nics: list[Interface], addresses: dict[str, str], line: str, name: str) -> None:
    assert choose_eth0(nics, addresses, parse_cmdline(line)) == name


def test_b37_b48_volatile_facts_are_sent_but_do_not_count() -> None:
    one = {"mk_hw_lscpu_CPU_MHz": "1000", "mk_hw_cpu0_size": "1GHz", "uuid": "u"}
    two = {"mk_hw_lscpu_CPU_MHz": "3000", "mk_hw_cpu0_size": "3GHz", "uuid": "u"}
    assert Steady(is_volatile).digest(one) == Steady(is_volatile).digest(two)
    assert Steady(nothing).digest(one) != Steady(nothing).digest(two)
    assert build_facts(one, {}, None) == one
    assert Steady(is_volatile).changed_names(one, two) == []
    assert Steady(nothing).changed_names({"a": 1, "b": 1}, {"b": 2, "c": 1}) == ["a", "b", "c"]


FILE = FactsFile(
    collectors={
        "lshw": CollectorState(Status.OK, facts=("mk_hw_nic_count", "mk_hw_bus_core_json_str")),
        "facter": CollectorState(
            Status.OK,
            structured={"processors": {"count": 4}, "memory": {"system": {"used": "1 GiB", "total": "2 GiB"}}},
        ),
        "smbios": CollectorState(Status.OK, inventory={"system": {"serial": "S1"}}),
        "custom": CollectorState(Status.OK, facts=("rack",)),
        "custom:feed.sh": CollectorState(Status.OK, facts=("network_zone", "hostname")),
    },
    facts={
        "mk_hw_nic_count": "2", "mk_hw_bus_core_json_str": "{}", "mk_ipmi_IP_Address": "192.0.2.9", "uuid": "U",
        "lldp_neighbor_portid_ens3": "p1", "ipaddress_gone": "192.0.2.8", "processors": {"count": 1}, "rack": "12",
        "network_zone": "dmz", "hostname": "by-the-site",
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("sets", "names"),
    [
        (["facter"], {"uuid", "processors", "ipaddress_gone"}),
        (["hardware"], {"mk_hw_nic_count"}),
        (["json"], {"mk_hw_bus_core_json_str"}),
        (["ipmi"], {"mk_ipmi_IP_Address"}),
        (["lldp"], {"lldp_neighbor_portid_ens3"}),
        (["custom"], {"rack", "network_zone", "hostname"}),
        (["structured"], {"processors", "memory"}),
        (["inventory"], {"mk_inventory"}),
        ([], set()),
    ],
)
def test_each_set_of_facts_can_be_chosen(sets: list[str], names: set[str]) -> None:
    chosen = choose_facts(FILE, sets)
    assert set(build_facts(chosen.flat, {}, None, on_top=chosen.on_top)) == names
    assert set(sets) <= set(FACT_SETS)


def test_structured_facts_stand_in_place_of_flat_ones_and_the_site_s_own_in_place_of_both() -> None:
    chosen = choose_facts(FILE, FACT_SETS)
    addresses: dict[str, Json] = {"hostname": "kernel", "ipaddress_ens3": "192.0.2.1"}
    facts = build_facts(chosen.flat, addresses, None, on_top=chosen.on_top)
    assert facts["processors"] == {"count": 4}
    assert (facts["hostname"], facts["rack"], facts["network_zone"]) == ("by-the-site", "12", "dmz")
    assert "ipaddress_gone" not in facts
    assert facts["ipaddress_ens3"] == "192.0.2.1"
    assert json.loads(str(facts[INVENTORY])) == {"schema_version": 1, "system": {"serial": "S1"}}
    assert set_of("mk_hw_cpu_count") == "hardware"


@pytest.mark.parametrize("name", ["memory", "mk_inventory", "rack", "mk_hw_nic_count", "lldp_neighbor_portid_ens3"])
def test_b35_the_exclusion_pattern_holds_for_every_set(name: str) -> None:
    chosen = choose_facts(FILE, FACT_SETS)
    everything = set(build_facts(chosen.flat, {}, None, on_top=chosen.on_top))
    rest = set(build_facts(chosen.flat, {}, compile_ruby(f"^{name}$"), on_top=chosen.on_top))
    assert everything - rest == {name}


def test_b48_values_in_structured_facts_can_be_volatile() -> None:
    steady = Steady(compile_volatile(keys.VOLATILE))

    def facts(used: str, total: str, days: int = 1, space: str = "1") -> dict[str, Json]:
        return {
            "memory": {"system": {"used": used, "used_bytes": 5, "total": total}},
            "mountpoints": {"/": {"available": space, "size": "9"}},
            "system_uptime": {"days": days},
            "memoryfree_mb": space,
        }

    assert steady.digest(facts("1", "2")) == steady.digest(facts("7", "2", days=3, space="8"))
    assert steady.changed_names(facts("1", "2"), facts("1", "3")) == ["memory"]
    assert steady.facts({"memory": {"system": {"used": "1", "total": "2"}}}) == {"memory": {"system": {"total": "2"}}}


def test_b48_what_the_inventory_s_schema_marks_as_volatile_does_not_count() -> None:
    steady = Steady(nothing, steady_inventory)

    def facts(mac: str, speed_mbps: int) -> dict[str, Json]:
        nic: Json = {"mac": mac, "speed_mbps": speed_mbps}
        return {INVENTORY: json.dumps({"schema_version": 1, "nics": {"eno1": nic}})}

    one, two = "52:54:00:aa:00:01", "52:54:00:aa:00:02"
    assert steady.digest(facts(one, 1000)) == steady.digest(facts(one, 10))
    assert steady.digest(facts(one, 1000)) != steady.digest(facts(two, 1000))
    assert steady.changed_names(facts(one, 1000), facts(two, 1000)) == [INVENTORY]
    assert steady.facts({INVENTORY: "the site's own text"}) == {INVENTORY: "the site's own text"}


def test_of_a_disk_s_health_only_its_problems_count() -> None:
    steady = Steady(nothing, steady_inventory)

    def facts(**health: Json) -> dict[str, Json]:
        return {INVENTORY: json.dumps({"disks": {"sda": {"health": {"source": "smartctl", **health}}}})}

    well = steady.digest(facts(passed=True, temperature_c=31, power_on_hours=7))
    assert well == steady.digest(facts(passed=True, temperature_c=44, power_on_hours=8))
    assert well == steady.digest(facts(power_mode="standby"))
    assert well != steady.digest(facts(passed=False, problems=["the disk is failing"]))


def test_razor_gets_texts_alone() -> None:
    chosen = choose_facts(FILE, FACT_SETS)
    flat = flat_facts(build_facts(chosen.flat, {}, None, on_top=chosen.on_top))
    assert {"processors", "memory"}.isdisjoint(flat)
    assert json.loads(flat[INVENTORY])["system"] == {"serial": "S1"}
    assert {type(value) for value in flat.values()} == {str}


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=8))
def test_the_digest_does_not_depend_on_order(facts: dict[str, object]) -> None:
    backwards = dict(reversed(list(facts.items())))
    assert Steady(nothing).digest(facts) == Steady(nothing).digest(backwards)  # type: ignore[arg-type]

"""Which facts are sent and what counts as a change (B35, B37, B48; row 57; protocol 6.2, 6.3, 6.8)."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.interfaces import Interface
from mkcore.keys import HANLON_EXCLUDE, RAZOR_EXCLUDE
from mkcore.rubyregex import compile_ruby
from mkctl.cmdline import parse_cmdline
from mkctl.registration import build_facts, changed_names, choose_eth0, clean_name, digest_facts

NIC = Interface(
    name="ens3", index=2, type=1, mac="52:54:00:aa:00:01", permanent_mac="52:54:00:aa:00:01", physical=True, mtu=1500,
    operstate="up", carrier=True, speed_mbps=1000, duplex="full", driver="virtio_net", device="0000:00:03.0",
    bond_master="",
)  # fmt: skip
SECOND = replace(NIC, name="ens4", mac="52:54:00:aa:00:02", permanent_mac="52:54:00:aa:00:02")
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


@pytest.mark.parametrize(
    ("nics", "addresses", "line", "name"),
    [
        ([], {}, "", ""),
        ([NIC], {}, "", "ens3"),
        ([NIC, replace(NIC, name="eth0")], {}, "", ""),
        ([SECOND, NIC], {}, "", "ens3"),
        ([NIC, SECOND], {"ipaddress_ens4": "192.0.2.2"}, "", "ens4"),
        ([replace(NIC, carrier=False), SECOND], {}, "", "ens4"),
        ([NIC, SECOND], {"ipaddress_ens3": "192.0.2.1"}, "BOOTIF=01-52-54-00-AA-00-02", "ens4"),
        ([NIC, SECOND], {}, "BOOTIF=52:54:00:aa:00:02", "ens4"),
        ([NIC, SECOND], {}, "BOOTIF=01-00-00-00-00-00-09", "ens3"),
        ([NIC, SECOND], {}, "BOOTIF=garbage", "ens3"),
        ([replace(NIC, physical=False)], {}, "", ""),
    ],
)
def test_which_nic_is_the_boot_nic(nics: list[Interface], addresses: dict[str, str], line: str, name: str) -> None:
    assert choose_eth0(nics, addresses, parse_cmdline(line)) == name


def test_b37_b48_volatile_facts_are_sent_but_do_not_count() -> None:
    one = {"mk_hw_lscpu_CPU_MHz": "1000", "mk_hw_cpu0_size": "1GHz", "uuid": "u"}
    two = {"mk_hw_lscpu_CPU_MHz": "3000", "mk_hw_cpu0_size": "3GHz", "uuid": "u"}
    assert digest_facts(one, is_volatile) == digest_facts(two, is_volatile)
    assert digest_facts(one, nothing) != digest_facts(two, nothing)
    assert build_facts(one, {}, None) == one
    assert changed_names(one, two, is_volatile) == []
    assert changed_names({"a": 1, "b": 1}, {"b": 2, "c": 1}, nothing) == ["a", "b", "c"]


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=8))
def test_the_digest_does_not_depend_on_order(facts: dict[str, object]) -> None:
    backwards = dict(reversed(list(facts.items())))
    assert digest_facts(facts, nothing) == digest_facts(backwards, nothing)  # type: ignore[arg-type]

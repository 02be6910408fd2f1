"""The server's pure parts: scripts, pushed values, identity, tags, inventory, groups and forms of the page, names."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkserver import boot, history, identity, inventory, names, pushed, report, tags, view
from mkserver.cli import parse_assignment


def test_boot_script_of_both_dialects() -> None:
    for dialect, prefix in (("hanlon", "/hanlon/api/v1/image/mk/"), ("razor", "/razor/image/mk/")):
        text = boot.build_boot(dialect, "h:1", "ID", "K", "I", ["", "debug", " console=ttyS0  quiet "], 30)
        assert text.split("\n") == [
            "#!ipxe",
            f"kernel http://h:1{prefix}ID/K debug console=ttyS0  quiet initrd=I || goto error",
            f"initrd http://h:1{prefix}ID/I || goto error",
            "boot || goto error",
            *["", "", ""],
            ":error",
            "echo ERROR, will reboot in 30",
            "sleep 30",
            "reboot",
            "",
        ]


@pytest.mark.parametrize(
    ("base", "made"),
    [
        ("10.0.2.2:8026", "a=10.0.2.2 p=8026 u=X {other}"),
        ("mk.example", "a=mk.example p=80 u=X {other}"),
        ("[fd00::2]:8026", "a=fd00::2 p=8026 u=X {other}"),
        ("[fd00::2]", "a=fd00::2 p=80 u=X {other}"),
    ],
)
def test_addresses_in_kernel_arguments(base: str, made: str) -> None:
    assert boot.expand_args("a={host} p={port} u={uuid} {other}", base=base, uuid="X") == made


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0", "a || b", "a && b", "a ;; b", "#!ipxe", "a\x1b[1m"])
def test_kernel_arguments_that_would_end_the_line(text: str) -> None:
    with pytest.raises(BadInput):
        boot.check_kernel_args(text)


@pytest.mark.parametrize("text", ["", "console=ttyS0,115200n8 quiet", "a='b c'", "x=${net0/mac}", "a||b"])
def test_kernel_arguments_that_fit(text: str) -> None:
    assert boot.check_kernel_args(text) == text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mk_checkin_interval", 0),
        ("mk_checkin_interval", 3601),
        ("mk_checkin_interval", "60"),
        ("mk_checkin_interval", True),
        ("mk_checkin_interval", 60.5),
        ("mk_checkin_skew", -1),
        ("mk_log_level", "Logger::LOUD"),
        ("mk_log_level", "ERROR"),
        ("mk_uri", ""),
        ("mk_uri", 5),
        ("boot_debug_level", "verbose"),
        ("boot_kernel_args", 5),
        ("register_timeout", 0),
        ("other", "x"),
        ("mk_", "x"),
        ("mk_a b", "x"),
        ("mk_" + "a" * 121, "x"),
    ],
)
def test_values_that_are_refused(key: str, value: Any) -> None:
    with pytest.raises(BadInput, match=key.split()[0][:20]):
        pushed.check_value(key, value)


def test_force_pushes_what_nodes_refuse_but_nothing_else() -> None:
    assert pushed.check_value("mk_checkin_interval", 0, force=True) == 0
    with pytest.raises(BadInput):
        pushed.check_value("register_timeout", 0, force=True)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("mk_checkin_interval=30", {"mk_checkin_interval": 30}),
        ("mk_checkin_interval=x", {"mk_checkin_interval": "x"}),
        ("mk_site=30", {"mk_site": "30"}),
        ("mk_site:=30", {"mk_site": 30}),
        ("mk_list:=[1,2]", {"mk_list": [1, 2]}),
        ("boot_kernel_args=a=b c=d", {"boot_kernel_args": "a=b c=d"}),
        ("mk_site=", {"mk_site": ""}),
    ],
)
def test_assignments(text: str, made: dict[str, Any]) -> None:
    assert parse_assignment(text) == made


@pytest.mark.parametrize("text", ["mk_site", "=5", "mk_site:={"])
def test_assignments_that_are_none(text: str) -> None:
    with pytest.raises(BadInput):
        parse_assignment(text)


def test_client_config_holds_defaults_and_everything_set() -> None:
    made = pushed.build_client_config("hanlon", "h:1", {"mk_checkin_interval": 5, "mk_new": [1], "register_timeout": 3})
    assert len(made) == 10
    assert (made["mk_checkin_interval"], made["mk_new"]) == (5, [1])
    assert pushed.build_client_config("razor", "h:1", {})["mk_uri"] == "http://h:1"
    assert pushed.build_client_config("razor", "h:1", {"mk_uri": "http://{base}"})["mk_uri"] == "http://{base}"


def test_identity() -> None:
    both = identity.parse_hanlon("564d0c5d-0000", "52:54:00:aa:00:01_525400AA0001__525400bb0002")
    assert both.macs == ("525400AA0001", "525400BB0002")
    assert both.stored == ("564D0C5D-0000",)
    assert not identity.parse_hanlon("", "__")
    assert identity.parse_razor("aA_bB").macs == ("aA", "bB")
    assert identity.parse_razor("52:54:00:aa_", boot=True).macs == ("525400AA",)
    for text in ("a b", "a/b", "é", "{}", "x" * 65):
        with pytest.raises(BadInput):
            identity.parse_hanlon(text, "")
    with pytest.raises(BadInput, match="more than 2"):
        identity.parse_razor("a_b_c", most=2)


@pytest.mark.parametrize(
    ("facts", "made"),
    [
        ({}, []),
        ({"mk_hw_cpu_count": "none"}, []),
        ({"mk_hw_cpu_count": 4, "mk_hw_nic_count": "2"}, ["cpus_4", "nics_2"]),
        ({"mk_hw_bus_vendor": "Intel Corporation"}, ["IntelCorporation"]),
        ({"mk_hw_bus_vendor": "<b>\\+=%-_"}, ["b\\+=%-_"]),
        ({"mk_hw_mem_size": "8GiB"}, ["memsize_8GiB"]),
        ({"is_virtual": True, "virtual": "kvm"}, ["kvm_vm"]),
        ({"is_virtual": "true", "virtual": "vmware"}, ["vmware_vm"]),
        ({"is_virtual": "false", "virtual": "physical"}, []),
        ({"is_virtual": True}, []),
        ({"mk_hw_mem_size": {"a": 1}, "mk_hw_bus_vendor": None}, []),
    ],
)
def test_system_tags(facts: dict[str, Any], made: list[str]) -> None:
    assert tags.build_tags(["AA"], facts, ids_are_tags=False) == made
    assert tags.build_tags(["AA"], facts, ids_are_tags=True) == ["AA", *made]


def test_inventory_of_lshw_facts() -> None:
    facts: dict[str, Any] = {
        "manufacturer": "QEMU",
        "mk_hw_cpu_count": "2",
        "mk_hw_cpu0_product": "Intel(R) Xeon(R) CPU           E5520  @ 2.27GHz",
        "mk_hw_disk_count": "1",
        "mk_hw_disk0_logical_name": "/dev/sda",
        "mk_hw_disk0_product": "SAMSUNG HM100UI",
        "mk_hw_disk0_size": "931GiB (1TB)",
        "mk_hw_nic_count": "2",
        "mk_hw_nic0_logical_name": "eth0",
        "mk_hw_nic0_serial": "00:15:17:FA:E0:34",
        "ipaddress_eth0": "192.0.2.1",
        "mk_hw_nic1_description": "Ethernet controller",
    }
    made = inventory.build_inventory(facts)
    assert made.cpu_model == "Intel(R) Xeon(R) CPU E5520 @ 2.27GHz"
    assert made.disks == (inventory.Disk("sda", "SAMSUNG HM100UI", "", "931GiB (1TB)"),)
    assert made.nics[0] == inventory.Nic("eth0", "00:15:17:fa:e0:34", "192.0.2.1", "")
    assert made.nics[1].name == "nic1"


def test_inventory_of_facter_facts_alone() -> None:
    facts: dict[str, Any] = {
        "blockdevices": "sda,sr0,vda",
        "blockdevice_sda_size": 1000204886016,
        "blockdevice_sda_model": "M",
        "blockdevice_sda_vendor": "V",
        "interfaces": "eth0,lo,br0",
        "macaddress_eth0": "AA:BB",
        "memorysize": "2.00 GB",
        "physicalprocessorcount": 1,
    }
    made = inventory.build_inventory(facts)
    assert [disk.name for disk in made.disks] == ["sda", "vda"]
    assert made.disks[0] == inventory.Disk("sda", "V M", "", "931.5 GiB")
    assert (made.disk_count, made.nic_count, made.memory, made.cpu_count) == ("2", "1", "2.00 GB", "1")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner), max_leaves=5)
READ = ["mk_hw_disk_count", "mk_hw_nic_count", "mk_hw_cpu_count", "blockdevices", "interfaces", "hostname", "virtual"]


@given(st.dictionaries(st.sampled_from(READ) | st.text(), JSON))
def test_any_facts_make_an_inventory_and_a_page(facts: dict[str, Any]) -> None:
    made = inventory.build_inventory(facts)
    assert len(made.disks) <= 64
    inventory.search_text(made, ("A",))
    assert sum(len(group["facts"]) for group in view.group_facts(facts)) == len(facts)


def test_groups_of_facts_sort_numbers_as_people_do() -> None:
    facts: dict[str, Any] = {"mk_hw_nic10_serial": "b", "mk_hw_nic2_serial": "a", "mk_hw_bus_vendor": "v"}
    facts["odd"] = {"a": 1}
    groups = view.group_facts(facts)
    assert [group["title"] for group in groups] == ["Machine", "Network", "System"]
    assert [name for name, _ in groups[1]["facts"]] == ["mk_hw_nic2_serial", "mk_hw_nic10_serial"]
    assert groups[2]["facts"] == [("odd", '{\n  "a": 1\n}')]


TEXTS = ["a", "5", "true", "[x", '"quoted"', " padded ", "two\nlines", ""]


@pytest.mark.parametrize("value", [*TEXTS, 5, 1.5, None, True, [1], {"a": "b"}])
def test_free_settings_survive_the_form(value: Any) -> None:
    name, _, text = view.other_line("mk_x", value).partition("=")
    assert "\n" not in text
    assert view.parse_other(name, text.strip()) == value


def test_differences_are_bounded() -> None:
    old: dict[str, Any] = {f"f{number}": "x" * 5000 for number in range(200)}
    made = history.build_diff(old, dict.fromkeys(old, "y"))
    assert len(str(made)) < 12_000
    assert made["more"] == 200 - len(made["changed"])  # type: ignore[arg-type]


def test_ids_are_base62_of_22_characters() -> None:
    made = {names.new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(each) == 22 and each.isalnum() for each in made)
    assert names.to_base62(61) == "0" * 21 + "z"
    assert len(names.to_base62(2**128 - 1)) == 22


def test_terminals_get_no_control_characters() -> None:
    assert report.clean("a\x1b[2Jb\rc\u202e") == "a\ufffd[2Jb\ufffdc\ufffd"
    assert report.clean({"a": "é"}) == '{"a": "é"}'


SPANS = [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")]


@pytest.mark.parametrize(("seconds", "text"), SPANS)
def test_ago(seconds: int, text: str) -> None:
    assert report.ago(0, seconds * 1000) == text
    assert view.ago(None, 5) == "never"


@pytest.mark.parametrize("dialect", ["hanlon", "razor"])
def test_b01_the_boot_script_uses_no_variable_that_nobody_sets(dialect: str) -> None:
    script = boot.build_bootstrap(dialect, "192.0.2.1:8026")
    used = set(re.findall(r"\$\{([^}:]+)", script))
    own = {"uuid", *(f"net{nic}/mac" for nic in range(8))}
    assert used - own == set(re.findall(r"^set (\S+)", script, re.MULTILINE)) == {"dhcp_mac"}

"""The group facts, `mk_hw_*_json_str` (row 80): the worked example of protocol 6.10, and what the nesting lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lshw_tree import machine, node

from mkctl.probe.groups import group_facts, lscpu_group
from mkctl.probe.lscpu import parse_lscpu
from mkctl.probe.lshw import parse_lshw

DATA = Path(__file__).resolve().parent.parent / "data" / "captures"


def groups_of(tree: object) -> dict[str, object]:
    """Group facts without prefix and suffix, their texts read."""
    facts = group_facts(parse_lshw(json.dumps(tree).encode()))
    return {name.removeprefix("mk_hw_").removesuffix("_json_str"): json.loads(text) for name, text in facts.items()}


def example() -> dict[str, object]:
    return groups_of(json.loads((DATA / "lshw-dual-socket.json").read_bytes()))


def only(found: object, wanted: object) -> object:
    """What the example writes of a device: the keys that it names, of as many devices as there are."""
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return [only(one, other) for one, other in zip(found, wanted)]
    if isinstance(found, dict) and isinstance(wanted, dict):
        return {key: only(found[key], value) for key, value in wanted.items()}
    return found


def test_names_of_the_worked_example() -> None:
    """Protocol 6.10; caches are never reported."""
    assert set(example()) == {
        "bus_core",
        "bus_usb_array",
        "bus_serial",
        "mem_firmware",
        "mem_memory",
        "disk_disk_array",
        "disk_cdrom",
        "proc_cpu_array",
        "nw_network_array",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (
            "bus_core",
            {
                "description": "Motherboard",
                "product": "S5520UR",
                "vendor": "Intel Corporation",
                "physical_id": "0",
                "version": "E22554-751",
                "serial": "BZUB04203637",
            },
        ),
        ("bus_usb_array", [{"description": "USB controller"}, {"description": "USB controller"}]),
        ("bus_serial", {"description": "SMBus", "UNCLAIMED": True}),
        (
            "mem_memory",
            {
                "description": "System Memory",
                "physical_id": "1f",
                "slot": "System board or motherboard",
                "size": "8GiB",
                "bank_array": [
                    {
                        "description": "DIMM DDR3 Synchronous 1333 MHz (0.8 ns)",
                        "physical_id": "0",
                        "slot": "DIMM_A1",
                        "size": "4GiB",
                    },
                    {"description": "DIMM Synchronous [empty]", "physical_id": "1", "slot": "DIMM_A2"},
                    {
                        "description": "DIMM DDR3 Synchronous 1333 MHz (0.8 ns)",
                        "physical_id": "2",
                        "slot": "DIMM_B1",
                        "size": "4GiB",
                    },
                ],
            },
        ),
        ("disk_cdrom", {"description": "DVD reader", "logical_name": "/dev/sr0"}),
    ],
)
def test_values_of_the_worked_example(name: str, value: object) -> None:
    assert only(example()[name], value) == value


def test_the_disabled_are_dropped_the_unclaimed_flagged_in_the_worked_example() -> None:
    """Protocol 6.5, rule 3 (row 81)."""
    array = example()["nw_network_array"]
    assert isinstance(array, list)
    assert [(each.get("logical_name"), each.get("UNCLAIMED")) for each in array] == [("eth0", None), (None, True)]


def test_b38_a_deeper_device_hangs_below_its_parent() -> None:
    """The agents made an entry of the outer container of it."""
    disk = node("disk:0", "disk", node("medium", "disk", logicalname="/dev/sdb"), logicalname="/dev/sdb")
    groups = groups_of(machine(disk, node("disk:1", "disk", logicalname="/dev/sdc")))
    assert groups == {
        "bus_core": {"physical_id": "0"},
        "disk_disk_array": [
            {"logical_name": "/dev/sdb", "medium": {"logical_name": "/dev/sdb"}},
            {"logical_name": "/dev/sdc"},
        ],
    }


def test_b38_an_unclaimed_memory_after_the_banks_is_not_inside_the_memory() -> None:
    memory = node("memory", "memory", node("bank:0", "memory", slot="A1"), description="System Memory")
    bridge = node("pci", "bridge", node("memory", "memory", claimed=False, description="RAM memory"))
    groups = groups_of(machine(memory, bridge))
    assert groups["mem_memory"] == {"description": "System Memory", "bank_array": [{"slot": "A1"}]}
    assert groups["mem_memory_array"] == [{"description": "RAM memory", "UNCLAIMED": True}]


def test_b39_equal_names_nest_and_several_levels_end_at_once() -> None:
    """The agents stayed on one level for equal names, and came back by one level where the text came back by two."""
    hub = node("usb", "bus", node("usb", "bus", node("usb", "bus", product="C"), product="B"), product="A")
    groups = groups_of(machine(node("pci", "bridge", hub, node("serial", "bus", product="D"))))
    assert groups["bus_usb"] == {"product": "A", "usb": {"product": "B", "usb": {"product": "C"}}}
    assert groups["bus_serial"] == {"product": "D"}


def test_b40_no_cpu_gets_lost_after_one_with_children() -> None:
    with_children = node("cpu:0", "processor", node("logicalcpu:0", "processor"), slot="CPU1")
    others = [node(f"cpu:{number}", "processor", slot=f"CPU{number + 1}") for number in (1, 2)]
    array = groups_of(machine(with_children, *others))["proc_cpu_array"]
    assert array == [{"slot": "CPU1", "logicalcpu_array": [{}]}, {"slot": "CPU2"}, {"slot": "CPU3"}]


def test_a_disabled_cpu_after_one_with_children_leaves_no_hole() -> None:
    """The agents' array got a null there."""
    with_children = node("cpu:0", "processor", node("logicalcpu:0", "processor"), slot="CPU1")
    array = groups_of(machine(with_children, node("cpu:1", "processor", disabled=True)))["proc_cpu_array"]
    assert array == [{"slot": "CPU1", "logicalcpu_array": [{}]}]


def test_a_device_named_like_a_field_or_an_array_does_not_replace_it() -> None:
    inner = node("serial", "bus", description="SMBus")
    core = node("core", "bus", inner, serial="S-1")
    groups = groups_of(node("host", "system", core, node("x_array", "bus", slot="own"), node("x:0", "bus", slot="0")))
    assert groups["bus_core"] == {"serial": "S-1", "serial_array": [{"description": "SMBus"}]}
    assert groups["bus_x_array"] == {"slot": "own"}
    assert groups["bus_x_array_array"] == [{"slot": "0"}]


def test_entries_have_clean_names() -> None:
    """Protocol 6.3; the agents took "pnp00:00" for a key with a value."""
    bridge = node("pci", "bridge", node("pnp00:00", "bus"), node("#x (y)", "bus"))
    assert set(groups_of(machine(bridge))) == {"bus_core", "bus_pnp00_array", "bus_numberx_y"}


def test_lscpu_as_one_fact() -> None:
    facts = lscpu_group(parse_lscpu(b"CPU op-mode(s):  32-bit, 64-bit\nNUMA node0 CPU(s): 0-3\nL1d/x: 1\n"))
    assert json.loads(facts["mk_hw_lscpu_hash_json_str"]) == {
        "CPU_op-mode(s)": "32-bit, 64-bit",
        "NUMA_node0_CPU(s)": "0-3",
        "L1d_x": "1",
    }


NAMES = st.sampled_from(["a", "a:0", "a_array", "network", "disk:1", "serial", "#", ""])
CLASSES = st.sampled_from(["bus", "memory", "disk", "processor", "network", "other"])
TREES = st.recursive(
    st.builds(lambda name, kind: node(name, kind, serial="x"), NAMES, CLASSES),
    lambda inner: st.builds(
        lambda name, kind, children: node(name, kind, *children), NAMES, CLASSES, st.lists(inner, max_size=4)
    ),
)


@given(TREES)
def test_any_tree_gives_texts(tree: dict) -> None:
    for text in group_facts(parse_lshw(json.dumps(tree).encode())).values():
        assert isinstance(json.loads(text), (dict, list))

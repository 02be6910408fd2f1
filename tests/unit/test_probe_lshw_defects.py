"""What the historic agents lost of lshw's listing (protocol 6.5), each defect by its number, on the flat facts.

The nesting (B38 to B40) shows in the group facts as well: test_probe_groups.
"""

from __future__ import annotations

import json

import pytest
from lshw_tree import machine, node

from mkctl.probe.flatten import flatten_lshw
from mkctl.probe.lshw import parse_lshw
from mkctl.probe.sysfs import BlockDevice

GIB = 1 << 30


def facts_of(tree: object, *block: BlockDevice) -> dict[str, str]:
    return flatten_lshw(parse_lshw(json.dumps(tree).encode()), board={}, block=block)


def chosen(facts: dict[str, str], *names: str) -> list[str]:
    return [facts.get(f"mk_hw_{name}", "-") for name in names]


@pytest.mark.parametrize(
    "odd",
    [
        node("foo_bar", "network"),  # a name that their pattern for nodes did not know
        node("pnp00:00", "input"),
        node("cpu", "processor", product="no: colon\nsecond line"),
        {"id": 5, "class": "network"},
        {"class": "network"},
        ["network"],
        None,
        node("network", "network", children={"id": "x"}),
        node("network", "network", "no device"),
    ],
)
def test_b34_an_odd_device_costs_itself_alone(odd: object) -> None:
    """One line that they could not parse ended the collection of this and of all later groups."""
    disk = node("disk", "disk", logicalname="/dev/sda", serial="S-1")
    nic = node("network:0", "network", logicalname="eth0", serial="52:54:00:00:00:01")
    facts = facts_of(machine(nic, odd, disk))  # type: ignore[arg-type]
    assert chosen(facts, "nic0_serial", "disk_count", "disk0_serial") == ["52:54:00:00:00:01", "1", "S-1"]


def test_b34_the_place_of_an_odd_device_is_told() -> None:
    left_out: list[str] = []
    tree = machine({"id": 5}, node("network", "network", children={"id": "x"}))
    parse_lshw(json.dumps(tree).encode(), left_out)
    assert left_out == [
        "lshw -json/host/core: a device must be an object with an id",
        "lshw -json/host/core/network: children: must be a list",
    ]


def test_b38_a_device_below_another_is_of_its_own_group() -> None:
    """A medium below a disk, or a disk below an enclosure, neither counts twice nor replaces it."""
    disk = node("disk:0", "disk", node("medium", "disk", serial="no"), logicalname="/dev/sda", serial="A")
    inner = node("enclosure", "generic", node("disk:1", "disk", logicalname="/dev/sdb", serial="B"))
    facts = facts_of(machine(disk, inner))
    assert chosen(facts, "disk_count", "disk0_serial", "disk1_serial", "disk2_serial") == ["2", "A", "B", "-"]


def test_b39_two_levels_that_end_at_once_lose_nothing() -> None:
    """A NIC behind two bridges, and the next one right below the first bridge; all bridges have one name."""
    deep = node("pci", "bridge", node("pci", "bridge", node("network", "network", serial="1", logicalname="a")))
    facts = facts_of(machine(deep, node("network", "network", serial="2", logicalname="b")))
    assert chosen(facts, "nic_count", "nic0_serial", "nic1_serial") == ["2", "1", "2"]


def test_b40_cpus_after_one_with_children_count() -> None:
    first = node("cpu:0", "processor", node("logicalcpu:0", "processor"), node("cache:0", "memory"), slot="CPU1")
    others = [node(f"cpu:{number}", "processor", slot=f"CPU{number + 1}") for number in (1, 2)]
    facts = facts_of(machine(first, *others))
    assert chosen(facts, "cpu_count", "cpu0_slot", "cpu1_slot", "cpu2_slot") == ["3", "CPU1", "CPU2", "CPU3"]


def test_b41_a_single_cpu_is_one() -> None:
    facts = facts_of(machine(node("cpu", "processor", slot="CPU1", units="Hz", size=2267000000)))
    assert chosen(facts, "cpu_count", "cpu0_slot", "cpu0_size") == ["1", "CPU1", "2267MHz"]


def test_b42_a_virtio_nic_has_the_name_and_address_of_its_interface() -> None:
    interface = node("virtio0", "network", logicalname="enp0s2", serial="52:54:00:12:34:56", businfo="virtio@0")
    controller = node("network", "network", interface, physid="2", businfo="pci@0000:00:02.0", version="01")
    facts = facts_of(machine(controller))
    assert chosen(facts, "nic_count", "nic0_logical_name", "nic0_serial", "nic0_bus_info", "nic0_version") == [
        "1",
        "enp0s2",
        "52:54:00:12:34:56",
        "pci@0000:00:02.0",
        "01",
    ]


def test_b43_virtio_and_nvme_devices_are_disks() -> None:
    virtio = node("virtio1", "disk", logicalname="/dev/vda", units="bytes", size=20 * GIB)
    namespace = node("namespace:1", "disk", logicalname="/dev/nvme0n1", units="bytes", size=10 * GIB)
    nvme = node("nvme", "storage", namespace, product="Fast 9", serial="N-1", version="3.1")
    facts = facts_of(machine(virtio, nvme), BlockDevice("vda", 20 * GIB, serial="V-1"))
    assert facts["mk_hw_disk_count"] == "2"
    assert chosen(facts, "disk0_logical_name", "disk0_serial", "disk0_size") == ["/dev/vda", "V-1", "20GiB (21GB)"]
    assert chosen(facts, "disk1_logical_name", "disk1_product", "disk1_serial", "disk1_version") == [
        "/dev/nvme0n1",
        "Fast 9",
        "N-1",
        "3.1",
    ]


def test_b44_several_memories_are_the_memory_and_make_the_tag() -> None:
    bank = node("bank:0", "memory", units="bytes", size=4 * GIB)
    nodes = [node(f"memory:{number}", "memory", bank, description="System Memory") for number in range(2)]
    assert chosen(facts_of(machine(*nodes)), "mem_description", "mem_size") == ["System Memory", "8GiB"]


def test_b45_slots_are_counted_below_the_memory_and_later_groups_are_there() -> None:
    banks = [
        node("bank:0", "memory", slot="DIMM_A1", physid="0", units="bytes", size=4 * GIB),
        node("bank:1", "memory", slot="DIMM_A2", physid="1", description="DIMM [empty]"),
        node("bank:2", "memory", slot="DIMM_B1", physid="2", units="bytes", size=4 * GIB),
    ]
    memory = node("memory", "memory", *banks, description="System Memory", slot="System board or motherboard")
    facts = facts_of(machine(memory, node("disk", "disk", logicalname="/dev/sda"), node("cpu", "processor")))
    assert chosen(facts, "mem_slot_count", "mem_slot0_slot", "mem_slot1_slot", "mem_slot1_physical_id") == [
        "2",
        "DIMM_A1",
        "DIMM_B1",
        "2",
    ]
    assert facts["mk_hw_mem_slot"] == "System board or motherboard"
    assert chosen(facts, "mem_slot2_slot", "disk_count", "cpu_count") == ["-", "1", "1"]


def test_row_81_the_disabled_are_dropped_wherever_they_hang() -> None:
    tree = machine(
        node("network:0", "network", disabled=True, logicalname="eth0"),
        node("network:1", "network", claimed=False, description="Ethernet controller"),
        node("memory", "memory", disabled=True, description="System Memory", units="bytes", size=GIB),
        node("cpu", "processor", disabled=True),
        node("firmware", "memory", disabled=True, vendor="x"),
    )
    facts = facts_of(tree)
    assert facts == {
        "mk_hw_bus_physical_id": "0",
        "mk_hw_nic_count": "1",
        "mk_hw_nic0_description": "Ethernet controller",
    }


def test_two_devices_with_one_serial_are_two() -> None:
    disks = [
        node(f"disk:{number}", "disk", logicalname=f"/dev/sd{letter}", serial="SAME")
        for number, letter in enumerate("ab")
    ]
    facts = facts_of(machine(*disks))
    assert chosen(facts, "disk_count", "disk0_serial", "disk1_serial", "disk1_logical_name") == [
        "2",
        "SAME",
        "SAME",
        "/dev/sdb",
    ]


def test_2000_devices_and_192_modules() -> None:
    bridges = [
        node(
            f"pci:{number}",
            "bridge",
            *(node(f"network:{port}", "network", serial=f"{number}-{port}") for port in range(20)),
        )
        for number in range(100)
    ]
    banks = [node(f"bank:{number}", "memory", units="bytes", size=64 * GIB) for number in range(192)]
    facts = facts_of(machine(*bridges, node("memory", "memory", *banks, description="System Memory")))
    assert chosen(facts, "nic_count", "nic1999_serial", "mem_slot_count", "mem_size") == [
        "2000",
        "99-19",
        "192",
        "12TiB",
    ]

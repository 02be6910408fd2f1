"""lshw's tree: amounts in its words, its JSON with all its faults, and the facts of protocol 6.5 to 6.7 and 6.10."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkctl.probe.amounts import format_amount, format_binary, format_clock, format_decimal
from mkctl.probe.flatten import describe, flatten_lshw
from mkctl.probe.lshw import Node, parse_lshw
from mkctl.probe.sysfs import BlockDevice

DATA = Path(__file__).resolve().parent.parent / "data" / "captures"


def node(name: str, node_class: str = "generic", *children: dict, **fields: object) -> dict:
    """A device as lshw's JSON has it."""
    return {
        "id": name,
        "class": node_class,
        "claimed": True,
        **fields,
        **({"children": list(children)} if children else {}),
    }


def machine(*children: dict) -> dict:
    return node("host", "system", node("core", "bus", *children, physid="0"))


def facts_of(tree: object, board: dict[str, str] | None = None, *block: BlockDevice) -> dict[str, str]:
    return flatten_lshw(parse_lshw(json.dumps(tree).encode()), board=board or {}, block=block)


def facts_of_file(name: str, *block: BlockDevice) -> dict[str, str]:
    return flatten_lshw(parse_lshw((DATA / name).read_bytes()), board={}, block=block)


@pytest.mark.parametrize(
    ("value", "node_class", "text"),
    [
        (8589934592, "memory", "8GiB"),
        (65536, "memory", "64KiB"),
        (7340032, "memory", "7MiB"),
        (2060451840, "memory", "1965MiB"),
        (10240, "memory", "10KiB"),
        (10241, "memory", "10KiB"),
        (512, "memory", "512iB"),
        (1000204886016, "disk", "931GiB (1TB)"),
        (480103981056, "disk", "447GiB (480GB)"),
        (8012390400, "disk", "7641MiB (8012MB)"),
        (6442450944000, "disk", "6000GiB (6442GB)"),
        (1000000000, "network", "1Gbit/s"),
        (2500000000, "network", "2500Mbit/s"),
        (10000000, "network", "10Mbit/s"),
        (2267000000, "processor", "2267MHz"),
        (4000000000, "processor", "4GHz"),
        (4829567000, "processor", "4829MHz"),
        (65000, "power", "65000mWh"),
        (3, "generic", "3"),
    ],
)
def test_amounts_are_written_as_lshw_writes_them(value: int, node_class: str, text: str) -> None:
    assert format_amount(value, node_class) == text


def test_clocks() -> None:
    assert format_clock(133000000, "processor") == "133MHz"
    assert format_clock(1333000000, "memory") == "1333MHz (0.8ns)"
    assert format_clock(33000000, "network") == "33MHz"


@given(st.integers(min_value=1, max_value=1 << 80))
def test_amounts_never_grow_long_and_never_say_more_than_there_is(value: int) -> None:
    for text, base in ((format_binary(value), 1024), (format_decimal(value), 1000)):
        match = re.fullmatch(r"(\d+)([KMGTPEZY]?)(iB)?", text)
        assert match
        exponent = " KMGTPEZY".index(match.group(2) or " ")
        assert 0 < int(match.group(1)) <= 10 * base or exponent == 8
        assert int(match.group(1)) * base**exponent <= value


def test_worked_example_of_the_protocol() -> None:
    facts = facts_of_file("lshw-dual-socket.json")
    expected = {
        "mk_hw_bus_description": "Motherboard",
        "mk_hw_bus_product": "S5520UR",
        "mk_hw_bus_vendor": "Intel Corporation",
        "mk_hw_bus_physical_id": "0",
        "mk_hw_bus_version": "E22554-751",
        "mk_hw_bus_serial": "BZUB04203637",
        "mk_hw_fw_description": "BIOS",
        "mk_hw_fw_vendor": "Intel Corp.",
        "mk_hw_fw_physical_id": "6",
        "mk_hw_fw_version": "S5500.86B.01.00.0054.092820101104",
        "mk_hw_fw_date": "09/28/2010",
        "mk_hw_fw_size": "64KiB",
        "mk_hw_fw_capacity": "7MiB",
        "mk_hw_fw_capabilities": "pci pnp upgrade shadowing cdboot bootselect edd acpi usb netboot",
        "mk_hw_mem_description": "System Memory",
        "mk_hw_mem_physical_id": "1f",
        "mk_hw_mem_slot": "System board or motherboard",
        "mk_hw_mem_size": "8GiB",
        "mk_hw_mem_slot_count": "2",
        "mk_hw_mem_slot0_description": "DIMM DDR3 Synchronous 1333 MHz (0.8 ns)",
        "mk_hw_mem_slot0_physical_id": "0",
        "mk_hw_mem_slot0_slot": "DIMM_A1",
        "mk_hw_mem_slot0_size": "4GiB",
        "mk_hw_mem_slot1_description": "DIMM DDR3 Synchronous 1333 MHz (0.8 ns)",
        "mk_hw_mem_slot1_physical_id": "2",
        "mk_hw_mem_slot1_slot": "DIMM_B1",
        "mk_hw_mem_slot1_size": "4GiB",
        "mk_hw_disk_count": "2",
        "mk_hw_disk0_description": "ATA Disk",
        "mk_hw_disk0_product": "SAMSUNG HM100UI",
        "mk_hw_disk0_physical_id": "0",
        "mk_hw_disk0_bus_info": "scsi@0:0.0.0",
        "mk_hw_disk0_logical_name": "/dev/sda",
        "mk_hw_disk0_version": "2AM1",
        "mk_hw_disk0_serial": "S2GHJ9BB305259",
        "mk_hw_disk0_size": "931GiB (1TB)",
        "mk_hw_disk0_configuration": "ansiversion=5 signature=000cca69",
        "mk_hw_disk1_description": "ATA Disk",
        "mk_hw_disk1_product": "SAMSUNG HM100UI",
        "mk_hw_disk1_physical_id": "0.1.0",
        "mk_hw_disk1_bus_info": "scsi@0:0.1.0",
        "mk_hw_disk1_logical_name": "/dev/sdb",
        "mk_hw_disk1_size": "931GiB (1TB)",
        "mk_hw_cpu_count": "2",
        "mk_hw_cpu0_description": "CPU",
        "mk_hw_cpu0_product": "Intel(R) Xeon(R) CPU           E5520  @ 2.27GHz",
        "mk_hw_cpu0_vendor": "Intel Corp.",
        "mk_hw_cpu0_physical_id": "3a",
        "mk_hw_cpu0_bus_info": "cpu@0",
        "mk_hw_cpu0_serial": "0001-06A5-0000-0000-0000-0000",
        "mk_hw_cpu0_slot": "CPU1",
        "mk_hw_cpu0_size": "2267MHz",
        "mk_hw_cpu0_capacity": "4GHz",
        "mk_hw_cpu0_width": "64 bits",
        "mk_hw_cpu0_clock": "133MHz",
        "mk_hw_cpu0_capabilities": "x86-64 boot fpu vme de pse tsc msr pae vmx",
        "mk_hw_cpu0_configuration": "cores=4 enabledcores=4 id=16 threads=8",
        "mk_hw_cpu1_description": "CPU",
        "mk_hw_cpu1_physical_id": "3b",
        "mk_hw_cpu1_slot": "CPU2",
        "mk_hw_cpu1_size": "1600MHz",
        "mk_hw_nic_count": "2",
        "mk_hw_nic0_description": "Ethernet interface",
        "mk_hw_nic0_physical_id": "0",
        "mk_hw_nic0_bus_info": "pci@0000:01:00.0",
        "mk_hw_nic0_logical_name": "eth0",
        "mk_hw_nic0_version": "02",
        "mk_hw_nic0_serial": "00:15:17:fa:e0:34",
        "mk_hw_nic0_size": "1Gbit/s",
        "mk_hw_nic0_capacity": "1Gbit/s",
        "mk_hw_nic0_width": "32 bits",
        "mk_hw_nic0_clock": "33MHz",
        "mk_hw_nic0_capabilities": "pm msi msix pciexpress bus_master cap_list rom ethernet physical tp",
        "mk_hw_nic0_configuration": (
            "autonegotiation=on broadcast=yes driver=igb duplex=full ip=192.168.2.42 link=yes speed=1Gbit/s"
        ),
        "mk_hw_nic1_description": "Ethernet controller",
        "mk_hw_nic1_physical_id": "3",
        "mk_hw_nic1_bus_info": "pci@0000:05:00.0",
        "mk_hw_nic1_version": "01",
    }
    assert facts == expected


def test_virtual_machine() -> None:
    """One CPU counts (B41), virtio NIC and disk are whole (B42, B43), NVMe is a disk (B43)."""
    facts = facts_of_file(
        "lshw-qemu-q35.json", BlockDevice("vda", 1, serial="disk-serial"), BlockDevice("nvme0n1", 1, serial="other")
    )
    assert facts["mk_hw_cpu_count"] == "1"
    assert facts["mk_hw_cpu0_size"] == "2GHz"
    assert facts["mk_hw_mem_size"] == "2GiB"
    assert facts["mk_hw_mem_slot_count"] == "1"
    nic = {key: value for key, value in facts.items() if key.startswith("mk_hw_nic")}
    assert nic == {
        "mk_hw_nic_count": "1",
        "mk_hw_nic0_description": "Ethernet interface",
        "mk_hw_nic0_physical_id": "2",
        "mk_hw_nic0_bus_info": "pci@0000:00:02.0",
        "mk_hw_nic0_logical_name": "enp0s2",
        "mk_hw_nic0_version": "01",
        "mk_hw_nic0_serial": "52:54:00:12:34:56",
        "mk_hw_nic0_width": "64 bits",
        "mk_hw_nic0_clock": "33MHz",
        "mk_hw_nic0_capabilities": "msix bus_master cap_list rom ethernet physical",
        "mk_hw_nic0_configuration": (
            "autonegotiation=off broadcast=yes driver=virtio_net ip=10.0.2.15 latency=0 link=yes"
        ),
    }
    assert facts["mk_hw_disk_count"] == "2"
    assert facts["mk_hw_disk0_logical_name"] == "/dev/vda"
    assert facts["mk_hw_disk0_serial"] == "disk-serial"
    assert facts["mk_hw_disk0_size"] == "20GiB (21GB)"
    assert facts["mk_hw_disk1_logical_name"] == "/dev/nvme0n1"
    assert facts["mk_hw_disk1_product"] == "QEMU NVMe Ctrl"
    assert facts["mk_hw_disk1_serial"] == "nvme-serial-1"
    assert facts["mk_hw_disk1_version"] == "7.2.4"
    assert facts["mk_hw_disk1_bus_info"] == "nvme@0:1"


def test_every_value_is_a_text() -> None:
    for name in ("lshw-dual-socket.json", "lshw-qemu-q35.json"):
        assert {type(value) for value in facts_of_file(name).values()} == {str}


def test_what_sysfs_knows_of_board_and_disk_fills_gaps_only() -> None:
    tree = machine(
        node("virtio1", "disk", logicalname="/dev/vda", businfo="virtio@1"),
        node("disk", "disk", logicalname="/dev/sda", serial="own", units="bytes", size=1 << 30),
    )
    facts = facts_of(
        tree,
        {"vendor": "QEMU"},
        BlockDevice("vda", 21474836480, serial="ser-1"),
        BlockDevice("sda", 5, serial="other"),
    )
    assert facts["mk_hw_bus_vendor"] == "QEMU"
    assert facts["mk_hw_disk0_serial"] == "ser-1"
    assert facts["mk_hw_disk0_size"] == "20GiB (21GB)"
    assert facts["mk_hw_disk1_serial"] == "own"
    assert facts["mk_hw_disk1_size"] == "1GiB (1073MB)"
    assert facts["mk_hw_disk_count"] == "2"
    named = node("host", "system", node("core", "bus", vendor="Dell Inc."))
    assert facts_of(named, {"vendor": "QEMU"})["mk_hw_bus_vendor"] == "Dell Inc."


def test_an_nvme_disk_with_two_ports_is_one() -> None:
    """The kernel joins the paths below a subsystem; lshw lists each of them by its own name, without a device node."""
    paths = [
        node(
            f"nvme:{number}",
            "storage",
            node("hwmon0", "disk", logicalname="hwmon0"),
            node("namespace:0", "disk", logicalname=f"ng1c{number}n1", physid="1"),
            node("namespace:1", "disk", logicalname=f"nvme1c{number}n1", physid="1", description="NVMe disk"),
            product="Fast 9",
            serial="N-1",
        )
        for number in (1, 2)
    ]
    facts = facts_of(machine(*paths), None, BlockDevice("nvme1n1", 1 << 30, model="Fast 9", serial="N-1"))
    assert facts["mk_hw_disk_count"] == "1"
    names = ("description", "logical_name", "product", "serial", "size", "physical_id")
    assert [facts[f"mk_hw_disk0_{name}"] for name in names] == [
        "NVMe disk", "/dev/nvme1n1", "Fast 9", "N-1", "1GiB (1073MB)", "1",
    ]  # fmt: skip


def test_disks_that_lshw_does_not_list_follow_the_others() -> None:
    """lshw sees SCSI and SATA disks through /dev/sg* alone; drives, empty readers and eMMC boot areas are no disks."""
    tree = machine(node("namespace", "disk", logicalname="/dev/nvme0n1", units="bytes", size=1 << 30))
    facts = facts_of(
        tree,
        None,
        BlockDevice("nvme0n1", 1 << 30, serial="n"),
        BlockDevice("sda", 1000204886016, "ATA", "SAMSUNG HM100UI", "S2GH", "2AM1", "0:0:1:0"),
        BlockDevice("sdb", 0, "Generic", "Card Reader"),
        BlockDevice("sr0", 1 << 30),
        BlockDevice("mmcblk0", 1 << 34),
        BlockDevice("mmcblk0boot0", 1 << 22),
    )
    disks = {name: value for name, value in facts.items() if re.match(r"mk_hw_disk(_|[1-9])", name)}
    assert disks == {
        "mk_hw_disk_count": "3",
        "mk_hw_disk1_description": "ATA Disk",
        "mk_hw_disk1_product": "SAMSUNG HM100UI",
        "mk_hw_disk1_physical_id": "0.1.0",
        "mk_hw_disk1_bus_info": "scsi@0:0.1.0",
        "mk_hw_disk1_logical_name": "/dev/sda",
        "mk_hw_disk1_version": "2AM1",
        "mk_hw_disk1_serial": "S2GH",
        "mk_hw_disk1_size": "931GiB (1TB)",
        "mk_hw_disk2_description": "Disk",
        "mk_hw_disk2_logical_name": "/dev/mmcblk0",
        "mk_hw_disk2_size": "16GiB (17GB)",
    }


def test_several_memories_add_up_and_controllers_do_not_count() -> None:
    """B44; a memory controller on the PCI bus and flash memory are not the machine's memory."""
    half = {"description": "System Memory", "slot": "System board or motherboard", "units": "bytes"}
    bank = node("bank:0", "memory", units="bytes", size=16 << 30, slot="P1-DIMMA1")
    empty = node("bank:1", "memory", description="DIMM [empty]", slot="P1-DIMMA2")
    tree = machine(
        node("memory:0", "memory", bank, empty, physid="4a", size=16 << 30, **half),
        node("memory:1", "memory", {**bank, "slot": "P2-DIMMA1"}, physid="52", **half),
        node("memory:2", "memory", description="Flash Memory", size=16 << 20),
        node("memory:3", "memory", claimed=False, businfo="pci@0000:3f:00.0"),
    )
    facts = facts_of(tree)
    assert facts["mk_hw_mem_size"] == "32GiB"
    assert facts["mk_hw_mem_physical_id"] == "4a"
    assert facts["mk_hw_mem_slot_count"] == "2"
    assert [facts["mk_hw_mem_slot0_slot"], facts["mk_hw_mem_slot1_slot"]] == ["P1-DIMMA1", "P2-DIMMA1"]


def test_memory_without_smbios() -> None:
    tree = machine(
        node("memory", "memory", description="System memory", units="bytes", size=2060451840),
        node("memory", "memory", businfo="pci@0000:00:09.0", units="bytes", size=1 << 20),
    )
    facts = facts_of(tree)
    assert facts["mk_hw_mem_size"] == "1965MiB"
    assert "mk_hw_mem_slot_count" not in facts
    unnamed = machine(node("memory", "memory", units="bytes", size=1 << 30))
    assert facts_of(unnamed)["mk_hw_mem_size"] == "1GiB"


def test_empty_and_disabled_things_are_dropped_unclaimed_ones_count() -> None:
    """Protocol 6.5 rule 3, 6.6: a socket without a CPU, an interface that is down."""
    tree = machine(
        node("cpu:0", "processor", node("logicalcpu:0", "processor"), slot="CPU1"),
        node("cpu:1", "processor", disabled=True, description="CPU [empty]"),
        node("cpu:2", "processor", slot="CPU3"),
        node("processor", "processor", description="SCSI Processor"),
        node("network:0", "network", disabled=True, logicalname="eth1"),
        node("network:1", "network", claimed=False, description="Ethernet controller"),
        node("network", "network", node("virtio0", "network", logicalname="eth2", disabled=True)),
        node("disk", "disk", disabled=True, logicalname="/dev/sdz"),
    )
    facts = facts_of(tree)
    assert facts["mk_hw_cpu_count"] == "2"
    assert [facts["mk_hw_cpu0_slot"], facts["mk_hw_cpu1_slot"]] == ["CPU1", "CPU3"]
    assert facts["mk_hw_nic_count"] == "1"
    assert facts["mk_hw_nic0_description"] == "Ethernet controller"
    assert "mk_hw_disk_count" not in facts


def test_one_controller_with_two_interfaces_is_two_nics() -> None:
    ports = [node(f"network:{n}", "network", logicalname=f"ib{n}", serial=f"0{n}") for n in range(2)]
    facts = facts_of(machine(node("network", "network", *ports, businfo="pci@0000:81:00.0")))
    assert facts["mk_hw_nic_count"] == "2"
    assert [facts["mk_hw_nic0_serial"], facts["mk_hw_nic1_serial"]] == ["00", "01"]
    assert facts["mk_hw_nic1_bus_info"] == "pci@0000:81:00.0"
    over = node("network", "network", node("network", "network", logicalname="vlan5"), logicalname="eth0")
    assert facts_of(machine(over))["mk_hw_nic_count"] == "2"


def test_drives_are_not_disks() -> None:
    tree = machine(
        node("cdrom:0", "disk", logicalname=["/dev/cdrom", "/dev/sr0"]),
        node("disk", "disk", node("medium", "disk", logicalname="/dev/sdc"), logicalname="/dev/sdc"),
    )
    assert facts_of(tree)["mk_hw_disk_count"] == "1"


def test_a_machine_that_shows_nothing_has_no_facts_and_no_counts() -> None:
    assert facts_of(node("host", "system")) == {}


def as_lshw_prints(text: str) -> bytes:
    """A document with a string escaped as lshw does it: quotes and line ends alone."""
    escaped = text.replace('"', '\\"').replace("\n", "\\n")
    return (
        '{\n  "id" : "host",\n  "class" : "system",\n  "children" : [ {\n      "id" : "core",\n      "class" : "bus",\n'
        f'      "product" : "{escaped}",\n      "serial" : "{escaped}"\n    }}]\n}}\n'
    ).encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ('19" rack', '19" rack'),
        ("ends with backslash\\", "ends with backslash\\"),
        ("C:\\Users\\x", "C:\\Users\\x"),
        ("C:\\zoo", "C:\\zoo"),
        ("bell\x07 tab\t.", "bell  tab ."),
        ('ends "quoted"', 'ends "quoted"'),
    ],
)
def test_missing_escapes_are_repaired(text: str, expected: str) -> None:
    core = parse_lshw(as_lshw_prints(text))[0].children[0]
    assert core.fields["product"] == core.fields["serial"] == expected


def test_bytes_that_are_not_utf8() -> None:
    core = parse_lshw(as_lshw_prints("x").replace(b'"x"', b'"Intel\xae"'))[0].children[0]
    assert core.fields["product"] == "Intel\ufffd"


@pytest.mark.parametrize(
    "noise",
    [b"WARNING: you should run this program as super-user.\n", b"[warn] {odd}\nsh: x: not found\n", b"\xff\xfe\n"],
)
def test_warnings_before_and_after_the_document(noise: bytes) -> None:
    document = json.dumps(machine(node("cpu", "processor", slot="CPU1")), indent=2).encode()
    roots = parse_lshw(noise + document + b"\nWARNING: output may be incomplete or inaccurate.\n")
    assert flatten_lshw(roots, board={}, block=[])["mk_hw_cpu0_slot"] == "CPU1"


def test_list_and_object_are_the_same_machine() -> None:
    tree = machine(node("cpu", "processor"))
    assert facts_of(tree) == facts_of([tree])


def test_a_wrong_type_costs_one_value() -> None:
    tree = machine(
        node(
            "network",
            "network",
            serial=["x"],
            width="64",
            size=True,
            configuration="none",
            capabilities=3,
            logicalname=["eth0", 5],
            vendor=None,
            clock=2.5,
        )
    )
    facts = facts_of(tree)
    assert facts["mk_hw_nic_count"] == "1"
    assert facts["mk_hw_nic0_logical_name"] == "eth0"
    assert set(facts) == {"mk_hw_bus_physical_id", "mk_hw_nic_count", "mk_hw_nic0_logical_name"}


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"Segmentation fault\n",
        b"{",
        b"[]",
        b"[1]",
        b"3",
        b'{"class": "system"}',
        b'{"id": 5}',
        b"[" * 100000,
        b'{"id":"h","children":[' * 300 + b'{"id":"x"}' + b"]}" * 300,
    ],
)
def test_other_output_is_refused_in_one_line(output: bytes) -> None:
    with pytest.raises(BadInput, match=r"^lshw -json"):
        parse_lshw(output)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ \nabc123').map(str.encode))
def test_garbage_never_raises_anything_else(output: bytes) -> None:
    try:
        parse_lshw(output)
    except BadInput as error:
        assert "\n" not in str(error)


def text_listing(text: str) -> list[tuple[str, dict[str, str]]]:
    """Read lshw's text in the simplest way: names in order, each with its lines (the last of equal keys)."""
    found: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        match = re.match(r" *\*-(\S+)", line)
        if match:
            found.append((match.group(1).split(":")[0], {}))
        elif found and ": " in line:
            key, value = line.strip().split(": ", 1)
            found[-1][1][key.replace(" ", "_")] = value
    return found


def compare(as_json: bytes, as_text: str, changing: set[str]) -> None:
    """Hold every value of the JSON against the line of the text, without the keys that change between two runs."""
    nodes: list[Node] = [found for root in parse_lshw(as_json) for found in root.walk()][1:]
    listing = text_listing(as_text)
    assert [found.name for found in nodes] == [name for name, _ in listing]
    for found, (_, lines) in zip(nodes, listing):
        ours = {key: value for key, value in describe(found).items() if key not in changing}
        assert ours == {key: value.strip() for key, value in lines.items() if key not in changing}


def test_json_in_the_words_of_the_text() -> None:
    """Both outputs of lshw in one virtual machine agree, value for value; resources are in the text alone, and
    of several logical names we prefer the device's."""
    as_text = (DATA / "qemu-vm-lshw.txt").read_text(encoding="utf-8")
    compare((DATA / "qemu-vm-lshw.json").read_bytes(), as_text, {"resources", "logical_name"})


@pytest.mark.skipif(not shutil.which("lshw"), reason="lshw is not installed: its text cannot be compared with its JSON")
def test_json_in_the_words_of_the_text_on_this_machine() -> None:
    environment = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    as_json = subprocess.run(["lshw", "-json"], capture_output=True, check=True, env=environment).stdout
    as_text = subprocess.run(["lshw"], capture_output=True, check=True, env=environment).stdout
    changing = {"resources", "configuration", "size", "logical_name"}
    compare(as_json, as_text.decode("utf-8", "replace"), changing)


def test_a_real_guest_with_and_without_smbios() -> None:
    """What the historic agents lost on every KVM guest by `-disable dmi` (row 82)."""
    with_smbios, without = (facts_of_file(f"qemu-vm-lshw{form}.json") for form in ("", "-no-dmi"))
    for name in ("mk_hw_cpu_count", "mk_hw_mem_size", "mk_hw_nic_count", "mk_hw_disk_count"):
        assert with_smbios[name] == without[name]
    assert with_smbios["mk_hw_cpu_count"] == "2"
    assert with_smbios["mk_hw_mem_slot_count"] == "1"
    assert [with_smbios[f"mk_hw_nic{n}_serial"] for n in range(2)] == ["52:54:00:aa:00:01", "52:54:00:aa:00:02"]
    assert with_smbios["mk_hw_disk1_serial"] == "nvme-0001"
    assert with_smbios["mk_hw_nic1_size"] == "1Gbit/s"
    assert with_smbios["mk_hw_fw_size"] == "96KiB"
    assert not [name for name in without if name.startswith(("mk_hw_fw", "mk_hw_mem_slot"))]

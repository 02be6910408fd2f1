"""PCI functions, USB devices, graphics and storage controllers from trees of files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from probe_tree import make_tree

import mkctl.probe
from mkctl.probe.collect import Collected
from mkctl.probe.devices import collect_pci, collect_usb
from mkctl.probe.pci import list_without_driver, parse_uevent, read_pci, why_no_driver
from mkctl.probe.pci_names import PCI_LISTS, find_names, read_names
from mkctl.probe.usb import read_usb

SCHEMAS = Path(mkctl.probe.__file__).parent / "schema"

PCI_IDS = """# a comment
0e11  Compaq Computer Corporation
\ta0f7  Fast Ethernet
8086  Intel Corporation
\t10d3  82574L Gigabit Network Connection
\t\t103c 1788  a card
\t1d02  C600/X79 SATA
# in between
\t2922  82801IR SATA
a0f7  No vendor
\nffff  Illegal Vendor ID
C 00  Unclassified device
\t00  Non-VGA
C 01  Mass storage controller
\t06  SATA controller
\t\t01  AHCI 1.0
C 02  Network controller
\t00  Ethernet controller
"""

BUS = "sys/bus/pci/devices"
NIC = (
    "DRIVER=e1000e\nPCI_CLASS=20000\nPCI_ID=8086:10D3\nPCI_SUBSYS_ID=103C:1788\n"
    "PCI_SLOT_NAME=0000:03:00.0\nMODALIAS=pci:v00008086d000010D3\n"
)
MACHINE = {
    "usr/share/hwdata/pci.ids": PCI_IDS,
    f"{BUS}/0000:03:00.0/uevent": NIC,
    f"{BUS}/0000:03:00.0/revision": "0x01\n",
    f"{BUS}/0000:03:00.0/numa_node": "1\n",
    f"{BUS}/0000:03:00.0/iommu_group": "-> ../../../kernel/iommu_groups/17",
    f"{BUS}/0000:03:00.0/current_link_speed": "2.5 GT/s PCIe\n",
    f"{BUS}/0000:03:00.0/current_link_width": "1\n",
    f"{BUS}/0000:03:00.0/max_link_speed": "5 GT/s\n",
    f"{BUS}/0000:03:00.0/max_link_width": "255\n",
    # without uevent: a copied tree
    f"{BUS}/0000:00:1f.2/vendor": "0x8086\n",
    f"{BUS}/0000:00:1f.2/device": "0x2922\n",
    f"{BUS}/0000:00:1f.2/class": "0x010601\n",
    f"{BUS}/0000:00:1f.2/driver": "-> ../../../bus/pci/drivers/ahci",
    f"{BUS}/0000:00:1f.2/numa_node": "-1\n",
    f"{BUS}/0000:00:1f.2/subsystem_vendor": "0x0000\n",
    f"{BUS}/0000:00:1f.2/subsystem_device": "0x0000\n",
    f"{BUS}/0000:00:01.0/uevent": "PCI_CLASS=60400\nPCI_ID=1B36:000C\n",
    f"{BUS}/0000:00:01.0/current_link_speed": "16.0 GT/s PCIe\n",
    f"{BUS}/0000:04:00.0/uevent": "PCI_CLASS=30200\nPCI_ID=10DE:1DB6\n",
    f"{BUS}/0000:04:00.0/current_link_speed": "Unknown\n",
    f"{BUS}/0000:04:00.0/current_link_width": "63\n",
    f"{BUS}/0000:05:10.0/uevent": "DRIVER=ixgbevf\nPCI_CLASS=20000\nPCI_ID=8086:10ED\n",
    f"{BUS}/0000:05:10.0/physfn": "-> ../0000:05:00.0",
    f"{BUS}/0000:05:10.0/current_link_speed": "Unknown\n",
    # gone, or refusing, while it was read
    f"{BUS}/0000:06:00.0/": "",
    f"{BUS}/0000:07:00.0/uevent": b"PCI_ID=\xff\xfe:zzzz\n\0",
}


def check(collected: Collected) -> dict:
    """The inventory, after a look at its schema."""
    for section, value in collected.inventory.items():
        schema = json.loads((SCHEMAS / f"{section}.json").read_text(encoding="utf-8"))
        Draft202012Validator.check_schema(schema)
        Draft202012Validator(schema).validate(value)
    return dict(collected.inventory)


def test_pci(tmp_path: Path) -> None:
    root = make_tree(tmp_path, MACHINE)
    inventory = check(collect_pci(root / "sys", root))
    assert inventory["pci"] == {
        "0000:00:01.0": {"class_id": "060400", "vendor_id": "1b36", "device_id": "000c"},
        "0000:00:1f.2": {
            "class_id": "010601",
            "class": "SATA controller",
            "vendor_id": "8086",
            "vendor": "Intel Corporation",
            "device_id": "2922",
            "device": "82801IR SATA",
            "driver": "ahci",
        },
        "0000:03:00.0": {
            "class_id": "020000",
            "class": "Ethernet controller",
            "vendor_id": "8086",
            "vendor": "Intel Corporation",
            "device_id": "10d3",
            "device": "82574L Gigabit Network Connection",
            "subsystem_vendor_id": "103c",
            "subsystem_device_id": "1788",
            "revision": "01",
            "driver": "e1000e",
            "numa_node": 1,
            "iommu_group": "17",
            "link_speed": "2.5 GT/s",
            "link_width": 1,
            "max_link_speed": "5 GT/s",
        },
        "0000:04:00.0": {"class_id": "030200", "vendor_id": "10de", "device_id": "1db6", "link_width": 63},
        "0000:05:10.0": {
            "class_id": "020000",
            "class": "Ethernet controller",
            "vendor_id": "8086",
            "vendor": "Intel Corporation",
            "device_id": "10ed",
            "driver": "ixgbevf",
            "physical_function": "0000:05:00.0",
        },
    }
    assert inventory["gpus"] == {"0000:04:00.0": {"kind": "3d"}}
    assert inventory["storage_controllers"] == {
        "0000:00:1f.2": {"kind": "sata", "vendor": "Intel Corporation", "model": "82801IR SATA", "driver": "ahci"}
    }
    assert inventory["devices_without_driver"] == ["0000:04:00.0"]


def test_no_pci_and_no_usb(tmp_path: Path) -> None:
    assert collect_pci(tmp_path / "sys", tmp_path) == Collected()
    assert collect_usb(tmp_path / "sys", tmp_path) == Collected()
    assert read_usb(make_tree(tmp_path, {"bus/usb/devices/usb1/idVendor": "1d6b\n"})) == []


@pytest.mark.parametrize(
    ("class_id", "needs_driver"),
    [
        ("060000", False),
        ("060100", False),
        ("060400", False),
        ("068000", False),
        ("050000", False),
        ("058000", False),
        ("050210", True),  # CXL memory
        ("088000", False),
        ("080600", False),
        ("080501", True),  # SD host controller
        ("110100", False),
        ("118000", True),
        ("130000", False),
        ("020000", True),
        ("010802", True),
        ("0c0500", True),
        ("0b4000", True),
        ("ffff00", True),
        ("", True),
    ],
)
def test_which_class_needs_a_driver(class_id: str, needs_driver: bool) -> None:
    assert (why_no_driver(class_id) == "") is needs_driver


@pytest.mark.parametrize(
    ("vendor", "device", "class_id", "kind"),
    [
        ("8086", "2922", "010601", "sata"),
        ("1000", "005d", "010400", "raid"),
        ("1000", "0097", "010700", "sas"),
        ("144d", "a808", "010802", "nvme"),
        ("1000", "0012", "010000", "scsi"),
        ("8086", "7010", "010180", "ide"),
        ("1af4", "1001", "010000", "virtio"),
        ("1af4", "1042", "018000", "virtio"),
        ("1af4", "105a", "018000", None),
        ("10df", "e300", "0c0400", "fc"),
        ("8086", "ffff", "018000", "other"),
        ("8086", "10d3", "020000", None),
    ],
)
def test_kinds_of_storage_controllers(tmp_path: Path, vendor: str, device: str, class_id: str, kind: object) -> None:
    event = f"PCI_CLASS={class_id}\nPCI_ID={vendor}:{device}\nDRIVER=x\n"
    root = make_tree(tmp_path, {f"{BUS}/0000:01:00.0/uevent": event, f"{BUS}/0000:01:00.0/numa_node": "0\n"})
    found = check(collect_pci(root / "sys", root)).get("storage_controllers", {})
    assert found == ({"0000:01:00.0": {"kind": kind, "driver": "x", "numa_node": 0}} if kind else {})


def test_the_driver_knows_better(tmp_path: Path) -> None:
    """A SAS adapter that says SCSI, a RAID controller that says SAS, and what says RAID and shows plain disks."""
    functions = {
        f"{BUS}/0000:01:00.0/uevent": "PCI_CLASS=10000\nPCI_ID=1000:0054\nDRIVER=mptsas\n",
        f"{BUS}/0000:02:00.0/uevent": "PCI_CLASS=10700\nPCI_ID=9005:028F\nDRIVER=smartpqi\n",
        f"{BUS}/0000:03:00.0/uevent": "PCI_CLASS=10700\nPCI_ID=9005:028F\n",
        f"{BUS}/0000:04:00.0/uevent": "PCI_CLASS=10400\nPCI_ID=8086:2826\nDRIVER=ahci\n",
        f"{BUS}/0000:05:00.0/uevent": "PCI_CLASS=10400\nPCI_ID=8086:28C0\nDRIVER=vmd\n",
    }
    root = make_tree(tmp_path, functions)
    found = check(collect_pci(root / "sys", root))["storage_controllers"]
    assert [entry["kind"] for entry in found.values()] == ["sas", "raid", "sas", "sata", "nvme"]


def test_ports_of_a_fibre_channel_adapter(tmp_path: Path) -> None:
    """Their names in order; neither lent ones nor one that is not set, nor those of a card of another kind."""

    def port(host: int, card: str, below: str = "", **texts: str) -> dict[str, str]:
        folder = f"sys/devices/pci0000:00/{card}/host{host}/{below}fc_host/host{host}"
        link = {f"sys/class/fc_host/host{host}": f"-> ../../{folder.partition('/')[2]}"}
        return {**link, **{f"{folder}/{name}": f"{text}\n" for name, text in texts.items()}}

    card, other = "0000:01:00.0", "0000:02:00.0"
    files = {
        f"{BUS}/{card}/uevent": "PCI_CLASS=C0400\nPCI_ID=1077:2261\nDRIVER=qla2xxx\n",
        f"{BUS}/{other}/uevent": "PCI_CLASS=20000\nPCI_ID=14E4:168E\nDRIVER=bnx2x\n",
        **port(5, card, port_name="0x21000024FF7E0A1C", node_name="0x20000024ff7e0a1c", port_state="Online"),
        **port(6, card, port_name="0x21000024ff7e0a1d"),
        **port(7, card, "vport-5:0-0/host7/", port_name="0x2101001b32a9d5f0"),
        **port(8, card, port_name="0xffffffffffffffff"),
        **port(9, other, port_name="0x2000001018000001"),
        "sys/class/fc_host/host10/port_name": "0x2000001018000002\n",
    }
    root = make_tree(tmp_path, files)
    found = check(collect_pci(root / "sys", root))["storage_controllers"]
    assert list(found) == [card]
    assert found[card]["fc_ports"] == [
        {"wwpn": "0x21000024ff7e0a1c", "wwnn": "0x20000024ff7e0a1c", "state": "online"},
        {"wwpn": "0x21000024ff7e0a1d"},
    ]


@pytest.mark.parametrize(
    ("class_id", "kind"),
    [
        ("030000", "display"),
        ("038000", "display"),
        ("030200", "3d"),
        ("120000", "accelerator"),
        ("0b4000", "coprocessor"),
    ],
)
def test_kinds_of_graphics(tmp_path: Path, class_id: str, kind: str) -> None:
    root = make_tree(tmp_path, {f"{BUS}/0000:01:00.0/uevent": f"PCI_CLASS={class_id}\nPCI_ID=10DE:0001\n"})
    assert check(collect_pci(root / "sys", root))["gpus"] == {"0000:01:00.0": {"kind": kind}}


def test_2000_functions(tmp_path: Path) -> None:
    """Many virtual functions of many vendors cost a fraction of a second; one that cannot be read costs itself."""
    files = {"usr/share/misc/pci.ids": PCI_IDS}
    for number in range(2000):
        address = f"0000:{number // 256:02x}:{number % 256 // 8:02x}.{number % 8}"
        event = f"DRIVER=d\nPCI_CLASS=20000\nPCI_ID={number * 7 % 65536:04X}:{number:04X}\n"
        files[f"{BUS}/{address}/uevent"] = event if number % 100 else "\0"
    root = make_tree(tmp_path, files)
    began = time.thread_time()
    inventory = collect_pci(root / "sys", root).inventory
    assert time.thread_time() - began < 3.0
    assert len(inventory["pci"]) == 1980


def test_names_of_a_whole_list() -> None:
    """The ways to search, few or many numbers, find the same names; comments and subsystems are none."""
    few = find_names(PCI_IDS.encode(), [("8086", "10d3"), ("8086", "2922"), ("8086", "1788"), ("0e11", "a0f7")])
    many = [("8086", f"{number:04x}") for number in (*range(9), 0x10D3, 0x2922, 0x1788)] + [("0e11", "a0f7")]
    many += [(f"{number:04x}", "0000") for number in range(0x2000, 0x2040)]
    assert few == find_names(PCI_IDS.encode(), many)
    assert few.vendors == {"8086": "Intel Corporation", "0e11": "Compaq Computer Corporation"}
    assert few.devices == {
        ("8086", "10d3"): "82574L Gigabit Network Connection",
        ("8086", "2922"): "82801IR SATA",
        ("0e11", "a0f7"): "Fast Ethernet",
    }


def test_names_of_classes() -> None:
    found = find_names(PCI_IDS.encode(), [], ["0106", "0180", "0200", "0c03", "zz", "0000"])
    assert found.classes == {
        "0106": "SATA controller",
        "0180": "Mass storage controller",
        "0200": "Ethernet controller",
        "0000": "Non-VGA",
    }


def test_without_a_list_of_names(tmp_path: Path) -> None:
    assert read_names(tmp_path, PCI_LISTS, [("8086", "10d3")], ["0200"]).vendors == {}
    make_tree(tmp_path, {"usr/share/misc/pci.ids/": "", "usr/share/hwdata/pci.ids": PCI_IDS})
    assert read_names(tmp_path, PCI_LISTS, [("ffff", "10d3")]).vendors == {"ffff": "Illegal Vendor ID"}


@given(st.binary(max_size=200), st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=40))
def test_lists_of_any_bytes(data: bytes, numbers: list[tuple[str, str]]) -> None:
    wanted = [*numbers, ("8086", "10d3"), ("8086", "(.)*")]
    found = find_names(b"\n8086  \xff\n\t10d3  x\n" + data, wanted, [device for _, device in numbers])
    assert found.devices["8086", "10d3"] == "x"


@given(st.binary(max_size=200))
def test_uevents_of_any_bytes(data: bytes) -> None:
    assert all(isinstance(value, str) for value in parse_uevent(data).values())


USB = "sys/bus/usb/devices"
STICK = {
    f"{USB}/usb1/idVendor": "1d6b\n",
    f"{USB}/1-0:1.0/bInterfaceClass": "09\n",
    f"{USB}/1-1.2/idVendor": "46F4\n",
    f"{USB}/1-1.2/idProduct": "0001\n",
    f"{USB}/1-1.2/manufacturer": "QEMU\n",
    f"{USB}/1-1.2/product": b"QEMU\tUSB \xffHARDDRIVE\x1b\n",
    f"{USB}/1-1.2/serial": " usb-1\n",
    f"{USB}/1-1.2/speed": "480\n",
    f"{USB}/1-1.2/bDeviceClass": "00\n",
    f"{USB}/1-1.2:1.0/bInterfaceClass": "08\n",
    f"{USB}/1-1.2:1.0/driver": "-> ../../bus/usb/drivers/usb-storage",
    f"{USB}/1-3/idVendor": "0627\n",
    f"{USB}/1-3/idProduct": "0001\n",
    f"{USB}/1-3/speed": "1.5\n",
    f"{USB}/1-3/bDeviceClass": "00\n",
    f"{USB}/1-3:1.0/bInterfaceClass": "03\n",
    f"{USB}/1-3:1.1/bInterfaceClass": "ff\n",
    f"{USB}/1-3:1.1/driver": "-> ../../bus/usb/drivers/usbhid",
    f"{USB}/1-4/idVendor": "no\n",
    f"{USB}/1-5/idVendor": "1234\n",
    f"{USB}/1-5/idProduct": "5678\n",
    f"{USB}/1-5/bDeviceClass": "09\n",
    f"{USB}/1-5/speed": "unknown\n",
    "usr/share/misc/usb.ids": "#\n0627  Adomax Technology Co., Ltd\n\t0001  QEMU Tablet\n\n",
}


def test_usb(tmp_path: Path) -> None:
    root = make_tree(tmp_path, STICK)
    assert check(collect_usb(root / "sys", root))["usb"] == {
        "1-1.2": {
            "vendor_id": "46f4",
            "product_id": "0001",
            "vendor": "QEMU",
            "product": "QEMU USB \ufffdHARDDRIVE",
            "serial": "usb-1",
            "speed_mbps": 480,
            "class": "mass storage",
            "driver": "usb-storage",
        },
        "1-3": {
            "vendor_id": "0627",
            "product_id": "0001",
            "vendor": "Adomax Technology Co., Ltd",
            "product": "QEMU Tablet",
            "speed_mbps": 1.5,
            "class": "human interface",
            "driver": "usbhid",
        },
        "1-5": {"vendor_id": "1234", "product_id": "5678", "class": "hub"},
    }


def test_drivers_come_and_go(tmp_path: Path) -> None:
    """A function counts as lacking only while no driver has it."""
    root = make_tree(tmp_path, MACHINE)
    (root / f"{BUS}/0000:03:00.0/uevent").write_text(NIC.replace("DRIVER=e1000e\n", ""), encoding="utf-8")
    assert list_without_driver(read_pci(root / "sys")) == ["0000:03:00.0", "0000:04:00.0"]

"""The network's part of facts and inventory, from trees of known machines (rows 42, 45, 71, 79; B33, B42)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_tree import make_tree

from mkcore import ethtool
from mkcore.ethtool import DriverInfo
from mkcore.interfaces import read_interfaces
from mkcore.paths import paths_under
from mkctl.probe import nics
from mkctl.probe.network import collect_network, default_routes, parse_lease, parse_vlans, read_bootif
from mkctl.probe.nics import pci_address, read_nics

SCHEMA = json.loads((Path(nics.__file__).parent / "schema/nics.json").read_text(encoding="utf-8"))
PCI = "sys/devices/pci0000:00"


def nic(name: str, device: str, mac: str, **attributes: str) -> dict[str, str]:
    """A physical NIC as sysfs shows it: class/net/NAME leads to the device's own net/NAME."""
    base = f"{PCI}/{device}/net/{name}"
    up = "../" * (device.count("/") + 3)
    files = {"type": "1", "address": mac, "mtu": "1500", "carrier": "1", "ifindex": "9", "uevent": f"INTERFACE={name}"}
    files.update(attributes)
    tree = {f"{base}/{key}": f"{value}\n" for key, value in files.items()}
    tree[f"{base}/device"] = "-> ../.."
    tree[f"sys/class/net/{name}"] = f"-> ../../devices/pci0000:00/{device}/net/{name}"
    tree[f"sys/bus/pci/devices/{device.split('/')[0]}"] = f"-> ../../../devices/pci0000:00/{device.split('/')[0]}"
    tree[f"{PCI}/{device}/driver"] = f"-> {up}bus/drivers/igb"
    tree["sys/bus/drivers/igb/"] = ""
    return tree


def virtual(name: str, kind: str, **attributes: str) -> dict[str, str]:
    base = f"sys/devices/virtual/net/{name}"
    files = {"type": "1", "address": "52:54:00:00:00:99", "mtu": "1500", "uevent": f"DEVTYPE={kind}\nINTERFACE={name}"}
    files.update({key.replace("__", "/"): value for key, value in attributes.items()})
    tree = {f"{base}/{key}": f"{value}\n" for key, value in files.items()}
    tree[f"sys/class/net/{name}"] = f"-> ../../devices/virtual/net/{name}"
    return tree


MACHINE: dict[str, str] = {
    **nic("eno1", "0000:01:00.0", "52:54:00:AA:00:01", speed="10000", duplex="full", ifindex="2"),
    f"{PCI}/0000:01:00.0/numa_node": "1\n",
    f"{PCI}/0000:01:00.0/sriov_totalvfs": "63\n",
    f"{PCI}/0000:01:00.0/sriov_numvfs": "2\n",
    **nic("eno1v0", "0000:01:10.0", "52:54:00:aa:01:00", carrier="0", speed="-1", duplex="unknown"),
    f"{PCI}/0000:01:10.0/physfn": "-> ../0000:01:00.0",
    f"{PCI}/0000:01:10.0/numa_node": "-1\n",
    **nic("ens3", "0000:00:03.0/virtio0", "52:54:00:aa:00:03", ifindex="3"),
    f"{PCI}/0000:00:03.0/numa_node": "0\n",
    **nic("usb0", "0000:00:14.0/usb1/1-2/1-2:1.0", "52:54:00:aa:00:04", speed="4294967295"),
    **nic("wlp2s0", "0000:02:00.0", "52:54:00:aa:00:05", uevent="DEVTYPE=wlan\nINTERFACE=wlp2s0"),
    **nic("can0", "0000:04:00.0", "", type="280", mtu="16"),
    **nic("ib0", "0000:03:00.0", "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:C9:03:00:0a:0b:0d", type="32", mtu="2044"),
    f"{PCI}/0000:03:00.0/infiniband/mlx5_0/node_guid": "0002:C903:000a:0b0c\n",
    f"{PCI}/0000:03:00.0/infiniband/mlx5_0/ports/1/gids/0": "fe80:0000:0000:0000:0002:c903:000a:0b0d\n",
    f"{PCI}/0000:03:00.0/infiniband/mlx5_0/ports/1/link_layer": "InfiniBand\n",
    f"{PCI}/0000:03:00.0/infiniband/mlx5_0/ports/2/gids/0": "fe80:0000:0000:0000:0000:0000:0000:0000\n",
    f"{PCI}/0000:03:00.0/infiniband/mlx5_0/ports/2/link_layer": "InfiniBand\n",
    "sys/class/infiniband/mlx5_0": "-> ../../devices/pci0000:00/0000:03:00.0/infiniband/mlx5_0",
    f"{PCI}/0000:05:00.0/infiniband/mlx5_1/ports/1/gids/0": "fe80:0000:0000:0000:0002:c903:000a:0c01\n",
    f"{PCI}/0000:05:00.0/infiniband/mlx5_1/ports/1/link_layer": "InfiniBand\n",
    "sys/class/infiniband/mlx5_1": "-> ../../devices/pci0000:00/0000:05:00.0/infiniband/mlx5_1",
    f"{PCI}/0000:06:00.0/infiniband/roce0/ports/1/gids/0": "fe80:0000:0000:0000:0002:c903:000a:0d01\n",
    f"{PCI}/0000:06:00.0/infiniband/roce0/ports/1/link_layer": "Ethernet\n",
    "sys/class/infiniband/roce0": "-> ../../devices/pci0000:00/0000:06:00.0/infiniband/roce0",
    **virtual("lo", "", type="772", address="00:00:00:00:00:00", mtu="65536", carrier="1"),
    **virtual("bond0", "bond", bonding__mode="802.3ad 4", bonding__slaves="eno1 ens3"),
    **virtual("br0", "bridge"),
    "sys/devices/virtual/net/br0/brif/tap0/": "",
    **virtual("tap0", ""),
    "sys/devices/virtual/net/tap0/brport/": "",
    "sys/devices/virtual/net/tap0/master": "-> ../br0",
    **virtual("eno1.100", "vlan"),
    **virtual("storage", "vlan"),
    "sys/devices/virtual/net/storage/lower_eno1/": "",
    f"{PCI}/0000:01:00.0/net/eno1/bonding_slave/": "",
    f"{PCI}/0000:01:00.0/net/eno1/master": "-> ../../../../virtual/net/bond0",
    "proc/net/bonding/bond0": "Slave Interface: eno1\nPermanent HW addr: 52:54:00:aa:00:0f\n",
    "proc/net/vlan/config": "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n"
    "eno1.100       | 100  | eno1\n",
    "proc/net/route": "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eno1\t00000000\t010200C0\t0003\t0\t0\t200\t00000000\t0\t0\t0\n"
    "ens3\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
    "eno1\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
    "proc/cmdline": "quiet BOOTIF=01-52-54-00-aa-00-03\n",
    "run/systemd/netif/leases/2": "# This is private data. Do not parse.\nSERVER_ADDRESS=192.0.2.1\n",
    "run/systemd/netif/leases/3": "ADDRESS=192.0.2.7\nSERVER_ADDRESS=192.0.2.9\n",
}  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return make_tree(tmp_path, MACHINE)


def section(root: Path) -> dict[str, Any]:
    found: Any = collect_network(paths_under(str(root)), root, only_files=True).inventory["nics"]
    jsonschema.validate(found, SCHEMA)
    return found


def test_physical_nics_in_full(machine: Path) -> None:
    found = section(machine)
    assert found["eno1"] == {
        "type": "ethernet",
        "mac": "52:54:00:aa:00:01",
        "permanent_mac": "52:54:00:aa:00:0f",
        "mtu": 1500,
        "carrier": True,
        "speed_mbps": 10000,
        "duplex": "full",
        "driver": "igb",
        "pci_address": "0000:01:00.0",
        "numa_node": 1,
        "sriov": {"total_vfs": 63, "vfs": 2},
        "bond": {"master": "bond0"},
    }
    assert found["eno1v0"] == {
        "type": "ethernet",
        "mac": "52:54:00:aa:01:00",
        "permanent_mac": "52:54:00:aa:01:00",
        "mtu": 1500,
        "carrier": False,
        "driver": "igb",
        "pci_address": "0000:01:10.0",
        "sriov": {"physical_function": "0000:01:00.0"},
    }


def test_b42_a_virtio_nic_has_its_name_address_and_pci_device(machine: Path) -> None:
    found = section(machine)["ens3"]
    assert (found["mac"], found["pci_address"], found["numa_node"]) == ("52:54:00:aa:00:03", "0000:00:03.0", 0)


def test_the_nic_that_the_machine_booted_from(machine: Path) -> None:
    assert [name for name, found in section(machine).items() if found.get("boot")] == ["ens3"]
    (machine / "proc/cmdline").write_text("quiet BOOTIF=01-00-00-00-00-00-01\n", encoding="ascii")
    assert [name for name, found in section(machine).items() if found.get("boot")] == ["eno1"]


def test_other_kinds(machine: Path) -> None:
    found = section(machine)
    assert {name: each["type"] for name, each in found.items()} == {
        "bond0": "bond",
        "br0": "bridge",
        "can0": "other",
        "eno1": "ethernet",
        "eno1.100": "vlan",
        "eno1v0": "ethernet",
        "ens3": "ethernet",
        "ib0": "infiniband",
        "lo": "loopback",
        "mlx5_1": "infiniband",
        "storage": "vlan",
        "tap0": "virtual",
        "usb0": "ethernet",
        "wlp2s0": "wireless",
    }
    assert "pci_address" not in found["usb0"]
    assert "speed_mbps" not in found["usb0"]
    assert found["lo"] == {"type": "loopback", "mtu": 65536, "carrier": True}


def test_membership(machine: Path) -> None:
    found = section(machine)
    assert found["bond0"]["bond"] == {"mode": "802.3ad", "slaves": ["eno1", "ens3"]}
    assert found["br0"]["bridge"] == {"ports": ["tap0"]}
    assert found["tap0"]["bridge"] == {"master": "br0"}
    assert found["eno1.100"]["vlan"] == {"id": 100, "parent": "eno1"}
    assert found["storage"]["vlan"] == {"parent": "eno1"}


def test_infiniband(machine: Path) -> None:
    found = section(machine)
    assert found["ib0"]["mac"] == "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:0a:0b:0d"
    assert found["ib0"]["infiniband"] == {
        "node_guid": "0002:c903:000a:0b0c",
        "port_guids": ["0002:c903:000a:0b0d"],
    }
    assert found["mlx5_1"] == {
        "type": "infiniband",
        "pci_address": "0000:05:00.0",
        "infiniband": {"port_guids": ["0002:c903:000a:0c01"]},
    }


def test_two_infiniband_ports_of_one_pci_function(tmp_path: Path) -> None:
    """Each interface has its own port's GUID; a port that speaks Ethernet has none."""
    ports = f"{PCI}/0000:03:00.0/infiniband/mlx4_0/ports"
    mac = "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:0a:0b:0"
    machine: dict[str, str] = {
        **nic("eth0", "0000:03:00.0", "00:02:c9:0a:0b:0f"),
        f"{ports}/1/gids/0": "fe80:0000:0000:0000:0002:c903:000a:0b0d\n",
        f"{ports}/1/link_layer": "InfiniBand\n",
        f"{ports}/2/gids/0": "fe80:0000:0000:0000:0002:c903:000a:0b0e\n",
        f"{ports}/2/link_layer": "InfiniBand\n",
        f"{ports}/3/link_layer": "Ethernet\n",
        "sys/class/infiniband/mlx4_0": "-> ../../devices/pci0000:00/0000:03:00.0/infiniband/mlx4_0",
    }
    alone = section(make_tree(tmp_path / "alone", machine))
    assert "infiniband" not in alone["eth0"]
    assert alone["mlx4_0"]["infiniband"] == {"port_guids": ["0002:c903:000a:0b0d", "0002:c903:000a:0b0e"]}
    for name, last in (("ib0", "d"), ("ib1", "e")):
        machine.update(nic(name, "0000:03:00.0", mac + last, type="32", mtu="2044"))
    found = section(make_tree(tmp_path / "both", machine))
    assert [found[name]["infiniband"]["port_guids"] for name in ("ib0", "ib1")] == [
        ["0002:c903:000a:0b0d"], ["0002:c903:000a:0b0e"],
    ]  # fmt: skip
    assert "mlx4_0" not in found
    assert "infiniband" not in found["eth0"]


def test_what_the_driver_says(machine: Path) -> None:
    said = {
        "eno1": DriverInfo("ixgbe", "6.1.0", "0x80000a49, 1.1767.0"),
        "ens3": DriverInfo("virtio_net", "1.0.0", ""),
        "can0": DriverInfo("x", "", "N/A"),
    }
    interfaces = read_interfaces(machine / "sys", machine / "proc", lambda _: "")
    found: Any = read_nics(
        str(machine / "sys"), interfaces, {}, "", lambda name: said.get(name, DriverInfo("\x1bdrv\xff", "\0", ""))
    )
    jsonschema.validate(found, SCHEMA)
    assert found["eno1"]["firmware_version"] == "0x80000a49, 1.1767.0"
    assert (found["eno1"]["driver"], found["eno1"]["driver_version"]) == ("igb", "6.1.0")
    assert "firmware_version" not in found["ens3"]
    assert "firmware_version" not in found["can0"]


def test_facts_of_vlans_and_dhcp(machine: Path) -> None:
    facts = collect_network(paths_under(str(machine)), machine, only_files=True).facts
    assert facts["vlans"] == "100"
    assert facts["dhcp_servers"] == {"eno1": "192.0.2.1", "ens3": "192.0.2.9", "system": "192.0.2.9"}
    assert facts["macaddress_eno1"] == "52:54:00:aa:00:0f"


def test_no_network_at_all(tmp_path: Path) -> None:
    got = collect_network(paths_under(str(tmp_path)), tmp_path, only_files=True)
    assert (got.facts, got.inventory) == ({"interfaces": ""}, {"nics": {}})


@pytest.mark.parametrize(
    ("text", "vlans"),
    [
        ("", {}),
        ("eth0.5|5|eth0\nodd | x | eth0\n | 6 | eth0\na|b\nv | 99999 | e\nv7 | 7 | eth1\n", {"eth0.5": 5, "v7": 7}),
    ],
)
def test_vlan_texts(text: str, vlans: dict[str, int]) -> None:
    assert {name: number for name, (number, _) in parse_vlans(text).items()} == vlans


def test_vlans_are_listed_once_and_by_number(tmp_path: Path) -> None:
    """Facter listed them in the order in which they were made."""
    rows = "a.183 | 183 | a\nb.181 | 181 | b\na.2 | 2 | a\na.181 | 181 | a\n"
    root = make_tree(tmp_path, {"proc/net/vlan/config": rows})
    assert collect_network(paths_under(str(root)), root, only_files=True).facts["vlans"] == "2,181,183"


@pytest.mark.parametrize(
    ("text", "server"),
    [("SERVER_ADDRESS=192.0.2.1\n", "192.0.2.1"), ("SERVER_ADDRESS=x\n", ""), ("ADDRESS=192.0.2.1\n", ""), ("", "")],
)
def test_lease_texts(text: str, server: str) -> None:
    assert parse_lease(text) == server


def test_routes_and_bootif(tmp_path: Path) -> None:
    assert list(default_routes("")) == list(default_routes("Iface\nshort line\n")) == []
    for line, value in (("BOOTIF=a b BOOTIF=c", "c"), ("xBOOTIF=a", ""), ('"BOOTIF=d"', ""), ('BOOTIF="d"', "d")):
        make_tree(tmp_path, {"cmdline": line})
        assert read_bootif(str(tmp_path)) == value
    assert read_bootif(str(tmp_path / "nowhere")) == ""
    make_tree(tmp_path, {"cmdline": "quiet", "credentials/mk.bootif": "52:54:00:12:34:56\n"})
    assert read_bootif(str(tmp_path), tmp_path / "credentials") == "52:54:00:12:34:56"
    make_tree(tmp_path, {"cmdline": "BOOTIF=d"})
    assert read_bootif(str(tmp_path), tmp_path / "credentials") == "d", "the line counts more"


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    parse_vlans(text)
    parse_lease(text)
    list(default_routes(text))


def test_a_device_that_vanishes_or_lies_costs_itself(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path,
        {
            **nic("eno1", "0000:01:00.0", "52:54:00:aa:00:01"),
            **nic("eno2", "0000:02:00.0", "no address", mtu="x", type="-", speed="9" * 30, ifindex=""),
            f"{PCI}/0000:02:00.0/sriov_totalvfs": "many\n",
            f"{PCI}/0000:02:00.0/numa_node": "9" * 40,
            "sys/class/net/gone": "-> ../../devices/gone",
            "sys/class/net/bonding_masters": "bond0\n",
            "sys/class/infiniband/empty/": "",
        },
    )
    found = section(root)
    assert found["eno2"] == {"type": "other", "carrier": True, "driver": "igb", "pci_address": "0000:02:00.0"}
    assert set(found) == {"eno1", "eno2"}


def test_64_nics_take_no_time(tmp_path: Path) -> None:
    tree: dict[str, str] = {}
    for number in range(64):
        tree.update(nic(f"eth{number}", f"0000:{number:02x}:00.0", f"52:54:00:aa:00:{number:02x}", speed="10000"))
    root = make_tree(tmp_path, tree)
    took_s = []
    for _ in range(5):
        began = time.thread_time()
        assert len(section_without_check(root)) == 64
        took_s.append(time.thread_time() - began)
    assert min(took_s) < 0.15  # of processor time, typically a tenth of it


def section_without_check(root: Path) -> Any:
    return collect_network(paths_under(str(root)), root, only_files=True).inventory["nics"]


def test_this_machine() -> None:
    found: Any = collect_network(paths_under(), Path("/")).inventory["nics"]
    jsonschema.validate(found, SCHEMA)
    assert set(found) >= {each.name for each in Path("/sys/class/net").iterdir() if each.is_dir()}
    assert found["lo"]["type"] == "loopback"
    assert ethtool.driver_info("lo") == ethtool.driver_info("absent") == DriverInfo()


def test_pci_addresses_without_a_link(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"net/e/device": "-> ../../0000:00:1f.6", "0000:00:1f.6/": "", "net/v/": ""})
    assert pci_address(str(root / "net/e")) == "0000:00:1f.6"
    assert pci_address(str(root / "net/v")) == ""

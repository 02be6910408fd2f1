"""mkcore.interfaces and mkcore.ethtool: sysfs trees of known machines, and this machine's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mkcore import ethtool
from mkcore.errors import BadInput
from mkcore.interfaces import (
    address_facts,
    choose_boot_nic,
    identity_interfaces,
    parse_bonding,
    parse_if_inet6,
    read_interfaces,
)

BONDING = """Ethernet Channel Bonding Driver: v6.1

Bonding Mode: IEEE 802.3ad Dynamic link aggregation
MII Status: up

Slave Interface: enp1s0
MII Status: up
Permanent HW addr: 52:54:00:AA:00:01
Slave queue ID: 0

Slave Interface: enp2s0
Permanent HW addr: 52:54:00:aa:00:02
"""
IF_INET6 = """fd000000000000000000000000000002 04 40 00 82     eth0
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
garbage
20010db8000000000000000000000007 05 40 00 00 br-lan.7
"""


def make_nics(root: Path, nics: dict[str, dict[str, str]]) -> Path:
    """Make a sysfs tree: attributes are files, `device`, `driver` and `master` are links as the kernel makes them."""
    base = root / "class/net"
    for name, attributes in nics.items():
        directory = base / name
        directory.mkdir(parents=True)
        for key, value in attributes.items():
            if key == "device":
                device = root / "devices/pci0000:00" / value
                (root / "bus/drivers/virtio_net").mkdir(parents=True, exist_ok=True)
                device.mkdir(parents=True)
                (device / "driver").symlink_to(root / "bus/drivers/virtio_net")
                (directory / "device").symlink_to(device)
            elif key == "master":
                (directory / "bonding_slave").mkdir()
                (directory / "master").symlink_to(base / value)
            else:
                (directory / key).write_text(value + "\n", encoding="ascii")
    return root


MACHINE: dict[str, dict[str, str]] = {
    "lo": {"type": "772", "address": "00:00:00:00:00:00", "mtu": "65536", "operstate": "unknown", "ifindex": "1"},
    "enp2s0": {"type": "1", "address": "52:54:00:AA:00:01", "device": "0000:02:00.0", "master": "bond0", "mtu": "1500"},
    "enp1s0": {"type": "1", "address": "52:54:00:aa:00:01", "device": "0000:01:00.0", "master": "bond0", "mtu": "1500"},
    "bond0": {"type": "1", "address": "52:54:00:aa:00:01", "mtu": "1500"},
    "docker0": {"type": "1", "address": "02:42:00:00:00:01", "mtu": "1500", "carrier": "0"},
    "eno1": {
        "type": "1",
        "address": "52:54:00:bb:00:01",
        "device": "0000:00:1f.6",
        "mtu": "9000",
        "carrier": "1",
        "speed": "10000",
    },
    "eno2": {"type": "1", "address": "00:00:00:00:00:00", "device": "0000:00:1f.7", "mtu": "1500", "speed": "-1"},
    "ib0": {
        "type": "32",
        "address": "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:0a:0b:0c",
        "device": "0000:03:00.0",
    },
    "dummy0": {"type": "1", "address": "32:00:00:00:00:01"},
}


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    proc = tmp_path / "proc"
    (proc / "net/bonding").mkdir(parents=True)
    (proc / "net/bonding/bond0").write_text(BONDING, encoding="ascii")
    (proc / "net/if_inet6").write_text(IF_INET6, encoding="ascii")
    return make_nics(tmp_path / "sys", MACHINE), proc


def test_interfaces_are_read_sorted_with_their_permanent_addresses(machine: tuple[Path, Path]) -> None:
    nics = read_interfaces(*machine, permanent=lambda name: "52:54:00:BB:00:99" if name == "eno1" else "")
    assert [nic.name for nic in nics] == sorted(MACHINE)
    by_name = {nic.name: nic for nic in nics}
    assert {name: nic.permanent_mac for name, nic in by_name.items()} == {
        "lo": "",
        "enp1s0": "52:54:00:aa:00:01",
        "enp2s0": "52:54:00:aa:00:02",
        "bond0": "52:54:00:aa:00:01",
        "docker0": "02:42:00:00:00:01",
        "eno1": "52:54:00:bb:00:99",
        "eno2": "",
        "ib0": "",
        "dummy0": "32:00:00:00:00:01",
    }
    eno1 = by_name["eno1"]
    assert (eno1.physical, eno1.mtu, eno1.carrier, eno1.speed_mbps) == (True, 9000, True, 10_000)
    assert (eno1.driver, eno1.device, eno1.bond_master) == ("virtio_net", "0000:00:1f.6", "")
    assert (by_name["eno2"].speed_mbps, by_name["eno2"].carrier, by_name["docker0"].carrier) == (0, None, False)
    assert (by_name["enp1s0"].bond_master, by_name["bond0"].bond_master) == ("bond0", "")


def test_physical_ethernet_identifies_the_machine(machine: tuple[Path, Path]) -> None:
    nics = read_interfaces(*machine, permanent=lambda name: "")
    assert [nic.name for nic in identity_interfaces(nics)] == ["eno1", "enp1s0", "enp2s0"]
    assert [nic.name for nic in identity_interfaces(reversed(nics), r"\Aenp\d")] == ["enp1s0", "enp2s0"]
    assert identity_interfaces(nics, "^eth[0-9]+$") == []
    with pytest.raises(BadInput):
        identity_interfaces(nics, "(")


def test_the_nic_of_a_management_controller_identifies_no_machine(machine: tuple[Path, Path]) -> None:
    """Its made-up address stands in every machine of the kind: a server that goes by addresses would join them."""
    eno1 = next(nic for nic in read_interfaces(*machine, permanent=lambda name: "") if nic.name == "eno1")
    ilo = eno1._replace(
        name="enp0s20f0u1", device="1-4.2:1.0", permanent_mac="0a:ca:fe:f0:0d:04", mac="0a:ca:fe:f0:0d:04"
    )
    dongle = ilo._replace(name="enx1", permanent_mac="00:e0:4c:68:00:01", mac="00:e0:4c:68:00:01")
    assert [nic.name for nic in identity_interfaces([ilo, eno1, dongle])] == ["eno1", "enx1"]
    assert identity_interfaces([ilo]) == [ilo], "better than nothing"
    assert identity_interfaces([ilo, eno1], "u1$") == [ilo], "the site's own word counts"
    later = eno1._replace(name="eth9")
    assert choose_boot_nic([ilo, later], {}, "") == "eth9"
    assert choose_boot_nic([ilo, later], {}, "01-0a-ca-fe-f0-0d-04") == ilo.name


def test_no_network_at_all(tmp_path: Path) -> None:
    assert read_interfaces(tmp_path, tmp_path) == []
    assert address_facts([], tmp_path) == {"interfaces": ""}


def test_bonding_and_inet6_texts() -> None:
    assert parse_bonding(BONDING) == {"enp1s0": "52:54:00:aa:00:01", "enp2s0": "52:54:00:aa:00:02"}
    assert parse_bonding("Permanent HW addr: 52:54:00:aa:00:02\n") == {}
    found = {name: [str(address) for address in addresses] for name, addresses in parse_if_inet6(IF_INET6).items()}
    assert found == {"eth0": ["fd00::2/64", "fe80::fc:ff:fe00:1/64"], "lo": ["::1/128"], "br-lan.7": ["2001:db8::7/64"]}


def test_address_facts_have_facters_names_and_types(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/if_inet6").write_text(IF_INET6, encoding="ascii")
    sys_root = make_nics(
        tmp_path / "sys",
        {
            "br-lan.7": {"type": "1", "address": "02:00:00:00:00:07", "mtu": "1500"},
            "eth0": {"type": "1", "address": "52:54:00:AA:00:01", "mtu": "1400", "device": "0000:01:00.0"},
            "eth1": {"type": "1", "address": "52:54:00:aa:00:02", "mtu": "1500", "device": "0000:02:00.0"},
            "lo": {"type": "772", "address": "00:00:00:00:00:00", "mtu": "65536"},
        },
    )
    inet4 = {
        "lo": ("127.0.0.1", "255.0.0.0"),
        "br-lan.7": ("10.0.0.1", "255.0.0.255"),
        "eth1": ("192.0.2.2", "255.255.255.0"),
    }
    facts = address_facts(read_interfaces(sys_root, tmp_path, lambda name: ""), tmp_path, inet4.get)
    assert facts == {
        "interfaces": "br_lan_7,eth0,eth1,lo",
        "ipaddress": "192.0.2.2",
        "netmask": "255.255.255.0",
        "network": "192.0.2.0",
        "ipaddress6": "fd00::2",
        "macaddress": "52:54:00:aa:00:01",
        "macaddress_eth0": "52:54:00:aa:00:01",
        "ipaddress6_eth0": "fd00::2",
        "mtu_eth0": 1400,
        "macaddress_eth1": "52:54:00:aa:00:02",
        "mtu_eth1": 1500,
        "ipaddress_eth1": "192.0.2.2",
        "netmask_eth1": "255.255.255.0",
        "network_eth1": "192.0.2.0",
        "macaddress_br_lan_7": "02:00:00:00:00:07",
        "mtu_br_lan_7": 1500,
        "ipaddress6_br_lan_7": "2001:db8::7",
        "ipaddress_br_lan_7": "10.0.0.1",
        "netmask_br_lan_7": "255.0.0.255",
        "network_br_lan_7": "10.0.0.1",
        "ipaddress_lo": "127.0.0.1",
        "netmask_lo": "255.0.0.0",
        "network_lo": "127.0.0.0",
        "mtu_lo": 65536,
    }


def test_slaves_of_a_bond_show_their_own_address(machine: tuple[Path, Path]) -> None:
    facts: dict[str, Any] = address_facts(
        read_interfaces(*machine, permanent=lambda name: ""), machine[1], lambda name: None
    )
    assert facts["macaddress_enp2s0"] == "52:54:00:aa:00:02"
    assert facts["macaddress"] == "52:54:00:bb:00:01"
    assert "ipaddress" not in facts


def test_this_machine() -> None:
    assert ethtool.ipv4_address("lo") == ("127.0.0.1", "255.0.0.0")
    assert ethtool.permanent_mac("lo") == ""
    for absent in ("no-such-nic", "x" * 100, "", "ü"):
        assert ethtool.ipv4_address(absent) is None
        assert ethtool.permanent_mac(absent) == ""
    names = [nic.name for nic in read_interfaces()]
    assert names == sorted(each.name for each in Path("/sys/class/net").iterdir() if each.is_dir())
    assert address_facts(read_interfaces())["ipaddress_lo"] == "127.0.0.1"

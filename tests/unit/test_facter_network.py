"""`networking` of Facter 4: addresses and routes of rtnetlink, DHCP servers, the primary interface.

The expected values are what Facter 4.3 printed for these interfaces.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_tree import make_tree

from mkcore import ethtool
from mkcore.interfaces import Interface
from mkctl.probe.facter_addresses import Assigned, Route, parse_addresses, parse_routes
from mkctl.probe.facter_dhcp import parse_dhclient, read_dhcp_servers
from mkctl.probe.facter_names import Names
from mkctl.probe.facter_networking import Network, structured_networking

NAMES = Names("n7", "lab.example", "n7.lab.example")
MAC = "02:00:00:00:0a:0"


def interface(name: str, index: int, mac: str = "", master: str = "", mtu: int = 1500) -> Interface:
    found = mac or f"{MAC}{index}"
    return Interface(
        name, index, 1, "" if name == "lo" else found, "02:00:00:00:0b:01", True, mtu, "up", True, 0, "", "", "", master
    )


def assigned(index: int, address: str, label: str = "", flags: int = 0x80) -> Assigned:
    whole = ipaddress.ip_interface(address)
    return Assigned(index, whole.ip, whole.network.prefixlen, label, flags)


def networking(*interfaces: Interface, **parts: Any) -> dict[str, Any]:
    return structured_networking(interfaces, Network(**parts), NAMES)


def test_one_interface() -> None:
    addresses = [assigned(2, "10.109.1.2/24"), assigned(2, "fe80::546f:86ff:fe55:c7/64")]
    facts = networking(interface("eth0", 2), addresses=addresses, servers={"eth0": "10.109.1.1", "eth9": "10.0.0.1"})
    own = {
        "dhcp": "10.109.1.1",
        "ip": "10.109.1.2",
        "ip6": "fe80::546f:86ff:fe55:c7",
        "mac": "02:00:00:00:0a:02",
        "mtu": 1500,
        "netmask": "255.255.255.0",
        "netmask6": "ffff:ffff:ffff:ffff::",
        "network": "10.109.1.0",
        "network6": "fe80::",
        "scope6": "link",
    }
    bindings6 = {"address": "fe80::546f:86ff:fe55:c7", "netmask": "ffff:ffff:ffff:ffff::", "network": "fe80::"}
    assert facts == {
        "domain": "lab.example",
        "fqdn": "n7.lab.example",
        "hostname": "n7",
        "interfaces": {
            "eth0": {
                "bindings": [{"address": "10.109.1.2", "netmask": "255.255.255.0", "network": "10.109.1.0"}],
                "bindings6": [{**bindings6, "scope6": "link", "flags": ["permanent"]}],
                **own,
            }
        },
        "primary": "eth0",
        **own,
    }


def test_labels_are_interfaces_and_sources_of_routes_are_bindings() -> None:
    addresses = [
        assigned(3, "10.1.2.3/24", "veth0"),
        assigned(3, "172.16.5.6/30", "veth0:1"),
        assigned(3, "10.1.2.4/24", "veth0"),
        assigned(9, "192.0.2.9/24"),  # of an interface that has gone meanwhile
    ]
    sources = ("10.1.2.3", "172.16.5.6", "10.1.2.4")
    routes = [Route(4, 3, False, ipaddress.ip_address(source)) for source in sources]
    routes += [Route(6, 3, False, ipaddress.ip_address("2001:db8::1")), Route(4, 9, False, None)]
    found = networking(interface("veth0", 3), addresses=addresses, routes=routes)["interfaces"]
    assert found["veth0"]["bindings"] == [
        {"address": "10.1.2.3", "netmask": "255.255.255.0", "network": "10.1.2.0"},
        {"address": "10.1.2.4", "netmask": "255.255.255.0", "network": "10.1.2.0"},
        {"address": "172.16.5.6"},
    ]
    assert found["veth0"]["bindings6"] == [{"address": "2001:db8::1"}]
    alone = {"address": "172.16.5.6", "netmask": "255.255.255.252", "network": "172.16.5.4"}
    assert found["veth0:1"] == {
        "bindings": [alone],
        "ip": "172.16.5.6",
        "netmask": "255.255.255.252",
        "network": "172.16.5.4",
    }


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (0x82, ["noad", "permanent"]),
        (0xC0, ["tentative", "permanent"]),
        (0xA2, ["noad", "deprecated", "permanent"]),
        (0x11, ["temporary", "homeaddress"]),
        (0x300, []),
    ],
)
def test_flags(flags: int, names: list[str]) -> None:
    found = networking(interface("eth0", 2), addresses=[assigned(2, "2001:db8::7/64", flags=flags)])
    assert found["interfaces"]["eth0"]["bindings6"][0]["flags"] == names


@pytest.mark.parametrize(
    ("address", "scope"),
    [
        ("::1/128", "host"),
        ("fe80::1/64", "link"),
        ("fec0::7/64", "site"),
        ("fd00::1/64", "global"),
        ("2001::1/9", "global"),
    ],
)
def test_scopes(address: str, scope: str) -> None:
    found = networking(interface("lo", 1), addresses=[assigned(1, address)])
    assert found["interfaces"]["lo"]["scope6"] == scope


@pytest.mark.parametrize(
    ("addresses", "routes", "primary"),
    [
        ([assigned(3, "10.0.0.1/24"), assigned(2, "10.0.1.1/24")], [], "vb"),
        ([assigned(3, "10.0.0.1/24"), assigned(2, "10.0.1.1/24")], [Route(4, 3, True), Route(4, 2, True)], "va"),
        ([assigned(3, "2001:db8::1/64"), assigned(2, "fe80::1/64")], [], "va"),
        ([assigned(3, "fd00::1/64"), assigned(2, "169.254.3.1/16"), assigned(1, "127.0.0.1/8")], [], None),
        ([assigned(1, "127.0.0.1/8"), assigned(1, "10.7.7.7/32"), assigned(3, "10.0.0.1/24")], [], "lo"),
        ([assigned(2, "10.0.1.1/24")], [Route(6, 3, True), Route(4, 3, False)], "vb"),
        ([assigned(2, "10.0.1.1/24")], [Route(4, 9, True)], "vb"),
        ([], [], None),
    ],
)
def test_primary(addresses: list[Assigned], routes: list[Route], primary: Any) -> None:
    interfaces = (interface("lo", 1), interface("vb", 2), interface("va", 3))
    facts = networking(*interfaces, addresses=addresses, routes=routes)
    assert facts.get("primary") == primary
    assert facts.get("mac") == (facts["interfaces"][primary].get("mac") if primary else None)


def test_the_address_that_counts() -> None:
    addresses = [assigned(2, "169.254.1.1/16"), assigned(2, "10.0.0.1/24")]
    found = networking(interface("va", 2), addresses=addresses)["interfaces"]["va"]
    assert (found["ip"], found["netmask"], found["network"]) == ("10.0.0.1", "255.255.255.0", "10.0.0.0")


def test_a_slave_shows_its_permanent_address() -> None:
    found = networking(interface("eth0", 2, master="bond0"), interface("bond0", 3))["interfaces"]
    assert found == {
        "eth0": {"mac": "02:00:00:00:0b:01", "mtu": 1500},
        "bond0": {"mac": "02:00:00:00:0a:03", "mtu": 1500},
    }


# --- rtnetlink ------------------------------------------------------------------------------------
def attribute(kind: int, data: bytes) -> bytes:
    return (struct.pack("=HH", len(data) + 4, kind) + data).ljust((len(data) + 7) & ~3, b"\0")


def address_message(family: int, prefix: int, index: int, *attributes: bytes, flags: int = 0) -> bytes:
    return struct.pack("=BBBBI", family, prefix, flags, 0, index) + b"".join(attributes)


def test_addresses() -> None:
    four, peer, six = b"\x0a\x09\x09\x01", b"\x0a\x09\x09\x02", ipaddress.ip_address("2001:db8::7").packed
    messages = [
        address_message(2, 24, 2, attribute(1, four), attribute(2, four), attribute(3, b"eth0:1\0")),
        address_message(2, 32, 3, attribute(1, peer), attribute(2, four)),
        address_message(10, 64, 2, attribute(1, six), attribute(8, struct.pack("=I", 0x282)), flags=0x82),
        address_message(10, 64, 2, attribute(1, six), flags=0x80),
        address_message(10, 64, 2, attribute(1, four)),
        address_message(7, 64, 2, attribute(1, six)),
        address_message(2, 24, 2),
        b"\2\2",
        address_message(2, 99, 4, attribute(2, four)),
    ]
    assert parse_addresses(messages) == [
        Assigned(2, ipaddress.ip_address("10.9.9.1"), 24, "eth0:1", 0),
        Assigned(3, ipaddress.ip_address("10.9.9.1"), 32, "", 0),
        Assigned(2, ipaddress.ip_address("2001:db8::7"), 64, "", 0x282),
        Assigned(2, ipaddress.ip_address("2001:db8::7"), 64, "", 0x80),
        Assigned(4, ipaddress.ip_address("10.9.9.1"), 32, "", 0),
    ]


def route_message(family: int, prefix: int, *attributes: bytes, table: int = 254, kind: int = 1) -> bytes:
    return struct.pack("=BBBBBBBBI", family, prefix, 0, 0, table, 3, 0, kind, 0) + b"".join(attributes)


def test_routes() -> None:
    out, source = attribute(4, struct.pack("=I", 2)), attribute(7, b"\x0a\x00\x00\x01")
    messages = [
        route_message(2, 0, out, source),
        route_message(2, 24, out),
        route_message(10, 0, out, source),
        route_message(2, 0, out, table=255),
        route_message(2, 0, out, kind=6),  # a black hole
        route_message(2, 0, source),  # several ways
        b"\2",
    ]
    assert parse_routes(messages) == [
        Route(4, 2, True, ipaddress.ip_address("10.0.0.1")),
        Route(4, 2, False, None),
        Route(6, 2, True, None),
    ]


@given(st.lists(st.binary(max_size=64)))
def test_rtnetlink_of_any_bytes(messages: list[bytes]) -> None:
    parse_addresses(messages)
    parse_routes([b"\2\0\0\0\xfe\0\0\1" + message for message in messages])


def test_the_kernel_answers() -> None:
    """Every machine has a loopback interface; whether it is up is another matter."""
    found = parse_addresses(ethtool.dump_rtnetlink(ethtool.RTM_GETADDR))
    assert all(each.index > 0 for each in found)
    parse_routes(ethtool.dump_rtnetlink(ethtool.RTM_GETROUTE, 2))


def test_the_kernel_refuses() -> None:
    with pytest.raises(OSError, match="refused") as caught:
        ethtool.dump_rtnetlink(9999)
    assert caught.value.errno in (errno.EOPNOTSUPP, errno.EINVAL)


# --- DHCP -----------------------------------------------------------------------------------------
LEASES = """\
lease {
  interface "va";
  fixed-address 10.0.0.1;
  option dhcp-server-identifier 10.0.0.53;
}
lease {
  interface "va";
  option dhcp-server-identifier 10.0.0.54;
}
lease {
  interface "vc";
}
"""


def test_dhclient() -> None:
    assert parse_dhclient(LEASES) == {"va": "10.0.0.53"}
    assert parse_dhclient("") == {}


def test_dhcp_servers(tmp_path: Path) -> None:
    indexes = {"va": 2, "vb": 3, "vc": 4}
    assert read_dhcp_servers(str(tmp_path), indexes) == {}
    files = {
        "var/lib/dhcp/dhclient.va.leases": LEASES,
        "var/lib/dhcp/other": LEASES.replace("va", "vb"),
        "var/lib/NetworkManager/internal-0123-vb.lease": "[x]\nADDRESS=10.0.0.1\nSERVER_ADDRESS=10.0.0.99\n",
        "run/systemd/netif/leases/4": "# private\nADDRESS=10.1.2.3\nSERVER_ADDRESS=10.1.2.254\n",
        "run/systemd/netif/leases/3": "ADDRESS=10.1.2.3\n",
        "run/systemd/netif/leases/2/": "",
    }
    servers = read_dhcp_servers(str(make_tree(tmp_path, files)), indexes)
    assert servers == {"va": "10.0.0.53", "vb": "10.0.0.99", "vc": "10.1.2.254"}

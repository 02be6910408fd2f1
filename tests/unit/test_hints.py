"""What the network says of the server: options in networkd's words, DNS answers, next-server (rows 11 to 13)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkctl.hints import Hints, Lease, Service, parse_describe, parse_next_server, parse_services, usable_address

# The wire bytes of protocol 1.3.
OPTIONS = {224: "c0a842fe", 225: "1f5a", 226: "2f68616e6c6f6e2f6170692f7631"}


def link(index: int, name: str, options: dict[int, str], **more: Any) -> dict[str, Any]:
    private = [{"Option": number, "PrivateOptionData": data} for number, data in options.items()]
    return {
        "Index": index,
        "Name": name,
        "Type": "ether",
        "HardwareAddress": [0x52, 0x54, 0, 0, 0, index],
        "OperationalState": "routable",
        "DHCPv4Client": {"PrivateOptions": private},
        **more,
    }


def read(*links: dict[str, Any], boot_mac: str = "") -> Hints:
    return parse_describe(json.dumps({"Interfaces": list(links)}), boot_mac)


def test_the_three_options() -> None:
    hints = read(link(2, "eno1", OPTIONS, SearchDomains=[{"Domain": "Example.net"}, {"Domain": "-"}]))
    mac = "52:54:00:00:00:02"
    assert hints.leases == (Lease("eno1", mac, "192.168.66.254", 8026, "/hanlon/api/v1", ("example.net",)),)
    assert hints.problems == ()
    assert hints.domains == ("example.net",)


def test_dhcpv6_vendor_options() -> None:
    client = {
        "VendorSpecificOptions": [
            {"EnterpriseId": 1, "SubOptionCode": 224, "SubOptionData": "20010db8000000000000000000000001"},
            {"EnterpriseId": 1, "SubOptionCode": 225, "SubOptionData": "0050"},
        ]
    }
    hints = read(link(2, "eno1", {}, DHCPv6Client=client))
    assert [(each.server, each.port, each.version) for each in hints.leases] == [("[2001:db8::1]", 80, 6)]


def test_the_boot_nic_comes_first() -> None:
    links = [link(n, f"eno{n}", {224: f"c000020{n}"}) for n in (2, 3, 4)]
    assert [each.interface for each in read(*links, boot_mac="52:54:00:00:00:04").leases] == ["eno4", "eno2", "eno3"]
    assert [read(*links, boot_mac=mac).boot_index for mac in ("52:54:00:00:00:04", "")] == [4, 0]


def test_servers_that_disagree_are_one_line_and_all_tried() -> None:
    hints = read(link(2, "eno1", {224: "c0000201"}), link(3, "eno2", {224: "c0000202"}))
    assert [each.server for each in hints.leases] == ["192.0.2.1", "192.0.2.2"]
    assert hints.problems == (
        "DHCP servers disagree about the server (192.0.2.1 on eno1, 192.0.2.2 on eno2): each is tried, in this order",
    )


def test_a_server_with_addresses_of_both_families_is_no_disagreement() -> None:
    options = [
        {"EnterpriseId": 1, "SubOptionCode": 224, "SubOptionData": f"20010db800000000000000000000000{n}"}
        for n in (1, 2)
    ]
    first, second = ({"VendorSpecificOptions": [each]} for each in options)
    both = read(link(2, "eno1", {224: "c0000201"}, DHCPv6Client=first))
    assert [each.server for each in both.leases] == ["192.0.2.1", "[2001:db8::1]"]
    assert both.problems == ()
    differ = read(link(2, "eno1", {224: "c0000201"}, DHCPv6Client=first), link(3, "eno2", {}, DHCPv6Client=second))
    assert [each for each in differ.problems if "[2001:db8::1] on eno1, [2001:db8::2] on eno2" in each]
    assert len(differ.problems) == 1


@pytest.mark.parametrize(
    ("number", "data", "problem"),
    [
        (224, "c0a842", "3 bytes instead of 4"),
        (224, "", "0 bytes instead of 4"),
        (224, "c0a842fec0a842fd", "8 bytes instead of 4"),
        (224, "00000000", "0.0.0.0 is not the address"),
        (224, "7f000001", "127.0.0.1 is not the address"),
        (224, "a9fe0101", "169.254.1.1 is not the address"),
        (224, "ffffffff", "255.255.255.255 is not the address"),
        (225, "1f", "is no port"),
        (225, "0000", "is no port"),
        (225, "00001f5a", "is no port"),
        (226, "2fe4", "the byte 0xe4 is not ASCII"),
        (226, "2f612062", "is no path"),
        (226, "2f2e2e2f61", "is no path"),
    ],
)
def test_a_bad_option_is_one_line_and_the_others_count(number: int, data: str, problem: str) -> None:
    hints = read(link(2, "eno1", {**OPTIONS, number: data}))
    assert len(hints.problems) == 1
    assert hints.problems[0].startswith(f"DHCP on eno1: option {number}: ")
    assert problem in hints.problems[0]
    lease = hints.leases[0]
    assert [bool(value) for value in (lease.server, lease.port, lease.base_uri)] == [
        number != 224,
        number != 225,
        number != 226,
    ]


def test_what_is_not_hexadecimal_costs_its_interface_alone() -> None:
    hints = read(link(2, "eno1", {224: "zz"}), link(3, "eno2", OPTIONS))
    assert [each.interface for each in hints.leases] == ["eno2"]
    assert len(hints.problems) == 1


@pytest.mark.parametrize("text", ["", "[]", "{", '{"Interfaces": 1}', '{"Interfaces": [1]}'])
def test_what_is_no_description_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput):
        parse_describe(text)


def test_what_is_awaited_on_which_nic() -> None:
    hints = read(
        link(2, "eno1", {}, OperationalState="no-carrier"),
        link(3, "eno2", {}, OperationalState="degraded"),
        link(4, "eno3", {}),
        link(5, "bond0", {}, Kind="bond", OperationalState="off"),
    )
    assert hints.missing == (
        "no carrier on eno1",
        "no address beyond the link on eno2",
        "DHCP on eno3 names no server",
        "the DNS names no server",
    )
    assert replace(hints, silent_dns=True).missing[2:] == ("DHCP on eno3 names no server", "the DNS does not answer")
    assert replace(hints, too_old=252).missing[2] == "systemd 252 tells no DHCP options"
    assert replace(hints, awaits="asking somebody").missing == ("asking somebody",)


@pytest.mark.parametrize(
    ("links", "is_up"),
    [
        ([link(2, "eno1", {})], True),
        ([link(2, "eno1", {}, OperationalState="carrier")], False),
        ([link(2, "eno1", {}, OperationalState="degraded"), link(3, "vlan5", {}, Kind="vlan")], True),
        ([link(2, "host0", {}, Kind="veth")], True),
        ([link(2, "wlan0", {}, Type="wlan")], True),
        ([link(2, "eno1", {}, OperationalState="enslaved"), link(3, "bond0", {}, OperationalState="carrier")], False),
        ([link(1, "lo", {}, Type="loopback", OperationalState="carrier")], False),
    ],
)
def test_any_interface_that_reaches_beyond_its_link_is_a_network(links: list[dict[str, Any]], is_up: bool) -> None:
    """Whatever holds the address; a card of a bond that has none yet is no network."""
    assert read(*links).is_up == is_up
    assert ("no NIC is up" in read(*links).missing) != is_up
    assert Hints().is_up, "nobody says that there is none"
    assert read().missing == ("no NIC is up",)
    assert "systemd-networkd does not answer" in Hints().missing[0]
    assert Hints(unasked=True).missing == ("asking the network",)


@pytest.mark.parametrize("text", ["::1", "fe80::1", "::ffff:127.0.0.1", "fe80::1%eth0", "ff02::1", "x", "1.2.3"])
def test_addresses_that_no_server_has(text: str) -> None:
    with pytest.raises(BadInput):
        usable_address(text)


def test_next_server_of_a_lease_file() -> None:
    text = "# This is private data. Do not parse.\nADDRESS=192.0.2.7\nNEXT_SERVER=192.0.2.1\n"
    assert parse_next_server(text) == "192.0.2.1"
    assert parse_next_server(text.replace("192.0.2.1", "0.0.0.0")) == ""
    with pytest.raises(BadInput, match=r"127\.0\.0\.1 is not the address of a server"):
        parse_next_server(text.replace("192.0.2.1", "127.0.0.1"))
    assert parse_next_server("") == ""


def test_services_by_priority_then_weight() -> None:
    services, problems = parse_services(
        [(10, 0, 80, "b.example."), (0, 1, 81, "C.example"), (0, 9, 82, "a.example"), (0, 0, 0, "x"), (0, 0, 1, "")]
    )
    assert services == (Service("a.example", 82, 0, 9), Service("c.example", 81, 0, 1), Service("b.example", 80, 10, 0))
    assert len(problems) == 2


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["c0a842fe", "1f5a", "ether"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    "Interfaces",
                    "Name",
                    "Index",
                    "DHCPv4Client",
                    "PrivateOptions",
                    "Option",
                    "PrivateOptionData",
                    "Domain",
                )
            ),
            inner | st.sampled_from([224, 225, 226]),
            max_size=4,
        )
    ),
    max_leaves=30,
)


@given(ANY)
def test_any_document_gives_hints_or_bad_input(value: object) -> None:
    try:
        hints = parse_describe(json.dumps({"Interfaces": [value]}))
    except BadInput:
        return
    for lease in hints.leases:
        assert not lease.server or usable_address(lease.server.strip("[]")) == lease.server
        assert 0 <= lease.port <= 65535


@given(st.binary(max_size=40), st.sampled_from((224, 225, 226)))
def test_any_option_counts_or_is_one_line(data: bytes, number: int) -> None:
    hints = read(link(2, "eno1", {number: data.hex()}))
    lease = hints.leases[0] if hints.leases else Lease("")
    used = bool(lease.server or lease.port or lease.base_uri)
    empty_base = number == 226 and data.rstrip(b"\0").strip(b"/") == b""
    assert used + len(hints.problems) == (0 if empty_base else 1)

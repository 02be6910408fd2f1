"""LLDP frames: what each TLV means, and that no byte of a stranger's frame is believed (row 88; B49, B50)."""

from __future__ import annotations

import lldp_wire as wire
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkctl.probe.lldp_frames import (
    CHASSIS_ID_TYPES,
    PORT_ID_TYPES,
    Neighbor,
    capability_names,
    parse_address,
    parse_frame,
    parse_id,
    split_raw_file,
    split_tlvs,
)
from tests.machines.neighbour import Neighbour, build_frame

SWITCH = Neighbor(
    chassis_id="00:1c:73:0a:0b:0c",
    chassis_id_type="mac",
    port_id="Ethernet12",
    port_id_type="interface_name",
    ttl_s=120,
    port_description="Rack 12, server 3",
    system_name="sw-rack12-MG-01.example.net",
    system_description="Arista Networks EOS version 4.21",
    capabilities=("bridge", "router"),
    enabled_capabilities=("bridge",),
    management_addresses=("10.0.0.12", "2001:db8::12", "00:1c:73:0a:0b:0c"),
    vlan_id=100,
    max_frame_bytes=9236,
)
MANDATORY = (wire.chassis(4, wire.MAC), wire.port(5, b"Ethernet12"), wire.ttl())
LEAST = Neighbor("00:1c:73:0a:0b:0c", "Ethernet12", "mac", "interface_name", 120)


def test_a_whole_frame() -> None:
    assert parse_frame(wire.SWITCH) == SWITCH
    assert SWITCH.key == ("00:1c:73:0a:0b:0c", "Ethernet12")


def test_the_frames_of_the_test_machines_switch() -> None:
    said = Neighbour(
        "52:54:00:aa:bb:cc", "mac", "52:54:00:aa:bb:01", "mac", "port 1", "lab", "a lab", ("bridge", "station"),
        ("bridge",), ("192.0.2.9", "2001:db8::9"), 4094, 1522,
    )  # fmt: skip
    found = parse_frame(build_frame(said, "02:00:00:00:00:01"))
    assert {name: getattr(found, name) for name in vars(said)} == vars(said)


def test_b49_ids_of_every_subtype_are_the_value_that_was_sent() -> None:
    """The historic code knew "MAC:" for the chassis and "Ifname:" for the port, and the last line of several won."""
    cases = [
        (CHASSIS_ID_TYPES, b"\x01chassis 7", ("chassis 7", "chassis_component")),
        (CHASSIS_ID_TYPES, b"\x02uplink.1", ("uplink.1", "interface_alias")),
        (CHASSIS_ID_TYPES, b"\x03slot 3/port 4", ("slot 3/port 4", "port_component")),
        (CHASSIS_ID_TYPES, b"\x04" + wire.MAC, ("00:1c:73:0a:0b:0c", "mac")),
        (CHASSIS_ID_TYPES, b"\x05\x01\x0a\x00\x00\x0c", ("10.0.0.12", "network_address")),
        (CHASSIS_ID_TYPES, b"\x05\x02" + b"\xfd" + bytes(14) + b"\x01", ("fd00::1", "network_address")),
        (CHASSIS_ID_TYPES, b"\x05\x10\x01\x02", ("10:01:02", "network_address")),
        (CHASSIS_ID_TYPES, b"\x06eth0", ("eth0", "interface_name")),
        (CHASSIS_ID_TYPES, b"\x07ABC 1234\0", ("ABC 1234", "local")),
        (CHASSIS_ID_TYPES, b"\x07\x00\x01\xfe", ("00:01:fe", "local")),
        (CHASSIS_ID_TYPES, b"\x09future", ("future", "")),
        (PORT_ID_TYPES, b"\x03" + wire.MAC, ("00:1c:73:0a:0b:0c", "mac")),
        (PORT_ID_TYPES, b"\x04\x01\x0a\x00\x00\x0d", ("10.0.0.13", "network_address")),
        (PORT_ID_TYPES, b"\x05Gi1/0/24", ("Gi1/0/24", "interface_name")),
        (PORT_ID_TYPES, b"\x06agent.1", ("agent.1", "agent_circuit_id")),
        (PORT_ID_TYPES, b"\x07548", ("548", "local")),
        (PORT_ID_TYPES, "\x07Büro".encode(), ("Büro", "local")),
        (PORT_ID_TYPES, b"\x07\x1b[2J", ("1b:5b:32:4a", "local")),
        (PORT_ID_TYPES, b"\x07", ("", "")),
        (PORT_ID_TYPES, b"", ("", "")),
    ]
    for types, value, expected in cases:
        assert parse_id(value, types) == expected


@pytest.mark.parametrize("number", [1, 64, 100, 1000, 4094])
def test_b50_the_vlan_is_the_number_that_was_sent(number: int) -> None:
    """lldptool prints VLAN 100 as 0064, which was read as 64."""
    assert parse_frame(wire.frame(*MANDATORY, wire.vlan(number))).vlan_id == number


@pytest.mark.parametrize(
    ("tlvs", "expected"),
    [
        ((), LEAST),
        ((wire.vlan(0), wire.vlan(4095)), LEAST),
        ((wire.vlan(7), wire.vlan(8)), LEAST._replace(vlan_id=7)),
        ((wire.frame_size(0),), LEAST),
        ((wire.tlv(127, bytes.fromhex("0080c20102")),), LEAST),
        ((wire.tlv(127, bytes.fromhex("00900f040102")),), LEAST),
        ((wire.tlv(127, bytes.fromhex("0080c2020064")),), LEAST),
        ((wire.tlv(7, b"\0\x04\0"),), LEAST),
        ((wire.tlv(7, b"\x80\x14\0\x04"),), LEAST._replace(capabilities=("bridge", "router"),
                                                    enabled_capabilities=("bridge",))),
        ((wire.tlv(8, b""), wire.tlv(8, b"\xff\x01\x0a\0"), wire.management(1, bytes(4))), LEAST),
        ((wire.management(1, b"\x0a\0\0\x01"),) * 2, LEAST._replace(management_addresses=("10.0.0.1",))),
        ((wire.tlv(5, b"one"), wire.tlv(5, b"two")), LEAST._replace(system_name="one")),
        ((wire.tlv(4, b"caf\xe9\0"), wire.tlv(5, b" \0")), LEAST._replace(port_description="caf\ufffd")),
        ((wire.chassis(7, b"second"), wire.port(7, b"second")), LEAST),
        ((wire.ttl(0),), LEAST._replace(ttl_s=0)),
        ((wire.tlv(9, b"reserved"), wire.tlv(126, b"")), LEAST),
        ((wire.tlv(0, b""), wire.tlv(5, b"behind the end")), LEAST),
        ((b"\x0b\xff" + b"longer than the frame"), LEAST),
    ],
)  # fmt: skip
def test_optional_parts(tlvs: tuple[bytes, ...], expected: Neighbor) -> None:
    data = tlvs if isinstance(tlvs, bytes) else b"".join(tlvs)
    assert parse_frame(wire.header() + b"".join(MANDATORY) + data) == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ethertype"),
        (wire.header()[:12] + b"\x08\x00" + b"".join(MANDATORY), "ethertype"),
        (wire.header(), "no chassis ID"),
        (wire.frame(*MANDATORY[:1]), "no port ID"),
        (wire.frame(*MANDATORY[:2]), "no time to live"),
        (wire.frame(*MANDATORY[:2], wire.tlv(3, b"\0")), "no time to live"),
        (wire.frame(wire.tlv(1, b"\x04"), *MANDATORY[1:]), "no chassis ID"),
    ],
)
def test_what_is_no_neighbour(data: bytes, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        parse_frame(data)


def test_a_frame_cut_anywhere_gives_what_stands_before_the_cut() -> None:
    readable = 0
    for size in range(len(wire.SWITCH)):
        try:
            found = parse_frame(wire.SWITCH[:size])
        except BadInput:
            assert not readable
            continue
        readable += 1
        for name, value in found._asdict().items():
            whole = getattr(SWITCH, name)
            assert value in (whole, "", 0, ()) or (isinstance(value, tuple) and value == whole[: len(value)])
    assert readable > 100


@given(st.binary(max_size=300))
def test_any_bytes_behind_the_header(data: bytes) -> None:
    try:
        found = parse_frame(wire.header() + data)
    except BadInput:
        return
    assert found.chassis_id
    assert found.port_id
    assert all(text.isprintable() for text in (found.system_name, found.chassis_id, found.port_id))


@given(st.lists(st.tuples(st.integers(0, 127), st.binary(max_size=60)), max_size=12))
def test_any_optional_parts(parts: list[tuple[int, bytes]]) -> None:
    found = parse_frame(wire.header() + b"".join(MANDATORY) + b"".join(wire.tlv(*part) for part in parts))
    assert found.key == LEAST.key
    assert 0 <= found.vlan_id <= 4094


@given(st.binary(max_size=300))
def test_any_raw_file(data: bytes) -> None:
    assert sum(len(each) + 8 for each in split_raw_file(data)) <= len(data)
    assert sum(len(value) + 2 for _, value in split_tlvs(data)) <= len(data)


def test_raw_files() -> None:
    one, two = wire.SWITCH, wire.frame(*MANDATORY)
    text = b"".join(len(each).to_bytes(8, "little") + each for each in (one, two))
    assert list(split_raw_file(text)) == [one, two]
    assert list(split_raw_file(text[:-1])) == [one]
    assert list(split_raw_file(b"\xff" * 20)) == []


def test_addresses_and_capabilities() -> None:
    assert parse_address(b"") == parse_address(b"\x01\x0a") == parse_address(b"\x06\0\0\0\0\0\0") == ""
    assert capability_names(0xFFFF)[-1] == "two_port_mac_relay"
    assert capability_names(0) == ()

"""LLDP neighbours: networkd's answers, what is remembered, the facts' names and values (row 88; protocol 6.9)."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import lldp_wire as wire
import pytest
from capture_files import captures
from hypothesis import given
from hypothesis import strategies as st
from probe_tree import make_tree

from mkcore.errors import BadAnswer, BadInput, Unreachable
from mkcore.jsonfields import Json
from mkctl.probe import lldp
from mkctl.probe.lldp import ask_networkd, collect_lldp, list_nics, parse_networkd, read_frames
from mkctl.probe.lldp_facts import build_neighbors, join_neighbors, lldp_facts, parse_neighbors
from mkctl.probe.lldp_frames import Neighbor, parse_frame

SCHEMA = json.loads((Path(lldp.__file__).parent / "schema/lldp_neighbors.json").read_text(encoding="utf-8"))
HEARD = parse_frame(wire.SWITCH)._replace(source="listener")
SEEN = Neighbor("00:1c:73:0a:0b:0c", "Ethernet12", "mac", "interface_name", system_name="sw", source="networkd")
OTHER = Neighbor("52:54:00:00:00:01", "p1", "mac", "interface_name", source="networkd")
REPLY = {
    "Neighbors": [
        {
            "InterfaceIndex": 2,
            "InterfaceName": "eno1",
            "InterfaceAlternativeNames": ["enp1s0"],
            "Neighbors": [
                {
                    "ChassisID": "00:1c:73:0a:0b:0c",
                    "RawChassisID": [4, *wire.MAC],
                    "PortID": "Ethernet12",
                    "RawPortID": [5, *b"Ethernet12"],
                    "PortDescription": "Rack 12",
                    "SystemName": "sw",
                    "SystemDescription": "EOS\\nversion 4",
                    "EnabledCapabilities": 20,
                }
            ],
        }
    ]
}
NICS = {
    "class/net/eno1/type": "1\n",
    "class/net/eno1/carrier": "1\n",
    "class/net/eno1/ifindex": "2\n",
    "class/net/eno1/device/": "",
    "class/net/eno2/type": "1\n",
    "class/net/eno2/carrier": "0\n",
    "class/net/eno2/device/": "",
    "class/net/vf0/type": "1\n",
    "class/net/vf0/carrier": "1\n",
    "class/net/vf0/device/physfn": "-> ../../../0000:01:00.0",
    "class/net/ib0/type": "32\n",
    "class/net/ib0/carrier": "1\n",
    "class/net/ib0/device/": "",
    "class/net/docker0/type": "1\n",
    "class/net/docker0/carrier": "1\n",
}


@pytest.fixture
def top() -> Iterator[Path]:
    """A root whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="mk") as folder:
        make_tree(Path(folder) / "sys", NICS)
        yield Path(folder)


def answer(parameters: object) -> bytes:
    return json.dumps({"parameters": parameters}).encode() + b"\0"


def collect(top: Path, before: Mapping[str, Json] = {}) -> tuple[Mapping[str, Json], Any, str]:
    got = collect_lldp(top, top / "sys", lambda name: before if name == "lldp" else {})
    jsonschema.validate(got.inventory.get("lldp_neighbors", {}), SCHEMA)
    return got.facts, got.inventory.get("lldp_neighbors", {}), got.error


def test_networkd_is_asked_at_once(top: Path) -> None:
    with wire.networkd(top, answer(REPLY)) as asked:
        facts, inventory, error = collect(top)
    assert asked == [b'{"method":"io.systemd.Network.GetLLDPNeighbors","parameters":{}}\0']
    assert (facts, error) == (
        {
            "lldp_neighbor_chassisid_eno1": "00:1c:73:0a:0b:0c",
            "lldp_neighbor_portid_eno1": "Ethernet12",
            "lldp_neighbor_sysname_eno1": "sw",
        },
        "",
    )
    assert inventory == {
        "eno1": [
            {
                "chassis_id": "00:1c:73:0a:0b:0c",
                "chassis_id_type": "mac",
                "port_id": "Ethernet12",
                "port_id_type": "interface_name",
                "port_description": "Rack 12",
                "system_name": "sw",
                "system_description": "EOS version 4",
                "enabled_capabilities": ["bridge", "router"],
                "source": "networkd",
            }
        ]
    }


def test_without_networkd_there_is_nothing_and_that_is_no_failure(top: Path) -> None:
    assert collect(top) == ({}, {}, "")


def test_a_socket_that_nobody_serves_is_no_networkd(top: Path) -> None:
    make_tree(top, {lldp.SOCKET: ""})  # a file in its place: connect(2) says ECONNREFUSED, as of a socket left behind
    assert collect(top) == ({}, {}, "")


@pytest.mark.parametrize("error", ["org.varlink.service.MethodNotFound", "org.varlink.service.InterfaceNotFound"])
def test_a_networkd_without_the_method_left_frames_in_files(top: Path, error: str) -> None:
    frames = (
        wire.SWITCH,
        wire.frame(wire.chassis(7, b"x")),
        wire.frame(wire.chassis(7, b"x"), wire.port(7, b"y"), wire.ttl()),
    )
    raw = b"".join(len(each).to_bytes(8, "little") + each for each in frames)
    make_tree(top, {f"{lldp.FRAMES}/2": raw, f"{lldp.FRAMES}/99": raw, f"{lldp.FRAMES}/.#2x": b""})
    with wire.networkd(top, json.dumps({"error": error, "parameters": {}}).encode() + b"\0"):
        facts, inventory, remark = collect(top)
    assert remark == ""
    assert facts["lldp_neighbor_pvid_eno1"] == 100
    assert [each["system_name"] for each in inventory["eno1"] if "system_name" in each] == [HEARD.system_name]
    assert [each["port_id"] for each in inventory["eno1"]] == ["Ethernet12", "y"]
    assert set(inventory) == {"eno1"}


def test_frames_in_files_that_vanish_or_are_too_large(top: Path) -> None:
    make_tree(top, {f"{lldp.FRAMES}/2": bytes(2 << 20)})
    assert read_frames(top / lldp.FRAMES, top / "sys") == {"eno1": []}
    assert read_frames(top / lldp.FRAMES, top / "nowhere") == {}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "the connection ended"),
        (b'{"parameters"', "the connection ended"),
        (b"[]\0", "a JSON object is wanted"),
        (b"\xff\0", "not UTF-8"),
        (b'{"error":"org.varlink.service.PermissionDenied"}\0', "PermissionDenied"),
        (b'{"parameters":[]}\0', "must be an object"),
        (answer({"Neighbors": 1}), "must be a list"),
        (answer({"Neighbors": [1]}), "must be an object"),
        (answer({"Neighbors": [{}]}), "InterfaceName: is missing"),
        (b" " * (5 << 20), "larger than"),
    ],
)
def test_an_odd_answer_is_a_remark(top: Path, data: bytes, error: str) -> None:
    with wire.networkd(top, data):
        facts, inventory, remark = collect(top)
    assert (facts, inventory) == ({}, {})
    assert remark.startswith("networkd: ")
    assert error in remark


def test_a_networkd_that_hangs_or_drips_is_left(top: Path) -> None:
    began = time.monotonic()
    with wire.networkd(top, b"{", hang=True), pytest.raises(Unreachable, match="time"):
        ask_networkd(top / lldp.SOCKET, timeout_s=0.2)
    assert time.monotonic() - began < 30


def test_errors_have_their_kinds(top: Path) -> None:
    with wire.networkd(top, b'{"error":"x"}\0'), pytest.raises(BadAnswer):
        ask_networkd(top / lldp.SOCKET)
    with pytest.raises(FileNotFoundError):
        ask_networkd(top / lldp.SOCKET)


def test_what_the_listener_heard_of_the_same_neighbour_is_remembered(top: Path) -> None:
    before: dict[str, Json] = {"lldp_neighbors": build_neighbors({"eno1": [HEARD]})}
    with wire.networkd(top, answer(REPLY)):
        facts, inventory, _ = collect(top, before)
    assert facts["lldp_neighbor_mtu_eno1"] == "9236"
    assert inventory == before["lldp_neighbors"]
    assert collect(top, {"lldp_neighbors": {"eno1": [{"chassis_id": 1}]}}) == ({}, {}, "")
    assert collect(top, {"lldp_neighbors": "odd"}) == ({}, {}, "")


def test_where_one_can_listen(top: Path) -> None:
    assert list_nics(top / "sys") == ["eno1"]
    assert list_nics(top / "nowhere") == []


@pytest.mark.parametrize(
    ("present", "before", "linked", "heard", "expected"),
    [
        ([SEEN], [], True, None, [SEEN]),
        ([SEEN], [HEARD], True, None, [HEARD]),
        ([OTHER], [HEARD], True, None, [OTHER]),  # another cable: nothing of the old neighbour stays
        ([], [HEARD], True, None, [HEARD]),
        ([], [HEARD], False, None, []),  # no link, no neighbour
        ([], [SEEN], True, None, []),  # networkd forgot it
        ([SEEN], [], True, [HEARD], [HEARD]),
        ([SEEN], [HEARD], True, [], [HEARD]),  # not heard this time, but networkd did
        ([], [HEARD], True, [], []),
        ([OTHER], [], True, [HEARD], [HEARD, OTHER]),
        ([], [], True, [], []),
    ],
)
def test_who_is_there(
    present: list[Neighbor], before: list[Neighbor], linked: bool, heard: Any, expected: list[Neighbor]
) -> None:
    names = {"eno1"} if linked else set[str]()
    found = join_neighbors({"eno1": present}, {"eno1": before}, names, None if heard is None else {"eno1": heard})
    assert found == ({"eno1": expected} if expected else {})


def test_many_neighbours_are_cut_and_the_order_is_not_that_of_hearing() -> None:
    many = [OTHER._replace(port_id=f"p{number:03}") for number in range(40)]
    one = join_neighbors({"eno1": [*many, HEARD]}, {}, ())["eno1"]
    two = join_neighbors({"eno1": [HEARD, *reversed(many)]}, {}, ())["eno1"]
    assert one == two
    assert (len(one), one[0]) == (16, HEARD)  # a bridge before others


def test_b49_b50_worked_example_of_the_protocol() -> None:
    """B49: any chassis and port id; B50: VLAN 0064 is 100. Third parties have pvid as a number, mtu as text."""
    assert lldp_facts({"eth0": [HEARD]}) == {
        "lldp_neighbor_chassisid_eth0": "00:1c:73:0a:0b:0c",
        "lldp_neighbor_portid_eth0": "Ethernet12",
        "lldp_neighbor_sysname_eth0": "sw-rack12-MG-01.example.net",
        "lldp_neighbor_mngaddr_ipv4_eth0": "10.0.0.12",
        "lldp_neighbor_mngaddr_ipv6_eth0": "2001:db8::12",
        "lldp_neighbor_pvid_eth0": 100,
        "lldp_neighbor_mtu_eth0": "9236",
    }


def test_b49_values_keep_dots_blanks_and_slashes() -> None:
    odd = Neighbor("Switch POD.7", "Gi1/0/24 (up)", system_name="a b.c/d")
    assert lldp_facts({"br-lan.7": [odd], "eth1": []}) == {
        "lldp_neighbor_chassisid_br_lan_7": "Switch POD.7",
        "lldp_neighbor_portid_br_lan_7": "Gi1/0/24 (up)",
        "lldp_neighbor_sysname_br_lan_7": "a b.c/d",
    }


def test_facts_are_those_of_one_neighbour_whoever_spoke_first() -> None:
    for order in ([OTHER, HEARD], [HEARD, OTHER]):
        assert lldp_facts({"e": order})["lldp_neighbor_chassisid_e"] == HEARD.chassis_id


def test_nothing_in_the_facts_runs_with_time() -> None:
    assert lldp_facts({"e": [HEARD]}) == lldp_facts({"e": [HEARD._replace(ttl_s=7)]})


def test_a_management_address_that_is_a_mac_is_none_of_ip() -> None:
    neighbor = HEARD._replace(management_addresses=("00:1c:73:0a:0b:0c",))
    assert not [name for name in lldp_facts({"e": [neighbor]}) if "mngaddr" in name]


def test_the_inventory_can_be_read_back() -> None:
    for neighbors in ({"eno1": [HEARD, SEEN]}, {"a": [OTHER]}, {}):
        section = build_neighbors(neighbors)
        jsonschema.validate(section, SCHEMA)
        assert parse_neighbors(section) == neighbors
    for odd in ({"a": {}}, {"a": [1]}, {"a": [{"ttl_s": -1}]}, {"a": [{"capabilities": [1]}]}):
        with pytest.raises(BadInput):
            parse_neighbors(odd)  # type: ignore[arg-type]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["Neighbors", "InterfaceName", "RawChassisID", "ChassisID", "RawPortID", "EnabledCapabilities"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


def test_a_neighbor_of_another_form_hides_no_other() -> None:
    good: Json = {"ChassisID": "rack-7", "PortID": "swp7"}
    bad: list[Json] = [{"ChassisID": 7}, "odd", {"PortID": "swp1", "VlanID": "x"}]
    found = parse_networkd({"Neighbors": [{"InterfaceName": "eno1", "Neighbors": [*bad, good]}]})
    assert [each.port_id for each in found["eno1"]] == ["swp7"]


@given(st.dictionaries(st.just("Neighbors"), json_values))
def test_any_answer_of_networkd(parameters: dict[str, Json]) -> None:
    try:
        found = parse_networkd(parameters)
    except BadInput:
        return
    lldp_facts(found)


@pytest.mark.parametrize("path", captures("lldp/networkctl-*.json"))
def test_networkd_s_json_of_real_machines(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = parse_networkd(json.loads(text))
    assert {name: len(each) for name, each in found.items()} == {
        link["InterfaceName"]: len(link["Neighbors"]) for link in json.loads(text)["Neighbors"]
    }
    said = [(each.system_name, each.port_id, each.chassis_id) for found_there in found.values() for each in found_there]
    assert sorted(said) == sorted(
        (each["SystemName"], each["PortID"], each["ChassisID"])
        for link in json.loads(text)["Neighbors"]
        for each in link["Neighbors"]
    )
    jsonschema.validate(build_neighbors(found), SCHEMA)


def truth_of_lldptool(text: str) -> dict[str, str]:
    """What `lldptool -t -n` wrote of a neighbour, by the words of its lines alone."""
    wanted = {
        "chassisid": r"Chassis ID TLV\n\tMAC: (.+)",
        "portid": r"Port ID TLV\n\tIfname: (.+)",
        "sysname": r"System Name TLV\n\t(.+)",
        "mngaddr_ipv4": r"Management Address TLV\n\tIPv4: (.+)",
        "pvid": r"\tPVID: (\d+)",
    }
    found = {item: re.search(pattern, text) for item, pattern in wanted.items()}
    return {item: match[1] for item, match in found.items() if match}


def truth_of_lldpctl(text: str) -> dict[str, str]:
    """What `lldpctl -f keyvalue` wrote of a neighbour."""
    wanted = {
        "chassisid": r"chassis\.mac=(.+)",
        "portid": r"port\.ifname=(.+)",
        "sysname": r"chassis\.name=(.+)",
        "mngaddr_ipv4": r"chassis\.mgmt-ip=(.+)",
    }
    found = {item: re.search(pattern, text) for item, pattern in wanted.items()}
    return {item: match[1] for item, match in found.items() if match}


@pytest.mark.parametrize("path", captures("lldp/lldptool-*.txt", "lldp/lldpctl-keyvalue-*.txt"))
def test_facts_are_what_other_tools_say_of_the_same_neighbours(path: Path) -> None:
    """The frames behind the texts are made anew from their fields; facts must say what the other tool had said."""
    text = path.read_text(encoding="utf-8")
    truth = truth_of_lldptool(text) if "lldptool" in path.name else truth_of_lldpctl(text)
    parts = [
        wire.chassis(4, bytes.fromhex(truth["chassisid"].replace(":", ""))),
        wire.port(5, truth["portid"].encode()),
        wire.ttl(),
        wire.tlv(5, truth["sysname"].encode()),
    ]
    if "mngaddr_ipv4" in truth:
        parts.append(wire.management(1, bytes(map(int, truth["mngaddr_ipv4"].split(".")))))
    if "pvid" in truth:
        parts.append(wire.vlan(int(truth["pvid"])))
    facts = lldp_facts({"p20p2": [parse_frame(wire.frame(*parts))]})
    assert len(truth) >= 3
    assert {name.split("_", 2)[2].rpartition("_")[0]: str(value) for name, value in facts.items()} == truth

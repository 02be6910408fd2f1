"""The listener, over veth pairs in a network of its own: real frames, sent by nothing of the product (row 88)."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import lldp_wire as wire
import pytest
from probe_tree import make_tree

from mkcore.jsonfields import Json
from mkctl.probe.collect import Collected, Collector
from mkctl.probe.lldp import collect_lldp
from mkctl.probe.lldp_facts import build_neighbors
from mkctl.probe.lldp_frames import Neighbor, parse_frame
from mkctl.probe.lldp_listen import listen
from mkctl.probe.rounds import Kernel, Pace, collect_until_stable
from mkctl.probe.store import FactsStore, save_nothing

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="listening on a network of its own needs root")

T = TypeVar("T")
HEARD = parse_frame(wire.SWITCH)._replace(source="listener")
SECOND_FRAME = wire.frame(wire.chassis(7, b"card"), wire.port(7, b"1"), wire.ttl())
SECOND = parse_frame(SECOND_FRAME)._replace(source="listener")
FAREWELL = wire.frame(wire.chassis(4, wire.MAC), wire.port(5, b"Ethernet12"), wire.ttl(0))


def with_cable(function: Callable[[], T], *more: str) -> T:
    """Run a function where `ours` is a NIC with a cable whose other end is `theirs`, and so for each of `more`."""

    def run() -> T:
        wire.make_cable("ours", "theirs")
        for name in more:
            wire.make_cable(name, f"{name}-far")
        return function()

    return wire.in_own_network(run)


def timed_listen(names: list[str], known: dict[str, set[tuple[str, str]]], limit_s: float) -> tuple[object, float]:
    began = time.monotonic()
    return listen(names, known, limit_s), time.monotonic() - began


@pytest.mark.parametrize("group", ["0180c200000e", "0180c2000003", "0180c2000000"])
def test_a_neighbour_is_heard_and_then_it_ends(group: str) -> None:
    frame = bytes.fromhex(group) + wire.SWITCH[6:]

    def run() -> tuple[object, float]:
        with wire.sender("theirs", frame):
            return timed_listen(["ours"], {}, 20.0)

    heard, took_s = with_cable(run)
    assert heard == {"ours": [HEARD]}
    assert took_s < 10


def test_every_nic_is_waited_for() -> None:
    def run() -> tuple[object, float]:
        with wire.sender("theirs", wire.SWITCH):
            return timed_listen(["ours", "second"], {}, 3.0)

    heard, took_s = with_cable(run, "second")
    assert heard == {"ours": [HEARD], "second": []}
    assert took_s >= 3.0


def test_neighbours_that_are_expected_are_waited_for() -> None:
    def run() -> tuple[object, float]:
        with wire.sender("theirs", *[wire.SWITCH] * 20, SECOND_FRAME):
            return timed_listen(["ours"], {"ours": {SECOND.key}}, 20.0)

    heard, took_s = with_cable(run)
    assert heard == {"ours": [HEARD, SECOND]}
    assert took_s < 10


def test_what_the_machine_itself_sends_is_not_heard() -> None:
    def run() -> tuple[object, float]:
        with wire.sender("ours", wire.SWITCH):
            return timed_listen(["ours"], {}, 0.5)

    assert with_cable(run)[0] == {"ours": []}


def test_a_farewell_and_what_is_no_lldp_are_not_heard() -> None:
    noise = wire.header() + os.urandom(40)
    other = wire.SWITCH[:12] + b"\x08\x00" + wire.SWITCH[14:]

    def run() -> tuple[object, float]:
        with wire.sender("theirs", noise, other, FAREWELL, wire.header()):
            return timed_listen(["ours"], {}, 0.5)

    assert with_cable(run)[0] == {"ours": []}


def test_a_flood_ends_the_listening_on_its_nic_alone() -> None:
    def run() -> tuple[object, float]:
        flood = [wire.frame(wire.chassis(7, b"%d" % number), wire.port(7, b"1"), wire.ttl()) for number in range(600)]
        with wire.sender("theirs", *flood), wire.sender("second-far", wire.SWITCH):
            return timed_listen(["ours", "second"], {"ours": {("never", "heard")}}, 25.0)

    heard, took_s = with_cable(run, "second")
    assert isinstance(heard, dict)
    assert (len(heard["ours"]), heard["second"]) == (16, [HEARD])
    assert took_s < 20


def test_a_nic_that_goes_away_costs_itself() -> None:
    def run() -> tuple[object, float]:
        with wire.sender("second-far", wire.SWITCH):
            names = ["absent", "ours", "second"]
            wire.ip("link", "set", "ours", "down")
            return timed_listen(names, {}, 25.0)

    heard, took_s = with_cable(run, "second")
    assert heard == {"ours": [], "second": [HEARD]}
    assert took_s < 20  # an interface that is down says so at once


def test_no_nic_at_all() -> None:
    assert wire.in_own_network(lambda: listen([], {})) == {}
    with pytest.raises(OSError, match="no interface with this name"):
        wire.in_own_network(lambda: listen(["absent"], {}))


@pytest.fixture
def machine() -> Iterator[Path]:
    """A tree in which the veth `ours` looks like a physical NIC; its path is short enough for a socket's."""
    nic = "sys/class/net/ours"
    with tempfile.TemporaryDirectory(prefix="mk") as folder:
        yield make_tree(Path(folder), {f"{nic}/type": "1\n", f"{nic}/carrier": "1\n", f"{nic}/device/": ""})


def test_the_collector_of_the_timer_s_runs(machine: Path) -> None:
    """What networkd said before and does not say now is gone; what was heard before and is heard again stands."""
    before: dict[str, Json] = {"lldp_neighbors": build_neighbors({"ours": [HEARD], "gone": [HEARD]})}

    def run() -> Collected:
        with wire.sender("theirs", wire.SWITCH):
            return collect_lldp(machine, machine / "sys", lambda _: before, listening=True)

    got = with_cable(run)
    assert got.facts == {
        "lldp_neighbor_chassisid_ours": "00:1c:73:0a:0b:0c",
        "lldp_neighbor_portid_ours": "Ethernet12",
        "lldp_neighbor_sysname_ours": "sw-rack12-MG-01.example.net",
        "lldp_neighbor_mngaddr_ipv4_ours": "10.0.0.12",
        "lldp_neighbor_mngaddr_ipv6_ours": "2001:db8::12",
        "lldp_neighbor_pvid_ours": 100,
        "lldp_neighbor_mtu_ours": "9236",
    }
    assert (got.inventory, got.error) == ({"lldp_neighbors": build_neighbors({"ours": [HEARD]})}, "")


def test_where_one_may_not_listen_networkd_alone_is_asked(machine: Path) -> None:
    """Here no interface of that name exists; in the unit it would be a missing capability."""
    before: dict[str, Json] = {"lldp_neighbors": build_neighbors({"ours": [HEARD]})}
    got = wire.in_own_network(lambda: collect_lldp(machine, machine / "sys", lambda _: before, listening=True))
    assert got.error == "cannot listen: no interface with this name"
    assert got.inventory == before


def networkd_answer(*neighbors: tuple[bytes, bytes]) -> bytes:
    """What networkd says of neighbours on `ours`, given by the bytes of their chassis and port ids."""
    found = [{"RawChassisID": list(chassis), "RawPortID": list(port)} for chassis, port in neighbors]
    link = {"InterfaceName": "ours", "InterfaceIndex": 2, "Neighbors": found}
    return json.dumps({"parameters": {"Neighbors": [link]}}).encode() + b"\0"


def test_a_neighbour_that_left_while_others_were_heard_is_gone(machine: Path) -> None:
    """What networkd said before the half minute of listening is not what counts after it."""
    first = networkd_answer((b"\4" + wire.MAC, b"\5Ethernet12"))
    later = networkd_answer((b"\7card", b"\0071"))

    def run() -> Collected:
        with wire.networkd(machine, first, later=later), wire.sender("theirs", FAREWELL, SECOND_FRAME):
            return collect_lldp(machine, machine / "sys", lambda _: {}, listening=True)

    got = with_cable(run)
    assert (got.inventory, got.error) == ({"lldp_neighbors": build_neighbors({"ours": [SECOND]})}, "")


def test_no_more_of_a_frame_is_read_than_the_standard_allows() -> None:
    """A card with a larger MTU passes larger frames up; what stands beyond 1,514 bytes is not there."""
    room = wire.tlv(127, bytes.fromhex("0080c2ff") + bytes(500))
    frame = wire.frame(wire.chassis(4, wire.MAC), wire.port(5, b"p"), wire.ttl(), room, room, room, wire.tlv(5, b"far"))

    def run() -> Mapping[str, list[Neighbor]]:
        for name in ("ours", "theirs"):
            wire.ip("link", "set", name, "mtu", "9000")
        with wire.sender("theirs", frame):
            return listen(["ours"], {}, 20.0)

    assert len(frame) > 1514
    assert [(each.port_id, each.system_name) for each in with_cable(run)["ours"]] == [("p", "")]


def run_once(machine: Path, store: FactsStore, *, timer: bool) -> None:
    def before(name: str) -> Mapping[str, Json]:
        return store.content.collectors[name].inventory

    collect = partial(collect_lldp, machine, machine / "sys", before)
    collectors = [Collector("lldp", 5.0, collect)]
    if timer:
        collectors.append(Collector("lldp", 40.0, partial(collect, listening=True), awaited=False))
    pace = Pace(first_quiet_s=0.0, quiet_s=0.05)
    collect_until_stable(collectors, store, Kernel(lambda: 1), lambda _: None, pace)


def test_what_the_timer_s_run_heard_stays_in_the_runs_after_it(machine: Path) -> None:
    """Nothing of it is lost until another neighbour is there, or the link goes."""
    store = FactsStore(machine / "facts.json", ["lldp"], save_nothing)

    def run() -> None:
        with wire.sender("theirs", wire.SWITCH, after_s=0.5):
            run_once(machine, store, timer=True)

    with_cable(run)
    heard = dict(store.content.facts)
    assert heard["lldp_neighbor_pvid_ours"] == 100
    run_once(machine, store, timer=False)
    assert store.content.facts == heard
    (machine / "sys/class/net/ours/carrier").write_text("0\n", encoding="ascii")
    run_once(machine, store, timer=False)
    assert store.content.facts == {}

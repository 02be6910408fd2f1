"""Where the server's address comes from (tests/machines/sources.py): each source alone, sources that contradict each
other, and words that cannot be meant. In each the node registers at the right server, and nobody else hears of it.

Three run in `make test`, the others with MK_FULL=1 (rows 4 to 7, 9 to 14; B03 to B05).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore import events
from tests.machines import nspawn, sources
from tests.machines.segments import PASSWORD, Segments
from tests.machines.server import PORT, Server
from tests.machines.sources import CARD, CELLS, IDS, IMAGE_PATH, RIGHT, RIGHT6, STRANGER, WEB_PORT, WRONG, Cell
from tests.machines.topologies import Place
from tests.machines.tree import BUILD, RELEASE
from tests.machines.web import Nginx
from tests.machines.wire import Wire
from tests.system.node import Node

pytestmark = pytest.mark.skipif(RELEASE != "trixie", reason="networkd tells DHCP's options since 256")
FULL = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full has all sources")
FOLDER = BUILD / "system/sources-far"
LOOKS = 3
FOUND_S = 120.0


@pytest.fixture(scope="module")
def far() -> Iterator[Segments]:
    """The other ends of the cables, with the addresses of all that listens there."""
    with Segments("mk-sources", FOLDER) as segments:
        for address in (f"{RIGHT}/32", f"{WRONG}/32", f"{STRANGER}/32", f"{RIGHT6}/128"):
            segments.ip("addr", "add", address, "dev", "lo")
        yield segments


@pytest.fixture(scope="module")
def right(far: Segments) -> Iterator[Server]:
    """The server that must be found."""
    with Server(FOLDER / "right", address=RIGHT, prefix=far.prefix, where=far.call, password=PASSWORD) as server:
        server.configure(mk_checkin_skew=0)  # as the nodes have it: to push another one would restart mkctl
        yield server


@pytest.fixture(scope="module")
def right6(far: Segments) -> Iterator[Server]:
    """The one that must be found by IPv6."""
    where = f"[{RIGHT6}]"
    with Server(FOLDER / "right-6", address=where, prefix=far.prefix, where=far.call, password=PASSWORD) as server:
        server.configure(mk_checkin_skew=0)
        yield server


@pytest.fixture(scope="module")
def wrong(far: Segments) -> Iterator[Server]:
    """The one that nobody must go to."""
    with Server(FOLDER / "wrong", address=WRONG, prefix=far.prefix, where=far.call, password=PASSWORD) as server:
        yield server


@pytest.fixture(scope="module")
def web(far: Segments) -> Iterator[None]:
    """Who hands out the cloud-config, and who stands where a server is looked for."""
    document = FOLDER / "files" / IMAGE_PATH / "cloud-config"
    document.parent.mkdir(parents=True)
    document.write_text(sources.CLOUD, encoding="utf-8")
    files = FOLDER / "files"
    with (
        Nginx(files, FOLDER / "nginx", RIGHT, WEB_PORT, far.prefix),
        Nginx(files, FOLDER / "stranger", STRANGER, PORT, far.prefix),
    ):
        yield


@pytest.fixture(scope="module")
def machine(installed: list[Path]) -> Iterator[nspawn.Machine]:
    """A machine without a card, nothing of the suite started."""
    with sources.boot(installed) as machine:
        yield machine


def network_first(place: Place) -> None:
    """Start the network, and wait for its leases: mkctl knows at its start what they say."""
    machine = place.machine
    machine.run("systemctl", "start", "systemd-networkd.service")
    machine.wait_until(lambda: machine.run("ip", "route", "get", RIGHT, check=False).returncode == 0, "a route")
    machine.run("/usr/lib/systemd/systemd-networkd-wait-online", "--timeout=60")


def push(place: Place, cell: Cell) -> None:
    """Push what the cell says, as a controller would, when there is a network and mkctl does not run yet."""
    machine = place.machine
    machine.run("systemctl", "start", "mkweb.socket")
    status, answer = Node(machine).push(dict(cell.push))
    assert status == 200, answer  # what the site forbids is stored, and not used


def registrations(*servers: Server) -> int:
    """How often anybody has registered at these servers."""
    return sum(node["registrations"] for server in servers for node in server.nodes())


def said(place: Place) -> list[str]:
    """What mkctl has said since the node was switched on."""
    return [str(entry["MESSAGE"]) for entry in place.machine.journal("--unit=mkctl.service", after=place.mark)]


def look_again(place: Place) -> None:
    """Have everything asked again: the lease is given anew, and mkctl checks in."""
    for _ in range(LOOKS):
        place.machine.run("networkctl", "renew", CARD)
        place.machine.run("mkctl", "checkin")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if each.in_make_test else [FULL]) for name, each in CELLS.items()]
)
def test_the_right_one_is_found(
    machine: nspawn.Machine, far: Segments, right: Server, right6: Server, wrong: Server, web: None, name: str
) -> None:
    """Without help; the other one has seen no packet. What is wrong is said once, however often it comes again."""
    cell, before = CELLS[name], registrations(right, right6)
    with (
        sources.settle(cell, machine, far) as place,
        Wire(far.call, f"far-{CARD}", PORT, host=WRONG) as to_wrong,
    ):
        if cell.is_up:
            network_first(place)
        if cell.push:
            push(place, cell)
        place.boot()
        machine.wait_event(events.REGISTERED.id, after=place.mark, timeout_s=FOUND_S)
        uri, source = machine.controller("ServerUri"), machine.controller("ServerSource")
        assert (uri, source[: len(cell.source)]) == (cell.uri, cell.source)
        assert registrations(right, right6) > before
        assert {each for node in right.nodes() for each in node["hw_ids"]} <= IDS  # no rubbish of the line's
        if cell.once:
            look_again(place)
        lines = said(place)
        counts = {pattern: sum(1 for line in lines if re.match(pattern, line)) for pattern in cell.once}
        assert counts == dict.fromkeys(cell.once, 1), lines
        assert to_wrong.attempts() == []


@FULL
def test_a_razor_server_alone_is_named_and_awaits_another(machine: nspawn.Machine, far: Segments) -> None:
    """Nobody else names a server: `mkctl status` says why there is none."""
    with sources.settle(sources.RAZOR_SERVER, machine, far) as place:
        place.boot()
        place.waits("the razor-server protocol (razor.register=) is not supported yet", 0)

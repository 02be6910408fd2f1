"""When mk-fetch asks mirrors elsewhere: what it reads of systemd and of the real mkctl."""

from __future__ import annotations

from mkmirror.fetch import may_use_remote
from mkmirror.pauses import UNKNOWN, count_restarts
from tests.bus.harness import FakeSystemd, Node, PrivateBus
from tests.bus.server import Server
from tests.fakes import Reset


def test_where_there_is_no_controller(bus: PrivateBus, systemd: FakeSystemd) -> None:
    assert systemd.units == {}
    assert may_use_remote(bus.address)


def test_only_after_the_first_good_checkin(node: Node, server: Server, systemd: FakeSystemd, bus: PrivateBus) -> None:
    """Not while it does not run, not while its server is silent."""
    systemd.units["mkctl.service"] = ("active", "running")
    assert not may_use_remote(bus.address)
    server.play = Reset()
    with node.daemon() as daemon:
        daemon.wait_for("trying again in")
        assert not may_use_remote(bus.address)
        server.play = None
        assert node.call("CheckIn").returncode == 0
        assert may_use_remote(bus.address)


def test_without_a_bus_the_own_mirror_alone(bus: PrivateBus) -> None:
    bus.stop()
    assert not may_use_remote(bus.address)


def test_how_often_systemd_has_started_it_by_itself(bus: PrivateBus, systemd: FakeSystemd) -> None:
    """Of this unit, under its escaped name; where systemd does not say, it is not known."""
    assert count_restarts(bus.address) == UNKNOWN
    systemd.restarts = {"/org/freedesktop/systemd1/unit/mk_2dfetch_2eservice": 7}
    assert count_restarts(bus.address) == 7
    assert count_restarts("unix:path=/nowhere") == UNKNOWN

"""When mkctl starts mk-fetch: once for each of its starts, after the first checkin that succeeded."""

from __future__ import annotations

import pytest

from tests.bus.harness import FakeSystemd, Node, wait_until
from tests.bus.server import Server
from tests.fakes import Reset

FETCH = "mk-fetch.service"


def test_once_for_each_start(node: Node, server: Server, systemd: FakeSystemd) -> None:
    """A later checkin starts nothing, the next process does."""
    systemd.units[FETCH] = ("inactive", "dead")
    checked_in: list[int] = []
    systemd.on_start = lambda unit: checked_in.append(len(server.checkins()))
    for starts in (1, 2):
        with node.daemon():
            wait_until(lambda wanted=starts: len(systemd.started) == wanted, "the start of mk-fetch")
            for _ in range(2):  # once the second is answered, whatever the first led to has begun
                assert node.call("CheckIn").returncode == 0
    assert systemd.started == [FETCH, FETCH]
    assert checked_in[0] == 1


@pytest.mark.parametrize("word", ["done", "skipped"])
def test_a_condition_that_does_not_hold_is_no_run(node: Node, systemd: FakeSystemd, word: str) -> None:
    """As in the image where nobody asks for extensions; systemd's word for the job is `done` all the same."""
    systemd.units[FETCH] = ("inactive", "dead")
    systemd.skipped, systemd.result = {FETCH}, word
    with node.daemon() as daemon:
        daemon.wait_for(f"{FETCH} was skipped: its conditions do not hold")
        assert not daemon.said(f"{FETCH} ended")


@pytest.mark.parametrize("word", ["done", "failed"])
def test_how_a_run_ended_is_said_in_systemd_s_word(node: Node, systemd: FakeSystemd, word: str) -> None:
    systemd.units[FETCH] = ("inactive", "dead")
    systemd.result = word
    with node.daemon() as daemon:
        daemon.wait_for(f"{FETCH} ended as {word}")
        assert not daemon.said(f"{FETCH} was skipped")


def test_a_run_under_way_knows_nothing_of_the_checkin(node: Node, systemd: FakeSystemd) -> None:
    """It is waited for, then mk-fetch is started again."""
    systemd.units[FETCH] = ("activating", "start")
    with node.daemon():
        wait_until(lambda: systemd.started == [FETCH, FETCH], "the second start")


def test_a_run_that_waits_to_be_tried_again_is_a_new_one(node: Node, systemd: FakeSystemd) -> None:
    """systemd keeps the start until then."""
    systemd.units[FETCH] = ("activating", "auto-restart")
    with node.daemon():
        wait_until(lambda: systemd.started == [FETCH], "the start")
        assert node.call("CheckIn").returncode == 0
    assert systemd.started == [FETCH]


def test_not_before_the_server_answered(node: Node, server: Server, systemd: FakeSystemd) -> None:
    """Until then the machine's own mirror alone is asked, by the start at boot."""
    systemd.units[FETCH] = ("inactive", "dead")
    server.play = Reset()
    with node.daemon() as daemon:
        daemon.wait_for("trying again in")
        assert systemd.started == []
        server.play = None
        assert node.call("CheckIn").returncode == 0
        wait_until(lambda: systemd.started == [FETCH], "the start after the second checkin")


def test_a_missing_right_is_said_once(node: Node, server: Server, systemd: FakeSystemd) -> None:
    """Everything else goes on."""
    systemd.units[FETCH] = ("inactive", "dead")
    systemd.refuse = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
    with node.daemon() as daemon:
        daemon.wait_for("extensions: mk-fetch cannot be started: .*InteractiveAuthorizationRequired")
        wait_until(server.registrations, "a registration")
        for _ in range(2):
            assert node.call("CheckIn").returncode == 0
        assert len(daemon.said("mk-fetch cannot be started")) == 1


def test_where_no_extensions_are_installed(node: Node, server: Server, systemd: FakeSystemd) -> None:
    """No word of it."""
    with node.daemon() as daemon:
        wait_until(server.registrations, "a registration")
        assert node.call("CheckIn").returncode == 0
        assert systemd.started == [] and not daemon.said("extensions:")

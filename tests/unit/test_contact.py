"""One side of the conversation: what is said of what is not used, names that lead nowhere, several servers' routes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from mkcore.errors import ServerRefused, Unreachable
from mkcore.paths import paths_under
from mkctl.cmdline import parse_cmdline
from mkctl.contact import REMEMBERED, Contact
from mkctl.hints import Hints, Lease, Service
from mkctl.reports import Reporter
from mkctl.settings import load
from mkctl.state import Saved
from tests.fakes import WireServer, json_answer

ANSWER = b'{"errcode":0,"http_err_code":200,"response":{"command_name":"acknowledge","command_param":{}}}'
HANLON = '[server]\ndialect = "hanlon"\n'


def make(tmp_path: Path, line: str = "", site: str = HANLON) -> Contact:
    """A node with this kernel line and the site's configuration."""
    paths = paths_under(str(tmp_path))
    paths.etc.mkdir(parents=True)
    (paths.etc / "mk.toml").write_text(site)
    contact = Contact(paths, parse_cmdline(line), Reporter())
    contact.identify("")
    return contact


def look(contact: Contact, hints: Hints) -> str:
    """Look at the world, in which this was found."""
    return contact.look(load(contact.paths), Saved(), hints)


def test_a_problem_is_said_once_whatever_comes_and_goes_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until a server has answered: what comes back after that is news."""
    with WireServer(json_answer(ANSWER)) as server:
        contact = make(tmp_path)
        hints = Hints(leases=(Lease("eno1", server="127.0.0.1", port=server.port),))

        def say(*problems: str) -> list[str]:
            caplog.clear()
            assert look(contact, replace(hints, problems=problems)) == ""
            return [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]

        assert say("a") == ["a"]
        assert say("a", "b") == ["b"]
        assert say() == []
        assert say("b") == []
        assert asyncio.run(contact.check_in(True)).command == "acknowledge"
        assert say("b") == []
        assert say("a", "b") == ["a"]


def test_a_network_that_says_something_else_each_time_does_not_fill_the_journal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even while a server answers, with which what is said begins anew."""
    with WireServer(json_answer(ANSWER)) as server:
        contact = make(tmp_path)
        hints = Hints(leases=(Lease("eno1", server="127.0.0.1", port=server.port),))
        for number in range(20):
            lies = tuple(f"lie {number}-{each}" for each in range(30))
            assert look(contact, replace(hints, problems=lies)) == ""
            assert asyncio.run(contact.check_in(True)).command == "acknowledge"
    said = [each for each in caplog.records if "lie " in each.getMessage()]
    assert REMEMBERED - 1 <= len(said) <= REMEMBERED + 1, "an hour's lines"


def test_the_server_in_use_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    contact = make(tmp_path, "mk.ip=192.0.2.1")
    for _ in range(3):
        assert look(contact, Hints()) == ""
    said = [each.getMessage() for each in caplog.records if each.levelname == "INFO"]
    assert said == ["server http://192.0.2.1:8026, from kernel line (mk.ip=)"]


def test_a_name_that_leads_to_this_machine_is_not_talked_to(tmp_path: Path) -> None:
    """The DNS lies: nothing is sent there, and the next server has its turn."""
    with WireServer(json_answer(ANSWER)) as server:
        hints = Hints(services=(Service("localhost", server.port), Service("next.example", 8026)))
        contact = make(tmp_path)
        assert look(contact, hints) == "" and contact.server == f"http://localhost:{server.port}"
        with pytest.raises(Unreachable, match=r"(127\.0\.0\.1|::1) is not the address of a server"):
            asyncio.run(contact.check_in(True))
        assert look(contact, hints) == "" and contact.server == "http://next.example:8026"
        assert server.requests == []


@pytest.mark.parametrize(("status", "hint"), [(401, True), (404, True), (503, False)])
def test_who_refuses_is_named(tmp_path: Path, status: int, hint: bool) -> None:
    """Any web server says 404, and one with a password 401, to what it does not know."""
    with WireServer(json_answer(b"<html>", f"{status} No")) as server:
        contact = make(tmp_path, f"mk.uri={server.uri}/wrong")
        assert look(contact, Hints()) == ""
        with pytest.raises(ServerRefused) as caught:
            asyncio.run(contact.check_in(True))
    asked = "; is this the server's address and path?" if hint else ""
    place = f"{server.uri}/wrong/node/checkin"
    assert str(caught.value) == f"{place}: checkin refused: no reason given (HTTP {status}){asked}"
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("line", "site", "said"),
    [
        ("quiet", "", "nobody wrote a server down; no NIC is up"),
        (
            "mk.ip=192.0.2.1:80",
            "",
            "kernel line: mk.ip=: '192.0.2.1:80' is no IP address (its port belongs in mk.port=): not used; "
            "no server that was written down can be used; no NIC is up",
        ),
        ("", 'server.uri = "192.0.2.1"\n', "no server that was written down can be used; no NIC is up"),
    ],
)
def test_why_there_is_no_server(tmp_path: Path, line: str, site: str, said: str) -> None:
    reason = look(make(tmp_path, line, site), Hints(described=True, is_up=False))
    assert reason.endswith(said)
    assert ("server.uri: " in reason) == ("server.uri" in site)


def test_a_fingerprint_that_counts_for_nothing_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    contact = make(tmp_path, f"mk.ip=192.0.2.1 mk.fingerprint={'0a' * 32}")
    for _ in range(2):
        assert look(contact, Hints()) == ""
    said = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert said[1:] == [  # behind that a machine without cards has no identity
        "http://192.0.2.1:8026: a fingerprint of the site counts for https:// alone: this server is not verified"
    ]


def test_one_of_several_servers_with_a_route_is_enough(tmp_path: Path) -> None:
    """One that is written down first, and that no network of this machine reaches, is not waited for for ever."""
    contact = make(tmp_path, "mk.ip=198.51.100.1", '[server]\nuri = "http://192.0.2.1"\n')
    assert look(contact, Hints()) == "" and contact.server == "http://198.51.100.1:8026"
    (tmp_path / "proc/net").mkdir(parents=True)
    assert not contact.has_route()
    line = "eno1\t000200C0\t00000000\t0001\t0\t0\t1024\t00FFFFFF\t0\t0\t0\n"
    (tmp_path / "proc/net/route").write_text(line)
    assert contact.has_route()

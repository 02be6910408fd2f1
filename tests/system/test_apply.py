"""A pushed configuration is put into use, proves itself or is taken back: whatever fails, and whenever mkweb is killed.

Failures are provoked from outside (a drop-in, a stopped server, a masked polkitd), never by a hook in the product.
Pushed are keys that the server does not send, so that its own configuration stays out of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mkcore import events, jsonfields
from tests.system import node as nodes

REFUSES_MARKED = """\
[Service]
RestartSec=100ms
ExecStartPre=/bin/sh -c '! grep -qs fails-to-start /run/mkweb/config.json || { echo the marked one; exit 1; }'
"""
HANGS_WHEN_MARKED = """\
[Service]
RestartSec=100ms
TimeoutStartSec=3s
TimeoutStopSec=3s
ExecStartPre=/bin/sh -c '! grep -qs hangs-at-start /run/mkweb/config.json || sleep infinity'
"""


@pytest.fixture(scope="module")
def registered(installed: list[Path]) -> Iterator[nodes.Node]:
    """A registered node whose site lets a push name the server."""
    site = nodes.SITE + 'allow_push = ["mk_uri"]\n'
    with nodes.boot("apply", installed, site=site) as node:
        node.start_registered()
        yield node


@pytest.fixture
def node(registered: nodes.Node) -> Iterator[nodes.Node]:
    """The same node, at rest before and after each test: no apply open, the controller ready."""
    yield registered
    machine = registered.machine
    machine.wait_until(lambda: at_rest(registered), "the apply is finished")
    machine.wait_until(lambda: machine.property("mkctl.service", "ActiveState") == "active", "mkctl.service is ready")


def at_rest(node: nodes.Node) -> bool:
    """Whether no step of an apply is owed."""
    apply = node.apply()
    return not apply or apply["phase"] == "confirmed" or (apply["phase"] == "refused" and apply["rolled_back"])


def wait_phase(node: nodes.Node, phase: str) -> dict[str, Any]:
    """Wait for a phase of the apply and return apply.json."""
    found: dict[str, Any] = node.machine.wait_until(
        lambda: (apply := node.apply()) and apply["phase"] == phase and apply, f"the apply is in phase {phase}"
    )
    return found


def in_use(node: nodes.Node) -> str:
    """Return the digest of the configuration that a ready controller uses, "" while it is away."""
    done = node.machine.run("busctl", "--json=short", "get-property", *nodes.CONTROLLER, "ConfigDigest", check=False)
    return str(json.loads(done.stdout)["data"]) if done.returncode == 0 else ""


def push_marked(node: nodes.Node, mark: str) -> str:
    """Push a key of no meaning, which is taken; return the digest that is applied now."""
    status, answer = node.push({"mk_mark": mark})
    assert (status, answer) == (200, {"text": "New configuration saved, Microkernel Controller restarted"})
    return str(node.apply()["digest"])


def finish(node: nodes.Node, digest: str, after: str) -> None:
    """See the apply through to its confirmation: the controller starts with it and makes a good checkin."""
    node.machine.wait_until(lambda: in_use(node) == digest, "mkctl uses the pushed configuration")
    node.check_in(check=False)
    node.machine.wait_event(events.CONFIG_CONFIRMED.id, after=after, MK_DIGEST=digest)
    assert node.apply()["phase"] == "confirmed"
    assert node.stored()["digest"] == digest == in_use(node)


def expect_rollback(node: nodes.Node, before: dict[str, Any], digest: str, after: str) -> dict[str, Any]:
    """Wait for the rollback, and check that the configuration before it is in use and the digest is not taken again."""
    event = node.machine.wait_event(events.CONFIG_ROLLED_BACK.id, after=after, MK_DIGEST=digest)
    assert event["MK_PREVIOUS"] == before["digest"]
    node.machine.wait_until(lambda: in_use(node) == before["digest"], "mkctl uses the previous configuration")
    shown = node.stored()
    assert (shown["config"], shown["digest"]) == (before["config"], before["digest"])
    assert shown["apply"]["phase"] == "refused" and digest in shown["apply"]["refused_digests"]
    return event


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"mk_checkin_interval": 0}, 422),
        ({"mk_checkin_interval": "often"}, 422),
        ({"mk_checkin_skew": 301}, 422),
        ({"mk_log_level": 7}, 422),
        ({"mk_fact_excl_pattern": "(?<=a+)b"}, 422),
        ({"mk_fact_excl_pattern": "("}, 422),
        ([1, 2, 3], 400),
        ("text", 400),
    ],
)
def test_invalid_push_changes_nothing(node: nodes.Node, body: object, status: int) -> None:
    """422 (or 400 for what is no map), one line that says why; same configuration, same process, nothing applied."""
    start, before, process, apply = node.machine.mark(), node.stored(), node.invocation(), node.apply()
    answered, answer = node.push(body)
    assert (answered, list(answer)) == (status, ["error"])
    assert answer["error"] and "\n" not in answer["error"]
    assert (node.stored(), node.invocation(), node.apply()) == (before, process, apply)
    assert node.count(events.CONFIG_REFUSED, start) == (1 if status == 422 else 0)


def test_push_is_confirmed(node: nodes.Node) -> None:
    """Stored, restarted through systemd as the user mkweb, confirmed by the controller's good checkin."""
    start, process = node.machine.mark(), node.invocation()
    digest = push_marked(node, "good")
    finish(node, digest, start)
    assert node.invocation() != process
    order = [
        entry["MESSAGE_ID"]
        for entry in node.machine.journal("_SYSTEMD_UNIT=mkweb.service", after=start)
        if "MESSAGE_ID" in entry
    ]
    assert order == [events.CONFIG_STORED.id, events.CONFIG_CONFIRMED.id]

    unchanged = node.push({"mk_mark": "good"})
    assert unchanged == (200, {"json_received": {"mk_mark": "good"}, "message": "Configuration unchanged; no update"})


@pytest.mark.parametrize(
    ("drop_in", "mark"), [(REFUSES_MARKED, "fails-to-start"), (HANGS_WHEN_MARKED, "hangs-at-start")]
)
def test_failing_start_is_rolled_back(node: nodes.Node, drop_in: str, mark: str) -> None:
    """A configuration with which the controller does not start is taken back, with the start's own last words."""
    machine = node.machine
    before, start = node.stored(), machine.mark()
    machine.drop_in("mkctl.service", drop_in)
    digest = push_marked(node, mark)
    event = expect_rollback(node, before, digest, start)
    if mark == "fails-to-start":
        assert "the marked one" in event["MK_VERDICT"]

    status, answer = node.push({"mk_mark": mark})
    assert (status in (409, 422) and "refused" in answer["error"]) or "rolled back" in answer["error"], answer
    machine.drop_in("mkctl.service", "")


def test_push_that_loses_the_server_is_rolled_back(node: nodes.Node) -> None:
    """Probation: the controller starts, but three checkins fail; it says so itself and the old server is back."""
    machine, before, start = node.machine, node.stored(), node.machine.mark()
    status, _ = node.push({"mk_uri": "http://127.0.0.1:9"})
    assert status == 200
    digest = node.apply()["digest"]
    wait_phase(node, "probation")
    for _ in range(3):
        node.check_in(check=False)
    expect_rollback(node, before, digest, start)
    node.check_in()
    assert machine.controller("ServerUri") == nodes.SERVER_URI


def test_one_apply_at_a_time(node: nodes.Node) -> None:
    """While one is open, another push is told to come later, and so is an ordered restart."""
    machine, start = node.machine, node.machine.mark()
    machine.run("systemctl", "stop", "mkserver.service")  # no good checkin: it stays on probation
    digest = push_marked(node, "first")
    wait_phase(node, "probation")
    assert node.push({"mk_mark": "second"})[0] == 409
    assert machine.http("POST", nodes.MKWEB, "/restart", b"")[0] == 409
    machine.run("systemctl", "start", "mkserver.service")
    finish(node, digest, start)


def test_ordered_restart(node: nodes.Node) -> None:
    """POST /restart restarts the controller without a new configuration, once a minute."""
    start, process = node.machine.mark(), node.invocation()
    assert node.machine.http("POST", nodes.MKWEB, "/restart", b"")[0] == 200
    node.machine.wait_event(events.RESTART_ORDERED.id, after=start)
    node.machine.wait_until(lambda: node.invocation() not in ("", process), "mkctl.service was restarted")
    status, headers, _ = node.machine.http("POST", nodes.MKWEB, "/restart", b"")
    assert status == 429 and 0 < int(headers["retry-after"]) <= 60


def test_polkit_away_is_one_event_and_a_later_restart(node: nodes.Node) -> None:
    """Without the right to restart: one event, the old configuration in use, tried again until it works."""
    machine, start = node.machine, node.machine.mark()
    before, process = in_use(node), node.invocation()
    machine.run("systemctl", "mask", "--runtime", "--now", "polkit.service")
    digest = push_marked(node, "later")
    machine.wait_event(events.RIGHT_MISSING.id, after=start, MK_UNIT="mkctl.service")
    node.check_in()
    assert (in_use(node), node.invocation()) == (before, process)
    machine.run("systemctl", "unmask", "--runtime", "polkit.service")
    machine.wait_until(lambda: in_use(node) == digest, "mkctl was restarted after all", 120.0)
    finish(node, digest, start)
    told = machine.journal(f"MESSAGE_ID={events.RIGHT_MISSING.id}", "MK_UNIT=mkctl.service", after=start)
    assert len(told) == 1  # mkctl tells of its own right to start mk-fetch


def kill_mkweb(node: nodes.Node) -> None:
    """Kill mkweb as a lack of memory would; systemd starts it again."""
    before = node.invocation("mkweb.service")
    node.machine.run("systemctl", "kill", "--signal=KILL", "mkweb.service")
    node.machine.wait_until(
        lambda: node.invocation("mkweb.service") not in ("", before), "mkweb.service was started again"
    )


def test_killed_while_stored(node: nodes.Node) -> None:
    """Killed after the push was stored and before anything else was done: the next start does all of it.

    The moment is too short to be met from outside. What stands on the disk in it is apply.json as the next phase
    leaves it, but for its phase, and the configuration before; so they are put there while mkweb is down.
    """
    machine, start = node.machine, node.machine.mark()
    machine.run("systemctl", "mask", "--runtime", "--now", "polkit.service")
    before = machine.read_json("/run/mkweb/config.json")
    digest = push_marked(node, "stored")
    apply = wait_phase(node, "restarting")
    machine.run("systemctl", "stop", "mkweb.service")
    machine.run("systemctl", "unmask", "--runtime", "polkit.service")
    for name, content in (("apply.json", {**apply, "phase": "stored", "verdict": ""}), ("config.json", before)):
        machine.write(f"/run/mkweb/{name}", json.dumps(content))
        machine.run("chown", "mkweb:mkweb", f"/run/mkweb/{name}")
    machine.run("systemctl", "start", "mkweb.service")
    finish(node, digest, start)


def test_killed_while_restarting(node: nodes.Node) -> None:
    """Killed while it tries to restart the controller."""
    machine, start = node.machine, node.machine.mark()
    machine.run("systemctl", "mask", "--runtime", "--now", "polkit.service")
    digest = push_marked(node, "restarting")
    wait_phase(node, "restarting")
    machine.wait_event(events.RIGHT_MISSING.id, after=start)
    kill_mkweb(node)
    assert node.apply()["phase"] == "restarting"
    machine.run("systemctl", "unmask", "--runtime", "polkit.service")
    finish(node, digest, start)


def test_killed_on_probation(node: nodes.Node) -> None:
    """Killed while the controller has it on probation: the verdict reaches the mkweb of the next start."""
    machine, start = node.machine, node.machine.mark()
    machine.run("systemctl", "stop", "mkserver.service")
    digest = push_marked(node, "probation")
    wait_phase(node, "probation")
    kill_mkweb(node)
    assert node.apply()["phase"] == "probation"
    machine.run("systemctl", "start", "mkserver.service")
    finish(node, digest, start)


def test_killed_while_rolling_back(node: nodes.Node) -> None:
    """Killed after the refusal, before the controller runs with the previous configuration again."""
    machine, before, start = node.machine, node.stored(), node.machine.mark()
    machine.drop_in("mkctl.service", HANGS_WHEN_MARKED)
    process = node.invocation()
    digest = push_marked(node, "hangs-at-start twice")
    machine.wait_until(lambda: node.invocation() not in ("", process), "mkctl.service is being started with it")
    machine.run("systemctl", "mask", "--runtime", "--now", "polkit.service")
    wait_phase(node, "refused")
    kill_mkweb(node)
    machine.run("systemctl", "unmask", "--runtime", "polkit.service")
    expect_rollback(node, before, digest, start)
    machine.drop_in("mkctl.service", "")


def test_mkweb_does_not_leave_while_an_apply_is_open(node: nodes.Node) -> None:
    """The idle exit waits for the verdict."""
    machine, start = node.machine, node.machine.mark()
    machine.drop_in("mkweb.service", "[Service]\nExecStart=\nExecStart=/usr/bin/mkweb --idle 1\n")
    machine.run("systemctl", "stop", "mkweb.service", "mkserver.service")
    digest = push_marked(node, "idle")
    process = node.invocation("mkweb.service")
    wait_phase(node, "probation")
    until = time.monotonic() + 4.0  # four times as long as it would stay without reason
    while time.monotonic() < until:
        assert machine.property("mkweb.service", "ActiveState") == "active"
    assert node.invocation("mkweb.service") == process
    machine.run("systemctl", "start", "mkserver.service")
    finish(node, digest, start)
    machine.wait_until(lambda: machine.property("mkweb.service", "ActiveState") == "inactive", "mkweb ended when idle")
    machine.drop_in("mkweb.service", "")


def test_lost_state_is_made_again(node: nodes.Node) -> None:
    """Deleted and half-written files cost one event, and the node goes on with the last good state."""
    machine = node.machine
    for name in ("apply.json", "config.prev.json"):
        machine.run("systemctl", "stop", "mkweb.service")
        machine.write(f"/run/mkweb/{name}", '{"version": 1, "digest": "')
        machine.run("chown", "mkweb:mkweb", f"/run/mkweb/{name}")
        shown = node.stored()
        assert shown["digest"] == jsonfields.digest(shown["config"]) == in_use(node)
    machine.run("systemctl", "stop", "mkctl.service")
    machine.run("rm", "/run/mkctl/state.json", "/run/mkctl/registered-facts.json")
    start = machine.mark()
    machine.run("systemctl", "start", "mkctl.service")
    node.check_in()
    assert in_use(node) == node.stored()["digest"]
    assert node.count(events.SERVER_FOUND, start) == 1
    finish(node, push_marked(node, "after the loss"), start)

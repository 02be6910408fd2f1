"""A good run of the whole suite against the embedded server, and what an operator sees of it.

The tests of this module follow each other on one machine; the last one looks back at all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore import events
from tests.system import node as nodes

UNITS = ("mkctl.service", "mkweb.socket", "mkmirror.socket", "mkmirror-packages.socket")


@pytest.fixture(scope="module")
def node(installed: list[Path]) -> Iterator[nodes.Node]:
    """A registered node."""
    with nodes.boot("node", installed) as node:
        node.start_registered()
        yield node


def test_registers(node: nodes.Node) -> None:
    """The node appears on the server under its SMBIOS UUID, which mkctl reads as its own user, with its facts."""
    machine = node.machine
    assert machine.output("stat", "--format=%U:%G %a", "/sys/class/dmi/id/product_uuid") == "root:mkctl 440"
    shown = node.server("show", nodes.UUID)
    assert nodes.UUID in json.dumps(shown)
    assert machine.controller("NodeUuid") == nodes.UUID
    assert machine.controller("ServerUri") == nodes.SERVER_URI
    facts = machine.read_json("/run/mk-facts/facts.json")
    assert facts["complete"] is True
    assert machine.output("stat", "--format=%U:%G %a", "/run/mk-facts") == "root:mkctl 750"
    assert machine.output("stat", "--format=%U:%G %a", "/run/mk-facts/facts.json") == "root:mkctl 640"
    assert machine.output("stat", "--format=%U:%G %a", "/run/mkctl") == "mkctl:mkctl 750"


def test_everything_is_up(node: nodes.Node) -> None:
    """All units of the target are active and in the slice; each service says in one sentence what it does."""
    for unit in UNITS:
        shown = node.machine.show(unit, "ActiveState", "Slice", "UnitFileState")
        assert shown == {"ActiveState": "active", "Slice": "mk.slice", "UnitFileState": "static"}, unit
    for unit in ("mk.target", "mk.slice", "mk-facts.timer"):
        assert node.machine.property(unit, "ActiveState") == "active", unit
    assert node.machine.property("mkctl.service", "StatusText")
    assert node.machine.property("mkserver.service", "Slice") == "system.slice"


def test_no_process_has_more_than_it_needs(node: nodes.Node) -> None:
    """What the kernel says of the running controller: own user, no capability, no new privileges, a filter."""
    pid = node.machine.property("mkctl.service", "MainPID")
    status = dict(
        line.split(":\t", 1) for line in node.machine.output("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line
    )
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert status["Uid"].split("\t")[0] == node.machine.output("id", "--user", "mkctl")


def test_checkins_change_nothing(node: nodes.Node) -> None:
    """Ten checkins with the server's own defaults: no restart, no push, no second registration."""
    start, before = node.machine.mark(), node.invocation()
    for _ in range(10):
        node.check_in()
    assert node.invocation() == before
    assert node.apply() == {}
    assert node.count(events.REGISTERED, start) == 0


def test_pushed_interval_is_applied_and_confirmed(node: nodes.Node) -> None:
    """The server's new interval makes mkweb have systemd restart mkctl; a good checkin with it confirms it."""
    start, before, facts = node.machine.mark(), node.invocation(), node.machine.controller("FactsDigest")
    node.set_server(mk_checkin_interval=3)
    node.check_in(check=False)  # the controller that would answer is restarted
    confirmed = node.machine.wait_event(events.CONFIG_CONFIRMED.id, after=start)
    assert node.invocation() not in ("", before)
    assert node.machine.controller("ConfigDigest") == confirmed["MK_DIGEST"]
    assert node.stored()["config"]["mk_checkin_interval"] == 3
    assert node.apply()["phase"] == "confirmed"
    assert node.machine.property("mkctl.service", "NRestarts") == "0"  # restarted by order, not after a failure

    assert node.count(events.REGISTERED, start) == 0
    assert node.machine.controller("FactsDigest") == facts
    assert len(node.server("nodes")["nodes"]) == 1


def test_restart_keeps_state(node: nodes.Node) -> None:
    """A controller that was killed comes back with what it knew: same digest, same facts, no registration."""
    machine, start, before = node.machine, node.machine.mark(), node.invocation()
    digest = machine.controller("ConfigDigest")
    machine.run("systemctl", "kill", "--signal=KILL", "mkctl.service")
    machine.wait_until(lambda: node.invocation() not in ("", before), "mkctl.service was started again")
    machine.wait_until(lambda: machine.property("mkctl.service", "ActiveState") == "active", "mkctl.service is ready")
    node.check_in()
    assert machine.controller("ConfigDigest") == digest
    assert node.count(events.REGISTERED, start) == 0


def test_log_control(node: nodes.Node) -> None:
    """`systemctl service-log-level` reaches mkctl through its bus name, without a restart."""
    machine, before = node.machine, node.invocation()
    assert machine.output("systemctl", "service-log-level", "mkctl.service") != "debug"
    machine.run("systemctl", "service-log-level", "mkctl.service", "debug")
    assert machine.output("systemctl", "service-log-level", "mkctl.service") == "debug"
    start = machine.mark()
    node.check_in()
    assert machine.journal("--unit=mkctl.service", "--priority=7..7", after=start)
    machine.run("systemctl", "service-log-level", "mkctl.service", "err")
    assert node.invocation() == before


def test_catalog_explains_events(node: nodes.Node) -> None:
    """`journalctl -x` shows what an event means; the package's installation built the catalog."""
    shown = node.machine.run("journalctl", "-x", f"MESSAGE_ID={events.REGISTERED.id}", "--no-pager", "--lines=1").stdout
    explained = [line for line in shown.splitlines() if line.startswith("░░")]
    assert any(line.startswith("░░ Subject:") for line in explained), shown
    assert len(explained) > 3, shown
    listed = node.machine.run("journalctl", "--list-catalog", *(event.id for event in events.EVENTS)).stdout
    assert len(listed.splitlines()) == len(events.EVENTS)


def test_others_read_and_do_not_call(node: nodes.Node) -> None:
    """The bus lets everybody read the controller's state; methods and writing are root's."""
    service, path, interface = nodes.CONTROLLER
    for user in ("daemon", "mkweb"):
        machine = node.machine
        assert machine.run("busctl", "get-property", service, path, interface, "State", user=user).stdout.startswith(
            "s "
        )
        assert "CheckIn" in machine.run("busctl", "introspect", service, path, user=user).stdout
        level = ("org.freedesktop.LogControl1", "LogLevel")
        for words in (
            ("call", service, path, interface, "CheckIn"),
            ("call", service, path, interface, "Register"),
            ("call", service, path, interface, "Describe"),
            ("set-property", service, "/org/freedesktop/LogControl1", *level, "s", "debug"),
        ):
            done = machine.run("busctl", *words, user=user, check=False)
            assert done.returncode != 0 and "denied" in done.stderr.lower(), (user, words, done.stderr)
        bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
        owned = machine.run("busctl", "call", *bus, "RequestName", "su", service, "4", user=user, check=False)
        assert owned.returncode != 0 and "denied" in owned.stderr.lower(), owned.stderr
    described = node.machine.output("busctl", "--json=short", "call", service, path, interface, "Describe")
    assert json.loads(json.loads(described)["data"][0])


def test_collecting_again_is_no_registration(node: nodes.Node) -> None:
    """The timer's way: a second collection with the same hardware raises the generation and registers nothing."""
    machine, start = node.machine, node.machine.mark()
    before = machine.read_json("/run/mk-facts/facts.json")["generation"]
    machine.run("systemctl", "start", "mk-facts.service")
    assert machine.read_json("/run/mk-facts/facts.json")["generation"] > before
    node.check_in()
    assert node.count(events.REGISTERED, start) == 0


def test_good_run_leaves_no_warning(node: nodes.Node) -> None:
    """Nothing failed, and the journal of our units holds nothing at warning or above."""
    assert nodes.warnings(node.machine) == [
        "mkctl.service: Main process exited, code=killed, status=9/KILL",
        "mkctl.service: Failed with result 'signal'.",
    ]  # test_restart_keeps_state


def test_stop_stops_everything(node: nodes.Node) -> None:
    """`systemctl stop mk.target` ends all of the suite and nothing else, and leaves the state for the next start."""
    machine = node.machine
    machine.run("systemctl", "stop", "mk.target")
    machine.wait_until(lambda: machine.property("mk.slice", "ActiveState") == "inactive", "mk.slice is empty")
    listed = machine.output("systemctl", "list-units", "--plain", "--no-legend", "--state=active", "mk*").splitlines()
    assert [line.split()[0] for line in listed] == ["mkserver.service"]
    assert machine.output("sh", "-c", "ls /run/mkctl/state.json /run/mkweb/config.json /run/mk-facts/facts.json")

    start = machine.mark()
    machine.run("systemctl", "start", "mk.target")
    node.check_in()
    assert node.count(events.REGISTERED, start) == 0

"""What systemd does for the services: starts them on demand, brings them back, notices when they hang."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore import events
from tests.system import node as nodes


@pytest.fixture(scope="module")
def node(installed: list[Path]) -> Iterator[nodes.Node]:
    """A registered node."""
    with nodes.boot("services", installed) as node:
        node.start_registered()
        yield node


WRITER = """\
#!/bin/sh
echo "lab_user=$(id -u)"
for folder in /run /run/mkctl /run/systemd/system /dev/shm /etc /usr /var/lib /root /sys/fs/cgroup; do
    { true >$folder/lab-writer; } 2>/dev/null && wrote="$wrote $folder"
done
echo "lab_wrote=${wrote:-none}"
"""
SERVERS = [
    ("mkweb.service", nodes.MKWEB, "/health"),
    ("mkmirror.service", nodes.EXTENSIONS, "/tinycorelinux/tce-install-list"),
    ("mkmirror.service", nodes.PACKAGES, "/gem-mirror/gems/gem.list"),
]


@pytest.mark.parametrize(("unit", "port", "path"), SERVERS)
def test_request_starts_the_service(node: nodes.Node, unit: str, port: int, path: str) -> None:
    """Idle, only the socket is there; a request starts the service and is answered by it, from loopback alone."""
    machine = node.machine
    machine.run("systemctl", "stop", unit)
    assert machine.property(unit, "ActiveState") == "inactive"
    status, _, _ = machine.http("GET", port, path)
    assert status in (200, 404)  # an empty mirror has no package list
    assert machine.property(unit, "ActiveState") == "active"
    assert machine.property(unit, "StatusText")
    assert f"127.0.0.1:{port}" in machine.output("ss", "--no-header", "--listening", "--tcp", "--numeric")


def test_servers_listen_on_loopback_alone(node: nodes.Node) -> None:
    """No listening socket of the suite is reachable from another machine."""
    listening = node.machine.output("ss", "--no-header", "--listening", "--tcp", "--udp", "--numeric").splitlines()
    addresses = {line.split()[4] for line in listening}
    assert {address.rpartition(":")[0] for address in addresses} == {"127.0.0.1"}, addresses


@pytest.mark.parametrize("unit", ["mkweb.service", "mkmirror.service"])
def test_idle_exit(node: nodes.Node, unit: str) -> None:
    """A service that nobody asks ends and stays so; the socket stays, and the next request is answered."""
    machine, program = node.machine, unit.partition(".")[0]
    port, path = (
        (nodes.MKWEB, "/health") if program == "mkweb" else (nodes.EXTENSIONS, "/tinycorelinux/tce-install-list")
    )
    machine.drop_in(unit, f"[Service]\nExecStart=\nExecStart=/usr/bin/{program} --idle 1\n")
    machine.run("systemctl", "stop", unit)
    for _ in range(7):  # more often than systemd's usual limit of starts would allow
        assert machine.http("GET", port, path)[0] == 200
        machine.wait_until(lambda: machine.property(unit, "ActiveState") == "inactive", f"{unit} ended")
    shown = machine.show(unit, "Result", "NRestarts")
    assert shown == {"Result": "success", "NRestarts": "0"}
    assert machine.property(f"{program}.socket", "ActiveState") == "active"
    machine.drop_in(unit, "")


@pytest.mark.parametrize("unit", ["mkctl.service", "mkweb.service", "mkmirror.service"])
def test_killed_service_comes_back(node: nodes.Node, unit: str) -> None:
    """kill -9: started again, ready again, and nothing that was known is lost."""
    machine = node.machine
    machine.run("systemctl", "start", unit)
    before, known = node.invocation(unit), node.stored()["digest"]
    machine.run("systemctl", "kill", "--signal=KILL", unit)
    machine.wait_until(lambda: node.invocation(unit) not in ("", before), f"{unit} was started again")
    machine.wait_until(lambda: machine.property(unit, "ActiveState") == "active", f"{unit} is ready")
    start = machine.mark()
    node.check_in()
    assert node.stored()["digest"] == known
    assert node.count(events.REGISTERED, start) == 0


def test_watchdog_ends_a_stopped_controller(node: nodes.Node) -> None:
    """A controller that makes no progress is ended by systemd's watchdog and started again."""
    machine = node.machine
    machine.drop_in("mkctl.service", "[Service]\nWatchdogSec=3s\n")
    machine.run("systemctl", "restart", "mkctl.service")
    before, start = node.invocation(), machine.mark()
    machine.run("systemctl", "kill", "--signal=STOP", "mkctl.service")
    machine.wait_until(lambda: node.invocation() not in ("", before), "mkctl.service was started again", 60.0)
    ended = [entry["MESSAGE"] for entry in machine.journal("_PID=1", "UNIT=mkctl.service", after=start)]
    assert any("Watchdog timeout" in message for message in ended), ended
    machine.wait_until(lambda: machine.property("mkctl.service", "ActiveState") == "active", "mkctl.service is ready")
    node.check_in()
    machine.drop_in("mkctl.service", "")
    machine.run("systemctl", "restart", "mkctl.service")


def test_controller_that_cannot_start_is_tried_for_good(node: nodes.Node) -> None:
    """There is no number of failed starts after which systemd gives a node up; once the reason is gone it is back."""
    machine = node.machine
    machine.drop_in("mkctl.service", "[Service]\nRestartSec=100ms\nExecStartPre=/bin/false\n")
    machine.run("systemctl", "restart", "mkctl.service", check=False)
    machine.wait_until(
        lambda: int(machine.property("mkctl.service", "NRestarts")) > 6, "more starts than the usual limit"
    )
    machine.drop_in("mkctl.service", "")
    machine.wait_until(lambda: machine.property("mkctl.service", "ActiveState") == "active", "mkctl.service is ready")
    node.check_in()


def test_server_that_comes_back(node: nodes.Node) -> None:
    """While the server is away the controller waits, says so, and goes on by itself when it answers again."""
    machine, start, before = node.machine, node.machine.mark(), node.invocation()
    machine.run("systemctl", "stop", "mkserver.service")
    refused = node.check_in(check=False)
    assert refused
    machine.wait_event(events.SERVER_LOST.id, after=start)
    assert machine.controller("LastError")
    machine.run("systemctl", "start", "mkserver.service")
    machine.wait_event(events.SERVER_BACK.id, after=start, timeout_s=120.0)
    assert node.invocation() == before


def test_facts_during_a_collection_are_not_lost(node: nodes.Node) -> None:
    """A hot-plug timer that fires while the facts are being collected merges with that run; neither fails."""
    machine = node.machine
    machine.run("systemctl", "start", "--no-block", "mk-facts.service")
    machine.run("systemctl", "start", "mk-facts-hotplug.timer")
    machine.wait_until(
        lambda: machine.property("mk-facts-hotplug.timer", "ActiveState") == "inactive", "the timer fired"
    )
    machine.wait_until(lambda: machine.property("mk-facts.service", "ActiveState") == "inactive", "the facts are there")
    assert machine.property("mk-facts.service", "Result") == "success"


def test_program_in_facts_d_changes_nothing_of_others(node: nodes.Node) -> None:
    """What a site collects facts with is root by its name alone: no file of the system can be written."""
    machine = node.machine
    machine.run("mkdir", "-p", "-m", "755", "/etc/mk/facts.d")
    machine.write("/etc/mk/facts.d/writer", WRITER, mode=0o755)
    machine.run("systemctl", "start", "mk-facts.service")
    found = machine.read_json("/run/mk-facts/facts.json")["facts"]
    machine.run("rm", "/etc/mk/facts.d/writer")
    assert (found["lab_user"], found["lab_wrote"]) == ("0", "none"), found["lab_wrote"]
    assert machine.property("mk-facts.service", "Result") == "success"


def test_stopped_target_stays_stopped(node: nodes.Node) -> None:
    """Nothing of the suite starts another part of it once its administrator has stopped it."""
    machine = node.machine
    machine.run("systemctl", "stop", "mk.target")
    machine.wait_until(lambda: machine.property("mk.slice", "ActiveState") == "inactive", "mk.slice is empty")
    with pytest.raises(ConnectionRefusedError):
        machine.connect(nodes.MKWEB)
    assert machine.property("mkctl.service", "ActiveState") == "inactive"
    assert machine.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""

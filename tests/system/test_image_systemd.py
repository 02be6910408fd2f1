"""What the systemd of the image (Debian 13's) says of our files; and real hot-plug."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exposure import NODE
from tests.machines import nspawn, tree
from tests.system import node as nodes

UNIT_FILES = "/usr/lib/systemd/system"
LINKS = ("hot0", "hot1")


def test_units_verify(quiet: nspawn.Machine) -> None:
    """systemd-analyze has nothing to say about the installed units, programs and manual pages included."""
    units = [f"{UNIT_FILES}/{path.name}" for path in sorted((tree.ROOT / "units/systemd").iterdir())]
    done = quiet.run("systemd-analyze", "verify", "--recursive-errors=no", "--man=no", *units)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("name", NODE)
def test_exposure(quiet: nspawn.Machine, name: str) -> None:
    """Exposure as the image's systemd scores it, offline and of the loaded unit."""
    for words in (["--offline=true", f"{UNIT_FILES}/{name}.service"], [f"{name}.service"]):
        said = quiet.output("systemd-analyze", "security", "--no-pager", *words)
        score = re.search(r"Overall exposure level for \S+ ([\d.]+)", said)
        assert score and float(score[1]) <= NODE[name], said[-200:]


def test_udev_rules_verify(quiet: nspawn.Machine) -> None:
    """udevadm finds no error and no dubious style."""
    if int(quiet.output("udevadm", "--version")) < 254:
        pytest.skip("udevadm verify came with systemd 254")
    done = quiet.run("udevadm", "verify", "/usr/lib/udev/rules.d/90-mk-facts.rules")
    assert "Fail:    0" in done.stdout and not done.stderr, done.stdout + done.stderr


@pytest.fixture(scope="module")
def node(installed: list[Path]) -> Iterator[nodes.Node]:
    """A node whose udevd runs and sees the network devices of its own namespace; nothing of the suite is started.

    Its /sys is writable for that. The host's own devices stay out of it: nothing triggers their events again.
    """
    masked = {f"/etc/systemd/system/systemd-udev-{name}.service": "" for name in ("trigger", "settle")}
    files = {"/etc/mk/mk.toml": nodes.SITE, **masked}
    with nspawn.boot(
        "hotplug", installed, files=files, environment={"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"}
    ) as machine:
        machine.run("systemctl", "start", "systemd-udevd.service")
        yield nodes.Node(machine)


def plug(machine: nspawn.Machine) -> None:
    """Plug two NICs in and out again, and wait until udevd has dealt with the events."""
    machine.run("ip", "link", "add", LINKS[0], "type", "veth", "peer", "name", LINKS[1])
    machine.run("udevadm", "settle", "--timeout=20")
    machine.run("ip", "link", "delete", LINKS[0])
    machine.run("udevadm", "settle", "--timeout=20")


def jobs(machine: nspawn.Machine, after: str) -> set[str]:
    """Return our units that systemd started or stopped since the mark."""
    entries = machine.journal("_PID=1", after=after)
    return {unit for entry in entries if "JOB_ID" in entry and (unit := str(entry.get("UNIT"))).startswith("mk")}


def test_hotplug_starts_nothing_on_an_installed_machine(node: nodes.Node) -> None:
    """Not where the suite never ran, and not after it was stopped."""
    machine = node.machine
    start = machine.mark()
    plug(machine)
    assert jobs(machine, start) == set()

    machine.run("systemctl", "start", "mk-facts.service")  # leaves its directory behind
    machine.wait_until(lambda: machine.property("mk.slice", "ActiveState") == "active", "mk.slice is there")
    machine.run("systemctl", "stop", "mk.slice")
    start = machine.mark()
    plug(machine)
    assert jobs(machine, start) == set()


def test_hotplug_collects_facts_while_the_suite_runs(node: nodes.Node) -> None:
    """A device that comes makes the facts be collected again, once for all events of one second."""
    machine = node.machine
    machine.run("systemctl", "start", "mk.target")
    before = machine.read_json("/run/mk-facts/facts.json")
    machine.run("ip", "link", "add", LINKS[0], "type", "veth", "peer", "name", LINKS[1])
    machine.wait_until(
        lambda: LINKS[0] in machine.read_json("/run/mk-facts/facts.json")["facts"]["interfaces"],
        "the new NIC is a fact",
    )
    machine.wait_until(lambda: machine.property("mk-facts.service", "ActiveState") == "inactive", "it is collected")
    machine.run("ip", "link", "delete", LINKS[0])
    machine.wait_until(
        lambda: LINKS[0] not in machine.read_json("/run/mk-facts/facts.json")["facts"]["interfaces"], "the NIC is gone"
    )
    after = machine.read_json("/run/mk-facts/facts.json")
    assert before["generation"] < after["generation"] <= before["generation"] + 4
    machine.run("systemctl", "stop", "mk.target")

"""What the shipped image finds on machines whose truth is declared (tests/machines/matrix.py), field by field, and when
it tells the server again.

`make test` boots one of them, `make test-full` all: MK_MACHINE names one, MK_QUIET_S says how long one is left alone.
The tests are one story on one machine, which is switched on once: what was found, minutes in which nothing happens,
then hardware that comes.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mkcore import events
from tests.machines import matrix, untrimmed
from tests.machines.compare import Whole, key_declared, list_differences
from tests.machines.declared import Declared, switch_on
from tests.machines.rich_facts import build_facts, build_numbered, gather_numbered, list_neighbours
from tests.machines.rich_truth import build_inventory
from tests.machines.server import ROOT, read_manifest

NAME = os.environ.get("MK_MACHINE", matrix.IN_MAKE_TEST)
BOOT_S = 600.0
"""From power on to the registration, under TCG: about 60 s."""
SETTLE_S = 600.0
"""To the end of the first run that listened to neighbours: about 40 s more."""
PLUG_S = 300.0
"""From a plug to the registration: about 15 s."""
QUIET_S = float(os.environ.get("MK_QUIET_S", "120"))
CHECKINS_AFTER = 3
"""Registrations that follow another one too many would come with one of these."""

TOOLS = (
    ("lshw", "-quiet"),
    ("lscpu",),
    ("lscpu", "--extended"),
    ("dmidecode",),
    ("ipmitool", "mc", "info"),
    ("ipmitool", "lan", "print", "1"),
    ("ipmitool", "fru", "print"),
)
CHANGES = r"[MG]Hz|BogoMIPS|logical name: /dev/loop"
"""What differs between two calls of the same tool."""

pytestmark = pytest.mark.usefixtures("image")


@pytest.fixture(scope="module")
def declared(image: dict[str, str]) -> Iterator[Declared]:
    """The machine, registered."""
    with switch_on(matrix.MACHINES[NAME], ROOT / "build/image-tests" / NAME) as machine:
        machine.node.channel.wait_event(events.REGISTERED, BOOT_S)
        yield machine


@pytest.fixture(scope="module")
def found(declared: Declared) -> dict[str, Any]:
    """What mk-facts says once the machine has booted and every neighbour was heard: inventory, facts, problems."""
    return declared.wait_settled(SETTLE_S)


@pytest.fixture(scope="module")
def names(found: dict[str, Any]) -> dict[str, str]:
    """MAC address -> name that the kernel gave the card."""
    return {nic["mac"]: name for name, nic in found["inventory"]["nics"].items() if "mac" in nic}


def expect(differences: list[str]) -> None:
    """Fail with one line for each difference."""
    if differences:
        pytest.fail("\n".join(differences), pytrace=False)


def test_every_collector_ended_well(found: dict[str, Any]) -> None:
    """No collector has anything to remark on a machine without faults."""
    assert found["problems"] == {}


def test_inventory_is_what_was_declared(declared: Declared, found: dict[str, Any]) -> None:
    """Every section of the inventory equals the command line, field by field."""
    truth = build_inventory(declared.rich, declared.command_line, str(read_manifest()["kernel"]))
    expect(list_differences(truth, key_declared(found["inventory"])))


def test_neighbours_are_what_was_sent(declared: Declared, found: dict[str, Any], names: dict[str, str]) -> None:
    """LLDP: every field of each neighbour's frame, on the card whose cable it is."""
    truth = Whole(list_neighbours(declared.rich, names))
    expect(list_differences(truth, found["inventory"].get("lldp_neighbors", {})))


def test_registered_facts_are_what_was_declared(declared: Declared, names: dict[str, str]) -> None:
    """The flat facts that the server has, under the names of protocol 6.6 to 6.9."""
    declared.node.check_in()
    facts = declared.node.known()["facts"]
    expect(list_differences(build_facts(declared.rich, names), facts))
    for name, values in build_numbered(declared.rich).items():
        assert gather_numbered(facts, name) == values, name


def registrations(declared: Declared) -> int:
    """Return how often the machine has registered."""
    return int(declared.node.known()["registrations"])


def settle(declared: Declared) -> int:
    """Wait until some checkins have passed without facts being collected; returns how often it has registered."""
    while True:
        before, since = declared.wait_settled(SETTLE_S), time.monotonic()
        declared.node.wire.wait_requests(CHECKINS_AFTER, since, PLUG_S)
        after = declared.read()
        if after["settled"] and after["generation"] == before["generation"]:
            return registrations(declared)


def expect_one(declared: Declared, before: int, mark: int) -> dict[str, Any]:
    """Wait for the registration that a plug causes and that nothing follows it; returns what the server knows."""
    declared.node.channel.wait_event(events.REGISTERED, PLUG_S, mark)
    assert settle(declared) == before + 1
    return declared.node.known()


def test_quiet_machine_does_not_register_again(declared: Declared, found: dict[str, Any]) -> None:
    """B37, B48: a checkin each 5 s, collections between them, and nothing that changed: no registration."""
    before, began = settle(declared), time.monotonic()
    collected = declared.read()["generation"]
    declared.node.channel.run("systemctl", "start", "mk-facts.service", timeout_s=PLUG_S)
    sent = declared.node.wire.wait_requests(int(QUIET_S), began, QUIET_S)
    assert len([each for each in sent if "/node/checkin" in each.line]) > QUIET_S / 10
    assert declared.read()["generation"] > collected
    assert registrations(declared) == before


def test_plugged_disk_is_registered_once(declared: Declared, found: dict[str, Any]) -> None:
    """A disk that comes while the machine runs: one registration, and the disk is in it."""
    before, mark = registrations(declared), declared.node.channel.mark()
    declared.plug_disk(0, "PLUG-D1", 48 << 20)
    assert "PLUG-D1" in expect_one(declared, before, mark)["facts"].values()


def test_plugged_nic_is_registered_once(declared: Declared, found: dict[str, Any]) -> None:
    """A network card that comes while the machine runs: one registration, and the card is in it."""
    before, mark = registrations(declared), declared.node.channel.mark()
    declared.plug_nic(1, "02:4d:4b:00:ff:01")
    assert "02:4d:4b:00:ff:01" in expect_one(declared, before, mark)["facts"].values()


def test_plug_during_a_collection_is_registered_once(declared: Declared, found: dict[str, Any]) -> None:
    """A disk that comes while facts are being collected: that collection, or the next one, has it; one registration."""
    before, mark = registrations(declared), declared.node.channel.mark()
    declared.node.channel.run("systemctl", "start", "--no-block", "mk-facts.service")
    deadline = time.monotonic() + PLUG_S
    while declared.node.show("mk-facts.service", "ActiveState") != ["activating"]:
        assert time.monotonic() < deadline, "the collection did not start"
    declared.plug_disk(2, "PLUG-D2", 56 << 20)
    assert "PLUG-D2" in expect_one(declared, before, mark)["facts"].values()


@pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full compares them: a disk of 200 MB is made")
def test_tools_say_what_those_of_an_untrimmed_system_say(declared: Declared, found: dict[str, Any]) -> None:
    """lshw, lscpu, dmidecode and ipmitool of Debian's packages as they are, on this kernel: not a line is missing."""
    untrimmed.make_disk(declared.folder / "disks/UNTRIMMED")
    declared.plug_disk(3, "UNTRIMMED", 0)
    settle(declared)
    channel = declared.node.channel
    untrimmed.mount_disk(channel, "UNTRIMMED")
    for argv in TOOLS:
        theirs = untrimmed.run_there(channel, *argv).splitlines()
        ours = channel.run(*argv, timeout_s=300, check=False).stdout.splitlines()
        missing = [line for line in theirs if line not in ours and not re.search(CHANGES, line)]
        silent = argv[0] == "ipmitool" and declared.rich.bmc is None
        assert (len(theirs) > 1 or silent) and missing == [], argv


def test_nothing_failed_and_nobody_complained(declared: Declared) -> None:
    """After all this no unit has failed and no service of ours wrote a warning, but of a checkin that timed out while
    this host was busy and that a later one made good.
    """
    declared.node.check_in()
    assert declared.node.failed_units() == ""
    assert declared.node.complaints() == []

"""The table of rights: every grant works, and its neighbours (another verb, unit, user) are refused.

Asked for as the services ask: over the system bus, as their users, without capabilities. polkitd, systemd and the
rule are the real ones.
"""

from __future__ import annotations

import re

import pytest

from tests.machines import nspawn, tree

RULES = tree.ROOT / "units/polkit/50-mksuite.rules"
MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
REFUSED = re.compile(
    r"interactive authentication|Access denied|access denied|AccessDenied|InteractiveAuthorizationRequired",
    re.IGNORECASE,
)

GRANTS = [
    ("mkweb", "Restart", "mkctl.service"),
    ("mkctl", "Start", "mk-facts.service"),
    ("mkctl", "Start", "mk-fetch.service"),
]
CLOCK_GRANTS = [("mkctl", "Start", "mk-clock.service")]
POWER_GRANTS = [("mkctl", "Start", "reboot.target"), ("mkctl", "Start", "poweroff.target")]
USERS = ("mkctl", "mkweb", "mkmirror", "mkserver", "daemon")
VERBS = ("Start", "Stop", "Restart", "Reload", "TryRestart")
UNITS = (
    "mkctl.service",
    "mkweb.service",
    "mk-facts.service",
    "mk-fetch.service",
    "mk-extensions.service",
    "mk-clock.service",
    "mk.target",
    "reboot.target",
    "poweroff.target",
    "rescue.target",
    "dbus.service",
)


def ask(machine: nspawn.Machine, user: str, verb: str, unit: str) -> tuple[int, str]:
    """Ask systemd for a job; return busctl's status and what it said."""
    done = machine.run("busctl", "call", *MANAGER, f"{verb}Unit", "ss", unit, "replace", user=user, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("user", "verb", "unit"), GRANTS)
def test_grant(quiet: nspawn.Machine, user: str, verb: str, unit: str) -> None:
    """What a service needs is granted; the answer names the job that systemd made of it."""
    before = quiet.property(unit, "InvocationID")
    status, words = ask(quiet, user, verb, unit)
    assert (status, words[:3]) == (0, 'o "'), words
    quiet.wait_until(lambda: quiet.property(unit, "InvocationID") not in ("", before), f"{unit} was started")
    quiet.run("systemctl", "stop", unit)


def test_the_clock_is_asked_for_and_a_container_leaves_its_host_s_alone(quiet: nspawn.Machine) -> None:
    """The grant makes a job, whose unit ends before it began: the clock of a container is its host's."""
    for user, verb, unit in CLOCK_GRANTS:
        start = quiet.mark()
        status, words = ask(quiet, user, verb, unit)
        assert (status, words[:3]) == (0, 'o "'), words

        def skipped(unit: str = unit, start: str = start) -> bool:
            """PID 1 says so; the unit itself is forgotten at once."""
            told = [str(entry["MESSAGE"]) for entry in quiet.journal(f"UNIT={unit}", after=start)]
            return any("ConditionVirtualization=!container" in line for line in told)

        quiet.wait_until(skipped, f"{unit} was looked at")


def test_table_is_the_tested_one() -> None:
    """A grant that is added to the rule is added here, and so gets its test."""
    rows = re.findall(r'"(\w+)": \[(.*?)\]', RULES.read_text(encoding="utf-8"))
    granted = {(user, words) for user, row in rows for words in re.findall(r'"(\w+ [\w.@-]+)"', row)}
    assert granted == {(user, f"{verb.lower()} {unit}") for user, verb, unit in GRANTS + CLOCK_GRANTS + POWER_GRANTS}


@pytest.mark.parametrize("user", USERS)
def test_neighbours_are_refused(quiet: nspawn.Machine, user: str) -> None:
    """Every other combination is refused, with one of the two errors that mkcore.systemd1 knows, and does nothing."""
    start = quiet.mark()
    for verb in VERBS:
        for unit in UNITS:
            if (user, verb, unit) not in GRANTS + CLOCK_GRANTS + POWER_GRANTS:
                status, words = ask(quiet, user, verb, unit)
                assert status != 0 and REFUSED.search(words), (user, verb, unit, words)
    jobs = [entry for entry in quiet.journal("_PID=1", after=start) if "JOB_ID" in entry]
    assert not [entry["MESSAGE"] for entry in jobs if entry.get("UNIT") != "polkit.service"]  # the judge, who may sleep


@pytest.mark.parametrize("user", USERS)
def test_other_ways_are_refused(quiet: nspawn.Machine, user: str) -> None:
    """A service of one's own, a property, a unit file, a reload, logind: none is a way around the table."""
    ways = [
        ("StartTransientUnit", "ssa(sv)a(sa(sv))", "x.service", "replace", "0", "0"),
        ("SetUnitProperties", "sba(sv)", "mkctl.service", "true", "0"),
        ("EnableUnitFiles", "asbb", "1", "mk.target", "false", "false"),
        ("KillUnit", "ssi", "mkctl.service", "all", "9"),
        ("Reload", ""),
        ("PowerOff", ""),
        ("Reboot", ""),
    ]
    for member, *rest in ways:
        arguments = rest if rest != [""] else []
        done = quiet.run("busctl", "call", *MANAGER, member, *arguments, user=user, check=False)
        assert done.returncode != 0 and REFUSED.search(done.stderr), (user, member, done.stdout + done.stderr)
    login = (
        "org.freedesktop.login1",
        "/org/freedesktop/login1",
        "org.freedesktop.login1.Manager",
        "PowerOff",
        "b",
        "false",
    )
    done = quiet.run("busctl", "call", *login, user=user, check=False)
    assert done.returncode != 0 and REFUSED.search(done.stderr), (user, done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("order", "status"), [("reboot.target", nspawn.REBOOTED), ("poweroff.target", nspawn.POWERED_OFF)]
)
def test_power_grants(installed, order: str, status: int) -> None:  # type: ignore[no-untyped-def]
    """mkctl may reboot the machine and power it off; the container's own status tells which of them it was."""
    with nspawn.boot(f"grant-{order.partition('.')[0]}", installed) as machine:
        machine.run("busctl", "call", *MANAGER, "StartUnit", "ss", order, "replace", user="mkctl", check=False)
        assert machine.wait_end() == status

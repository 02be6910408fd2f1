"""What a machine has before and after packages came and went: files, users and groups, running units."""

from __future__ import annotations

from tests.machines import nspawn

LEFT_TO_OTHERS = (
    "/var/log/",
    "/var/cache/",
    "/var/lib/dpkg/",
    "/var/lib/systemd/catalog/",
    "/var/lib/apt/",
    "/var/tmp/",
    "/run/",
    "/tmp/",
)
"""Logs and databases of other packages that name ours: the package manager's, the journal's, the catalog's."""


def files(machine: nspawn.Machine, others: tuple[str, ...] = ()) -> set[str]:
    """Return every path of the machine's own file system with its owner, less what other packages keep about ours."""
    listed = machine.output("find", "/", "-xdev", "-printf", "%p\t%u:%g\n").splitlines()
    return {
        line
        for line in listed
        if not line.startswith((*LEFT_TO_OTHERS, *others)) and ("/__pycache__" not in line or "-packages/mk" in line)
    }


def directory_entries(machine: nspawn.Machine) -> set[str]:
    """Return the users and groups."""
    return set(machine.output("sh", "-c", "getent passwd; getent group; ls /run").splitlines())


def running(machine: nspawn.Machine) -> set[str]:
    """Return the active units but for those that come and go by themselves."""
    lines = machine.output(
        "systemctl", "list-units", "--state=active,activating", "--plain", "--no-legend"
    ).splitlines()
    return {
        line.split()[0]
        for line in lines
        if not line.split()[0].startswith(("run-", "session-", "systemd-tmpfiles-clean"))
    }

"""The packages start nothing, enable nothing, restart only what runs, and leave nothing behind.

Installed into a running machine, as an administrator would; whatever differs before and after is listed, not what
we think of.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import nspawn, tree
from tests.system.leftovers import directory_entries, files, running

UNITS = [path.name for path in sorted((tree.ROOT / "units/systemd").iterdir())]
PACKAGES = ["mk-core", "mkctl", "mkweb", "mkmirror", "mkserver", "mk-suite", "mk-host"]


@pytest.fixture(scope="module")
def bare(base: list[Path]) -> Iterator[nspawn.Machine]:
    """A machine without our packages, which lie in /debs."""
    with nspawn.boot("packages", base, options=[f"--bind-ro={tree.DEBS}:/debs"]) as machine:
        yield machine


def install(machine: nspawn.Machine) -> None:
    """Install all packages, or install them again, which to dpkg is an upgrade."""
    machine.run("sh", "-c", "dpkg --install /debs/*.deb")


def test_install_starts_nothing_and_purge_leaves_nothing(bare: nspawn.Machine) -> None:
    """Features: packages disabled and stopped; purge."""
    before, people, units = files(bare), directory_entries(bare), running(bare)
    start, links = bare.mark(), bare.output("ip", "-json", "address")
    install(bare)

    assert running(bare) == units
    assert bare.output("ip", "-json", "address") == links
    for unit in UNITS:
        assert bare.property(unit, "LoadState") == "loaded", unit
        assert bare.property(unit, "ActiveState") == "inactive", unit
        assert bare.run("systemctl", "is-enabled", unit, check=False).stdout.strip() in ("disabled", "static"), unit
    assert not bare.output("sh", "-c", "find /etc/systemd/system -name 'mk*'")
    assert bare.output("ss", "--no-header", "--listening", "--tcp") == ""
    assert not [entry for entry in bare.journal(after=start) if str(entry.get("_SYSTEMD_UNIT", "")).startswith("mk")]
    assert bare.run("systemctl", "--failed", "--no-legend").stdout == ""
    assert {
        user for user in ("mkctl", "mkweb", "mkmirror", "mkserver") if bare.run("id", user, check=False).returncode
    } == set()

    # What the preset says to `systemctl preset-all` of a distribution that enables by default.
    bare.run("systemctl", "preset", "mk.target", "mkserver.service")
    assert bare.run("systemctl", "is-enabled", "mk.target", "mkserver.service", check=False).stdout.split() == [
        "disabled",
        "disabled",
    ]

    # An administrator enables it, and changes his mind.
    bare.run("systemctl", "enable", "mk.target", "mkserver.service")
    bare.write("/etc/mk/mk.toml", '[log]\nlevel = "info"\n')
    bare.run("dpkg", "--purge", *PACKAGES)
    assert files(bare) == before
    assert directory_entries(bare) == people
    assert running(bare) == units


def test_purge_of_a_used_suite_leaves_nothing(bare: nspawn.Machine) -> None:
    """Run everything, then purge without stopping it first."""
    before, people, units = files(bare), directory_entries(bare), running(bare)
    install(bare)
    bare.run("systemctl", "start", "mk.target", "mkserver.service")
    bare.run("dpkg", "--purge", *PACKAGES)
    assert files(bare) == before
    assert directory_entries(bare) == people
    assert running(bare) == units


def test_upgrade_restarts_what_runs_alone(bare: nspawn.Machine) -> None:
    """The second installation of the same packages is an upgrade to dpkg."""
    install(bare)
    bare.run("systemctl", "start", "mkctl.service")
    first = bare.property("mkctl.service", "InvocationID")
    install(bare)
    assert bare.property("mkctl.service", "ActiveState") == "active"
    assert bare.property("mkctl.service", "InvocationID") not in ("", first)
    for unit in (
        "mk.target",
        "mkweb.socket",
        "mkweb.service",
        "mkmirror.service",
        "mkserver.service",
        "mk-facts.timer",
    ):
        assert bare.property(unit, "ActiveState") == "inactive", unit
    bare.run("systemctl", "stop", "mkctl.service")

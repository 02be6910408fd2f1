"""The machine's name on a real hostnamed, polkit and bus: with the image's grant, and refused without (row 19)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore import events
from tests.machines import nspawn
from tests.machines.tree import ROOT

RULE = "/etc/polkit-1/rules.d/50-mk-host-name.rules"
GRANT = (ROOT / "packaging/image/mkosi.extra/usr/share/polkit-1/rules.d/50-mk-host-name.rules").read_text()
SITE = '[server]\nuri = "http://127.0.0.1:9"\n[identity]\nset_host_name = true\n'
HOSTNAMED = ("org.freedesktop.hostname1", "/org/freedesktop/hostname1", "org.freedesktop.hostname1")
CARD = "02:4d:4b:00:00:0a"


@pytest.fixture(scope="module")
def machine(installed: list[Path]) -> Iterator[nspawn.Machine]:
    """A machine that nobody named, whose kernel line names the card that it booted from."""
    line = f"quiet BOOTIF=01-{CARD.replace(':', '-')}\n"
    files = {"/etc/mk/mk.toml": SITE, "/etc/hostname": "", "/etc/cmdline": line}
    with nspawn.boot("host-name", installed, files=files) as machine:
        machine.drop_in("mkctl.service", "[Service]\nBindReadOnlyPaths=/etc/cmdline:/proc/cmdline\n")
        yield machine


def test_without_the_grant_it_is_refused_and_everything_else_goes_on(machine: nspawn.Machine) -> None:
    """The packages bring no such grant: a machine that has a name keeps it, and mkctl says so."""
    before, mark = machine.output("hostname"), machine.mark()
    machine.run("systemctl", "start", "mkctl.service")
    entry = machine.wait_event(events.RIGHT_MISSING.id, after=mark)
    assert "host name mk024D4B00000A" in entry["MESSAGE"]
    assert machine.output("hostname") == before
    assert machine.property("mkctl.service", "ActiveState") == "active"


def test_with_the_grant_the_name_is_set_and_nothing_but_that(machine: nspawn.Machine) -> None:
    """The name that lasts until the machine is switched off; the lasting ones stay refused, and so do other users."""
    machine.write(RULE, GRANT)
    machine.run("systemctl", "restart", "polkit.service")
    machine.run("systemctl", "restart", "mkctl.service")
    machine.wait_until(lambda: machine.output("hostname") == "mk024D4B00000A", "the name")
    for user, member in (("mkctl", "SetStaticHostname"), ("mkctl", "SetPrettyHostname"), ("mkweb", "SetHostname")):
        done = machine.run("busctl", "call", *HOSTNAMED, member, "sb", "x", "false", user=user, check=False)
        assert done.returncode != 0, (user, member)
    assert machine.output("hostname") == "mk024D4B00000A"

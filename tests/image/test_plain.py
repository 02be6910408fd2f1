"""Our packages on an administrator's own Debian: installed into a running machine with networkd and udev, they start
nothing, whatever is plugged in, until they are told to; purged, they leave nothing.

One story, told in order on one machine. What differs before and after is listed by the machine's own tools, not what we
think of; what a plugged card and disk do without us is seen before the packages come.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.machines import plain, tree
from tests.machines.journal import Channel
from tests.machines.qemu import Disk, Nic, VirtualMachine

BOOT_S, INSTALL_S, START_S, PLUG_S = 600.0, 600.0, 600.0, 120.0
"""Ten times what is usual under TCG."""
UNITS = [path.name for path in sorted((tree.ROOT / "units/systemd").iterdir())]
PACKAGES = ("mk-core", "mkctl", "mkweb", "mkmirror", "mkserver", "mk-host", "mk-suite")
LIST_FILES = """\
find / -xdev -not \\( -path "*/__pycache__*" -not -path "*-packages/mk*" \\) -printf "%p %u:%g\\n" |
    grep -Ev "^/(var/(log|cache|tmp|lib/(apt|dpkg|systemd))|tmp)/" | sort
"""
"""Every file with its owner, but for the caches, logs and databases of other packages."""


class Plain:
    """The machine as its administrator sees it."""

    def __init__(self, vm: VirtualMachine) -> None:
        self.vm, self.channel = vm, Channel(vm)
        self._plugged = 0

    def say(self, *argv: str, timeout_s: float = 60.0) -> str:
        """Return what a command says, blanks squeezed; it has to succeed."""
        said = self.channel.run(*argv, timeout_s=timeout_s).stdout
        return "\n".join(" ".join(line.split()) for line in said.splitlines())

    def links(self) -> dict[str, str]:
        """Return networkd's view of each link, for people and as JSON without the number of seconds left."""
        found = {}
        for link in json.loads(self.say("networkctl", "--json=short", "list"))["Interfaces"]:
            status = self.say("networkctl", "--no-pager", "--lines=0", "status", link["Name"])
            kept = {name: value for name, value in link.items() if isinstance(value, (str, int, bool))}
            found[link["Name"]] = status + "\n" + json.dumps(kept, sort_keys=True)
        return found

    def running(self) -> set[str]:
        """Return the active units that run something or wait for something."""
        kinds = "--type=service,socket,timer,path,target,automount,slice"
        listed = self.say("systemctl", "list-units", kinds, "--state=active,activating", "--plain", "--no-legend")
        return {line.split()[0] for line in listed.splitlines()}

    def state(self) -> dict[str, Any]:
        """Return all that an installation must leave as it is."""
        enabled = self.say("systemctl", "list-unit-files", "--state=enabled,enabled-runtime", "--no-legend")
        return {
            "links": self.links(),
            "addresses": self.say("ip", "-brief", "address"),
            "units": self.running(),
            "enabled": enabled,
            "sockets": self.say("ss", "--no-header", "-ltnup"),
        }

    def processes(self) -> list[str]:
        """Return the processes of our users, and of our programs whoever runs them."""
        lines = self.say("ps", "-e", "--no-headers", "--format=user:20,args").splitlines()
        return [line for line in lines if line.startswith("mk") or " -m mk" in line]

    def said(self) -> str:
        """Return what the journal has of our units, systemd's own words about them included."""
        self.say("journalctl", "--sync")
        return self.say("journalctl", "--boot", "--quiet", "--output=cat", *(f"--unit={unit}" for unit in UNITS))

    def plug(self) -> str:
        """Put in a card and a disk; return the card's name when udev and networkd have done with both."""
        mac, disk = f"52:54:00:50:4c:1{self._plugged}", f"PLUGGED{self._plugged}"
        self.vm.plug_nic(self._plugged, Nic(mac, "user"))
        self.vm.plug_disk(self._plugged + 1, Disk(plain.FOLDER / disk, disk))
        self._plugged += 2
        self.say(
            "udevadm", "wait", "--settle", f"--timeout={PLUG_S:g}", f"/dev/disk/by-id/virtio-{disk}", timeout_s=PLUG_S
        )
        seen: list[str] = []

        def settled() -> bool:
            links = json.loads(self.say("networkctl", "--json=short", "list"))["Interfaces"]
            octets = [int(octet, 16) for octet in mac.split(":")]
            seen[:] = [
                each["Name"]
                for each in links
                if each.get("HardwareAddress") == octets
                and each["AdministrativeState"] not in ("pending", "initialized")
            ]
            return bool(seen)

        self.vm.wait_until(settled, f"the card {mac} in networkd", PLUG_S)
        self.say("udevadm", "settle", f"--timeout={PLUG_S:g}", timeout_s=PLUG_S)
        return seen[0]


@pytest.fixture(scope="module")
def machine() -> Iterator[Plain]:
    """A machine without our packages, booted."""
    with VirtualMachine(plain.build_machine(), plain.FOLDER / "machine") as vm:
        booted = Plain(vm)
        assert booted.say("systemctl", "is-system-running", "--wait", timeout_s=BOOT_S) == "running"
        yield booted


@pytest.fixture(scope="module")
def before(machine: Plain) -> dict[str, Any]:
    """What the machine was before our packages came, a plugged card and disk included."""
    machine.channel.run("sh", "-c", f"{{ {LIST_FILES} }} > /run/files")
    quiet = machine.state()
    card = machine.plug()
    state = machine.state()
    assert set(state["links"]) - set(quiet["links"]) == {card}
    return {**state, "card": card, "people": machine.say("getent", "passwd")}


def traits(link: str) -> dict[str, Any]:
    """Return what networkd made of a link: what it is configured by, and how far."""
    found = json.loads(link.rpartition("\n")[2])
    states = {name: value for name, value in found.items() if name.endswith("State")}
    return {**states, "file": found.get("NetworkFile", ""), "flags": found["FlagsString"]}


def test_installation_starts_nothing(machine: Plain, before: dict[str, Any]) -> None:
    """Links, active and enabled units and sockets are the same before and after; nothing of ours ran."""
    machine.say("sh", "-c", f"apt-get install --yes {plain.DEBS}/*.deb", timeout_s=INSTALL_S)
    after = machine.state()
    assert after == {name: before[name] for name in after}
    assert {
        unit: machine.say("systemctl", "show", "--property=LoadState,ActiveState", "--value", unit) for unit in UNITS
    } == dict.fromkeys(UNITS, "loaded\ninactive")
    assert machine.processes() == []
    assert machine.said() == ""
    assert machine.say("systemctl", "--failed", "--no-legend") == ""


def test_hot_plug_starts_nothing(machine: Plain, before: dict[str, Any]) -> None:
    """A plugged card and disk change what they change without us: one link more, which nobody configures."""
    card = machine.plug()
    after = machine.state()
    link = after["links"].pop(card)
    assert traits(link) == traits(before["links"][before["card"]])
    assert traits(link)["AdministrativeState"] == "unmanaged"
    assert [line for line in after["addresses"].splitlines() if line not in before["addresses"].splitlines()] == [
        line for line in after["addresses"].splitlines() if line.startswith(card)
    ]
    assert {name: after[name] for name in ("links", "units", "enabled", "sockets")} == {
        name: before[name] for name in ("links", "units", "enabled", "sockets")
    }
    assert machine.processes() == []
    assert machine.said() == ""
    assert machine.say("systemctl", "--failed", "--no-legend") == ""


def test_enabled_it_starts_and_sees_what_is_plugged(machine: Plain) -> None:
    """One command starts the suite; from then on a plugged card starts mk-facts, and is among the facts."""
    machine.say("systemctl", "enable", "--now", "mk.target", timeout_s=START_S)
    assert (
        machine.say("systemctl", "is-active", "mk.target", "mkctl.service", "mkweb.socket") == "active\n" * 2 + "active"
    )
    assert "127.0.0.1:2156" in machine.say("ss", "--no-header", "-ltn")
    assert machine.processes()

    def facts() -> str:
        return machine.channel.run("cat", "/run/mk-facts/facts.json", check=False).stdout

    machine.vm.wait_until(lambda: '"facts"' in facts(), "the first facts", START_S)
    card = machine.plug()
    machine.vm.wait_until(lambda: f"macaddress_{card}" in facts(), f"{card} among the facts", START_S)
    assert machine.say("journalctl", "--boot", "--quiet", "--output=cat", "--unit=mk-facts-hotplug.timer")
    assert machine.say("systemctl", "--failed", "--no-legend") == ""


def test_purge_leaves_nothing(machine: Plain, before: dict[str, Any]) -> None:
    """Purged while it runs: nothing is left running, listening, enabled or lying about."""
    machine.say("apt-get", "purge", "--yes", *PACKAGES, timeout_s=INSTALL_S)
    assert machine.processes() == []
    assert {unit for unit in machine.running() if unit.startswith("mk") and unit != "mk-test.service"} == set()
    after = machine.state()
    assert {name: after[name] for name in ("enabled", "sockets")} == {
        name: before[name] for name in ("enabled", "sockets")
    }
    assert machine.say("sh", "-c", f"{{ {LIST_FILES} }} | diff /run/files - || true") == ""
    assert machine.say("sh", "-c", "ls /run | grep ^mk || true") == ""
    assert machine.say("getent", "passwd") == before["people"]
    assert machine.say("systemctl", "--failed", "--no-legend") == ""

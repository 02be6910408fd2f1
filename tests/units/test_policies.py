"""Users, rights and rules around the units: sysusers, tmpfiles, presets, D-Bus, polkit, udev, networkd, catalog."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from mkcore import events
from mkcore.paths import Paths
from mkctl.probe.store import COLLECTED

UNITS = Path(__file__).resolve().parent.parent.parent / "units"
USERS = ("mkctl", "mkmirror", "mkserver", "mkweb")
HOSTS_USER = "mk-host"
"""As whom a container's controller is known on the bus of its host."""


def run(*words: str, stdin: str = "") -> str:
    """Run a tool that must succeed without a word of complaint; return its output."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, input=stdin)
    assert (done.returncode, done.stderr) == (0, ""), (
        f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done.stdout


def directives(path: Path) -> list[str]:
    """Return the lines of a file that are no comments."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] not in "#;"]


def test_sysusers(tmp_path: Path) -> None:
    """One user a service, each in a file of its own, made by systemd-sysusers in an empty root; none can log in."""
    (tmp_path / "etc").mkdir()
    done = subprocess.run(
        ["systemd-sysusers", "--dry-run", f"--root={tmp_path}", *sorted(map(str, (UNITS / "sysusers").iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = dict(re.findall(r"Creating user '([\w-]+)' \(([^)]*)\)", done.stdout + done.stderr))
    assert sorted(made) == sorted((*USERS, HOSTS_USER))
    assert {path.name for path in (UNITS / "sysusers").iterdir()} == {f"{user}.conf" for user in (*USERS, HOSTS_USER)}


def test_tmpfiles(tmp_path: Path) -> None:
    """Only the SMBIOS UUID is opened, for reading, to mkctl's group (a machine without one is no error); only root
    writes what an administrator asks for."""
    assert [line for path in sorted((UNITS / "tmpfiles").iterdir()) for line in directives(path)] == [
        "d /run/mk-host 0755 mk-host mk-host -",
        "z- /sys/class/dmi/id/product_uuid 0440 root mkctl -",
        "d /run/mk 0755 root root -",
    ]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nmk-host:x:991:991::/:/bin/sh\n", encoding="utf-8")
    (tmp_path / "etc/group").write_text("root:x:0:\nmkctl:x:990:\nmk-host:x:991:\n", encoding="utf-8")
    for path in sorted((UNITS / "tmpfiles").iterdir()):
        assert run("systemd-tmpfiles", "--create", f"--root={tmp_path}", str(path)) == ""
    assert (tmp_path / "run/mk").stat().st_mode & 0o7777 == 0o755


def test_preset() -> None:
    """Every unit that can be enabled is disabled by preset, and no other line is there."""
    files = [*sorted((UNITS / "systemd").iterdir()), *sorted((UNITS / "host").iterdir())]
    enableable = [path.name for path in files if "\n[Install]\n" in path.read_text()]
    lines = directives(UNITS / "preset/80-mksuite.preset")
    assert lines == [f"disable {name}" for name in enableable]
    assert enableable == ["mk.target", "mkserver.service", "mk-container.service"]


def test_bus_policy() -> None:
    """mkctl owns the name; root sends anything; the others introspect, ping and read properties."""
    top = ElementTree.parse(UNITS / "dbus/org.mksuite.Controller1.conf").getroot()
    rules = {
        next(iter(policy.attrib.items())): [(rule.tag, tuple(sorted(rule.attrib.items()))) for rule in policy]
        for policy in top.findall("policy")
    }
    name = "org.mksuite.Controller1"
    to_us = ("send_destination", name)
    assert rules == {
        ("user", "mkctl"): [("allow", (("own", name),))],
        ("user", "root"): [("allow", (to_us,))],
        ("context", "default"): [
            ("allow", (to_us, ("send_interface", "org.freedesktop.DBus.Introspectable"))),
            ("allow", (to_us, ("send_interface", "org.freedesktop.DBus.Peer"))),
            ("allow", (to_us, ("send_interface", "org.freedesktop.DBus.Properties"), ("send_member", "Get"))),
            ("allow", (to_us, ("send_interface", "org.freedesktop.DBus.Properties"), ("send_member", "GetAll"))),
        ],
    }


def test_bus_policy_of_a_container_s_host() -> None:
    """The controller in a container says nothing on the host's bus but to the bus itself and what starts a unit."""
    (policy,) = ElementTree.parse(UNITS / "dbus/org.mksuite.Host.conf").getroot().findall("policy")
    assert policy.attrib == {"user": HOSTS_USER}
    rules = [(rule.tag, tuple(rule.attrib.values())) for rule in policy]
    manager = ("org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager")
    assert rules == [
        ("deny", ("*",)),
        ("deny", ("*", "method_call")),
        ("allow", ("org.freedesktop.DBus", "org.freedesktop.DBus")),
        ("allow", (*manager, "StartUnit")),
        ("allow", (*manager, "Subscribe")),
    ]


def test_both_units_of_the_container_say_the_same() -> None:
    """With and without Quadlet it is the same container."""
    quadlet = directives(UNITS / "host/mk.container")
    plain = (UNITS / "host/mk-container.service").read_text(encoding="utf-8").replace("\\\n", " ")
    (started,) = [line.split() for line in plain.splitlines() if line.startswith("ExecStart=")]
    values = dict(line.split("=", 1) for line in quadlet if "=" in line and not line.startswith("Volume="))
    volumes = {line.partition("=")[2] for line in quadlet if line.startswith("Volume=")}
    assert {started[at + 1] for at, word in enumerate(started) if word == "--volume"} == volumes
    assert started[-1] == values["Image"]
    words = " ".join(started)
    for option in (f"--name {values['ContainerName']}", f"--network {values['Network']}", "--uts host", "--privileged"):
        assert option in words and option.split()[0] in f"{values['PodmanArgs']} --name --network"
    assert values["ExecStartPre"] in plain
    assert not [line for line in quadlet if line == "[Install]"], "Quadlet would start it at each boot"


def test_bus_interface_is_well_formed() -> None:
    """The contract of the bus parses, and describes the interface that the policy is about."""
    top = ElementTree.parse(UNITS / "dbus/org.mksuite.Controller1.xml").getroot()
    assert [each.get("name") for each in top.findall("interface")] == ["org.mksuite.Controller1"]


def test_polkit_rule_names_existing_users_and_units() -> None:
    """Every row of the table is about a user of ours and a unit that exists: ours or systemd's own power targets."""
    text = (UNITS / "polkit/50-mksuite.rules").read_text(encoding="utf-8")
    rows = re.findall(r'"(\w+)": \[(.*?)\]', text)
    assert rows
    known = {path.name for path in (UNITS / "systemd").iterdir()} | {"reboot.target", "poweroff.target"}
    for user, row in rows:
        assert user in USERS
        for words in re.findall(r'"([^"]+)"', row):
            verb, unit = words.split(" ")
            assert verb in ("start", "restart") and unit in known, words


POLKIT_ASKS = [
    ("mkweb", "org.freedesktop.systemd1.manage-units", "restart", "mkctl.service", "yes"),
    ("mkctl", "org.freedesktop.systemd1.manage-units", "start", "reboot.target", "yes"),
    ("mkctl", "org.freedesktop.systemd1.manage-units", "start", "mk-facts.service", "yes"),
    ("mkctl", "org.freedesktop.systemd1.manage-units", "start", "mk-fetch.service", "yes"),
    ("mkctl", "org.freedesktop.systemd1.manage-units", "start", "mk-clock.service", "yes"),
    ("mkctl", "org.freedesktop.systemd1.manage-units", "restart", "mk-clock.service", "not handled"),
    ("mkweb", "org.freedesktop.systemd1.manage-units", "start", "mk-clock.service", "not handled"),
    ("mkctl", "org.freedesktop.systemd1.manage-units", "restart", "mk-fetch.service", "not handled"),
    ("mkctl", "org.freedesktop.systemd1.manage-units", "start", "mk-extensions.service", "not handled"),
    ("mkmirror", "org.freedesktop.systemd1.manage-units", "start", "mk-extensions.service", "not handled"),
    ("mkweb", "org.freedesktop.systemd1.manage-units", "stop", "mkctl.service", "not handled"),
    ("mkweb", "org.freedesktop.systemd1.manage-units", "restart", "mkweb.service", "not handled"),
    ("mkctl", "org.freedesktop.systemd1.manage-units", "restart", "mkctl.service", "not handled"),
    ("mkctl", "org.freedesktop.network1.renew", None, None, "yes"),
    ("mkweb", "org.freedesktop.network1.renew", None, None, "not handled"),
    ("mkctl", "org.freedesktop.network1.reconfigure", None, None, "not handled"),
    ("mkctl", "org.freedesktop.systemd1.manage-unit-files", "start", "reboot.target", "not handled"),
    ("toString", "org.freedesktop.systemd1.manage-units", "restart", "mkctl.service", "not handled"),
    ("root", "org.freedesktop.systemd1.manage-units", "restart", "mkctl.service", "not handled"),
    ("mkctl", "org.freedesktop.systemd1.manage-units", None, None, "not handled"),
    (HOSTS_USER, "org.freedesktop.systemd1.manage-units", "start", "reboot.target", "yes"),
    (HOSTS_USER, "org.freedesktop.systemd1.manage-units", "start", "poweroff.target", "yes"),
    (HOSTS_USER, "org.freedesktop.systemd1.manage-units", "start", "rescue.target", "not handled"),
    (HOSTS_USER, "org.freedesktop.systemd1.manage-units", "stop", "reboot.target", "not handled"),
    (HOSTS_USER, "org.freedesktop.login1.power-off", None, None, "not handled"),
]


@pytest.mark.parametrize(("user", "action", "verb", "unit", "answer"), POLKIT_ASKS)
def test_polkit_rule_decides(user: str, action: str, verb: str, unit: str, answer: str) -> None:
    """The rule itself, in a JavaScript engine where there is one; in polkitd's own it runs in the system tier."""
    node = shutil.which("node")
    if not node:
        pytest.skip("no JavaScript engine here; the system tier asks polkitd itself")
    harness = """
        var rules = [], polkit = {
            Result: {YES: "yes", NOT_HANDLED: "not handled"}, addRule: function (f) { rules.push(f); }
        };
        eval(require("fs").readFileSync(0, "utf8"));
        var [user, id, verb, unit] = JSON.parse(process.argv[1]);
        function lookup(key) { return {verb: verb, unit: unit}[key]; }
        console.log(rules[0]({id: id, lookup: lookup}, {user: user}));
    """
    name = "50-mk-host.rules" if user == HOSTS_USER else "50-mksuite.rules"
    rule = (UNITS / "polkit" / name).read_text(encoding="utf-8")
    assert run(node, "-e", harness, json.dumps([user, action, verb, unit]), stdin=rule).strip() == answer


def test_udev_rule_starts_nothing_by_itself() -> None:
    """Its one program runs behind all conditions: hot-plug, our kinds of device, the suite runs."""
    lines = directives(UNITS / "udev/90-mk-facts.rules")
    program = next(number for number, line in enumerate(lines) if "RUN" in line)
    guards = [line for line in lines[:program] if 'GOTO="mk_facts_end"' in line]
    assert [line for line in lines[:program] if line not in guards] == ['SUBSYSTEM=="pci|cpu|memory", TAG+="mk-facts"']
    assert f'TEST!="{Paths().run_facts / COLLECTED}", GOTO="mk_facts_end"' in guards
    assert any("is-active mk.slice" in line for line in guards)
    assert 'SUBSYSTEM!="block|net|pci|ipmi|cpu|memory", GOTO="mk_facts_end"' in guards
    assert 'SUBSYSTEM=="memory", GOTO="mk_facts_end"' in guards, "its blocks are seen with the next collection"
    manual = (UNITS.parent / "man/mk-facts.8").read_text(encoding="utf-8")
    assert "a disk, a network interface, a PCI function, a processor or a management controller" in manual
    assert lines[program:] == [
        'RUN+="/usr/bin/systemctl --no-block start mk-facts-hotplug.timer"',
        'LABEL="mk_facts_end"',
    ]


def test_catalog_compiles(tmp_path: Path) -> None:
    """journalctl takes the catalog, and finds every event in it."""
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(UNITS / "catalog/mk.catalog", folder)
    done = subprocess.run(
        ["journalctl", "--update-catalog", f"--root={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    text = (UNITS / "catalog/mk.catalog").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^-- ([0-9a-f]{32})$", text, re.M)) == sorted(event.id for event in events.EVENTS)


def test_network_is_for_the_image_alone(prefix: Path) -> None:
    """No installed file configures a network."""
    installed = [path for path in prefix.rglob("*") if path.suffix in (".network", ".netdev", ".link")]
    assert not installed
    lines = directives(UNITS / "networkd/80-mk.network")
    assert "DHCP=yes" in lines and "ClientIdentifier=mac" in lines

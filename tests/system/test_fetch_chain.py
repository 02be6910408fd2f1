"""From a list to the registration on a real systemd: who starts what when, and what an administrator's commands do.

A container has no loop devices, so what is installed are Python packages, from the machine's own mirror. The tests
follow each other on one machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore import events
from tests.system import node as nodes
from tests.unit.mirror_trees import make_wheel, run_mkmirror

FINISHED = "39f53479d3a045ac8e11786248231fbf"
"""MESSAGE_ID of systemd: a unit was started; of a oneshot: it is finished."""
USES = "#!/usr/bin/python3\nimport hello\nprint('hello_version=' + hello.version)\n"
MIRROR = "var/lib/mk/mirror"


@pytest.fixture(scope="module")
def node(installed: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[nodes.Node]:
    """A registered node whose own mirror lists a package that the site's facts are made with."""
    mirror = tmp_path_factory.mktemp("mirror")
    (mirror / "gem-mirror/wheels").mkdir(parents=True)
    for name in ("hello", "later", "other"):
        make_wheel(mirror / "gem-mirror/wheels", name, "1.0", commands={name: f"{name}:main"})
    run_mkmirror("index", mirror, "--quiet", "--packages", "hello")
    with nodes.boot("chain", installed) as node:
        shutil.copytree(mirror, node.machine.root / MIRROR)
        node.machine.run("chmod", "-R", "u=rwX,go=rX", f"/{MIRROR}")
        node.machine.run("mkdir", "-p", "-m", "755", "/etc/mk/facts.d")
        node.machine.write("/etc/mk/facts.d/uses", USES, mode=0o755)
        node.start_registered()
        yield node


def finished(node: nodes.Node, unit: str, after: str = "") -> int:
    """Return how often a oneshot came to a good end."""
    return len(node.machine.journal(f"MESSAGE_ID={FINISHED}", f"UNIT={unit}", after=after))


def test_the_built_in_list_is_installed_before_the_registration(node: nodes.Node) -> None:
    """By the journal's own clock; and what it brought is part of the first registration."""
    (installed,) = node.machine.journal(f"MESSAGE_ID={events.EXTENSION_INSTALLED.id}")
    (registered, *more) = node.machine.journal(f"MESSAGE_ID={events.REGISTERED.id}")
    assert int(installed["__MONOTONIC_TIMESTAMP"]) < int(registered["__MONOTONIC_TIMESTAMP"])
    assert not more
    assert '"hello_version": "1.0"' in node.machine.output("mkserver", "show", nodes.UUID, "--facts", "--json")
    assert node.machine.output("/usr/local/bin/hello") == "hello 1.0"


def test_mk_fetch_runs_at_boot_and_once_for_each_start_of_mkctl(node: nodes.Node) -> None:
    """Not at each checkin."""
    node.machine.wait_until(lambda: finished(node, "mk-fetch.service") == 2, "the run after the first checkin")
    start = node.machine.mark()
    node.check_in()
    node.machine.run("systemctl", "restart", "mkctl.service")
    node.check_in()
    node.check_in()
    node.machine.wait_until(lambda: finished(node, "mk-fetch.service", start) == 1, "one more run")
    node.machine.wait_until(lambda: node.machine.property("mk-fetch.service", "ActiveState") == "inactive", "its end")
    assert finished(node, "mk-fetch.service", start) == 1


def test_install_list_verify_remove(node: nodes.Node) -> None:
    """Each waits for the end of it and tells in one line; the facts follow."""
    machine = node.machine
    start = machine.mark()
    assert machine.output("mkmirror", "install", "-q", "--packages", "later >= 1") == "later 1.0: installed"
    assert machine.output("/usr/local/bin/later") == "later 1.0"
    listed = machine.output("mkmirror", "list").splitlines()
    assert [line.split()[0] for line in listed] == ["hello", "later"] and "asked for by admin" in listed[1]
    assert machine.output("mkmirror", "verify", "later").startswith("later: 1.0, ")
    machine.wait_until(lambda: finished(node, "mk-facts.service", start), "a collection after it")
    assert machine.output("mkmirror", "remove", "-q", "later") == "later: removed"
    assert machine.run("/usr/local/bin/later", check=False).returncode == 127
    assert machine.output("mkmirror", "remove", "-q", "hello") == "hello: removed"
    machine.run("systemctl", "start", "mk-fetch.service")
    assert machine.output("mkmirror", "list") == "", "its list does not bring it back"
    assert machine.output("mkmirror", "install", "-q", "--packages", "hello") == "hello 1.0: installed"


def test_a_name_that_no_mirror_has(node: nodes.Node) -> None:
    """One line, and everything else stays."""
    done = node.machine.run("mkmirror", "install", "-q", "--packages", "nowhere", check=False)
    assert (
        done.returncode == 73 and done.stdout.startswith("nowhere: not installed: ") and "\n" not in done.stdout.strip()
    )
    assert node.machine.run("mkmirror", "install", "x", user="daemon", check=False).returncode == 77
    node.machine.run("mkmirror", "remove", "-q", "nowhere")
    assert node.machine.output("/usr/local/bin/hello") == "hello 1.0"


def test_one_silent_mirror_holds_up_nothing_of_the_others(node: nodes.Node) -> None:
    """mk-fetch goes on trying it; what it found elsewhere is installed. It can be stopped meanwhile."""
    machine = node.machine
    silent = '[mirror]\ntce_mirror = "http://127.0.0.1:9/x"\ntce_install_list_uri = "/list"\n'
    machine.write("/etc/mk/mk.toml.d/silent.toml", silent)
    done = machine.run("mkmirror", "install", "-q", "--packages", "other", check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "other 1.0: installed"), done.stderr
    assert machine.property("mk-fetch.service", "SubState") == "auto-restart"
    machine.run("rm", "/etc/mk/mk.toml.d/silent.toml")
    machine.run("systemctl", "stop", "mk-fetch.service")
    assert machine.property("mk-fetch.service", "ActiveState") == "inactive"

"""`mkmirror install`, `remove`, `list` and `verify NAME`: what they ask of systemd, and what they say of the outcome.

systemd is the tests' own on a private bus; what mk-extensions would write is written when it is started.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bus.harness import REPO, FakeSystemd, PrivateBus

FETCH, INSTALL = "mk-fetch.service", "mk-extensions.service"
DATA = b"hsqs the image"
RAW = {
    "kind": "sysext", "by": "admin", "mirror": "http://m/tc", "sha256": hashlib.sha256(DATA).hexdigest(),
    "size_bytes": len(DATA), "signed_by": "AB" * 20,
}  # fmt: skip

MOUNTED = Path("/mnt")
"""Where the tree is for another user, in a mount namespace of the process's own."""


class Machine:
    """A tree, the systemd of the test, and what mk-extensions will have done."""

    def __init__(self, root: Path, bus: PrivateBus, systemd: FakeSystemd) -> None:
        self.root, self.bus, self.systemd = root, bus, systemd
        self.after: dict[str, Any] = {"version": 1}
        systemd.units = {FETCH: ("inactive", "dead"), INSTALL: ("inactive", "dead")}
        systemd.on_start = self._started

    def _started(self, unit: str) -> None:
        if unit == INSTALL:
            self.write(self.after)

    def write(self, body: object) -> None:
        """Be mk-extensions: write installed.json."""
        path = self.root / "run/mk-extensions/installed.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")

    def image(self, name: str, data: bytes = DATA) -> Path:
        """Put an installed extension's file where it lies."""
        path = self.root / "run/mk-extensions/images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    @property
    def requests(self) -> dict[str, Any]:
        """What was asked for."""
        body: dict[str, Any] = json.loads((self.root / "run/mk/requests.json").read_text(encoding="utf-8"))
        return body

    def run(self, *words: str, uid: int = 0) -> subprocess.CompletedProcess[str]:
        """Run mkmirror; as `uid`, where this is root, who may have cloned into a folder that is closed to others."""
        as_other = uid and os.getuid() == 0
        tree, python = (MOUNTED if as_other else REPO), Path(sys.executable)
        if as_other and python.is_relative_to(REPO):
            python = tree / python.relative_to(REPO)
        environment = {**os.environ, "PYTHONPATH": str(tree), "DBUS_SYSTEM_BUS_ADDRESS": self.bus.address}
        become = ["unshare", "--mount", "sh", "-ec", 'mount --bind "$0" "$1"; shift; exec "$@"', str(REPO), str(tree)]
        become += ["setpriv", f"--reuid={uid}", "--clear-groups"]
        command = [*(become if as_other else ()), str(python), "-m", "mkmirror", "--root", str(self.root), *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=self.root
        )


@pytest.fixture
def machine(tmp_path: Path, bus: PrivateBus, systemd: FakeSystemd) -> Machine:
    """A machine on which nothing is installed."""
    root = tmp_path / "root"
    root.mkdir()
    return Machine(root, bus, systemd)


def test_a_busy_systemd_is_waited_for(machine: Machine) -> None:
    """One that answers nobody while it merges is no failure: the job tells how it ends."""
    machine.write({"version": 1, "extensions": {"tools.raw": RAW}})
    machine.systemd.busy = True
    done = machine.run("remove", "tools.raw")
    assert (done.returncode, done.stdout) == (0, "tools.raw: removed\n"), done.stderr


def test_install(machine: Machine) -> None:
    """The request is written first, then both services run, and the outcome is one line a name."""
    machine.after = {"version": 1, "extensions": {"tools.raw": RAW}, "packages": {}}
    seen: list[dict[str, Any]] = []
    write = machine.systemd.on_start
    machine.systemd.on_start = lambda unit: (seen.append(machine.requests), write(unit))[0]  # type: ignore[func-returns-value]
    done = machine.run("install", "tools")
    assert (done.returncode, done.stdout) == (0, "tools.raw: installed\n"), done.stderr
    assert machine.systemd.started == [FETCH, INSTALL]
    assert seen == [{"version": 1, "install": ["tools"], "packages": [], "remove": []}] * 2
    again = machine.run("install", "tools.raw")
    assert (again.returncode, again.stdout) == (0, "tools.raw: installed already\n")
    assert machine.requests["install"] == ["tools.raw"]


def test_install_packages(machine: Machine) -> None:
    """A requirement replaces an earlier one of the same package, in whatever spelling."""
    package = {"version": "1.7", "file": "json_pure-1.7-py3-none-any.whl", "by": "admin"}
    machine.after = {"version": 1, "packages": {"json-pure": package}}
    assert machine.run("install", "--packages", "json_pure >= 1.7").stdout == "json-pure 1.7: installed\n"
    assert machine.run("install", "--packages", "Json.Pure ~> 1.7.0").returncode == 0
    assert machine.requests["packages"] == ["json-pure <1.8,>=1.7.0"]


def test_another_version_than_the_wanted_one_is_not_what_was_asked_for(machine: Machine) -> None:
    """Whether it was refused in this call, or before; and "already" is said of the same file alone."""
    package = {"version": "1.7", "file": "foo-1.7-py3-none-any.whl", "by": "site", "sha256": "a" * 64}
    machine.write({"version": 1, "packages": {"foo": package}})
    refusal = {"by": "admin", "reason": "foo >=2: is in no mirror", "at_usec": 5}
    for refused, said in (({"foo": refusal}, refusal["reason"]), ({}, "1.7 is there, foo >=2 is wanted")):
        machine.after = {"version": 1, "packages": {"foo": package}, "refused": refused}
        done = machine.run("install", "--packages", "foo >= 2")
        assert (done.returncode, done.stdout) == (73, f"foo: not installed: {said}\n"), done.stderr
    machine.after = {"version": 1, "packages": {"foo": package}, "refused": {"foo": refusal}}
    assert machine.run("install", "--packages", "foo").stdout == "foo 1.7: installed already\n"
    later = {**package, "version": "2.0", "file": "foo-2.0-py3-none-any.whl", "sha256": "b" * 64}
    machine.after = {"version": 1, "packages": {"foo": later}}
    assert machine.run("install", "--packages", "foo >= 2").stdout == "foo 2.0: installed\n"


def test_a_refusal_of_this_call_counts_though_something_is_installed(machine: Machine) -> None:
    """One of an administrator's wish: what a push may not have is another matter."""
    there = {"version": 1, "extensions": {"tools.raw": RAW}}
    machine.write(there)
    for by, status in (("admin", 73), ("push", 0)):
        now = {"by": by, "reason": "tools.raw: is damaged", "at_usec": 1 << 60}
        machine.after = {**there, "refused": {"tools.raw": now}}
        done = machine.run("install", "tools")
        said = "tools: not installed: tools.raw: is damaged" if status else "tools.raw: installed already"
        assert (done.returncode, done.stdout) == (status, f"{said}\n"), done.stderr


def test_what_cannot_be_installed_says_why(machine: Machine) -> None:
    """One of two: the other is installed, the exit status tells."""
    machine.after = {
        "version": 1,
        "extensions": {"tools.raw": RAW},
        "refused": {"bad": {"by": "admin", "reason": "bad.raw: SHA256SUMS: it is not signed", "at_usec": 5}},
    }
    done = machine.run("install", "tools", "bad", "lost")
    assert done.returncode == 73
    assert done.stdout.splitlines() == [
        "tools.raw: installed",
        "bad: not installed: bad.raw: SHA256SUMS: it is not signed",
        "lost: not installed: not fetched yet",
    ]
    assert done.stderr == "mkmirror: 2 of 3 not installed (journalctl -u mk-fetch -u mk-extensions)\n"


def test_a_mirror_that_cannot_be_reached(machine: Machine) -> None:
    """The service goes on by itself; what it has is installed all the same."""
    machine.systemd.result = "failed"
    machine.after = {"version": 1, "extensions": {"tools.raw": RAW}}
    done = machine.run("install", "tools", "far")
    assert (done.returncode, done.stdout.splitlines()[0]) == (75, "tools.raw: installed")
    assert "far: not every mirror could be reached (mk-fetch.service goes on trying)" in done.stderr
    assert machine.run("install", "tools").returncode == 0


@pytest.mark.parametrize("name", ["../x.tcz", "/etc/passwd", "a b", "x" * 4000, "a\nb"])
def test_a_name_that_is_none(machine: Machine, name: str) -> None:
    """It never gets as far as a file."""
    for verb in ("install", "remove"):
        done = machine.run(verb, "--", name)
        assert done.returncode == 65 and done.stderr.count("\n") == 1, done.stderr
        assert "is not the name of an extension" in done.stderr
    assert not (machine.root / "run/mk").exists() and not machine.systemd.started


def test_remove(machine: Machine) -> None:
    """Without its ending too; lists do not bring it back until it is asked for again."""
    machine.write({"version": 1, "extensions": {"tools.raw": RAW, "nano.tcz": {**RAW, "kind": "tcz"}}})
    machine.after = {"version": 1, "extensions": {"nano.tcz": {**RAW, "kind": "tcz"}}}
    done = machine.run("remove", "tools", "never")
    assert (done.returncode, done.stdout.splitlines()) == (
        0, ["tools.raw: removed", "never: was not installed; lists leave it alone now"],
    )  # fmt: skip
    assert machine.systemd.started == [INSTALL]
    assert machine.requests == {"version": 1, "install": [], "packages": [], "remove": ["tools.raw", "never"]}
    machine.run("install", "tools")
    assert machine.requests == {"version": 1, "install": ["tools"], "packages": [], "remove": ["never"]}


def test_remove_during_a_run_is_done_by_the_next_one(machine: Machine) -> None:
    """The one that is under way has read the requests already, and a start would only be merged into it."""
    there = {"version": 1, "extensions": {"tools.raw": RAW}}
    machine.write(there)
    machine.systemd.units[INSTALL] = ("activating", "start")
    machine.systemd.on_start = lambda unit: machine.write(
        {"version": 1} if machine.systemd.started.count(INSTALL) > 1 else there
    )
    done = machine.run("remove", "tools")
    assert (done.returncode, done.stdout) == (0, "tools.raw: removed\n"), done.stderr
    assert machine.systemd.started == [INSTALL, INSTALL]


def test_a_package_that_is_not_there_yet_is_taken_back_in_any_spelling(machine: Machine) -> None:
    """As it was written for extensions, and in the one spelling that packages are wanted by."""
    machine.run("install", "--packages", "Foo__Bar")
    assert machine.requests["packages"] == ["foo-bar"]
    done = machine.run("remove", "Foo__Bar", "x.raw")
    assert done.stdout.splitlines() == [
        f"{name}: was not installed; lists leave it alone now" for name in ("Foo__Bar", "x.raw")
    ]
    assert (machine.requests["packages"], machine.requests["remove"]) == ([], ["Foo__Bar", "foo-bar", "x.raw"])
    machine.write({"version": 1, "extensions": {"open-tools.raw": RAW}})
    machine.run("remove", "open_tools")
    assert "open-tools" not in machine.requests["remove"], "an extension has one spelling"


def test_what_is_needed_stays(machine: Machine) -> None:
    """And says who needs it."""
    there = {"version": 1, "extensions": {"lib.tcz": {**RAW, "kind": "tcz"}}}
    machine.write(there)
    machine.after = {**there, "refused": {"lib.tcz": {"by": "admin", "reason": "lib.tcz: nano.tcz needs it"}}}
    done = machine.run("remove", "lib.tcz")
    assert (done.returncode, done.stdout) == (73, "lib.tcz: is still installed: lib.tcz: nano.tcz needs it\n")


def test_a_package_is_removed_under_its_canonical_name(machine: Machine) -> None:
    """Names of packages have many spellings."""
    machine.write({"version": 1, "packages": {"json-pure": {"version": "1", "file": "f.whl", "by": "site"}}})
    assert machine.run("remove", "JSON_pure").stdout == "json-pure: removed\n"
    assert machine.requests["remove"] == ["json-pure"]


def test_list(machine: Machine) -> None:
    """For people and for programs."""
    assert (machine.run("list").stdout, machine.run("list").returncode) == ("", 0)
    body = {
        "version": 1,
        "extensions": {"tools.raw": RAW},
        "packages": {"foo": {"version": "1.0", "file": "foo-1.0-py3-none-any.whl", "by": "site", "mirror": ""}},
        "modules": {"vmci": {"by": "push", "state": "skipped", "reason": "not on VMware"}},
        "refused": {"x.tcz": {"by": "push", "reason": "x.tcz: not allowed", "at_usec": 1}},
    }
    machine.write(body)
    (machine.root / "run/mk").mkdir()
    requests = {"version": 1, "install": ["tools", "far", "x"], "packages": ["bar >=1"]}
    (machine.root / "run/mk/requests.json").write_text(json.dumps(requests))
    assert machine.run("list").stdout.splitlines() == [
        f"tools.raw  sysext          asked for by admin, from http://m/tc, signed by {'AB' * 8}",
        "foo        package 1.0     asked for by site, from this machine",
        "vmci       module skipped  not on VMware",
        "x.tcz      refused         x.tcz: not allowed",
        "far        waiting         see systemctl status mk-fetch.service",
        "bar        waiting         see systemctl status mk-fetch.service",
    ]
    shown = json.loads(machine.run("list", "--json").stdout)
    assert shown["extensions"]["tools.raw"]["signed_by"] == "AB" * 20 and shown["refused"] == body["refused"]
    assert not machine.systemd.started


def test_verify(machine: Machine) -> None:
    """What is installed is what was verified, or it is not."""
    machine.write({"version": 1, "extensions": {"tools.raw": RAW}})
    image = machine.image("tools.raw")
    done = machine.run("verify", "tools")
    assert (done.returncode, done.stdout) == (
        0, f"tools.raw: as it was installed, from http://m/tc, signed by {'AB' * 20}\n",
    )  # fmt: skip
    image.write_bytes(DATA + b"!")
    done = machine.run("verify", "tools.raw")
    assert done.returncode == 77 and "tools.raw: its SHA-256 is " in done.stderr
    done = machine.run("verify", "other")
    assert (done.returncode, done.stderr) == (
        65,
        "mkmirror: other: is neither a folder nor installed on this machine\n",
    )


def test_verify_a_package(machine: Machine) -> None:
    """By its RECORD."""
    machine.write({"version": 1, "packages": {"foo": {"version": "1.0", "file": "foo.whl", "by": "site"}}})
    library = machine.root / "run/mk-extensions/python/lib"
    (library / "Foo-1.0.dist-info").mkdir(parents=True)
    (library / "foo.py").write_text("x = 1\n")
    digest = "Pm4jqDKkNHP6u3aRwzlXWLTVvr0Nxl0GvZzF0iTrNC4"
    (library / "Foo-1.0.dist-info/RECORD").write_text(f"foo.py,sha256={digest},6\nFoo-1.0.dist-info/RECORD,,\n")
    done = machine.run("verify", "foo")
    assert done.returncode == 77 and "foo: foo.py is not as it was installed" in done.stderr
    import base64

    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).decode().rstrip("=")
    (library / "Foo-1.0.dist-info/RECORD").write_text(f"foo.py,sha256={digest},6\nFoo-1.0.dist-info/RECORD,,\n")
    assert machine.run("verify", "foo").stdout == "foo: 1.0, 1 files as they were installed\n"
    (library / "foo.py").unlink()
    assert machine.run("verify", "foo").returncode == 77


def test_who_is_not_root_is_told_so(machine: Machine) -> None:
    """Looking is for everybody."""
    machine.root.chmod(0o755)
    for each in machine.root.parents:
        if str(each).startswith("/tmp/"):
            each.chmod(each.stat().st_mode | 0o055)
    machine.write({"version": 1, "extensions": {"tools.raw": RAW}})
    for verb in ("install", "remove"):
        done = machine.run(verb, "tools", uid=65534)
        assert (done.returncode, done.stderr) == (77, "mkmirror: only root can have something installed or removed\n")
    assert machine.run("list", uid=65534).stdout.startswith("tools.raw")
    assert not machine.systemd.started


def test_where_the_services_are_not_installed(machine: Machine) -> None:
    """One line, and nothing is waited for."""
    machine.systemd.units = {}
    done = machine.run("install", "tools")
    assert (done.returncode, done.stderr) == (75, "mkmirror: mk-fetch.service is not installed here, or masked\n")


def test_a_damaged_list_is_one_line(machine: Machine) -> None:
    """It names the file."""
    machine.write("{")
    for words in (("list",), ("install", "a"), ("remove", "a"), ("verify", "a")):
        done = machine.run(*words)
        assert done.returncode == 65 and done.stderr.count("\n") == 1 and "installed.json" in done.stderr


def test_how_it_goes_is_shown_unless_quiet(machine: Machine) -> None:
    """The services' own sentences, on standard error; not what they said of an earlier run."""
    machine.after = {"version": 1, "extensions": {"tools.raw": RAW}}
    write = machine.systemd.on_start

    def started(unit: str) -> None:
        machine.systemd.status[unit] = f"{unit} works"
        write(unit)

    machine.systemd.status = {FETCH: "an earlier run"}
    machine.systemd.on_start = started
    done = machine.run("install", "tools")
    assert done.stderr.splitlines() == [
        "mk-fetch: mk-fetch.service works",
        "mk-extensions: mk-extensions.service works",
    ]
    machine.systemd.status = {}
    done = machine.run("install", "-q", "tools")
    assert (done.returncode, done.stderr) == (0, "")

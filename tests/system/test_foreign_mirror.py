"""Extensions from somebody else's mirror, with the real packages: what is good is installed, what is bad is refused.

Each refusal is one line, costs itself alone and leaves the system as it was. A container has no loop devices, so what
is installed here are Python packages; images belong to the tests of the shipped image. The tests follow each other on
one machine: what was pushed once stays, so pushes come last.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mkcore import events
from tests.machines import nspawn
from tests.system import mirrors
from tests.system import node as nodes
from tests.system.mirrors import Mirror, tcz, wheel

PORT = 8080
BASE = f"http://127.0.0.1:{PORT}"
SITE_FILE = "/etc/mk/mk.toml.d/mirror.toml"
RELEASE = "tinycorelinux/15.x/x86_64/tcz"
INSTALLED = "/run/mk-extensions/installed.json"
STRANGER = Path(__file__).with_name("stranger.py")
NOTHING = {"extensions": {}, "packages": {}}

HELLO = mirrors.several(wheel("deep"), wheel("hello", "deep>=1"), wheel("hello", version="0.9"))
GOOD = Mirror(HELLO, packages=("# a comment", "", "hello >= 0.5  # and the newest one"))
CUT = Mirror(mirrors.large_wheel("cut"), packages=("cut",))
BAD: Mapping[str, tuple[Mirror, str, str, str]] = {
    "tampered": (
        Mirror(tcz("tampered"), ("tampered.tcz",), spoil=mirrors.flip(f"{RELEASE}/tampered.tcz")),
        "tampered.tcz",
        "its sha256 is",
        "",
    ),
    "unsigned": (Mirror(tcz("plain"), ("plain.tcz",), key=""), "plain.tcz", "is not signed", ""),
    "by a stranger": (Mirror(tcz("foreign"), ("foreign.tcz",), key="stranger"), "foreign.tcz", "is not trusted", ""),
    "sums changed": (
        Mirror(
            tcz("summed"), ("summed.tcz",), spoil=mirrors.write(f"{RELEASE}/SHA256SUMS", f"{'0' * 64} *summed.tcz\n")
        ),
        "summed.tcz",
        "does not fit the content",
        "",
    ),
    "expired": (Mirror(tcz("late"), ("late.tcz",), key="old"), "late.tcz", "has expired", ""),
    "missing": (
        Mirror(tcz("needy", needs="gone.tcz\n"), ("needy.tcz",)),
        "needy.tcz",
        "gone.tcz is not in the mirror; needy.tcz needs it",
        "",
    ),
    "cycle": (
        Mirror(mirrors.several(tcz("cycle", needs="ring.tcz"), tcz("ring", needs="cycle.tcz")), ("cycle.tcz",)),
        "cycle.tcz",
        "need each other: cycle.tcz -> ring.tcz -> cycle.tcz",
        "",
    ),
    "full": (
        Mirror(mirrors.large_wheel("bulky"), packages=("bulky",)),
        "bulky",
        "extensions.staging_limit_mb",
        "[extensions]\nstaging_limit_mb = 1\n",
    ),
    "no list": (
        Mirror(tcz("unlisted"), ("unlisted.tcz",)),
        f"{BASE}/no-list/tinycorelinux/none",
        "there is no such list",
        'tce_install_list_uri = "/none"\n',
    ),
    "no JSON": (
        Mirror(tcz("html"), spoil=lambda folder: None),
        f"{BASE}/no-JSON/tinycorelinux/tce-install-list",
        "tce-install-list",
        "",
    ),
    "many files": (
        Mirror(mirrors.claim_files("many", 1 << 30), ("many.tcz",)),
        "many.tcz",
        "has 1073741824 files",
        "",
    ),
    "bomb": (
        Mirror(mirrors.wheel_with("bomb", "bomb/zeros", bytes(400 << 20)), packages=("bomb",)),
        "bomb",
        "more than 200 times its size",
        "",
    ),
    "way out": (
        Mirror(mirrors.wheel_with("escape", "../../../etc/escaped", b"x"), packages=("escape",)),
        "escape",
        "escaped",
        "",
    ),
    "more than its list": (
        Mirror(mirrors.wheel_with("extra", "extra_more.py", b"x"), packages=("extra",)),
        "extra",
        "extra_more.py",
        "",
    ),
}
# What lists elsewhere may install, in the site's own mirrors, too, so that what is refused is refused for what it is.
ALLOWED = [
    *("ok", "hello", "deep", "cut", "/^payload/"),
    *(name for mirror, *_ in BAD.values() for name in (*mirror.extensions, *mirror.packages)),
]
TRICKS = ["../../../etc/passwd", "/etc/shadow", "a\0b.tcz", "x" * 4000 + ".tcz", "-rf.tcz", "", 7, {"name": "x"}]


def folder_of(name: str) -> str:
    return name.replace(" ", "-")


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Path, str]]:
    """All mirrors, and the keys that the machine trusts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gpg, trusted = mirrors.make_keys(folder)
        try:
            for each, (mirror, *_) in {**BAD, "good": (GOOD,), "cut": (CUT,)}.items():
                mirrors.make(folder / "srv" / folder_of(each), mirror, gpg)
            evil = mirrors.several(tcz("payload"), wheel("payload"))
            mirrors.make(folder / "srv/evil", Mirror(evil, ("payload.tcz",), ("payload",), key="stranger"), gpg)
            mirrors.make(
                folder / "srv/pushed", Mirror(mirrors.several(wheel("nano"), wheel("ok")), (), ("nano", "ok")), gpg
            )
        finally:
            gpg.close()
        (folder / "srv/no-JSON/tinycorelinux/tce-install-list").write_text("<html>Welcome</html>\n")
        (folder / "srv/evil/tinycorelinux/tce-install-list").write_text(json.dumps([*TRICKS, "payload.tcz"]))
        yield folder / "srv", trusted


@pytest.fixture(scope="module")
def node(installed: list[Path], made: tuple[Path, str]) -> Iterator[nodes.Node]:
    """A registered node beside a web server with all the mirrors."""
    srv, trusted = made
    files = {
        "/etc/mk/mk.toml": nodes.SITE + f"[extensions]\nallow = {json.dumps(ALLOWED)}\n",
        "/etc/mk/trust.d/keys.asc": trusted,
        "/etc/hosts": "127.0.0.1 localhost\n",  # as every installer writes it
        "/srv/stranger.py": STRANGER.read_text(encoding="utf-8"),
    }
    with nspawn.boot("foreign-mirror", installed, uuid=nodes.UUID, files=files) as machine:
        shutil.copytree(srv, machine.root / "srv/mirrors")
        serve = ("systemd-run", "--quiet", "--unit=stranger", "--uid=nobody", "--property=StandardOutput=journal")
        machine.run(*serve, "/usr/bin/python3", "-I", "/srv/stranger.py", "/srv/mirrors", str(PORT))
        found = nodes.Node(machine)
        found.start_registered()
        run(machine)
        yield found


def run(machine: nspawn.Machine) -> None:
    """Fetch and install whatever is wanted now; returns when that has ended."""
    machine.run("systemctl", "start", "mk-fetch.service", check=False)
    machine.run("systemctl", "start", "mk-extensions.service", check=False)


def use(machine: nspawn.Machine, mirror: str, more: str = "") -> None:
    """Have the site choose a mirror for both kinds."""
    base = f"{BASE}/{folder_of(mirror)}"
    own, _, rest = more.partition("[") if not more.startswith("[") else ("", "", more[1:])
    text = f'[mirror]\ntce_mirror_uri = "{base}/tinycorelinux"\ngem_mirror_uri = "{base}/gem-mirror"\n{own}'
    machine.write(SITE_FILE, text + (f"[{rest}" if rest else ""))


def outcome(machine: nspawn.Machine) -> dict[str, Any]:
    """Return what is installed."""
    found: dict[str, Any] = machine.read_json(INSTALLED)
    return found


def refusals(machine: nspawn.Machine, after: str) -> dict[str, list[str]]:
    """Return the messages about each refused name since the mark."""
    found: dict[str, list[str]] = {}
    for entry in machine.journal(f"MESSAGE_ID={events.EXTENSION_REFUSED.id}", after=after):
        found.setdefault(str(entry.get("MK_EXTENSION", "")), []).append(str(entry["MESSAGE"]))
    return found


def system(machine: nspawn.Machine) -> set[str]:
    """Return what an extension could change: files, mounts, what is merged."""
    find = "find /usr /opt /etc /root -xdev ! -path '*/__pycache__*' ! -path '/etc/mk*' -printf '%p %s %m %Cs\\n'"
    commands = (
        ("/bin/sh", "-c", f"{find}; find /run/extensions /run/confexts -mindepth 1 2>&1 | grep -v 'No such'"),
        ("findmnt", "--list", "--noheadings", "--output=TARGET,FSTYPE"),
    )
    lines = (line for argv in commands for line in machine.run(*argv, check=False).stdout.splitlines())
    return {line for line in lines if not line.startswith("/run/credentials/")}  # of services that come and go


def require_works(node: nodes.Node) -> None:
    """The controller goes on, and nothing that has to do with extensions has failed."""
    node.check_in()
    assert node.machine.property("mkctl.service", "ActiveState") == "active"
    for unit in ("mkweb.service", "mkmirror.service", "mk-fetch.service", "mk-extensions.service"):
        assert node.machine.property(unit, "Result") == "success", unit


@pytest.mark.parametrize("name", BAD)
def test_refused_with_one_line(node: nodes.Node, name: str) -> None:
    _, refused, reason, more = BAD[name]
    machine = node.machine
    use(machine, name, more)
    before, start = system(machine), machine.mark()
    run(machine)
    told = refusals(machine, start)
    assert list(told) == [refused], told
    (line,) = told[refused]
    assert reason in line and "\n" not in line and len(line) < 400
    known = outcome(machine)
    assert {key: known[key] for key in NOTHING} == NOTHING
    assert known["refused"][refused]["reason"]
    assert system(machine) ^ before == set()
    require_works(node)


def test_a_server_on_loopback_in_the_mirrors_place_gains_nothing(node: nodes.Node) -> None:
    """mk-fetch believes it; mk-extensions goes by the lists and files of the machine's own mirror on disk."""
    machine = node.machine
    machine.run("rm", "-f", SITE_FILE)
    machine.run("systemctl", "stop", "mkmirror.socket", "mkmirror-packages.socket", "mkmirror.service")
    serve = (
        "systemd-run",
        "--quiet",
        "--unit=spoof",
        "/usr/bin/python3",
        "-I",
        "/srv/stranger.py",
        "/srv/mirrors/evil",
    )
    machine.run(*serve, "2157", "2158")
    try:
        machine.wait_until(lambda: machine.run("ss", "-Hltn", "sport = :2158").stdout, "the other server is there")
        before, start = system(machine), machine.mark()
        run(machine)
        told = refusals(machine, start)
        assert "nothing on this machine says that" in told["payload.tcz"][-1]
        known = outcome(machine)
        assert {key: known[key] for key in NOTHING} == NOTHING
        assert system(machine) ^ before == set()
    finally:
        machine.run("systemctl", "stop", "spoof.service")
        machine.run("systemctl", "start", "mkmirror.socket", "mkmirror-packages.socket")
    require_works(node)


def test_a_package_with_what_it_needs_and_its_removal(node: nodes.Node) -> None:
    machine = node.machine
    use(machine, "good")
    run(machine)
    packages = outcome(machine)["packages"]
    assert {name: each["version"] for name, each in packages.items() if name != "ok"} == {"hello": "1.0", "deep": "1.0"}
    assert machine.output("/usr/local/bin/hello") == "hello 1.0"
    start = machine.mark()
    run(machine)
    assert not machine.journal(f"MESSAGE_ID={events.EXTENSION_INSTALLED.id}", after=start)  # it is there already
    assert "hello" in machine.output("mkmirror", "list")
    assert machine.run("/usr/bin/python3", "-I", "-c", "import hello", check=False).returncode == 1
    machine.run("mkmirror", "remove", "hello")
    assert "hello" not in outcome(machine)["packages"]
    assert machine.run("/usr/local/bin/hello", check=False).returncode != 0
    run(machine)
    assert "hello" not in outcome(machine)["packages"]  # its list is still there
    require_works(node)


def test_a_download_that_breaks_off_goes_on_where_it_ended(node: nodes.Node) -> None:
    machine = node.machine
    use(machine, "cut")
    start = machine.mark()
    run(machine)
    assert outcome(machine)["packages"]["cut"]["version"] == "1.0"
    asked = [str(entry["MESSAGE"]) for entry in machine.journal("_SYSTEMD_UNIT=stranger.service", after=start)]
    wheels = [line for line in asked if line.partition(" ")[0].endswith("/cut-1.0-py3-none-any.whl")]
    assert len(wheels) == 2 and "bytes=" in wheels[1], wheels
    require_works(node)


def test_what_a_push_may_not_install_is_refused_and_the_rest_is_installed(node: nodes.Node) -> None:
    machine = node.machine
    machine.run("rm", "-f", SITE_FILE)
    start = machine.mark()
    base = f"{BASE}/pushed/gem-mirror"
    node.set_server(mk_gem_mirror_uri=base, mk_gemlist_uri=f"{base}/gems/gem.list")
    node.check_in(check=False)
    found = machine.wait_event(events.EXTENSION_INSTALLED.id, after=start, timeout_s=120)
    assert "ok" in found["MESSAGE"]
    (line,) = refusals(machine, start)["nano"]
    assert "extensions.allow" in line
    packages = outcome(machine)["packages"]
    assert packages["ok"]["by"] == "push"
    assert "nano" not in packages
    assert machine.output("/usr/local/bin/ok") == "ok 1.0"
    require_works(node)


def test_nothing_that_a_hostile_server_pushes_is_installed(node: nodes.Node) -> None:
    """He has the mirror, its lists and every push: his own keys, the switches of trust, tricks in names."""
    machine = node.machine
    machine.run("rm", "-f", SITE_FILE)
    before, start, there = system(machine), machine.mark(), outcome(machine)
    base = f"{BASE}/evil"
    node.set_server(
        mk_tce_mirror_uri=f"{base}/tinycorelinux",
        mk_tce_install_list_uri=f"{base}/tinycorelinux/tce-install-list",
        mk_kmod_install_list_uri=f"{base}/tinycorelinux/tce-install-list",
        mk_gem_mirror_uri=f"{base}/gem-mirror",
        mk_gemlist_uri=f"{base}/gem-mirror/gems/gem.list",
    )
    for body in (
        {"extensions.verify": "checksum", "extensions": {"verify": "checksum"}},
        {"mk_extensions_verify": "checksum", "extensions.allow": ["/./"], "extensions.install": ["payload.tcz"]},
        {"trust": f"{base}/key.asc", "mk_trust": "none"},
    ):
        node.push(body)
    node.check_in(check=False)
    machine.wait_event(events.EXTENSION_REFUSED.id, after=start, MK_EXTENSION="payload.tcz", timeout_s=120)
    machine.wait_until(lambda: machine.property("mk-fetch.service", "ActiveState") == "inactive", "mk-fetch ended")
    run(machine)
    told = refusals(machine, start)
    assert {"payload.tcz", "payload"} <= set(told)
    assert not any("\n" in line or len(line) > 400 for lines in told.values() for line in lines)
    assert "is not trusted here" in told["payload.tcz"][0]
    known = outcome(machine)
    assert {key: known[key] for key in NOTHING} == {key: there[key] for key in NOTHING}
    assert system(machine) ^ before == set()
    asked = machine.journal("_SYSTEMD_UNIT=stranger.service", after=start)
    assert any("/evil/" in str(entry["MESSAGE"]) for entry in asked)
    require_works(node)

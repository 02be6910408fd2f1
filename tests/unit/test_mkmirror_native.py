"""Native extensions: what they may hold, what they bring along, and what removing and recording them means."""

from __future__ import annotations

import json
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

from mkcore.errors import BadInput, ToolFailed
from mkmirror import host
from mkmirror.installed import (
    MAX_REFUSED,
    Extension,
    Installed,
    Module,
    Package,
    Refusal,
    build_installed,
    parse_installed,
    read_installed,
    write_installed,
)
from mkmirror.native import Content, Sort, judge, kind_of, plain_name, require_mergeable, reserved
from mkmirror.removal import plan_removal
from mkmirror.requests import Requests

RELEASE = "usr/lib/extension-release.d/extension-release.a"


@pytest.mark.parametrize(
    "path",
    [
        "usr/lib/mk/trust.d/x.gpg",
        "usr/lib/mk/mk.toml",
        "usr/lib/mk",
        "usr/share/mk/mirror/x",
        "usr/lib/python3/dist-packages/mkcore",
        "usr/local/lib/python3.13/dist-packages/mkctl/agent.py",
        "usr/lib/python3/dist-packages/mksite/../mkctl-0.1.dist-info/METADATA".replace("mksite/../", ""),
        "usr/lib/python3.13/usercustomize.py",
        "usr/lib/python3/dist-packages/evil.pth",
        "usr/bin/mkctl",
        "usr/lib/systemd/system/mk.target",
        "usr/lib/systemd/system/mk-facts.service.d/x.conf",
        "usr/lib/systemd/system/mkmirror-packages.socket",
        "usr/lib/systemd/system/service.d/x.conf",
        "etc/systemd/system/mkctl.service",
        "usr/share/dbus-1/system.d/org.mksuite.Controller1.conf",
        "usr/share/polkit-1/rules.d/50-mksuite.rules",
        "etc/mk/mk.toml",
        "etc/shadow",
        "usr/pyvenv.cfg",
        "usr/bin/pyvenv.cfg",
        "usr/lib/python313.zip",
        "usr/lib/python3.13/mkctl/__init__.py",
        "usr/lib/python3.13/requests/__init__.py",
        "usr/lib/python3.13/lib-dynload/x.so",
        "usr/local/lib/python3.13/dist-packages/requests.py",
        "usr/lib/mk/x\ny",
        "usr/lib/python3/dist-packages/x\ny.pth",
        "etc/systemd/system.control/mkctl.service.d/x.conf",
        "etc/systemd/system.attached/mk-facts.service",
        "usr/local/lib/systemd/system/dbus.service",
        "etc/systemd/system/dbus.socket.d",
        "etc/polkit-1/rules.d/00-all.rules",
        "etc/dbus-1/system.d/org.mksuite.Controller1.conf",
    ],
)
def test_reserved(path: str) -> None:
    assert reserved(path)


@pytest.mark.parametrize(
    "path",
    [
        "usr/lib/mk/facts.d/smart",
        "usr/lib/mkinitcpio/hook",
        "usr/lib/mk/extensions/a/postinst",
        "usr/lib/python3/dist-packages/mkcorelation.py",
        "usr/lib/systemd/system/a.service",
        "usr/lib/systemd/system/multi-user.target.d/10-a.conf",
        "usr/lib/systemd/system/mkswap@.service",
        "usr/sbin/mkfs.ext4",
        "usr/share/dbus-1/system.d/org.example.conf",
        "etc/passwd.d/x",
        "usr/lib/python3.13",
        "usr/lib/python3.13/dist-packages/x.py",
        "usr/share/gdb/auto-load/usr/lib/x-gdb.py",
        "usr/share/polkit-1/rules.d/60-x.rules",
    ],
)
def test_free(path: str) -> None:
    assert not reserved(path)


def test_whiteouts_and_hidden_folders() -> None:
    """A character device deletes, a file in a folder's place hides it, and neither is merged."""
    base = {"usr/bin": "folder", "usr/bin/python3.13": "other", "usr/sbin": "other"}
    for entries, reason in (
        ({"usr/bin/x": Sort.ODD}, "'usr/bin/x' is a device, a pipe or a socket"),
        ({"usr/bin": Sort.LINK}, "'usr/bin' is a symbolic link and would hide a folder of the system"),
        ({"usr/sbin": Sort.FOLDER}, "'usr/sbin' is a folder and would hide a file or link of the system"),
        ({"usr/bin/python3.13": Sort.FILE}, "would replace a file that the suite runs with"),
        ({"usr/lib": Sort.FOLDER}, ""),
    ):
        found: dict[str, Sort] = {RELEASE: Sort.FILE, **entries}
        if reason:
            with pytest.raises(BadInput) as caught:
                require_mergeable("a.raw", found, lambda path: base.get(path, ""))
            assert reason in str(caught.value) and str(caught.value).startswith("a.raw: ")
        else:
            require_mergeable("a.raw", found, lambda path: base.get(path, ""))
    with pytest.raises(BadInput, match=r"has no usr/lib/extension-release\.d/extension-release\.b"):
        require_mergeable("b.raw", {RELEASE: Sort.FILE}, lambda _: "")


@pytest.mark.parametrize("suffix", EXTENSION_SUFFIXES)
def test_a_folder_beside_a_compiled_module(suffix: str) -> None:
    """Python imports a package before a compiled module of the same name."""
    top = "usr/lib/python3/dist-packages/markupsafe/_speedups"
    found = {RELEASE: Sort.FILE, top: Sort.FOLDER, f"{top}/__init__.py": Sort.FILE}
    with pytest.raises(BadInput, match="would be imported instead of a module that the system has"):
        require_mergeable("a.raw", found, lambda path: "other" if path == top + suffix else "")


def test_what_it_brings() -> None:
    """Units that are pulled in are started; without any, those that want to be enabled; templates by instance."""
    system = "usr/lib/systemd/system"
    texts = {
        f"{system}/a.service": "[Install]\nWantedBy=x\n",
        f"{system}/b.service": "",
        f"{system}/c@.service": "",
        f"{system}/multi-user.target.d/10-a.conf": "[Unit]\nUpholds=b.service\nWants=c@one.service other.service\n",
        "usr/lib/sysusers.d/a.conf": "",
        "usr/lib/tmpfiles.d/a.conf": "",
        "usr/lib/x86_64-linux-gnu/liba.so.1": "",
        "usr/lib/udev/rules.d/a.rules": "",
    }
    entries = dict.fromkeys(texts, Sort.FILE)
    assert judge("a.raw", entries, texts.__getitem__) == Content(
        units=("a.service", "b.service", "c@one.service"),
        start=("b.service", "c@one.service"),
        sysusers=("a.conf",),
        tmpfiles=("a.conf",),
        udev=True,
        libraries=True,
    )
    del entries[f"{system}/multi-user.target.d/10-a.conf"]
    assert judge("a.raw", entries, texts.__getitem__).start == ("a.service",)
    entries[f"{system}/sockets.target.wants/a.socket"] = Sort.LINK
    entries[f"{system}/a.socket"] = Sort.FILE
    assert judge("a.raw", entries, texts.__getitem__).start == ("a.socket",)
    entries[f"{system}/a-setup.service"] = Sort.FILE
    assert judge("a.raw", entries, {**texts, f"{system}/a-setup.service": ""}.__getitem__).setup


def test_names() -> None:
    assert (plain_name("a.raw"), plain_name("a.confext.raw")) == ("a", "a")
    assert kind_of("a.confext.raw").value == "confext" and kind_of("confext.raw").value == "sysext"


FULL = Installed(
    extensions={
        "a.raw": Extension("sysext", "push", "http://m", "0" * 64, 1, ("b.raw",), ("a.service",), "F" * 40, 5),
        "b.raw": Extension("sysext", "push"),
        "t.tcz": Extension("tcz", "admin"),
    },
    packages={"foo": Package("1.0", "foo-1.0-py3-none-any.whl", "site", "1" * 64, "http://m", 7)},
    modules={"vmci": Module("push", "skipped", "only for machines of VMware")},
    refused={"x": Refusal("push", "x: no", 9)},
    signed={"http://m/tinycorelinux/sysext/x86_64": 1767225600},
)


def test_record_round_trip(tmp_path: Path) -> None:
    assert parse_installed(json.loads(json.dumps(build_installed(FULL))), "x") == FULL
    assert read_installed(tmp_path / "installed.json") == Installed()
    write_installed(tmp_path / "installed.json", FULL)
    assert read_installed(tmp_path / "installed.json") == FULL
    assert (tmp_path / "installed.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "x.version: is of another version than 1"),
        ({"extensions": {"../a.raw": {"kind": "sysext", "by": "push"}}}, "x.extensions: '../a.raw' is not a name"),
        ({"extensions": {"a.raw": {"kind": "deb", "by": "push"}}}, "'deb' is not one of sysext, tcz, confext"),
        ({"extensions": {"a.raw": {"kind": "tcz", "by": "push", "sha256": "1"}}}, "'1' is no SHA-256"),
        ({"extensions": {"a.raw": {"kind": "tcz", "by": "push", "needs": ["/a"]}}}, "'/a' is not a name"),
        ({"modules": {"a": {"by": "push", "state": "lost"}}}, "'lost' is not one of"),
        ({"packages": {"a": {"by": "push"}}}, "x.packages.a.version: is missing"),
        ({"signed": {"http://m": -1}}, "-1 is not in"),
    ],
)
def test_record_that_is_damaged(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_installed({"version": 1, **change}, "x")
    assert reason in str(caught.value)


def test_record_changes() -> None:
    """What is installed is refused no longer, what is removed is forgotten, refusals are bounded to the newest."""
    assert "x" not in FULL.with_extensions({"x": Extension("tcz", "push")}).refused
    assert "a.raw" not in FULL.without("a.raw").extensions and "x" not in FULL.without("x").refused
    many = Installed()
    for number in range(MAX_REFUSED + 5):
        many = many.refusing(f"n{number}", Refusal("push", "no", number))
    assert len(many.refused) == MAX_REFUSED and "n4" not in many.refused and "n5" in many.refused


@pytest.mark.parametrize(
    ("requests", "gone", "kept"),
    [
        (Requests(remove=("b.raw",)), (), {"b.raw": "b.raw: a.raw needs it"}),
        (Requests(remove=("b", "a")), ("a.raw", "b.raw"), {}),
        (Requests(remove=("a.raw",), install=("a.raw",)), (), {}),
        (Requests(remove=("t", "absent")), ("t.tcz",), {}),
        (Requests(remove=("foo",)), (), {}),
    ],
)
def test_removal(requests: Requests, gone: tuple[str, ...], kept: dict[str, str]) -> None:
    plan = plan_removal(FULL, requests)
    assert (plan.extensions, plan.kept) == (gone, kept)
    assert plan.packages == (("foo",) if "foo" in requests.remove else ())
    assert plan.files == (*gone, *(("foo-1.0-py3-none-any.whl",) if plan.packages else ()))


def test_status_of_sysext() -> None:
    text = b'[{"hierarchy":"/opt","extensions":"none"},{"hierarchy":"/usr","extensions":["a","b"],"since":1}]'
    assert host.parse_merged(text, "x") == {"a", "b"}
    for bad in (b"{}", b"[1]", b'[{"hierarchy":"/usr"}]', b"nothing"):
        with pytest.raises(BadInput):
            host.parse_merged(bad, "x")


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_pid1_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables in arguments reach the program as they are; a failure names the program, not who started it."""
    fake(tmp_path / "bin", monkeypatch, "systemd-run", 'printf "%s\\n" "$@"; exit 3')
    done = host.run_as_pid1(["echo", "$HOME", "a b"], timeout_s=5)
    lines = done.stdout.decode().splitlines()
    assert lines[lines.index("--") + 1 :] == ["echo", "$$HOME", "a b"] and "--property=RuntimeMaxSec=5" in lines
    assert done.describe() == "echo ended with status 3"


def test_mounts_that_fail_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One table for many mounts, with blanks as fstab has them; the list is gone afterwards."""
    there: dict[Path, str] = {Path("/a"): "squashfs"}
    said = f'cp "${{@: -1}}" {tmp_path}/table; echo "mount: /b c: wrong fs type." >&2; exit 64'
    fake(tmp_path / "bin", monkeypatch, "systemd-run", said)
    mounts = [host.Mount("/i/a", Path("/a"), "squashfs", ("loop", "ro")), host.Mount("/i/b", Path("/b c"), "none")]
    assert host.mount_all(mounts, tmp_path / "mounts", lambda: there) == {Path("/b c"): "wrong fs type."}
    expected = "/i/a /a squashfs loop,ro 0 0\n/i/b /b\\040c none defaults 0 0\n"
    assert (tmp_path / "table").read_text() == expected and not (tmp_path / "mounts").exists()
    fake(tmp_path / "bin", monkeypatch, "systemd-run", "exit 1")
    assert set(host.mount_all(mounts, tmp_path / "mounts", dict)) == {Path("/a"), Path("/b c")}
    with pytest.raises(ToolFailed, match="mount ended with status 1"):
        host.mount(mounts[0], lambda: there)


def test_silence_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mounted decides, place and type, whatever mount says; of a bind mount any type is right."""
    fake(tmp_path / "bin", monkeypatch, "systemd-run", "exit 0")
    mounts = [host.Mount("/i/a", Path("/a"), "squashfs"), host.Mount("/usr/local", Path("/b"), "none", ("bind",))]
    for there, missing in (
        ({}, {"/a", "/b"}),
        ({"/a": "squashfs", "/b": "ext4"}, set[str]()),
        ({"/a": "tmpfs", "/b": "ext4"}, {"/a"}),
        ({"/i/a": "squashfs", "/b": "overlay"}, {"/a"}),
    ):
        table = {Path(place): kind for place, kind in there.items()}
        failed = host.mount_all(mounts, tmp_path / "mounts", lambda table=table: table)
        assert failed == {Path(place): host.NOT_MOUNTED for place in missing}
    host.mount(mounts[0], lambda: {Path("/a"): "squashfs"})
    with pytest.raises(ToolFailed, match=r"^/a: mount reported no error, and yet it is not mounted$"):
        host.mount(mounts[0], dict)


def test_units_are_asked_for_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'echo "$*" >>asked\ncase $1 in show) printf "LoadState=loaded\\nActiveState=active\\n\\n";'
    text += ' printf "LoadState=not-found\\nActiveState=inactive\\n" ;; esac'
    fake(tmp_path / "bin", monkeypatch, "systemctl", text)
    monkeypatch.chdir(tmp_path)
    host.stop_units(["a.service", "b.service"])
    assert (tmp_path / "asked").read_text().splitlines()[1:] == ["stop -- a.service"]
    with pytest.raises(ToolFailed, match="answered for 2 of 1"):
        host.unit_states(["a.service"])

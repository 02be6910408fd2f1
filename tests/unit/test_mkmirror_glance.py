"""What of a machine's files makes mk-fetch look further, and what does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from probe_tree import make_tree

from mkcore.errors import ToolFailed
from mkcore.paths import paths_under
from mkmirror.glance import anything_wanted

PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from mkmirror import glance
if sys.argv[1] == "glance":
    print(*sys.modules)
else:
    glance.main(["--help"])
"""
LISTS = "usr/share/mk/mirror/tinycorelinux"
OWN = {
    f"{LISTS}/tce-install-list": '["open-vm-tools.raw"]\n',
    f"{LISTS}/sysext/x86_64/open-vm-tools.raw.when": "virtualization vmware\n",
    "usr/lib/mk/mk.toml": '[extensions]\n# builtin_wait_s = 10\n\n[mirror]\n# tce_mirror = "x"\n',
    "etc/mk/mk.toml.d/60-debug.toml": '[log]\nlevel = "DEBUG"\n',
    "etc/mk/mk.toml": "",
}


def wanted(root: Path, virtualization: str = "none") -> bool:
    return anything_wanted(paths_under(str(root)), lambda: virtualization)


def test_a_list_for_other_machines_is_nothing(tmp_path: Path) -> None:
    make_tree(tmp_path, OWN)
    assert not wanted(tmp_path)
    assert not wanted(tmp_path, "kvm")
    assert wanted(tmp_path, "vmware")


def test_no_lists_need_no_answer(tmp_path: Path) -> None:
    """Nobody is asked what the machine is where nothing depends on it."""
    assert not anything_wanted(paths_under(str(tmp_path)), pytest.fail)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("run/mkweb/config.json", "{}"),
        ("run/mk/requests.json", "{}"),
        ("run/mk-fetch/staged.json", "{}"),
        ("run/mk-extensions/installed.json", "{}"),
        ("etc/mk/mk.toml", "[extensions]\ninstall = ['a.raw']\n"),
        ("etc/mk/mk.toml.d/site.toml", "extensions.install = ['a.raw']\n"),
        ("etc/mk/mk.toml.d/site.toml", "extensions = {install = ['a.raw']}\n"),
        ("etc/mk/mk.toml.d/site.toml", "[ mirror ]\ntce_mirror = 'http://m/t'\n"),
        ("run/credentials/mk.toml", "[tce]\nrelease = '14.x'\n"),
        (f"{LISTS}/tce-install-list", '["open-vm-tools.raw", "other.raw"]'),
        (f"{LISTS}/tce-install-list", "not a list"),
        (f"{LISTS}/sysext/x86_64/open-vm-tools.raw.when", "sometimes\n"),
        (f"{LISTS}/sysext/x86_64/open-vm-tools.raw.when", ""),
        (f"{LISTS}/kmod-install-list", '["drivers/misc/vmci.ko", "loop.ko"]'),
        (f"{LISTS}/15.x/x86_64/tcz/onboot.lst", "nano.tcz\n"),
        ("var/lib/mk/mirror/tinycorelinux/tce-install-list.yaml", "- nano.tcz\n"),
        ("var/lib/mk/mirror/gem-mirror/gems/gem.list", "# ours\nfoo >= 1\n"),
    ],
)
def test_anything_else_is_something(path: str, text: str, tmp_path: Path) -> None:
    make_tree(tmp_path, OWN)
    make_tree(tmp_path, {path: text})
    assert wanted(tmp_path)


def test_modules_for_vmware_are_nothing_elsewhere(tmp_path: Path) -> None:
    make_tree(tmp_path, {f"{LISTS}/kmod-install-list": '["drivers/misc/vmci.ko", "vmw_balloon"]'})
    assert not wanted(tmp_path)
    assert wanted(tmp_path, "vmware")


def test_empty_lists_are_nothing(tmp_path: Path) -> None:
    make_tree(
        tmp_path, {"usr/share/mk/mirror/gem-mirror/gems/gem.list": "# none\n\n", f"{LISTS}/tce-install-list": "[]"}
    )
    assert not wanted(tmp_path)


def test_a_tool_that_cannot_tell_is_an_error(tmp_path: Path) -> None:
    make_tree(tmp_path, OWN)

    def fail() -> str:
        raise ToolFailed("systemd-detect-virt cannot be started")

    with pytest.raises(ToolFailed):
        anything_wanted(paths_under(str(tmp_path)), fail)


def test_the_program_ends_at_once_or_runs() -> None:
    """Without options it looks at this machine; with them it is mk-fetch, whose options they are."""
    command = [sys.executable, "-I", "-c", PROGRAM]
    light = subprocess.run([*command, "glance"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert not {"requests", "dbus_next", "asyncio", "werkzeug"} & set(light.split())
    shown = subprocess.run([*command, "help"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "--remote" in shown

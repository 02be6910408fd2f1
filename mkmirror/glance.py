"""The entry of mk-fetch.service: whether there can be anything to do at all, found out by files alone; then the run.

At boot each second counts, and most machines install nothing: no configuration was pushed, nothing was installed or
refused before, the site and its administrator want nothing, and the machine's own lists are empty or for other
machines. Then neither HTTP nor D-Bus is worth its import. Whatever cannot be judged here counts as something, so that
the whole run judges it.

Source: protocol 5.1 to 5.5; mk.toml(5) for the files.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mkcore import files
from mkcore.errors import BadInput, ToolFailed
from mkcore.paths import Paths, paths_under
from mkmirror.formats import kmod
from mkmirror.index import read_list
from mkmirror.lists import lines_of
from mkmirror.when import SUFFIX, detect_virtualization, parse_when

SECTIONS = frozenset(("extensions", "mirror", "tce"))
TOP = "tinycorelinux"
PACKAGE_LIST = "gem-mirror/gems/gem.list"
MODULES_OF = "vmware"

_HEADER = re.compile(r"\[\s*\"?([A-Za-z0-9_-]+)")
_KEY = re.compile(r"\"?([A-Za-z0-9_-]+)\"?\s*[.=]")


def anything_wanted(paths: Paths, virtualization: Callable[[], str]) -> bool:
    """Tell whether there may be anything to fetch. `virtualization` is asked only when a list depends on it.

    Raises ToolFailed when that cannot be told.
    """
    said = (paths.pushed, paths.requests, paths.staged, paths.installed)
    if any(path.exists() for path in said) or any(map(_says_something, _site_files(paths))):
        return True
    trees = (paths.mirror_admin, paths.mirror)
    try:
        return _lists_say_something(trees, virtualization)
    except (BadInput, OSError):
        return True


def _site_files(paths: Paths) -> Iterator[Path]:
    yield paths.lib / "mk.toml"
    yield paths.etc / "mk.toml"
    for name in files.list_names(paths.etc / "mk.toml.d"):
        yield paths.etc / "mk.toml.d" / name
    if paths.credentials.parts:
        yield paths.credentials / "mk.toml"


def _says_something(path: Path) -> bool:
    """Whether a file sets a key of one of the sections; one that cannot be read may."""
    try:
        text = files.read_text(path)
    except FileNotFoundError:
        return False
    except (OSError, BadInput):
        return True
    section = ""
    for line in map(str.strip, text.splitlines()):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header is not None:
            section = header[1]
        elif key is not None and (section in SECTIONS or key[1] in SECTIONS):  # extensions.install, extensions = {}
            return True
    return False


def _lists_say_something(trees: Sequence[Path], virtualization: Callable[[], str]) -> bool:
    """Whether a list of the machine's own mirror names something for it. Raises BadInput, OSError, ToolFailed."""
    names = read_list(trees, TOP, "tce-install-list")
    modules = read_list(trees, TOP, "kmod-install-list")
    if not all(kmod.is_vmware_only(kmod.module_name(each)) for each in modules) or any(map(_has_lines, trees)):
        return True
    conditions = [_condition(trees, name) for name in names]
    if any(not each for each in conditions):
        return True
    if not conditions and not modules:
        return False
    found = virtualization()
    return bool(modules and found == MODULES_OF) or any(parse_when(each, SUFFIX).fits(found) for each in conditions)


def _has_lines(tree: Path) -> bool:
    """Whether a tree has a list of Python packages, or one of what is loaded at boot, that is not empty."""
    found = [tree / PACKAGE_LIST, *tree.glob(f"{TOP}/*/*/tcz/onboot.lst")]
    return any(any(True for _ in lines_of(files.read_text(path), str(path))) for path in found if path.exists())


def _condition(trees: Sequence[Path], name: str) -> str:
    """Return for which machines a listed extension is, as its file says it; "" where there is none."""
    for tree in trees:
        for pattern in (f"{TOP}/sysext/*/{name}{SUFFIX}", f"{TOP}/*/*/tcz/{name}{SUFFIX}"):
            for path in sorted(tree.glob(pattern)):
                return files.read_text(path).strip()
    return ""


def main(arguments: Sequence[str]) -> int:
    """Run mk-fetch unless there is nothing to do; return the exit status."""
    try:
        if not arguments and not anything_wanted(paths_under(), detect_virtualization):
            print("mk-fetch: nothing is wanted on this machine", file=sys.stderr)
            return 0
    except ToolFailed:
        pass  # the run asks again, and says so
    from mkmirror import fetch  # HTTP and D-Bus with it

    return fetch.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

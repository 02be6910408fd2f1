"""Kernel modules that lists name: find them, unload and load them, and say in one event what became of them.

Modules of the running kernel and those that extensions brought count: the latter lie below /usr/local/lib/modules, in
the folders `updates` and `extra` of the kernel's, or where a `.map` beside the extension puts them. One of an extension
goes before the kernel's own of the same name, since nobody packs it otherwise. What a module needs is loaded before it.
Each entry of a list costs itself alone.

Listed modules that are loaded are replaced, as ever, but for three: one that was loaded from a list before stays, or
each later list would cut the network off for a moment; so does the kernel's own driver of a network interface that is
up, and one that nothing could be loaded in place of.

Source: protocol 5.4 and 1.5 step 1a; insmod(8), rmmod(8), modinfo(8), modules.dep(5); the kernel's
Documentation/ABI/stable/sysfs-module; proc(5); netdevice(7) for the flags of an interface.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mkcore import events, files, proc
from mkcore.errors import BadInput, ToolFailed
from mkcore.journal import log_event
from mkmirror import host
from mkmirror.formats import kmod, tce
from mkmirror.installed import Module
from mkmirror.staged import Modules

log = logging.getLogger(__name__)

TOOL_TIMEOUT_S = 60.0
MAX_FILES = 20_000
FILE_LIMIT_BYTES = 16 << 20

MAX_ENTRIES = 1_000
"""Entries of all lists of one run together; a machine has a few hundred modules loaded."""

_AT_ONCE = 100  # files that modinfo is asked for in one run
_IFF_UP = 1
_INTERFACES = (
    'cd -- "$1" && for each in *; do [ ! -e "$each/device/driver/module" ] || '
    'echo "$each $(cat "$each/flags") $(readlink "$each/device/driver/module")"; done'
)
_DRIVERS = "kernel/drivers/"
_ADDED = ("updates", "extra")
"""Beside the kernel's own modules, where native extensions put theirs; modules.dep need not know them."""
_ENDING = re.compile(r"\.ko(?:\.(?:gz|xz|zst|bz2))?\Z")


class Places(NamedTuple):
    """Where modules and what is known of them lie: those of the kernel, those of extensions, /proc, /sys."""

    kernel: Path
    local: Path
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")


class Brought(NamedTuple):
    """What one extension of Tiny Core has besides: where it is mounted, and the `.map` that stood beside it."""

    place: Path
    map: Path


@dataclass(frozen=True)
class Catalogue:
    """The modules that there are. files: path as lists name it -> the file; needs: path -> paths, in loading order.

    brought: names of those that extensions brought; builtin: names of those that are part of the kernel.
    """

    files: Mapping[str, Path]
    needs: Mapping[str, tuple[str, ...]]
    brought: frozenset[str]
    builtin: frozenset[str]


def places(release: str = "") -> Places:
    """Return the places for a kernel's release, the running one's by default."""
    release = release or os.uname().release
    return Places(Path("/usr/lib/modules") / release, Path("/usr/local/lib/modules") / release)


def apply(
    where: Places,
    wanted: Sequence[Modules],
    brought: Sequence[Brought],
    before: Mapping[str, Module],
    virtual: str,
) -> dict[str, Module]:
    """Load what the lists name; return what became of each, by the module's name, and write one event.

    brought: of installed extensions with a `.map`; before: what this returned earlier in this boot; virtual: what
    systemd-detect-virt says. Raises OSError only when /proc/modules is there and cannot be read.
    """
    asked: dict[str, str] = {}
    found: dict[str, None] = {}
    for each in wanted:
        for entry in each.entries:
            if asked.setdefault(kmod.module_name(entry), each.by.value) == each.by.value:
                found.setdefault(entry)
    entries = list(found)
    if not entries:
        return {}
    catalogue = read_catalogue(where, brought)
    loaded = _read_loaded(where)
    reasons, todo = _sort_out(where, entries, catalogue, loaded, before, virtual)
    plan = kmod.plan(todo, loaded, catalogue.needs, catalogue.builtin, virtual)
    reasons.update({kmod.module_name(each.entry): each.reason for each in (*plan.kept, *plan.skipped)})
    unloaded = [name for name in plan.unload if _unload(name, reasons)]
    for path in plan.load:
        _load(catalogue.files[path], reasons)
    after = _read_loaded(where)
    result = {
        name: _judge(name, by, loaded, after, unloaded, reasons.get(name, ""), before) for name, by in asked.items()
    }
    _report(kmod.summary(loaded, after, unloaded), result)
    return result


def bounded(wanted: Sequence[Modules]) -> tuple[tuple[Modules, ...], tuple[Modules, ...]]:
    """Return the lists that are MAX_ENTRIES together, and those with which they would be more."""
    good: list[Modules] = []
    others: list[Modules] = []
    left = MAX_ENTRIES
    for each in wanted:
        (good if len(each.entries) <= left else others).append(each)
        left -= len(each.entries) if len(each.entries) <= left else 0
    return tuple(good), tuple(others)


def remembered(before: Mapping[str, Module], now: Mapping[str, Module]) -> dict[str, Module]:
    """Return what is kept of earlier runs and this one: of what was skipped, only this run's."""
    return {**{name: each for name, each in before.items() if each.state != "skipped"}, **now}


def _read_loaded(where: Places) -> dict[str, kmod.Loaded]:
    """Read which modules are loaded; a kernel that cannot load any has no such file."""
    try:
        return kmod.parse_loaded(files.read_text(where.proc / "modules", FILE_LIMIT_BYTES))
    except FileNotFoundError:
        return {}


def read_catalogue(where: Places, brought: Sequence[Brought]) -> Catalogue:
    """Return all modules that can be loaded here; a damaged `.map` is logged and left out."""
    needs = kmod.parse_needs(files.read_text_if_any(where.kernel / "modules.dep", FILE_LIMIT_BYTES))
    builtin = kmod.parse_builtin(files.read_text_if_any(where.kernel / "modules.builtin", FILE_LIMIT_BYTES))
    own = {path: where.local / path for path in _find_files(where.local)}
    for folder in _ADDED:
        added = (f"{folder}/{path}" for path in _find_files(where.kernel / folder))
        own.update({path: where.kernel / path for path in added if path not in needs})
    for each in brought:
        own.update(_mapped(each))
    names = frozenset(kmod.module_name(path) for path in own)
    found = {path: where.kernel / path for path in needs if kmod.module_name(path) not in names}
    found.update(own)
    by_name = {kmod.module_name(path): path for path in found}
    direct = {path: [by_name[name] for name in _direct(each) if name in by_name] for path, each in _ask(own)}
    closed = {path: tuple(_close(path, direct, needs, by_name)) for path in found}
    return Catalogue(found, closed, names, builtin)


def parse_modinfo(text: str) -> dict[str, tuple[str, ...]]:
    """Parse what modinfo prints of several files: each file -> names of the modules that it needs."""
    found: dict[str, tuple[str, ...]] = {}
    file = ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == "filename":
            file = value.strip()
            found[file] = ()
        elif key == "depends" and file:
            found[file] = tuple(kmod.module_name(name) for name in value.strip().split(",") if name)
    return found


def read_interfaces(sys: Path) -> dict[str, list[str]]:
    """Return the network interfaces that are up, by the kernel's name of their driver's module: e1000 -> [eth0].

    The host looks, because a service without a network sees no interfaces in /sys. Raises ToolFailed.
    """
    command = ["sh", "-c", _INTERFACES, "sh", str(sys / "class/net")]
    return parse_interfaces(
        proc.require(host.run_as_pid1(command, timeout_s=TOOL_TIMEOUT_S)).decode("utf-8", "replace")
    )


def parse_interfaces(text: str) -> dict[str, list[str]]:
    """Parse lines of an interface, its flags (0x1003) and where the link to its driver's module leads."""
    found: dict[str, list[str]] = {}
    for words in map(str.split, text.splitlines()):
        if len(words) == 3 and re.fullmatch(r"0x[0-9a-fA-F]{1,8}", words[1]) and int(words[1], 16) & _IFF_UP:
            found.setdefault(kmod.module_name(words[2]), []).append(words[0])
    return found


def _sort_out(
    where: Places,
    entries: Sequence[str],
    catalogue: Catalogue,
    loaded: Mapping[str, kmod.Loaded],
    before: Mapping[str, Module],
    virtual: str,
) -> tuple[dict[str, str], list[str]]:
    """Return why modules stay as they are, and the other entries, which something is to be done for."""
    first = kmod.plan(entries, {}, catalogue.needs, catalogue.builtin, virtual)
    reasons = {kmod.module_name(each.entry): each.reason for each in first.skipped}
    skipped = frozenset(each.entry for each in first.skipped)
    todo: list[str] = []
    used = _used(where, entries, loaded)
    for entry in entries:
        name = kmod.module_name(entry)
        if entry in skipped:
            continue
        if name in loaded and name in before and before[name].state in ("loaded", "replaced"):
            reasons[name] = before[name].reason
        elif name in used and name not in catalogue.brought:
            reasons[name] = used[name]
        else:
            todo.append(entry)
    return reasons, todo


def _used(where: Places, entries: Sequence[str], loaded: Mapping[str, kmod.Loaded]) -> dict[str, str]:
    """Return why loaded modules should stay: by their names what they drive."""
    if not any(kmod.module_name(entry) in loaded for entry in entries):
        return {}
    try:
        drivers = read_interfaces(where.sys)
    except ToolFailed as error:  # then nobody knows whether the network would be cut off
        log.warning("loaded modules stay: %s", error)
        return dict.fromkeys(loaded, "may drive an interface that is up")
    return {name: f"drives {', '.join(interfaces)}, which is up" for name, interfaces in drivers.items()}


def _judge(
    name: str,
    by: str,
    loaded: Mapping[str, kmod.Loaded],
    after: Mapping[str, kmod.Loaded],
    unloaded: Sequence[str],
    reason: str,
    before: Mapping[str, Module],
) -> Module:
    if name not in after:
        return Module(by, "skipped", reason or "was not loaded")
    if name in unloaded:
        return Module(by, "replaced")
    if name not in loaded:
        return Module(by, "loaded")
    return before.get(name, Module(by, "kept", reason)) if not reason else Module(by, "kept", reason)


def _report(summary: str, result: Mapping[str, Module]) -> None:
    """Write the one event: what changed, then what of the lists did not and why."""
    others = [f"{name}: {each.reason}" for name, each in sorted(result.items()) if each.reason]
    summary = summary or "nothing changed"
    message = f"kernel modules: {summary}" + (f" ({'; '.join(others)})" if others else "")
    log_event(log, events.MODULES_LOADED, message, modules=summary)


def _unload(name: str, reasons: dict[str, str]) -> bool:
    finished = proc.run(["rmmod", name], timeout_s=TOOL_TIMEOUT_S)
    if not finished.ok:
        reasons[name] = f"cannot be unloaded: {finished.describe()}"
    return finished.ok


def _load(path: Path, reasons: dict[str, str]) -> None:
    finished = proc.run(["insmod", str(path)], timeout_s=TOOL_TIMEOUT_S)
    if not finished.ok:
        reasons.setdefault(kmod.module_name(path.name), f"cannot be loaded: {finished.describe()}")


def _find_files(top: Path) -> list[str]:
    found: list[str] = []
    for folder, _, names in os.walk(top):
        found += [(Path(folder) / each).relative_to(top).as_posix() for each in names if _ENDING.search(each)]
        if len(found) > MAX_FILES:
            break
    return sorted(found[:MAX_FILES])


def _mapped(brought: Brought) -> dict[str, Path]:
    try:
        entries = tce.parse_map(files.read_text(brought.map), brought.map.name)
    except (OSError, BadInput) as error:
        log.warning("%s; its modules are not found by lists", error)
        return {}
    return {_DRIVERS + each.target: brought.place / each.module for each in entries}


def _ask(own: Mapping[str, Path]) -> list[tuple[str, tuple[str, ...]]]:
    """Ask modinfo what the modules of extensions need, by the path that lists know them by."""
    paths = list(own)
    found: list[tuple[str, tuple[str, ...]]] = []
    for start in range(0, len(paths), _AT_ONCE):
        some = paths[start : start + _AT_ONCE]
        finished = proc.run(["modinfo", *(str(own[path]) for path in some)], timeout_s=TOOL_TIMEOUT_S)
        if not finished.stdout and not finished.ok:
            log.warning("what modules of extensions need is not known: %s", finished.describe())
        answers = parse_modinfo(finished.stdout.decode("utf-8", "replace"))
        found += [(path, answers.get(str(own[path]), ())) for path in some]
    return found


def _direct(names: Iterable[str]) -> list[str]:
    return [kmod.module_name(name) for name in names]


def _close(
    path: str,
    direct: Mapping[str, Sequence[str]],
    needs: Mapping[str, Sequence[str]],
    by_name: Mapping[str, str],
) -> list[str]:
    """Return all that a module needs, the deepest first; whatever names itself is taken once."""
    order: list[str] = []
    seen: set[str] = {path}

    def of(each: str) -> Iterator[str]:
        """Return the paths of what one module needs itself."""
        return iter(direct.get(each) or [by_name.get(kmod.module_name(n), n) for n in needs.get(each, ())])

    way = [(path, of(path))]  # not by recursion: a chain may be longer than Python's stack
    while way:
        each, left = way[-1]
        need = next((found for found in left if found not in seen), None)
        if need is None:
            way.pop()
            order += [each] if way else []
        else:
            seen.add(need)
            way.append((need, of(need)))
    return order

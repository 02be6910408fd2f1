"""Lists of kernel modules: which file each entry means, and what has to be unloaded and loaded in which order.

A list has names (`vmci`, `vmci.ko`) or paths (`drivers/misc/vmci.ko`). Names are compared whole, never as a part of a
text (defect B28); folders count, so that a path resolves an ambiguous name (B29); a module may be compressed (B30);
what a module needs is loaded before it. A module that is loaded already is replaced, as ever.

Source: protocol 5.4; modules.dep(5); /proc/modules in proc(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mkcore.errors import BadInput
from mkmirror.names import show

VMWARE_ONLY = frozenset(("vmblock", "vmsync", "vmci", "vmxnet", "vmhgfs", "vmxnet3", "vmwgfx"))
"""The originals' five and the drivers of the same devices in later kernels; so is whatever begins with `vmw_`."""

_ENDING = re.compile(r"\.ko(?:\.(?:gz|xz|zst|bz2))?\Z")
_COUNT = re.compile(r"-?[0-9]{1,9}")
_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+-]{0,63}")


@dataclass(frozen=True)
class Loaded:
    """A loaded module: how often it is used, and which loaded modules use it."""

    uses: int
    users: tuple[str, ...]


@dataclass(frozen=True)
class Skipped:
    """An entry of a list that nothing is done for, and why."""

    entry: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What to do, in order: unload these modules, load these files; `kept` could not be unloaded."""

    unload: tuple[str, ...]
    load: tuple[str, ...]
    kept: tuple[Skipped, ...]
    skipped: tuple[Skipped, ...]


def module_name(entry: str) -> str:
    """Return the kernel's name of the module that an entry or path names: `snd_hda` for `sound/snd-hda.ko.xz`."""
    return entry.rsplit("/", 1)[-1].split(".", 1)[0].replace("-", "_")


def parse_loaded(text: str) -> dict[str, Loaded]:
    """Parse /proc/modules; lines of another form are left out."""
    found: dict[str, Loaded] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and _COUNT.fullmatch(words[2]):
            users = tuple(user for user in words[3].split(",") if user not in ("", "-", "[permanent]"))
            found[words[0]] = Loaded(int(words[2]), users)
    return found


def parse_needs(text: str) -> dict[str, tuple[str, ...]]:
    """Parse modules.dep: path of each module -> paths of what it needs, in the order to load them."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        path, colon, needs = line.partition(":")
        if colon and path.strip():
            found[path.strip()] = tuple(reversed(needs.split()))
    return found


def parse_builtin(text: str) -> frozenset[str]:
    """Parse modules.builtin: the names of the modules that are part of the kernel."""
    return frozenset(module_name(line.strip()) for line in text.splitlines() if line.strip())


def find(entry: str, paths: Iterable[str]) -> str:
    """Return the one of `paths` that an entry means; raise BadInput for none and for several, naming them.

    paths: of files of modules, e.g. `kernel/drivers/misc/vmci.ko.xz`. An entry with folders means the files whose path
    ends so; one without means all of that name.
    """
    name = module_name(entry)
    if not _MODULE.fullmatch(name):
        raise BadInput(f"{show(entry)} is not the name of a module")
    folders = entry.strip("/").split("/")[:-1]
    hits: list[str] = []
    for path in paths:
        *inside, file = path.strip("/").split("/")
        if _ENDING.search(file) and module_name(file) == name and inside[len(inside) - len(folders) :] == folders:
            hits.append(path)
    if len(hits) == 1:
        return hits[0]
    exact = [path for path in hits if len(path.strip("/").split("/")) == len(folders) + 1]
    if folders and len(exact) == 1:
        return exact[0]
    if not hits:
        raise BadInput(f"{entry}: there is no such module for this kernel")
    raise BadInput(f"{entry} can mean {', '.join(sorted(hits)[:8])}: give more of the path")


def is_vmware_only(name: str) -> bool:
    """Tell whether the module `name` is of use in VMware's machines alone."""
    return name in VMWARE_ONLY or name.startswith("vmw_")


def plan(
    entries: Sequence[str],
    loaded: Mapping[str, Loaded],
    needs: Mapping[str, Sequence[str]],
    builtin: frozenset[str] = frozenset(),
    virtual: str = "",
) -> Plan:
    """Decide what to do for a list. virtual: the fact of that name, e.g. `vmware`.

    All listed modules that are loaded are unloaded first, users before what they use; one that something else uses
    stays as it is. One entry that cannot be met costs itself alone.
    """
    files: dict[str, str] = {}
    skipped: list[Skipped] = []
    for entry in entries:
        name = module_name(entry)
        if is_vmware_only(name) and virtual != "vmware":
            skipped.append(Skipped(entry, "only for machines of VMware"))
        elif name in builtin:
            skipped.append(Skipped(entry, "is a part of the kernel"))
        else:
            try:
                files.setdefault(name, find(entry, needs))
            except BadInput as error:
                skipped.append(Skipped(entry, str(error)))
    listed = {module_name(entry) for entry in entries} & set(loaded)
    unload, kept = _order_unloading(listed, loaded)
    there = (set(loaded) - set(unload)) | builtin
    return Plan(unload, _order_loading(files, needs, there), kept, tuple(skipped))


def _order_unloading(names: set[str], loaded: Mapping[str, Loaded]) -> tuple[tuple[str, ...], tuple[Skipped, ...]]:
    """Unload whatever is used by nothing but what was unloaded before, again and again."""
    gone: list[str] = []
    left = set(names)
    while True:
        free = sorted(name for name in left if _holders(name, loaded) <= set(gone) and not _held(loaded[name]))
        if not free:
            break
        gone += free
        left -= set(free)
    kept = [
        Skipped(name, f"is in use by {', '.join(sorted(_holders(name, loaded) - set(gone))) or 'a device or program'}")
        for name in sorted(left)
    ]
    return tuple(gone), tuple(kept)


def _holders(name: str, loaded: Mapping[str, Loaded]) -> set[str]:
    return {user for user in loaded[name].users if user in loaded}


def _held(module: Loaded) -> bool:
    """Whether something that is no module uses it: an open file, a mounted file system, an interface."""
    return module.uses < 0 or module.uses > len(module.users)


def _order_loading(files: Mapping[str, str], needs: Mapping[str, Sequence[str]], there: set[str]) -> tuple[str, ...]:
    """Each file after what it needs, each once, nothing that is there already."""
    order: dict[str, None] = {}
    for path in (path for name, path in files.items() if name not in there):
        for each in (*needs.get(path, ()), path):
            if module_name(each) not in there:
                order.setdefault(each)
    return tuple(order)


def summary(before: Iterable[str], after: Iterable[str], unloaded: Iterable[str]) -> str:
    """Return what became of the modules in one line: `name+` is new, `name/` was replaced, `name-` is gone."""
    old, new, replaced = set(before), set(after), set(unloaded)
    marks = dict.fromkeys(new - old, "+")
    marks.update({name: "/" if name in new else "-" for name in replaced & old})
    return " ".join(f"{name}{mark}" for name, mark in sorted(marks.items()))

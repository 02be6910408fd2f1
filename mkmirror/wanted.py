"""What is wanted: names from lists, the site's configuration and the administrator, and what a push may ask for.

One name that is none costs itself alone; the rest of its list counts. The same name from several sides is wanted once,
by whoever of them may most.

Source: protocol 5.1, 5.3, 5.4, 5.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Union

from mkcore.errors import BadInput
from mkcore.jsonfields import parse_json
from mkcore.keys import is_pattern
from mkcore.rubyregex import compile_ruby
from mkmirror.formats import kmod, sysext, tce, wheel
from mkmirror.lists import MAX_ENTRIES, decode, lines_of, parse_list
from mkmirror.names import require_name, require_name_or_path, show
from mkmirror.requests import Requests, stem
from mkmirror.staged import By, Modules, Refused

_ORDER = (By.ADMIN, By.SITE, By.BUILTIN, By.PUSH)


@dataclass(frozen=True)
class Want:
    """An extension that is wanted: its name as it was written, by whom, and where it stands."""

    name: str
    by: By
    place: str


@dataclass(frozen=True)
class WantedPackage:
    """A Python package that is wanted, by whom, and where it stands."""

    wanted: wheel.Wanted
    by: By
    place: str


@dataclass(frozen=True)
class Names:
    """What a list gave: its names in order, and what in it is none."""

    names: tuple[str, ...]
    refused: tuple[Refused, ...]


def is_allowed(allow: Iterable[str], *names: str) -> bool:
    """Tell whether one of the names of one thing (`nano.tcz`, `nano`) is in a list of names and /patterns/.

    Patterns are Ruby's and searched, not anchored. Raises BadInput for one that cannot be understood.
    """
    for item in allow:
        if is_pattern(item):
            pattern = compile_ruby(item[1:-1])
            if any(pattern.search(name) for name in names):
                return True
        elif item in names:
            return True
    return False


def may_push(allow: Iterable[str], name: str, *, module: bool = False) -> bool:
    """Tell whether a push may install what is called `name`, a file of an extension or a package, or load a `module`.

    Only a module's name ends at its first dot: of extensions `smart.other.raw` is another one than `smart.raw`.
    """
    return is_allowed(allow, name, kmod.module_name(name) if module else stem(name))


def parse_names(data: bytes, where: str, by: By) -> Names:
    """Parse a list of extensions or modules; raise BadInput when it is no list at all.

    Entries that can be no name are refused one by one. What a push points at may be any page that this machine can
    read, and the server hears of refusals: so those tell the place alone.
    """
    text = decode(data, where)
    if not text.lstrip().startswith(("[", "{")):
        try:
            return Names(tuple(parse_list(data, where)), ())
        except BadInput as error:
            if by is not By.PUSH:
                raise
            raise BadInput("not of the form '- name'", error.where) from None
    value = parse_json(text, where)
    if not isinstance(value, list):
        raise BadInput("must be a list of names", where)
    if len(value) > MAX_ENTRIES:
        raise BadInput(f"more than {MAX_ENTRIES} entries", where)
    names: dict[str, None] = {}
    refused: list[Refused] = []
    for position, item in enumerate(value):
        place = f"{where}[{position}]"
        try:
            names[require_name_or_path(item if isinstance(item, str) else "", place)] = None
        except BadInput:
            shown = show(item) if isinstance(item, str) and by is not By.PUSH else f"entry {position}"
            name = shown if by is not By.PUSH else place
            refused.append(Refused(name, by, f"{place}: {shown} is not the name of an extension or module"))
    return Names(tuple(names), tuple(refused))


def parse_package_list(data: bytes, where: str, by: By) -> tuple[tuple[WantedPackage, ...], tuple[Refused, ...]]:
    """Parse a list of `NAME [requirement]`; lines that are none are refused one by one. Raises BadInput (not text)."""
    places = list(lines_of(decode(data, where), where))
    return packages_of(places, by)


def packages_of(entries: Iterable[tuple[str, str]], by: By) -> tuple[tuple[WantedPackage, ...], tuple[Refused, ...]]:
    """Parse `NAME [requirement]` with the place of each; one that is none is refused."""
    each = [_package(entry, place, by) for entry, place in entries]
    return (
        tuple(found for found in each if isinstance(found, WantedPackage)),
        tuple(found for found in each if isinstance(found, Refused)),
    )


def _package(entry: str, place: str, by: By) -> Union[WantedPackage, Refused]:
    try:
        return WantedPackage(wheel.parse_wanted(entry, place), by, place)
    except BadInput as error:
        if by is By.PUSH:  # the line of whatever page that is stays here
            return Refused(place, by, f"{place}: not of the form NAME [requirement]")
        return Refused(show(entry), by, str(error))


def file_names(name: str, kernel: str) -> tuple[str, ...]:
    """Return the files that a name can mean, the one to prefer first: `nano` is `nano.raw` or else `nano.tcz`.

    kernel: what -KERNEL stands for. Raises BadInput for what can be no name of an extension.
    """
    require_name(name, "extension")
    if name.endswith(sysext.SUFFIX):
        return (name,)
    if name.endswith(tce.SUFFIX):
        return (tce.file_name(name, kernel),)
    return (require_name(name + sysext.SUFFIX, "extension"), tce.file_name(name, kernel))


def merge_wants(wants: Iterable[Want], requests: Requests) -> list[Want]:
    """Return each name once, in the order in which they came, by whoever may most; without what was removed.

    What an administrator asks for is wanted, whatever he removed before.
    """
    found: dict[str, Want] = {}
    for want in wants:
        if want.by is not By.ADMIN and requests.is_removed(want.name):
            continue
        before = found.get(want.name)
        if before is None or _ORDER.index(want.by) < _ORDER.index(before.by):
            found[want.name] = want
    return list(found.values())


def merge_packages(wants: Iterable[WantedPackage], requests: Requests) -> list[WantedPackage]:
    """Return each package once, in versions that satisfy all who want it, by whoever may most; as merge_wants."""
    found: dict[str, WantedPackage] = {}
    for want in wants:
        name = want.wanted.name
        if want.by is not By.ADMIN and requests.is_removed(name):
            continue
        before = found.get(name)
        if before is None:
            found[name] = want
            continue
        first = min(before, want, key=lambda each: _ORDER.index(each.by))
        found[name] = WantedPackage(before.wanted.also(want.wanted), first.by, first.place)
    return list(found.values())


def modules_of(
    names: Sequence[str], by: By, place: str, allow: Sequence[str], done: Iterable[str]
) -> tuple[Modules, tuple[Refused, ...]]:
    """Return what to load of a list: what a push may not is refused, modules that are `done` are left out."""
    skip = frozenset(done)
    wanted: list[str] = []
    refused: list[Refused] = []
    for name in names:
        if by is By.PUSH and not may_push(allow, name, module=True):
            refused.append(not_allowed(name, by))
        elif kmod.module_name(name) not in skip:
            wanted.append(name)
    return Modules(by, tuple(wanted), place), tuple(refused)


def not_allowed(name: str, by: By) -> Refused:
    """Return the refusal of what the site does not let a push install."""
    return Refused(name, by, f"{name}: extensions.allow of this site does not let a push install it")

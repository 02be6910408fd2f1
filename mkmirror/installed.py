"""What is installed, and what was refused: the file that mk-extensions writes and everyone else reads.

One JSON document, /run/mk-extensions/installed.json. mk-fetch learns from it what need not be fetched, the facts what
to tell the server, `mkmirror list` what to show. A reader meets an old or damaged file with one clear error, a missing
one is an empty one.

Source: none but this module; the times are microseconds of CLOCK_BOOTTIME, as journald has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from mkcore import files
from mkcore.errors import BadInput
from mkcore.jsonfields import Json, canonical, get_int, get_object, get_str, get_strings
from mkmirror.names import is_name, show

FILE = "installed.json"
VERSION = 1
LIMIT_BYTES = 8 << 20
"""More is neither written nor read."""
MAX_REFUSED = 1_000
"""So many refusals are remembered, the newest ones."""
KINDS = ("sysext", "tcz", "confext")
STATES = ("loaded", "replaced", "kept", "skipped")

_DIGEST = re.compile(r"(?:[0-9a-f]{64})?")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Extension:
    """One extension. kind: one of KINDS; by: push, site, admin or builtin; signed_by: fingerprint, "" for built in."""

    kind: str
    by: str
    mirror: str = ""
    sha256: str = ""
    size_bytes: int = 0
    needs: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    signed_by: str = ""
    installed_usec: int = 0


@dataclass(frozen=True)
class Package:
    """One Python package, e.g. version 1.0 from file foo-1.0-py3-none-any.whl."""

    version: str
    file: str
    by: str
    sha256: str = ""
    mirror: str = ""
    installed_usec: int = 0


@dataclass(frozen=True)
class Module:
    """A listed kernel module; state: one of STATES; reason: why it was kept or skipped."""

    by: str
    state: str
    reason: str = ""


@dataclass(frozen=True)
class Refusal:
    """What was not installed, why in one line, and when."""

    by: str
    reason: str
    at_usec: int = 0


@dataclass(frozen=True)
class Installed:
    """All of it by name: of files for extensions (`a.raw`), canonical ones of packages, of modules without ending.

    signed: use of a key (trust.use_of) -> Unix time of the newest signature for it (an older one is a replay).
    """

    extensions: Mapping[str, Extension] = field(default_factory=dict[str, Extension])
    packages: Mapping[str, Package] = field(default_factory=dict[str, Package])
    modules: Mapping[str, Module] = field(default_factory=dict[str, Module])
    refused: Mapping[str, Refusal] = field(default_factory=dict[str, Refusal])
    signed: Mapping[str, int] = field(default_factory=dict[str, int])

    def with_extensions(self, added: Mapping[str, Extension]) -> Installed:
        """Return it with these extensions, whose names are refused no longer."""
        refused = {name: each for name, each in self.refused.items() if name not in added}
        return replace(self, extensions={**self.extensions, **added}, refused=refused)

    def with_packages(self, added: Mapping[str, Package]) -> Installed:
        """Return it with these packages, whose names are refused no longer."""
        refused = {name: each for name, each in self.refused.items() if name not in added}
        return replace(self, packages={**self.packages, **added}, refused=refused)

    def without(self, name: str) -> Installed:
        """Return it without the extension or package of this name, and without what was refused of it."""
        return replace(
            self,
            extensions={each: found for each, found in self.extensions.items() if each != name},
            packages={each: found for each, found in self.packages.items() if each != name},
            refused={each: found for each, found in self.refused.items() if each != name},
        )

    def refusing(self, name: str, refusal: Refusal) -> Installed:
        """Return it with a refusal, the newest for its name; the oldest ones are forgotten beyond MAX_REFUSED."""
        found = {each: old for each, old in self.refused.items() if each != name}
        found[name] = refusal
        newest = sorted(found, key=lambda each: -found[each].at_usec)[:MAX_REFUSED]
        return replace(self, refused={each: found[each] for each in found if each in frozenset(newest)})

    def accepting(self, names: Collection[str]) -> Installed:
        """Return it without the refusals of these names."""
        return replace(self, refused={each: found for each, found in self.refused.items() if each not in names})

    def users_of(self, name: str) -> tuple[str, ...]:
        """Return the names of the installed extensions that need the extension `name`, sorted."""
        return tuple(sorted(each for each, found in self.extensions.items() if name in found.needs))


def parse_installed(document: Mapping[str, Json], where: str) -> Installed:
    """Parse the document; raise BadInput naming the key for another version, a wrong type, a name that is none."""
    if get_int(document, "version", where=where) != VERSION:
        raise BadInput(f"is of another version than {VERSION}", f"{where}.version")
    signed = get_object(document, "signed", default={}, where=where)
    return Installed(
        extensions=_each(document, "extensions", where, _parse_extension),
        packages=_each(document, "packages", where, _parse_package),
        modules=_each(document, "modules", where, _parse_module),
        refused=_each(document, "refused", where, _parse_refusal, names=False),
        signed={folder: get_int(signed, folder, low=0, where=f"{where}.signed") for folder in signed},
    )


def build_installed(installed: Installed) -> dict[str, object]:
    """Build the document that parse_installed reads."""
    return {"version": VERSION, **asdict(installed)}


def read_installed(path: Path) -> Installed:
    """Return what the file says, nothing installed when there is none. Raises BadInput, OSError."""
    try:
        return parse_installed(files.read_object(path, LIMIT_BYTES), str(path))
    except FileNotFoundError:
        return Installed()


def write_installed(path: Path, installed: Installed) -> None:
    """Replace the file in one step; without what was refused and skipped where only so it is as small as it must be.

    Raises BadInput for more than LIMIT_BYTES even so (ask `room_bytes` before), OSError.
    """
    if _size(installed) > LIMIT_BYTES:
        installed = _essential(installed)
    if _size(installed) > LIMIT_BYTES:
        raise BadInput(f"would be larger than {LIMIT_BYTES} bytes", str(path))
    files.write_json(path, build_installed(installed))


def room_bytes(installed: Installed) -> int:
    """Return how much more of extensions and packages can be written down."""
    return LIMIT_BYTES - _size(_essential(installed))


def _essential(installed: Installed) -> Installed:
    """What must not be forgotten: what is installed and loaded, and when it was signed."""
    modules = {name: each for name, each in installed.modules.items() if each.state != "skipped"}
    return replace(installed, modules=modules, refused={})


def _size(installed: Installed) -> int:
    return len(canonical(build_installed(installed))) + 1


def _each(
    document: Mapping[str, Json],
    key: str,
    where: str,
    parse: Callable[[Mapping[str, Json], str], _T],
    *,
    names: bool = True,
) -> dict[str, _T]:
    table = get_object(document, key, default={}, where=where)
    found: dict[str, _T] = {}
    for name in table:
        if names and not is_name(name):
            raise BadInput(f"{show(name)} is not a name", f"{where}.{key}")
        found[name] = parse(get_object(table, name, where=f"{where}.{key}"), f"{where}.{key}.{name}")
    return found


def _parse_extension(entry: Mapping[str, Json], where: str) -> Extension:
    return Extension(
        kind=_choice(entry, "kind", KINDS, where),
        by=get_str(entry, "by", where=where),
        mirror=get_str(entry, "mirror", default="", where=where),
        sha256=_digest(entry, where),
        size_bytes=get_int(entry, "size_bytes", default=0, low=0, where=where),
        needs=_names(entry, "needs", where),
        units=tuple(get_strings(entry, "units", default=(), where=where)),
        signed_by=get_str(entry, "signed_by", default="", where=where),
        installed_usec=get_int(entry, "installed_usec", default=0, low=0, where=where),
    )


def _parse_package(entry: Mapping[str, Json], where: str) -> Package:
    return Package(
        version=get_str(entry, "version", where=where),
        file=get_str(entry, "file", where=where),
        by=get_str(entry, "by", where=where),
        sha256=_digest(entry, where),
        mirror=get_str(entry, "mirror", default="", where=where),
        installed_usec=get_int(entry, "installed_usec", default=0, low=0, where=where),
    )


def _parse_module(entry: Mapping[str, Json], where: str) -> Module:
    return Module(
        by=get_str(entry, "by", where=where),
        state=_choice(entry, "state", STATES, where),
        reason=get_str(entry, "reason", default="", where=where),
    )


def _parse_refusal(entry: Mapping[str, Json], where: str) -> Refusal:
    return Refusal(
        by=get_str(entry, "by", where=where),
        reason=get_str(entry, "reason", where=where),
        at_usec=get_int(entry, "at_usec", default=0, low=0, where=where),
    )


def _choice(entry: Mapping[str, Json], key: str, choices: tuple[str, ...], where: str) -> str:
    value = get_str(entry, key, where=where)
    if value not in choices:
        raise BadInput(f"{show(value)} is not one of {', '.join(choices)}", f"{where}.{key}")
    return value


def _digest(entry: Mapping[str, Json], where: str) -> str:
    value = get_str(entry, "sha256", default="", where=where)
    if not _DIGEST.fullmatch(value):
        raise BadInput(f"{show(value)} is no SHA-256", f"{where}.sha256")
    return value


def _names(entry: Mapping[str, Json], key: str, where: str) -> tuple[str, ...]:
    names = get_strings(entry, key, default=(), where=where)
    for name in names:
        if not is_name(name):
            raise BadInput(f"{show(name)} is not a name", f"{where}.{key}")
    return tuple(names)

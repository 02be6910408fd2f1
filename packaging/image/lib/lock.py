"""packages.lock: which version of each package an image was made of, and the time that its files got.

A second build that is given it takes exactly these, or ends with the names of those that it cannot have: a release of
Debian changes every few weeks, and its archive keeps the newest version only. (An archive of all versions, where the
host's apt names one, has them for ever.) The versions of the host's tools are recorded, too, as they shape the bytes;
which of them are others is said.

Source: apt_preferences(5).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import tomllib

from .places import BuildError

NAME = "packages.lock"
OWN = ("mk-core", "mkctl", "mkweb", "mkmirror", "mk-suite")
"""Our own packages, which come from the tree and not from an archive."""

_HEAD = """\
# What this image was made of. `make image LOCK=FILE` takes exactly these packages: of one commit, the same bytes.
"""
_NOTHING_ELSE = "Package: *\nPin: release *\nPin-Priority: -1\n"
_OURS = f"Package: {' '.join(OWN)}\nPin: release *\nPin-Priority: 1000\n"


class Lock(NamedTuple):
    """The record, name -> version: the system's packages, those of the extensions built in, the host's tools."""

    epoch: int
    architecture: str
    packages: dict[str, str]
    extensions: dict[str, str]
    tools: dict[str, str] = {}


def build_text(lock: Lock) -> str:
    """Build the file's text, a TOML document with sorted names."""
    lines = [_HEAD + f"source_date_epoch = {lock.epoch}", f'architecture = "{lock.architecture}"']
    tables = (("packages", lock.packages), ("extensions", lock.extensions), ("tools", lock.tools))
    for table, packages in tables:
        lines += ["", f"[{table}]", *(f'"{name}" = "{version}"' for name, version in sorted(packages.items()))]
    return "\n".join(lines) + "\n"


def read(path: Path) -> Lock:
    """Read a lock. BuildError with the file and what is wrong in it."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return Lock(
            int(table["source_date_epoch"]),
            str(table["architecture"]),
            {str(name): str(version) for name, version in table["packages"].items()},
            {str(name): str(version) for name, version in table["extensions"].items()},
            {str(name): str(version) for name, version in table.get("tools", {}).items()},
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BuildError(f"{path} is no record of packages: {error}") from error
    except KeyError as error:
        raise BuildError(f"{path} is no record of packages: it has no {error}") from error


def build_preferences(packages: dict[str, str]) -> str:
    """Build apt's preferences: these versions, our own packages, and nothing else."""
    pins = (
        f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n"
        for name, version in sorted(packages.items())
        if name not in OWN
    )
    return "\n".join([_NOTHING_ELSE, _OURS, *pins])


def compare(locked: dict[str, str], made: dict[str, str]) -> list[str]:
    """Return a line for each package of an archive that is in one and not the same in the other."""
    lines = []
    for name in sorted((locked.keys() | made.keys()) - set(OWN)):
        before, after = locked.get(name, "not in it"), made.get(name, "not in it")
        if before != after:
            lines.append(f"{name}: recorded {before}, now {after}")
    return lines


def require_same(locked: dict[str, str], made: dict[str, str], path: Path) -> None:
    """Raise BuildError with each package that is not the recorded one."""
    lines = compare(locked, made)
    if lines:
        raise BuildError("\n".join([*lines, f"the archive no longer has what {path} records (see above)"]))

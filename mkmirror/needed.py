"""Whether all that is staged for a request belongs to it: found out by root from what vouches for the files alone.

Whoever has taken over mk-fetch, or what it listens to, can stage any file that somebody signed once. So a file counts
only when the one that was asked for needs it, by the `.dep` files beside extensions and the metadata inside Python
packages, and nothing comes that an administrator took away. Pure: who calls reads the files.

Source: protocol 5.3, 5.5.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from packaging.markers import default_environment
from packaging.specifiers import SpecifierSet

from mkcore.errors import BadInput
from mkmirror.formats import wheel
from mkmirror.packages import read_all, read_unpacked, system_metadata
from mkmirror.requests import Requests
from mkmirror.resolve import parse_needs
from mkmirror.staged import Item, Kind, Request
from mkmirror.unpack import read_wheel

DEP = ".dep"
Present = Callable[[str], Sequence[wheel.Metadata]]
"""Tells the metadata of a package that is there, the one that programs would see first."""


class File(NamedTuple):
    """A file that may be installed, by its name: what it needs; for a wheel, what it is of."""

    name: str
    needs: tuple[str, ...] = ()
    metadata: Optional[wheel.Metadata] = None


def owner_name(item: Item) -> str:
    """Return what an administrator would remove an item by: a file's name, of a wheel its package's.

    Raises BadInput for the name of a wheel that is none.
    """
    return wheel.parse_wheel(item.name).name if item.kind is Kind.WHEEL else item.name


def require_not_removed(request: Request, requests: Requests, there: Collection[str] = ()) -> None:
    """Raise BadInput when a request would bring back, among what it needs, something that was taken away.

    there: names of files that are installed, which nothing brings.
    """
    for item in request.items[:-1]:
        if item.name not in there and requests.is_removed(owner_name(item)):
            name = owner_name(item)
            raise BadInput(f"needs {name}, which the administrator removed (mkmirror install {name})", request.name)


def needs_of(item: Item, text: Optional[str], kernel: str = "") -> tuple[str, ...]:
    """Return the names of files that an extension needs. text: of its `.dep`, None without one; raises BadInput."""
    return parse_needs(item.name, text, kernel or os.uname().release, item.name + DEP) if text is not None else ()


def read_files(
    request: Request, copies: Mapping[str, tuple[Item, Path]], run: Path, installed: Mapping[str, Sequence[str]]
) -> list[File]:
    """Return what each item of a request needs. copies: name of a file -> what was checked, and where our copy lies.

    What has no copy is installed. run: folder of all that is; installed: as for require_needed. Raises BadInput for a
    wheel that is none, OSError.
    """
    found: list[File] = []
    for item in request.items:
        checked, path = copies.get(item.name, (item, None))
        if item.kind is not Kind.WHEEL:
            found.append(File(item.name, tuple(checked.needs if path else installed.get(item.name, ()))))
        elif copies:
            metadata = read_wheel(path, item.name).metadata if path else read_unpacked(run, item.name).metadata
            found.append(File(item.name, metadata=metadata))
    return found


def present(run: Path, installed: Mapping[str, str]) -> Present:
    """Return what tells the metadata of packages that are there. installed: package -> file; run: as for read_files."""

    def find(name: str) -> list[wheel.Metadata]:
        """Of one package: what was installed in this boot, then what the system brings."""
        file = installed.get(name)
        mine = [each.metadata for each in read_all(run, [file] if file else []).values()]
        own = system_metadata(name)
        return [*mine, *([own] if own is not None else [])]

    return find


def _absent(_: str) -> Sequence[wheel.Metadata]:
    return ()


def require_needed(
    request: Request, found: Sequence[File], installed: Mapping[str, Sequence[str]], there: Present = _absent
) -> None:
    """Raise BadInput unless each file is needed by the requested one and brings along, or finds, what it needs.

    found: of all items of the request; installed: name of an extension's file -> what that needs. there: tells of
    packages that are no items, as what an extra of them needs is fetched without them (`present`).
    """
    if request.items[-1].kind is Kind.WHEEL:
        _require_packages(request, found, there)
        return
    needs = {**installed, **{each.name: each.needs for each in found}}
    reached = _reach(request.items[-1].name, lambda name: needs.get(name, ()))
    for each in found:
        if each.name not in reached:
            raise BadInput(f"{each.name} was fetched with it, and nothing of it needs that", request.name)
        for need in each.needs:
            if need not in needs:
                raise BadInput(f"{each.name} needs {need}, which is neither fetched nor installed", request.name)


def _reach(first: str, needs: Callable[[str], Sequence[str]]) -> set[str]:
    """Return the name and all that it needs, directly or not."""
    reached, pending = {first}, [first]
    while pending:
        new = [name for name in needs(pending.pop()) if name not in reached]
        reached.update(new)
        pending += new
    return reached


def _require_packages(request: Request, found: Sequence[File], there: Present) -> None:
    """Likewise for Python packages, in versions that will do; whether all is there is seen when they are unpacked.

    Which extras of the requested one somebody wants is not known here: any that it has may be.
    """
    packages = {each.metadata.name: each for each in found if each.metadata is not None}
    environment = {key: str(value) for key, value in default_environment().items()}
    reached: set[str] = set()
    seen: set[str] = set()
    first = packages.get(request.name)
    pending = [wheel.Wanted(request.name, SpecifierSet(), first.metadata.extras)] if first and first.metadata else []
    while pending:
        wanted = pending.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        file = packages.get(wanted.name)
        choices = [file.metadata] if file and file.metadata else there(wanted.name)
        metadata = next((each for each in choices if wanted.versions.contains(each.version, prereleases=True)), None)
        if metadata is not None:
            reached.update([file.name] if file else ())
            pending += wheel.needs(metadata, environment, wanted.extras)
    for each in found:
        if each.name not in reached:
            raise BadInput(f"{each.name} was fetched with it, and nothing of it needs that", request.name)

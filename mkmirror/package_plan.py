"""From a wanted Python package to the wheels that are to be fetched for it and for what it needs.

Of each package the newest version that is wanted and runs here; what is installed in that version needs nothing, and
what the system's own Python has need not be fetched for others. The mirror's sums are its index; an index as pip reads
it (the simple API) will do where sums need not be signed.

Source: protocol 5.5; defect B32; PEP 503, PEP 658.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from urllib.parse import urljoin

from packaging.markers import default_environment
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, sys_tags
from packaging.version import InvalidVersion, Version

from mkcore.errors import BadInput, MkError
from mkmirror import trust
from mkmirror.catalogue import read_wheel_metadata
from mkmirror.formats import wheel
from mkmirror.lists import decode
from mkmirror.offers import Folder, Mirror
from mkmirror.remote import join
from mkmirror.resolve import MAX_EXTENSIONS, Missing
from mkmirror.staged import By, Item, Kind, Request

Bring = Callable[[Item, Folder, str], Path]
"""Brings the file of an item of a folder from an address, and returns where it lies."""
Provided = Callable[[str], str]
"""Returns the version of a package that the system has, "" for none."""


@dataclass(frozen=True)
class Offered:
    """A wheel that a mirror has; sha256 as its sums or its index say."""

    wheel: wheel.Wheel
    uri: str
    sha256: str


@dataclass(frozen=True)
class Planned:
    """A request, the address of each of its files ((id of its folder, name) -> address), and where they come from."""

    request: Request
    mirror: Mirror
    uris: Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class _Chosen:
    offered: Offered
    folder: Folder
    metadata: wheel.Metadata


class PackagePlanner:
    """Plans requests for packages. installed: canonical name -> version of what was installed from mirrors."""

    def __init__(self, installed: Mapping[str, str], provided: Provided, bring: Bring) -> None:
        self._installed = installed
        self._provided = provided
        self._bring = bring
        self._known: dict[str, dict[str, list[Offered]]] = {}
        self._tags: Sequence[Tag] = ()
        self._environment: Mapping[str, str] = {}

    def plan(self, wanted: wheel.Wanted, by: By, mirrors: Iterable[Mirror]) -> Optional[Planned]:
        """Return what to fetch; None when it is installed.

        Raises Missing, BadInput (two versions are wanted), Untrusted, Unreachable, ServerRefused, BadAnswer, OSError.
        """
        self._tags = self._tags or list(sys_tags())
        self._environment = self._environment or {key: str(value) for key, value in default_environment().items()}
        places = tuple(mirrors)
        problems: list[MkError] = []
        for mirror in places:
            first = self._look(mirror, wanted, problems)
            if first is not None:
                break
        else:
            if problems:
                raise problems[0]
            raise Missing(f"{wanted} is not in {' or '.join(each.base for each in places) or 'any mirror'}")
        there = self._installed.get(wanted.name) == str(first.wheel.version)
        if there and not wanted.extras:
            return None
        chosen = self._walk(mirror, wanted, first)
        if there and len(chosen) == 1:
            return None
        items = tuple(self._item(each, chosen) for each in reversed(list(chosen.values())))
        uris = {(each.folder.id, each.offered.wheel.file): each.offered.uri for each in chosen.values()}
        return Planned(Request(wanted.name, by, items), mirror, uris)

    def _walk(self, mirror: Mirror, wanted: wheel.Wanted, first: Offered) -> dict[str, _Chosen]:
        """Choose all that is needed, the wanted one first."""
        folder = mirror.folder(wheel.FOLDER)
        chosen = {wanted.name: self._choose(folder, first)}
        pending = [(need, first.wheel.file) for need in self._needs(chosen[wanted.name], wanted.extras)]
        seen: set[str] = set()
        while pending:
            need, by = pending.pop(0)
            if str(need) in seen:
                continue
            seen.add(str(need))
            if need.name in chosen:
                found = chosen[need.name]
                if not need.versions.contains(found.offered.wheel.version, prereleases=True):
                    raise BadInput(f"{need} is wanted by {by}, but {found.offered.wheel.file} was chosen before")
                known = not need.extras
            elif self._has(need):
                if not need.extras:
                    continue
                found, known = self._there(folder, need, by), False
            else:
                found, known = self._require(folder, need, by), False
                chosen[need.name] = found
            if not known:
                pending += [(each, found.offered.wheel.file) for each in self._needs(found, need.extras)]
            if len(chosen) > MAX_EXTENSIONS:
                raise BadInput(f"{wanted} needs more than {MAX_EXTENSIONS} packages")
        return chosen

    def _needs(self, chosen: _Chosen, extras: Iterable[str]) -> tuple[wheel.Wanted, ...]:
        return wheel.needs(chosen.metadata, self._environment, extras)

    def _require(self, folder: Folder, need: wheel.Wanted, by: str) -> _Chosen:
        found = self._newest(folder, need)
        if found is None:
            raise Missing(f"{need} is not in {folder.mirror.base}; {by} needs it")
        return self._choose(folder, found)

    def _there(self, folder: Folder, need: wheel.Wanted, by: str) -> _Chosen:
        """Return what the mirror says of a package that is there already: what its extras need is known from nowhere
        else.
        """
        versions = (self._installed.get(need.name, ""), self._provided(need.name))
        have = next(text for text in versions if _suits(need, text))
        found = self._newest(folder, wheel.Wanted(need.name, SpecifierSet(f"=={have}")))
        if found is None:
            what = f"{need.name} {have} is here, and {folder.mirror.base} does not have that version"
            raise Missing(f"what {need} needs is not known: {what}; {by} needs it")
        return self._choose(folder, found)

    def _has(self, need: wheel.Wanted) -> bool:
        """Whether a package that another one needs is there in a version that will do."""
        return any(_suits(need, text) for text in (self._installed.get(need.name, ""), self._provided(need.name)))

    def _look(self, mirror: Mirror, wanted: wheel.Wanted, problems: list[MkError]) -> Optional[Offered]:
        try:
            return self._newest(mirror.folder(wheel.FOLDER), wanted)
        except MkError as error:  # another mirror may do
            problems.append(error)
            return None

    def _newest(self, folder: Folder, wanted: wheel.Wanted) -> Optional[Offered]:
        if folder.id not in self._known:
            self._known[folder.id] = _by_name(_by_sums(folder))
        known = self._known[folder.id] if folder.sums else _by_name(_by_page(folder, wanted.name))
        offered = {each.wheel.file: each for each in known.get(wanted.name, ())}
        found = wheel.choose((each.wheel for each in offered.values()), wanted, self._tags)
        return offered[found.file] if found is not None else None

    def _choose(self, folder: Folder, offered: Offered) -> _Chosen:
        file = offered.wheel.file
        if not folder.sums:
            folder.indexed[file] = offered.sha256
        data = folder.text(f"{file}.metadata") if f"{file}.metadata" in folder.sums else None
        if data is None:
            item = Item(Kind.WHEEL, file, folder.id, offered.sha256)
            data = read_wheel_metadata(self._bring(item, folder, offered.uri))
        metadata = wheel.parse_metadata(data.decode("utf-8", "replace"), file)
        if (metadata.name, metadata.version) != (offered.wheel.name, offered.wheel.version):
            raise BadInput(f"calls itself {metadata.name} {metadata.version} inside", file)
        python = self._environment["python_full_version"]
        if not metadata.python.contains(python, prereleases=True):
            raise BadInput(f"is for Python {metadata.python}, not {python}", file)
        return _Chosen(offered, folder, metadata)

    def _item(self, each: _Chosen, chosen: Mapping[str, _Chosen]) -> Item:
        names = dict.fromkeys(need.name for need in self._needs(each, each.metadata.extras))
        needs = tuple(chosen[name].offered.wheel.file for name in names if name in chosen and chosen[name] is not each)
        return Item(Kind.WHEEL, each.offered.wheel.file, each.folder.id, each.offered.sha256, needs=needs)


def _suits(need: wheel.Wanted, version: str) -> bool:
    """Whether a version will do; what the system has may have one that is none."""
    try:
        return bool(version) and need.versions.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _by_name(offers: Iterable[Offered]) -> dict[str, list[Offered]]:
    """Sort wheels by their packages."""
    found: dict[str, list[Offered]] = {}
    for each in offers:
        found.setdefault(each.wheel.name, []).append(each)
    return found


def _by_sums(folder: Folder) -> Iterator[Offered]:
    for file, sha256 in folder.sums.items():
        if file.endswith(wheel.SUFFIX):
            found = _parse(file)
            if found is not None:
                yield Offered(found, join(folder.uri, file), sha256)


def _by_page(folder: Folder, name: str) -> Iterator[Offered]:
    """Ask the simple API; only links with a sum count."""
    if folder.mirror.mode is not trust.Verify.CHECKSUM:
        return
    page = join(folder.mirror.base, wheel.SIMPLE, name) + "/"
    data = folder.mirror.read(page)
    for link in wheel.parse_page(decode(data, page)) if data is not None else ():
        found = _parse(link.file) if link.sha256 and not link.yanked else None
        if found is not None:
            yield Offered(found, urljoin(page, link.url), link.sha256)


def _parse(file: str) -> Optional[wheel.Wheel]:
    """Return what a wheel's name says; one that says nothing useful is not offered."""
    try:
        return wheel.parse_wheel(file)
    except BadInput:
        return None

"""Who really asks for something: what mk-fetch claims, compared with what root can read itself.

Only a push is limited by the site's list of what it may install, so any other origin has to be shown: the
administrator's by his requests, the machine's own lists' by the lists on disk, the site's by its configuration. What is
not shown counts as a push.

Source: protocol 5.1, 5.2, 5.5.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mkcore import files
from mkcore.config import Config
from mkcore.errors import BadInput
from mkcore.site import Site
from mkmirror.catalogue import LISTS, TINY_CORE
from mkmirror.formats import kmod, tce, wheel
from mkmirror.index import LIST_LIMIT_BYTES, read_list
from mkmirror.lists import lines_of
from mkmirror.requests import Requests, stem
from mkmirror.staged import By
from mkmirror.wanted import may_push

_MIRRORS = "mirror."


@dataclass(frozen=True)
class Claims:
    """The names that each origin but a push can have. any_list: the site names lists or mirrors of its own."""

    admin: frozenset[str]
    site: frozenset[str]
    builtin: frozenset[str]
    any_list: bool
    allow: Sequence[str]

    def origin(self, claimed: By, name: str) -> By:
        """Return who asks for `name`: a file of an extension, a canonical name of a package, a module's entry."""
        keys = {name, stem(name), kmod.module_name(name)}
        shown = {By.ADMIN: self.admin, By.SITE: self.site, By.BUILTIN: self.builtin}.get(claimed, frozenset())
        if keys & shown or (claimed is By.SITE and self.any_list):
            return claimed
        return By.PUSH

    def require(self, claimed: By, name: str) -> By:
        """Return who asks; raise BadInput when that is a push and the site does not let it install this."""
        by = self.origin(claimed, name)
        if by is By.PUSH and not may_push(self.allow, name):
            raise BadInput("extensions.allow of this site does not let a push install it", name)
        return by


def read_claims(site: Site, config: Config, requests: Requests, trees: Sequence[Path]) -> Claims:
    """Gather them; a list that cannot be read names nothing. trees: of the machine's own mirror."""
    kernel = os.uname().release
    own = [*config.extensions_install, *config.extensions_modules]
    return Claims(
        admin=frozenset((*_extensions(requests.install, kernel), *_packages(requests.packages))),
        site=frozenset(
            (*_extensions(own, kernel), *map(kmod.module_name, own), *_packages(config.extensions_packages))
        ),
        builtin=frozenset(_builtin(trees, kernel)),
        any_list=any(name.startswith(_MIRRORS) for name in site.values),
        allow=config.extensions_allow,
    )


def _builtin(trees: Sequence[Path], kernel: str) -> Iterable[str]:
    for name in LISTS.values():
        try:
            listed = read_list(trees, TINY_CORE, name)
        except (BadInput, OSError):
            continue
        yield from _extensions(listed, kernel)
        yield from map(kmod.module_name, listed)
    for tree in trees:
        for path in (tree / TINY_CORE).glob(f"*/*/tcz/{tce.ONBOOT}"):
            yield from _extensions(_lines(path), kernel)
        yield from _packages(_lines(tree / "gem-mirror" / wheel.LIST))


def _lines(path: Path) -> list[str]:
    try:
        return [line for line, _ in lines_of(files.read_text_if_any(path, LIST_LIMIT_BYTES), str(path))]
    except BadInput:
        return []


def _extensions(names: Iterable[str], kernel: str) -> Iterable[str]:
    for name in names:
        yield stem(name)
        try:
            yield stem(tce.file_name(name, kernel))
        except BadInput:  # a path, of a module
            continue


def _packages(entries: Iterable[str]) -> Iterable[str]:
    return filter(None, map(_package, entries))


def _package(entry: str) -> str:
    try:
        return wheel.parse_wanted(entry, "package").name
    except BadInput:
        return ""

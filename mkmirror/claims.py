"""Who really asks for something: what mk-fetch claims, compared with what root can read itself.

Only a push is limited by the site's list of what it may install, so any other origin has to be shown: the
administrator's by his requests, the machine's own lists' by the lists on disk, the site's by its configuration. What is
not shown is refused.

Source: protocol 5.1, 5.2, 5.5.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Mapping, Sequence
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
from mkmirror.sources import site_addresses
from mkmirror.staged import By, Folder
from mkmirror.wanted import is_allowed


class What(enum.Enum):
    """What a name is of; names of different kinds have nothing to do with each other."""

    EXTENSION = "extension"
    PACKAGE = "package"
    MODULE = "kernel module"


@dataclass(frozen=True)
class Claims:
    """The names that each origin but a push can have. site: addresses of the site's mirrors.

    A list elsewhere shows nothing, whoever named it: root cannot read it, and the network says what stands in it.
    """

    shown: Mapping[tuple[By, What], frozenset[str]]
    allow: Sequence[str]
    site: Sequence[str] = ()

    def is_shown(self, claimed: By, name: str, what: What) -> bool:
        """Whether this machine's files say, too, that `claimed` asks for it."""
        return not _keys(name, what).isdisjoint(self.shown.get((claimed, what), ()))

    def require(self, claimed: By, name: str, what: What, folders: Iterable[Folder] = ()) -> By:
        """Return who asks for `name`: a file of an extension, a canonical name of a package, a module's entry.

        folders: where its files are from. The machine's own lists and the site's vouch for what its own mirrors and the
        site's have; what is from elsewhere is a push's. Raises BadInput when nothing shows who asks, or when it is a
        push and the site does not let it install this.
        """
        if claimed is not By.PUSH and not self.is_shown(claimed, name, what):
            raise BadInput(f"nothing on this machine says that {_ASKING[claimed]} asks for it", name)
        if claimed is By.ADMIN or (claimed is not By.PUSH and all(map(self._is_own, folders))):
            return claimed
        if not is_allowed(self.allow, *_keys(name, what)):
            raise BadInput("extensions.allow of this site does not let a push install it", name)
        return By.PUSH

    def _is_own(self, folder: Folder) -> bool:
        return folder.builtin or any(f"{folder.mirror.rstrip('/')}/".startswith(f"{each}/") for each in self.site)


_ASKING = {By.SITE: "the site", By.ADMIN: "the administrator", By.BUILTIN: "its own list"}


def _keys(name: str, what: What) -> frozenset[str]:
    """All that one thing may be called in a list."""
    if what is What.EXTENSION:
        return frozenset((name, stem(name)))
    return frozenset((name, kmod.module_name(name) if what is What.MODULE else name))


def read_claims(site: Site, config: Config, requests: Requests, trees: Sequence[Path]) -> Claims:
    """Gather them; a list that cannot be read names nothing. trees: of the machine's own mirror."""
    kernel = os.uname().release
    names = {
        (By.ADMIN, What.EXTENSION): _extensions(requests.install, kernel),
        (By.ADMIN, What.PACKAGE): _packages(requests.packages),
        (By.SITE, What.EXTENSION): _extensions(config.extensions_install, kernel),
        (By.SITE, What.PACKAGE): _packages(config.extensions_packages),
        (By.SITE, What.MODULE): map(kmod.module_name, config.extensions_modules),
        (By.BUILTIN, What.EXTENSION): _builtin(trees, kernel),
        (By.BUILTIN, What.PACKAGE): (
            name for tree in trees for name in _packages(_lines(tree / "gem-mirror" / wheel.LIST))
        ),
        (By.BUILTIN, What.MODULE): map(kmod.module_name, _listed(trees, "modules")),
    }
    return Claims(
        {key: frozenset(each) for key, each in names.items()},
        allow=config.extensions_allow,
        site=site_addresses(site, config),
    )


def _listed(trees: Sequence[Path], kind: str) -> list[str]:
    try:
        return list(read_list(trees, TINY_CORE, LISTS[kind]))
    except (BadInput, OSError):
        return []


def _builtin(trees: Sequence[Path], kernel: str) -> Iterable[str]:
    yield from _extensions(_listed(trees, "extensions"), kernel)
    for tree in trees:
        for path in (tree / TINY_CORE).glob(f"*/*/tcz/{tce.ONBOOT}"):
            yield from _extensions(_lines(path), kernel)


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

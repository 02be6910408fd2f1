"""From a wanted name to what is to be fetched for it: which mirror has it, and all that it needs.

Nothing is downloaded here but sums and lists of dependencies. A name is looked for in the mirror that is configured,
then in the machine's own; what it needs comes from the same one. What is installed already needs nothing.

Source: protocol 5.3; defect B27 (what lies in staging is not installed).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Optional

from mkcore.errors import BadInput, MkError
from mkmirror.formats import sysext, tce
from mkmirror.lists import decode
from mkmirror.needed import DEP
from mkmirror.offers import Folder, Layout, Mirror
from mkmirror.resolve import Missing, parse_needs, resolve
from mkmirror.staged import By, Item, Kind, Request
from mkmirror.wanted import Want, file_names, may_push, not_allowed
from mkmirror.when import SUFFIX as WHEN
from mkmirror.when import parse_when

MAP = ".map"

log = logging.getLogger(__name__)


class NotAllowed(BadInput):
    """The site does not let a push install this."""


class Planner:
    """Plans requests for extensions.

    pushed: bases of the mirrors that a push chose. kernel: what -KERNEL stands for. virtualization: asked only where
    an extension is for some machines alone.
    """

    def __init__(
        self,
        layout: Layout,
        kernel: str,
        installed: Collection[str],
        allow: Sequence[str],
        virtualization: Callable[[], str],
        pushed: Collection[str] = (),
    ) -> None:
        self._layout = layout
        self._kernel = kernel
        self._installed = frozenset(installed)
        self._allow = allow
        self._virtualization = virtualization
        self._pushed = frozenset(pushed)

    def plan(self, want: Want, mirrors: Iterable[Mirror]) -> Optional[Request]:
        """Return what to fetch; None when it is installed, or listed and not for this machine.

        mirrors: where to look, in this order. Raises Missing (in none of them), NotAllowed, Cycle, Untrusted, BadInput,
        Unreachable, ServerRefused, BadAnswer.
        """
        self.require_allowed(want.name, want.by)
        names = file_names(want.name, self._kernel)
        if self._installed.intersection(names):
            return None
        folder, name = self._find(names, tuple(mirrors))
        if want.by is not By.ADMIN and not self._fits(folder, name):
            return None
        order = resolve([name], lambda each: self._needs(folder.mirror, each), self._installed)
        items = tuple(self._item(folder.mirror, each) for each in order)
        return self.judge(Request(name, want.by, items), folder.mirror)

    def judge(self, request: Request, mirror: Mirror) -> Request:
        """Return a request as what it is when it comes from `mirror`; raises as require_allowed.

        A name of the machine's own list or of the site's that only a pushed mirror has means there whatever the server
        says.
        """
        if request.by not in (By.BUILTIN, By.SITE) or mirror.base not in self._pushed:
            return request
        self.require_allowed(request.name, By.PUSH)
        return replace(request, by=By.PUSH)

    def require_allowed(self, name: str, by: By) -> None:
        """Raise NotAllowed when a push wants what the site does not let it install."""
        if by is By.PUSH and not may_push(self._allow, name):
            raise NotAllowed(not_allowed(name, by).reason)

    def _find(self, names: Sequence[str], mirrors: Sequence[Mirror]) -> tuple[Folder, str]:
        problems: list[MkError] = []
        for mirror in mirrors:
            for name in names:
                folder = self._look(mirror, name, problems)
                if folder is not None:
                    return folder, name
        if problems:
            raise problems[0]
        places = " or ".join(mirror.base for mirror in mirrors) or "any mirror"
        raise Missing(f"{' or '.join(names)} is not in {places}")

    def _look(self, mirror: Mirror, name: str, problems: list[MkError]) -> Optional[Folder]:
        """Return the folder that has a file; a problem is noted, since another mirror may do."""
        try:
            folder = mirror.folder(self._layout.folder_of(name))
            return folder if folder.has(name) else None
        except MkError as error:
            problems.append(error)
            return None

    def _fits(self, folder: Folder, name: str) -> bool:
        data = folder.text(name + WHEN)
        if data is None:
            return True
        machine = self._virtualization()
        fits = parse_when(decode(data, name + WHEN), name + WHEN).fits(machine)
        if not fits:
            log.info("%s is not for this machine (%s), and so it is left out", name, machine)
        return fits

    def _needs(self, mirror: Mirror, name: str) -> Optional[Sequence[str]]:
        folder = mirror.folder(self._layout.folder_of(name))
        if not folder.has(name):
            return None
        where = name + DEP
        data = folder.text(where)
        return parse_needs(name, decode(data, where), self._kernel, where) if data else ()

    def _item(self, mirror: Mirror, name: str) -> Item:
        folder = mirror.folder(self._layout.folder_of(name))
        sums = folder.sums_of(name)
        beside(folder, name)  # now, so that one that is not what it must be costs this request
        kind = Kind.SYSEXT if name.endswith(sysext.SUFFIX) else Kind.TCZ
        return Item(kind, name, folder.id, sums.sha256, sums.md5, 0, tuple(self._needs(mirror, name) or ()))


def beside(folder: Folder, name: str) -> dict[str, bytes]:
    """Return the small files that mk-extensions needs beside an image, by name."""
    endings = (DEP, WHEN, ".md5.txt", MAP) if name.endswith(tce.SUFFIX) else (DEP, WHEN)
    found = {name + ending: folder.text(name + ending) for ending in endings}
    return {each: data for each, data in found.items() if data is not None}

"""The staging folder in memory: what was fetched and waits to be installed, within a bound.

Everything in it counts: whole files, halves of files that the next run goes on with, sums. A file that does not fit
costs its request alone and takes no room afterwards. The document that names the files is written last.

Source: tmpfs(5); protocol 5.3.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Optional

from mkcore import files
from mkcore.download import Moved, discard
from mkcore.errors import BadAnswer, BadInput
from mkcore.jsonfields import canonical
from mkmirror import remote, staged
from mkmirror.remote import Fetching, Sums
from mkmirror.staged import Item, Refused, Request, Staged, build_staged
from mkmirror.strict import DIRECT, Way

_RESERVE_BYTES = 4096  # for one refusal and a newline
_FULL = (errno.ENOSPC, errno.EDQUOT)


class StagingFull(BadInput):
    """There is no room left for a file."""


class Staging:
    """The folder below mk-fetch's runtime directory `run_fetch`; `how` is how files are brought."""

    def __init__(self, run_fetch: Path, limit_bytes: int, how: Fetching) -> None:
        self._root = run_fetch / staged.FOLDER
        self._document = run_fetch / staged.FILE
        self._limit_bytes = limit_bytes
        self._how = how

    def path(self, folder: str, name: str) -> Path:
        """Return where a file lies."""
        return self._root / folder / name

    def used_bytes(self) -> int:
        """Return the size of all that is there."""
        walk = os.walk(self._root)
        return sum((Path(folder) / name).lstat().st_size for folder, _, names in walk for name in names)

    def prune(self, keep: Mapping[str, Collection[str]]) -> None:
        """Remove what is not wanted. keep: id of a folder -> names; half of a wanted file is kept, too."""
        for folder in files.list_names(self._root):
            wanted = frozenset(keep.get(folder, ()))
            for name in files.list_names(self._root / folder):
                if name not in wanted and _whole_name(name) not in wanted:
                    files.remove(self._root / folder / name)
            if not files.list_names(self._root / folder):
                files.remove_tree(self._root / folder)

    def put(self, folder: str, name: str, data: bytes) -> None:
        """Write a small file; raise StagingFull."""
        target = self.path(folder, name)
        files.make_dir(target.parent)
        there = target.stat().st_size if target.is_file() else 0
        if self.used_bytes() - there + len(data) > self._limit_bytes:
            raise self._full(name)
        try:
            files.write_atomic(target, data)
        except OSError as error:
            if error.errno in _FULL:
                raise self._full(name, error) from None
            raise

    def bring(self, item: Item, uri: str, moved: Optional[Moved] = None, *, way: Way = DIRECT) -> Item:
        """Bring the file of an item unless it is there already; return the item with its size.

        Raises StagingFull, and as remote.fetch; half a file stays for the next attempt only where that may help.
        """
        target = self.path(item.folder, item.name)
        partial = target.with_name(f".{item.name}.part")
        files.make_dir(target.parent)
        half = partial.stat().st_size if partial.is_file() else 0
        room = self._limit_bytes - self.used_bytes() + half
        sums = Sums(item.sha256, item.md5)
        there = target.is_file() and (item.sha256 or item.md5) and not sums.problem(target, item.name)
        try:
            if not there:
                files.remove(target)
                if room <= 0:
                    raise self._full(item.name)
                remote.fetch(uri, target, sums, replace(self._how, limit_bytes=room, way=way), moved)
        except BadAnswer as error:
            if "larger than" not in str(error):
                raise
            discard(partial)
            raise self._full(item.name) from None
        except OSError as error:
            discard(partial)
            if error.errno in _FULL:
                raise self._full(item.name, error) from None
            raise
        return replace(item, size_bytes=target.stat().st_size)

    def _full(self, name: str, error: Optional[OSError] = None) -> StagingFull:
        limit = f"extensions.staging_limit_mb is {self._limit_bytes // 1_000_000}"
        why = f"{error.strerror} in {self._root}" if error else limit
        return StagingFull(f"{name}: does not fit into what is staged in memory: {why}")

    def withdraw(self) -> None:
        """Remove the document, before the files that it names are touched."""
        files.remove(self._document)

    def publish(self, content: Staged) -> Staged:
        """Write the document; return what stands in it: requests beyond its bound, the last ones, are refused.

        With nothing to do and nothing to tell there is none. Raises OSError.
        """
        room = staged.LIMIT_BYTES - len(canonical(build_staged(replace(content, requests=())))) - _RESERVE_BYTES
        fits: list[Request] = []
        for each in content.requests:
            room -= len(canonical(build_staged(Staged(requests=(each,)))))
            if room < 0:
                break
            fits.append(each)
        if len(fits) < len(content.requests):
            last = content.requests[len(fits)]
            why = f"{last.name} and {len(content.requests) - len(fits) - 1} more: too much is wanted at once"
            refused = Refused(last.name, last.by, f"{why}; the next run has them")
            content = replace(content, requests=tuple(fits), refused=(*content.refused, refused))
        if content.is_empty:
            files.remove(self._document)
        else:
            files.write_json(self._document, build_staged(content))
        return content


def _whole_name(name: str) -> str:
    """Return the name that half a file, or the note beside it, will have."""
    return name[1:].split(".part", 1)[0] if name.startswith(".") else name

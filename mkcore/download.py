"""The other call of HTTP: `download`, one attempt at a file that may be large, which goes on where the last one ended.

What came so far is in a partial file, and beside it a note of where it came from and what names its version there. The
next attempt asks for the rest with If-Range, so that a file that changed meanwhile comes anew instead of being patched
together. Nothing is believed: the size has a cap and must be the declared one, a silence ends the attempt, and so does
the deadline, however slowly the bytes drip. Whether the content is what it should be, the caller checks.

Source: RFC 9110 sections 13.1.5 (If-Range), 14 (ranges), 15.5.17 (416).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Optional

from mkcore import files
from mkcore.errors import BadAnswer, BadInput, MkError, ServerRefused
from mkcore.http import Answer, Exchange, Head, Judge, build_request, retry_after_s
from mkcore.jsonfields import get_int, get_str

SILENCE_S = 10.0
DEADLINE_S = 3600.0
NOTE_SUFFIX = ".from"

_NOTE_LIMIT_BYTES = 16 << 10
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_UNSATISFIABLE, _PARTIAL = 416, 206

Moved = Callable[[int, Optional[int]], None]
"""Is told how many bytes of the file are there, and of how many (None when nobody said)."""


@dataclass(frozen=True)
class Downloaded:
    """A file that came whole: its size, and how much of it an earlier attempt had brought."""

    size_bytes: int
    resumed_bytes: int


@dataclass(frozen=True)
class _Note:
    """Where a partial file comes from; `validator` is a strong ETag or a date."""

    uri: str
    validator: str
    size_bytes: int


class _Stale(MkError):
    """What is there so far cannot be continued."""


class _NotStored(MkError):
    """The partial file cannot be written; the OSError is the caller's."""


def download(
    uri: str,
    partial: Path,
    *,
    limit_bytes: int,
    size_bytes: Optional[int] = None,
    silence_s: float = SILENCE_S,
    deadline_s: float = DEADLINE_S,
    moved: Optional[Moved] = None,
    component: str = "mk",
    judge: Optional[Judge] = None,
    proxy: str = "",
) -> Downloaded:
    """Bring the file at `uri` into `partial`, going on behind what is there of the same version.

    size_bytes: what it must have, where that is known; judge, proxy: as of `exchange`. Raises ServerRefused (with its
    `status`; 404 for what is not there), Unreachable and BadAnswer (redirect, larger than `limit_bytes`, another size,
    truncated; what came is kept for the next attempt), BadInput where `judge` has a reason, OSError for the partial
    file (ENOSPC when its file system is full). `discard` drops it.
    """
    note = _read_note(partial, uri)
    there = partial.stat().st_size if note is not None and partial.is_file() else 0
    wish = _Wish(uri, partial, limit_bytes, size_bytes, silence_s, deadline_s, moved, component, judge, proxy)
    if note is not None and 0 < there < min(note.size_bytes, limit_bytes):
        try:
            return _Transfer(wish, there, note.validator).fetch()
        except _Stale:
            pass  # it comes anew
    return _Transfer(wish, 0, "").fetch()


def discard(partial: Path) -> None:
    """Remove a partial file and the note beside it; raise OSError."""
    files.remove(partial)
    files.remove(note_path(partial))


def note_path(partial: Path) -> Path:
    """Return the path of the note beside a partial file."""
    return partial.with_name(partial.name + NOTE_SUFFIX)


def _read_note(partial: Path, uri: str) -> Optional[_Note]:
    """Return the note of a partial file, None when there is none that fits."""
    path = note_path(partial)
    try:
        found = files.read_object(path, _NOTE_LIMIT_BYTES)
        note = _Note(get_str(found, "uri"), get_str(found, "validator"), get_int(found, "size_bytes", low=0))
    except (BadInput, FileNotFoundError):  # a damaged note is as good as none: the file comes anew
        return None
    return note if note.uri == uri and note.validator.isprintable() else None


@dataclass(frozen=True)
class _Wish:
    """The arguments of download."""

    uri: str
    partial: Path
    limit_bytes: int
    size_bytes: Optional[int]
    silence_s: float
    deadline_s: float
    moved: Optional[Moved]
    component: str
    judge: Optional[Judge]
    proxy: str


class _Transfer(Exchange):
    """One request for a file, or for the rest of it behind the first `there` bytes of the version `validator`."""

    chunk_bytes = 16 << 10  # what a broken connection costs at most

    def __init__(self, wish: _Wish, there: int, validator: str) -> None:
        headers = {"Range": f"bytes={there}-", "If-Range": validator} if there else {}
        request = build_request("GET", wish.uri, headers, None, wish.component)
        super().__init__(request, wish.deadline_s, wish.limit_bytes, wish.silence_s)
        self.judge = wish.judge
        self.go_by(wish.proxy)
        self._wish = wish
        self._there = there
        self._local: Optional[OSError] = None
        self._done = Downloaded(0, 0)

    def fetch(self) -> Downloaded:
        """Send the request and take the answer; as download. Raises _Stale when only a new beginning helps."""
        try:
            self.perform()
        except MkError:
            if self._local is not None:
                raise self._local from None
            raise
        return self._done

    def receive(self, head: Head, chunks: Iterable[bytes]) -> bytes:
        """Put the body into the file; nothing of it is the answer's. Runs in the exchange's thread."""
        start = self._start(head)
        total = None if head.declared_bytes is None else start + head.declared_bytes
        if total is not None and total > self.limit_bytes:
            raise self.too_large()
        if self._wish.size_bytes is not None and total not in (None, self._wish.size_bytes):
            raise BadAnswer(f"{self.place}: has {total} bytes, {self._wish.size_bytes} are wanted")
        with self._locally():
            self._write_note(head, start, total)
            stream = files.open_partial(self._wish.partial, start)
        try:
            end = self._store(stream, chunks, start, total)
        finally:
            with self._locally():
                stream.close()
        wanted = total if total is not None else self._wish.size_bytes
        if wanted is not None and end != wanted:
            raise BadAnswer(f"{self.place}: {end} of {wanted} bytes came")
        self._done = Downloaded(end, start)
        return b""

    def _store(self, stream: BinaryIO, chunks: Iterable[bytes], start: int, total: Optional[int]) -> int:
        """Write what comes; return the size of the file."""
        end = start
        for chunk in chunks:
            end += len(chunk)
            if end > self.limit_bytes:
                raise self.too_large()
            with self._locally():
                stream.write(chunk)
            if self._wish.moved is not None:
                self._wish.moved(end, total)
        return end

    @contextmanager
    def _locally(self) -> Generator[None, None, None]:
        """Keep an error of the partial file apart from the network's, which are OSErrors, too."""
        try:
            yield
        except OSError as error:
            self._local = error
            raise _NotStored("the partial file cannot be written") from None

    def _start(self, head: Head) -> int:
        """Return where the body begins in the file; raise for an answer without the file in it."""
        if head.status == _UNSATISFIABLE and self._there:
            raise _Stale("the rest cannot be had")
        if head.status >= 400:
            retry_s = retry_after_s(Answer(head.status, head.headers, b""))
            raise ServerRefused(f"{self.place}: answers with status {head.status}", head.status, retry_s)
        if head.status == 200:
            return 0
        match = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
        if head.status != _PARTIAL or not self._there or match is None:
            raise BadAnswer(f"{self.place}: answers with status {head.status}, which was not asked for")
        first, last = int(match[1]), int(match[2])
        if first != self._there or last < first or head.declared_bytes not in (None, last + 1 - first):
            raise _Stale("another part than the rest came")
        return self._there

    def _write_note(self, head: Head, start: int, total: Optional[int]) -> None:
        """Note what the next attempt must know; without a name of the version there is no next attempt."""
        if start:
            return
        path = note_path(self._wish.partial)
        tag = head.headers.get("etag", "")
        validator = tag if tag.startswith('"') else head.headers.get("last-modified", "")
        if validator and total is not None and validator.isascii() and validator.isprintable():
            files.write_json(path, {"uri": self._wish.uri, "validator": validator, "size_bytes": total}, mode=0o600)
        else:
            files.remove(path)

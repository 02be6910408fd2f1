"""Answer with a file, the part of it that was asked for, or nothing when the asker has it already.

Werkzeug judges the conditions. The choice of the range is made here, because Werkzeug refuses with 416 what RFC 9110
wants ignored or clipped (several ranges, other units, a suffix longer than the file) and prefers a range over
If-None-Match. The part is handed to the server as a file of its own, so that its loop sends it and no thread waits
for a slow reader.

Source: RFC 9110 sections 13.2.2, 14.1 and 14.2.
"""

from __future__ import annotations

import io
import re
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from werkzeug.http import is_resource_modified
from werkzeug.wrappers import Response
from werkzeug.wsgi import wrap_file

from mkmirror.index import Served

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

CHUNK_BYTES = 64 << 10
TEXT_SUFFIXES = (".txt", ".dep", ".info", ".list", ".lst", ".map", ".md5", ".sha256", "SHA256SUMS", ".metadata")
CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE")

_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_MAX_DIGITS = 18


class Range(NamedTuple):
    """Bytes `start` to `stop` (exclusive); `whole` when none was asked for, empty when the wish cannot be met."""

    start: int
    stop: int
    whole: bool = False


def choose_range(header: str, size_bytes: int) -> Range:
    """Return what a Range header asks for of a file of `size_bytes`; what is no single range of bytes asks for the
    whole.

    `bytes=0-99` of 50 bytes is 0 to 50, `bytes=-10` the last ten, `bytes=50-` of 50 bytes an empty range (416).
    """
    whole = Range(0, size_bytes, whole=True)
    match = _RANGE.fullmatch(header)
    if match is None or not any(match.groups()) or max(map(len, match.groups())) > _MAX_DIGITS:
        return whole
    first, last = match.groups()
    if not first:
        return Range(max(0, size_bytes - int(last)), size_bytes) if int(last) else Range(0, 0)
    if last and int(last) < int(first):
        return whole
    start, stop = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
    return Range(start, stop) if start < size_bytes else Range(0, 0)


class Part(io.RawIOBase):
    """Bytes `start` to `stop` of an open file as a file; closing it closes the file."""

    def __init__(self, stream: BinaryIO, start: int, stop: int) -> None:
        super().__init__()
        self._stream = stream
        self._start = start
        self._size = stop - start
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within the part, which begins at 0."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = min(max(0, base + offset), self._size)
        return self._at

    def tell(self) -> int:
        """Return the place within the part."""
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes from here, never any behind the part."""
        left = self._size - self._at
        self._stream.seek(self._start + self._at)
        data = self._stream.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data

    def place(self) -> tuple[int, int]:
        """Return the file's descriptor and where in the file this place is, for sendfile(2)."""
        return self._stream.fileno(), self._start + self._at

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def answer_file(environ: WSGIEnvironment, served: Served) -> Response:
    """Return 200, 206, 304, 412 or 416 for an open file; the answer closes it."""
    response = Response(direct_passthrough=True, content_type=content_type(served.name))
    response.last_modified = datetime.fromtimestamp(int(served.mtime_s), timezone.utc)
    response.set_etag(served.tag)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = "no-cache"
    if any(name in environ for name in CONDITIONS):
        response.make_conditional({key: value for key, value in environ.items() if key != "HTTP_RANGE"})
    else:
        response.date = datetime.now(timezone.utc)
    if response.status_code != HTTPStatus.OK:
        served.stream.close()
        return _without_content(response)
    wanted = choose_range(environ.get("HTTP_RANGE", "") if _range_holds(environ, response) else "", served.size_bytes)
    if not wanted.whole and wanted.start >= wanted.stop:
        served.stream.close()
        response.status_code = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        response.headers["Content-Range"] = f"bytes */{served.size_bytes}"
        return _without_content(response)
    if not wanted.whole:
        response.status_code = HTTPStatus.PARTIAL_CONTENT
        response.headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{served.size_bytes}"
    part = Part(served.stream, wanted.start, wanted.stop)
    response.content_length = wanted.stop - wanted.start
    response.response = wrap_file(environ, cast(BinaryIO, part), CHUNK_BYTES)
    return response


def content_type(name: str) -> str:
    """Return the media type by the end of a file's name: text for what accompanies an extension, bytes for the rest."""
    if name.endswith(".html"):
        return "text/html; charset=utf-8"
    return "text/plain; charset=utf-8" if name.endswith(TEXT_SUFFIXES) else "application/octet-stream"


def _range_holds(environ: WSGIEnvironment, response: Response) -> bool:
    """Whether If-Range, if there is one, names this very file."""
    if "HTTP_RANGE" not in environ or environ["REQUEST_METHOD"] != "GET":
        return False
    if "HTTP_IF_RANGE" not in environ:
        return True
    condition = {key: environ[key] for key in ("REQUEST_METHOD", "HTTP_RANGE", "HTTP_IF_RANGE")}
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    return not is_resource_modified(condition, etag=etag, last_modified=modified, ignore_if_range=False)


def _without_content(response: Response) -> Response:
    response.direct_passthrough = False
    response.set_data(b"")
    if response.status_code == HTTPStatus.NOT_MODIFIED:
        for name in ("Content-Length", "Content-Type"):
            response.headers.pop(name, None)
    return response

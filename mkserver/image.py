"""The microkernel that nodes boot: one kernel and one initrd, files named on the command line, and the first stage that
can take the initrd's place where it lies beside them.

The image's id is made of these files' size and time, so that a rebuilt image gets a new address and no node ever boots
a kernel with the initrd of another build. Files are handed to the HTTP server open: it sends them from its own loop,
with a range's start and length already applied, and no worker waits for a slow reader.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, BinaryIO, Optional, cast

from flask import Response, request
from werkzeug.exceptions import NotFound, RequestedRangeNotSatisfiable
from werkzeug.wsgi import wrap_file

from .forms import FIRST_STAGE, read_layers
from .names import to_base62

_SAFE_NAME = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class BootImage:
    """Kernel and initrd as they are on disk now; `id` is 22 characters of base 62.

    first_stage: the small initrd that fetches the system by itself; None without one whose layers are there, too.
    """

    id: str
    kernel: Path
    initrd: Path
    first_stage: Optional[Path] = None

    @property
    def kernel_name(self) -> str:
        """Last part of the kernel's URL."""
        return _SAFE_NAME.sub("_", self.kernel.name)

    @property
    def initrd_name(self) -> str:
        """Last part of the initrd's URL, never that of the kernel."""
        name = _SAFE_NAME.sub("_", self.initrd.name)
        return name if name not in (self.kernel_name, FIRST_STAGE) else f"initrd-{name}"

    @property
    def files(self) -> dict[str, Path]:
        """Last part of each file's URL -> the file."""
        stage = {FIRST_STAGE: self.first_stage} if self.first_stage else {}
        return {**stage, self.kernel_name: self.kernel, self.initrd_name: self.initrd}


def read_image(kernel: Optional[Path], initrd: Optional[Path]) -> Optional[BootImage]:
    """Look at both files; None when none is configured or one is missing (which the boot script then says)."""
    if kernel is None or initrd is None:
        return None
    digest = hashlib.sha256()
    first_stage = kernel.parent / FIRST_STAGE if read_layers(kernel.parent) else None
    for path in (kernel, initrd, *([first_stage] if first_stage else [])):
        try:
            found = path.stat()
        except OSError:
            return None
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return BootImage(to_base62(int.from_bytes(digest.digest()[:16], "big")), kernel, initrd, first_stage)


class Part:
    """A window of an open file that looks like a file of its own: `start` and `length` in bytes."""

    def __init__(self, opened: BinaryIO, start: int, length: int) -> None:
        self._opened = opened
        self._start = start
        self._length = length
        self.seek(0)

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, all that remain when it is negative."""
        remaining = max(0, self._length - self.tell())
        return self._opened.read(remaining if size < 0 else min(size, remaining))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as in a file; returns the new place."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self._length}[whence]
        return self._opened.seek(self._start + origin + offset) - self._start

    def tell(self) -> int:
        """Place in the window."""
        return self._opened.tell() - self._start

    def place(self) -> tuple[int, int]:
        """The file's descriptor and where in the file this place is, for sendfile(2)."""
        return self._opened.fileno(), self._opened.tell()

    def seekable(self) -> bool:
        """Always true."""
        return True

    def close(self) -> None:
        """Close the file behind it."""
        self._opened.close()


def send_image(image: Optional[BootImage], image_id: str, name: str) -> Response:
    """Answer a request for a file of the image: 200, 206, 304 or 416; 404 for another image's id or an unknown name."""
    if image is None or image.id != image_id:
        raise NotFound()
    path = image.files.get(name)
    if path is None:
        raise NotFound()
    try:
        opened = path.open("rb")
    except OSError as error:
        raise NotFound() from error
    response = send_opened(opened, f"{image.id}-{name}", "application/octet-stream")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def send_tagged(opened: BinaryIO, mimetype: str) -> Response:
    """As `send_opened`, tagged by inode, size and time, for whoever asks each time whether it changed."""
    found = os.fstat(opened.fileno())
    tag = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
    response = send_opened(opened, tag, mimetype)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def send_opened(opened: BinaryIO, tag: str, mimetype: str) -> Response:
    """Answer with an open file, or the part of it that was asked for: 200, 206, 304. The answer closes it.

    tag: names this very content. Raises RequestedRangeNotSatisfiable.
    """
    try:
        response, part = _describe(opened, tag, mimetype)
    except RequestedRangeNotSatisfiable:
        opened.close()
        raise
    if response.status_code == 304 or request.method == "HEAD":
        opened.close()
        return response
    response.response = wrap_file(request.environ, cast("IO[bytes]", part))
    response.direct_passthrough = True
    return response


def _describe(opened: BinaryIO, tag: str, mimetype: str) -> tuple[Response, Part]:
    """Headers of the answer, and the part of the file that it carries."""
    found = os.fstat(opened.fileno())
    response = Response(mimetype=mimetype)
    response.content_length = found.st_size
    response.set_etag(tag)
    response.last_modified = datetime.fromtimestamp(int(found.st_mtime), timezone.utc)
    response.headers["Accept-Ranges"] = "bytes"
    asked = dict(request.environ)
    if "," in str(asked.get("HTTP_RANGE", "")):
        del asked["HTTP_RANGE"]  # several ranges at once: the whole file is a permitted answer (RFC 9110 section 14.2)
    response.make_conditional(asked, accept_ranges=True, complete_length=found.st_size)
    start = (response.content_range.start or 0) if response.status_code == 206 else 0
    return response, Part(opened, start, response.content_length or 0)

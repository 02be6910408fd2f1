"""What the mirror holds: two trees, the administrator's over the image's, and the two lists of what to install.

A request names a file by the parts of its path. Which file that is, and whether it may be served, is decided here:
inside a tree, regular, not hidden, whatever symbolic links say. A list is read anew at each request, so that an
administrator edits a file and nothing else.

Source: protocol 5.1 and 5.5.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from mkcore.errors import BadInput
from mkmirror.lists import parse_list

LIST_LIMIT_BYTES = 1 << 20
MAX_PARTS = 16
LIST_SUFFIXES = (".yaml", ".yml", ".json", "")


@dataclass(frozen=True)
class Served:
    """A file that may be served, open for reading; who takes it closes it."""

    stream: BinaryIO
    name: str
    size_bytes: int
    mtime_s: float
    tag: str
    """Changes whenever the content may have: inode, size and time of change in hexadecimal."""


class Absent(Exception):
    """The mirror has no such file; the text says why when there is something there that may not be served."""


def open_file(trees: Sequence[Path], parts: Sequence[str]) -> Served:
    """Open the file that `parts` name below the first of `trees` that has it, e.g. `("gem-mirror", "gems",
    "gem.list")`.

    Raises Absent for what is not there, hidden, no regular file, or a symbolic link that leads out of its tree;
    PermissionError and other OSErrors for what is there and cannot be read.
    """
    if not 0 < len(parts) <= MAX_PARTS or not all(map(_proper, parts)):
        raise Absent
    for tree in trees:
        path = f"{tree}/{'/'.join(parts)}"
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):  # nothing can have this name
                raise Absent from None
            raise
        return _open_inside(tree, path)
    raise Absent


def _proper(part: str) -> bool:
    return bool(part) and not part.startswith(".") and "/" not in part and "\0" not in part and part.isprintable()


def _open_inside(tree: Path, path: str) -> Served:
    """Find out what `path` is and where it really lies before it is opened for reading, and open that very file."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        raise Absent(f"{path} is a symbolic link to nothing") from None
    try:
        status = os.fstat(place)
        if not stat.S_ISREG(status.st_mode):
            raise Absent("" if stat.S_ISDIR(status.st_mode) else f"{path} is not a regular file")
        link = f"/proc/self/fd/{place}"
        _require_inside(tree, path, str(Path(link).readlink()))
        tag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
        try:
            stream = cast("BinaryIO", io.FileIO(link))
            return Served(stream, path.rpartition("/")[2], status.st_size, status.st_mtime, tag)
        except OSError as error:
            error.filename = path
            raise
    finally:
        os.close(place)


def _require_inside(tree: Path, path: str, real: str) -> None:
    place = os.open(tree, os.O_PATH | os.O_CLOEXEC)
    try:
        top = str(Path(f"/proc/self/fd/{place}").readlink())
    finally:
        os.close(place)
    if not real.startswith(top.rstrip("/") + "/"):
        raise Absent(f"{path} leads out of {tree}")


def read_list(trees: Sequence[Path], folder: str, name: str) -> list[str]:
    """Return the list `name` of `folder`, e.g. `["open_vm_tools.tcz"]`; empty when no tree has such a file.

    All trees' lists are one, each name once: the names of the image's (the last tree) first, then the administrator's.
    Raises BadInput naming file and line for one that cannot be parsed, OSError for one that cannot be read.
    """
    return list(dict.fromkeys(each for tree in reversed(trees) for each in _read_list(tree, folder, name)))


def _read_list(tree: Path, folder: str, name: str) -> list[str]:
    for suffix in LIST_SUFFIXES:
        try:
            served = open_file((tree,), (folder, name + suffix))
        except Absent as absent:
            if str(absent):
                raise BadInput(str(absent)) from None
            continue
        path = str(tree / folder / (name + suffix))
        with served.stream as stream:
            data = stream.read(LIST_LIMIT_BYTES + 1)
        if len(data) > LIST_LIMIT_BYTES:
            raise BadInput(f"larger than {LIST_LIMIT_BYTES} bytes", path)
        return parse_list(data, path)
    return []

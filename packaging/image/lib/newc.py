"""Reads the archive that the kernel unpacks, so that a form can be made of what an initrd holds. Written by `archives`.

Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .archives import Member
from .places import BuildError

_MAGIC = b"070701"
_HEADER_BYTES = 110
_END = "TRAILER!!!"


def read(archive: Path) -> Iterator[Member]:
    """Yield all members, folders too, of an archive's first part; what is appended to it is not looked at.

    ``Member.mode`` has the file's type. BuildError for what is no uncompressed archive of this form.
    """
    with archive.open("rb") as opened:
        while (member := _read_one(opened, archive)).name != _END:
            yield member


def _read_one(opened: BinaryIO, archive: Path) -> Member:
    header = opened.read(_HEADER_BYTES)
    try:
        fields = [int(header[at : at + 8], 16) for at in range(6, _HEADER_BYTES, 8)]
    except ValueError:
        fields = []
    if header[:6] != _MAGIC or len(fields) != 13:
        raise BuildError(f"{archive} is no uncompressed archive of the form newc")
    mode, size_bytes, name_bytes = fields[1], fields[6], fields[11]
    name = opened.read(name_bytes).rstrip(b"\0").decode("utf-8", "surrogateescape")
    opened.seek(-(_HEADER_BYTES + name_bytes) % 4, 1)
    content = opened.read(size_bytes)
    if len(content) != size_bytes:
        raise BuildError(f"{archive} ends within {name}")
    opened.seek(-size_bytes % 4, 1)
    return Member(name, content, mode)

"""What the kernel loads: one archive that holds the first process, its modules and the layers, itself uncompressed.

The layers are compressed already, and stay so in memory. An archive of one's own can follow at any multiple of four
bytes. Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Union

ALIGNED = 4


@dataclass(frozen=True)
class Member:
    """One file of an archive: its name without a leading slash, its content or where that lies, its mode."""

    name: str
    content: Union[bytes, Path]
    mode: int = 0o644

    @property
    def size_bytes(self) -> int:
        """Length of the content."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def add_folders(members: Iterable[Member]) -> list[tuple[str, int, Union[bytes, Path], int]]:
    """Return (name, mode with type, content, size) of all members in their order, each folder before what is in it."""
    found: dict[str, tuple[str, int, Union[bytes, Path], int]] = {}
    for member in members:
        parts = member.name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            found.setdefault(folder, (folder, stat.S_IFDIR | 0o755, b"", 0))
        found[member.name] = (member.name, stat.S_IFREG | member.mode, member.content, member.size_bytes)
    return list(found.values())


def build_header(number: int, name: str, mode: int, size_bytes: int, epoch: int) -> bytes:
    """Build what stands before a member: 13 fields of eight hexadecimal digits, the name, padding. Owner is root."""
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, epoch, size_bytes, 0, 0, 0, 0, len(name.encode()) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % ALIGNED)


def write_archive(members: Iterable[Member], target: Path, epoch: int) -> None:
    """Write an archive of these files, all of them root's and of one time; its end is at a multiple of four bytes."""
    with target.open("wb") as out:
        for number, (name, mode, content, size_bytes) in enumerate(add_folders(members), 1):
            out.write(build_header(number, name, mode, size_bytes, epoch))
            _write_content(out, content)
            out.write(bytes(-size_bytes % ALIGNED))
        out.write(build_header(0, "TRAILER!!!", 0, 0, 0))


def _write_content(out: BinaryIO, content: Union[bytes, Path]) -> None:
    if isinstance(content, bytes):
        out.write(content)
        return
    with content.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            out.write(block)

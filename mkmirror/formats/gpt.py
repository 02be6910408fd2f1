"""Images with partitions: where in a signed extension its file system lies.

An extension with dm-verity data is a small disk: a partition with the file system, one with its hash tree, one with
the signature of the tree's root. systemd chooses among partitions by their types; an image that holds others than
these three is refused, so that what is looked at is what will be merged.

Source: UEFI specification 2.10, 5.3 (GPT disk layout); the Discoverable Partitions Specification for the types.
"""

from __future__ import annotations

import struct
import uuid
from typing import NamedTuple

from mkcore.errors import BadInput
from mkmirror.names import show

HEAD_BYTES = 64 << 10
"""So much of an image's beginning suffices for parse_partitions."""
MAX_PARTITIONS = 16
SECTOR_BYTES = 512

ROOT = frozenset(("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "b921b045-1df0-41c3-af44-4c6f280d3fae"))
"""File systems for x86-64 and 64-bit ARM."""
VERITY = frozenset(
    (
        "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
        "41092b05-9fc8-4523-994f-2def0408b176",
        "df3300ce-d69f-4c92-978c-9bfb0f38d820",
        "6db69de6-29f4-4758-a7a5-962190f00ce3",
    )
)
"""Hash trees and signatures for the same."""

_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQ")
_MAGIC = b"EFI PART"


class Partition(NamedTuple):
    """One partition: its type as a GUID in lower case; where it begins and how large it is, in bytes."""

    type: str
    offset_bytes: int
    size_bytes: int


def parse_partitions(head: bytes, where: str) -> tuple[Partition, ...]:
    """Parse the table in an image's first HEAD_BYTES; raise BadInput naming `where` for a damaged or too long one."""
    if len(head) < 2 * SECTOR_BYTES or head[SECTOR_BYTES : SECTOR_BYTES + 8] != _MAGIC:
        raise BadInput("has no partition table", where)
    header = _HEADER.unpack_from(head, SECTOR_BYTES)
    start, count, size = header[10] * SECTOR_BYTES, header[11], header[12]
    if size < _ENTRY.size or size > 4096 or count > 128 or start + count * size > len(head):
        raise BadInput("has a damaged partition table", where)
    found: list[Partition] = []
    for number in range(count):
        kind, _, first, last = _ENTRY.unpack_from(head, start + number * size)
        if any(kind):
            if first > last:
                raise BadInput("has a damaged partition table", where)
            length = (last - first + 1) * SECTOR_BYTES
            found.append(Partition(str(uuid.UUID(bytes_le=kind)), first * SECTOR_BYTES, length))
    if len(found) > MAX_PARTITIONS:
        raise BadInput(f"has {len(found)} partitions, more than {MAX_PARTITIONS}", where)
    return tuple(found)


def find_root(partitions: tuple[Partition, ...], image_bytes: int, where: str) -> Partition:
    """Return the one partition with a file system; raise BadInput for none, several, others, or a truncated image."""
    for each in partitions:
        if each.type not in ROOT | VERITY:
            raise BadInput(f"has a partition of the type {show(each.type)}, which has no place in an extension", where)
        if each.offset_bytes + each.size_bytes > image_bytes:
            raise BadInput(f"is truncated: {image_bytes} of {each.offset_bytes + each.size_bytes} bytes", where)
    found = [each for each in partitions if each.type in ROOT]
    if len(found) != 1:
        raise BadInput(f"has {len(found)} partitions with a root file system, one is wanted", where)
    return found[0]

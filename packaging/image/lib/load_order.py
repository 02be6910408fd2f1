"""Which files are packed as the services' layer, and in which order: those that they load at boot, as they load them.

A layer holds small files in compressed blocks, and of blocks that hold several files the kernel keeps three unpacked
(CONFIG_SQUASHFS_FRAGMENT_CACHE_SIZE). Packed by name, hundreds of modules have it unpack the same blocks over and over:
loading mkctl from a layer of xz took seven times as long as from memory, in this order less than three times. Small
blocks of zstd unpack ten times as fast.
Source: Documentation/filesystems/squashfs.rst of the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from .places import BuildError


def read(record: Path) -> list[str]:
    """Read what the program load-order printed inside a tree: paths from the tree's top, "usr/lib/…".

    Raises BuildError for a record without a line, which would only be slow, and unseen.
    """
    names = [line.lstrip("/") for line in record.read_text(encoding="utf-8").splitlines() if line]
    if not names:
        raise BuildError(f"{record}: no module's file; the services' modules could not be loaded")
    return names


def split_members(tree: Path, first: Iterable[str], empty: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """Return the paths of what is in a tree, "" for itself, as two lists: what `first` names, in its order, and the
    others by name; each of them behind the folders that it needs.

    Of the folders named in `empty` comes nothing but themselves. What `first` names and is not there is left out.
    """
    folders, others = [], []
    for name, is_folder in _walk(tree, "", frozenset(empty)):
        (folders if is_folder else others).append(name)
    there = frozenset(others)
    ahead = [name for name in dict.fromkeys(first) if name in there]
    above = {folder for name in ahead for folder in _folders_above(name)}
    behind = sorted(there.difference(ahead), key=lambda name: name.split("/"))
    return ["", *(folder for folder in folders if folder in above), *ahead], ["", *folders, *behind]


def _folders_above(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _walk(tree: Path, folder: str, empty: frozenset[str]) -> Iterator[tuple[str, bool]]:
    """Yield (path, whether it is a folder) of what is below a folder, each folder before what is in it, by name."""
    for entry in sorted(os.scandir(tree / folder), key=lambda entry: entry.name):
        name = f"{folder}/{entry.name}" if folder else entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        yield name, is_folder
        if is_folder and name not in empty:
            yield from _walk(tree, name, empty)

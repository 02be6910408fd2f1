"""Taking away what mk-fetch staged: removed by root in a folder that a stranger may change at the same time.

No symbolic link is followed on the way, and what cannot be removed costs nothing: mk-fetch's next run tidies up.

Source: path_resolution(7), openat(2), unlinkat(2).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from mkcore import files
from mkmirror.staged import FOLDER, Item


def discard(path: Path) -> None:
    """Remove whatever is at `path`, if anything is: a file, pipe, link or folder. Raises OSError."""
    try:
        files.remove(path)
    except IsADirectoryError:
        files.remove_tree(path)


def forget(run_fetch: Path, items: Iterable[Item]) -> None:
    """Give back the memory of staged files; if one went away or became something else meanwhile, so be it."""
    for item in items:
        with contextlib.suppress(OSError):
            files.remove_below(run_fetch, FOLDER, item.folder, item.name)

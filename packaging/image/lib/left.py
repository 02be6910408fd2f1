"""Which packages are still in the image after it was trimmed: of some that only helped to install others nothing is.

What dpkg knew says which files a package had. Copyright files stay for all and do not count; modules lost their
compression and Debian's Python its sources, so these are looked for under their new names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_COPYRIGHT = re.compile(r"/usr/share/doc/|/\.$")


def is_left(root: Path, files: Iterable[str]) -> bool:
    """Whether a tree has any of a package's files, which are paths with a leading slash; folders do not count."""
    for name in files:
        if _COPYRIGHT.match(name):
            continue
        path = root / name.lstrip("/")
        names = [path, path.with_name(f"{path.name}c") if path.suffix == ".py" else path]
        names += [path.with_suffix("")] if path.suffix == ".xz" else []
        if any(each.is_symlink() or each.is_file() for each in names):
            return True
    return False


def find_left(root: Path, lists: Path) -> list[str]:
    """Return the names of the packages of which something is left, sorted.

    lists: dpkg's files NAME.list or NAME:ARCHITECTURE.list.
    """
    found = [path for path in lists.glob("*.list") if is_left(root, path.read_text(encoding="utf-8").splitlines())]
    return sorted({path.name.removesuffix(".list").partition(":")[0] for path in found})

"""The sums of a folder that several trees have: one list, since a client sees one folder.

The administrator's files lie over the image's, and each tree has the sums of its own files. A signature of either is no
signature of both; nobody asks for it here, as what this machine has itself needs none.

Source: sha256sum(1).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from mkcore import files
from mkmirror import trust
from mkmirror.index import Absent, open_file

log = logging.getLogger(__name__)


def read_sums(trees: Sequence[Path], folder: Sequence[str]) -> Optional[bytes]:
    """Return the sums of a folder, e.g. `("tinycorelinux", "sysext", "x86_64")`; None where at most one tree has any.

    The first tree counts for a name that several have. A tree without sums beside one that has some offers nothing,
    which is said. Raises BadInput naming the file and the line, OSError.
    """
    found: list[dict[str, str]] = []
    bare: list[Path] = []
    for tree in trees:
        try:
            served = open_file((tree,), (*folder, trust.SUMS))
        except Absent:
            bare.append(tree.joinpath(*folder))
            continue
        with served.stream as stream:
            text = stream.read(trust.SUMS_LIMIT_BYTES).decode("utf-8", "replace")
        found.append(trust.parse_sums(text, str(tree.joinpath(*folder, trust.SUMS))))
    for place in bare if found else ():
        if files.list_names(place):
            log.warning("%s has no %s, so nothing of it is offered: mkmirror index makes it", place, trust.SUMS)
    if len(found) < 2:
        return None
    return trust.build_sums({name: sums[name] for sums in reversed(found) for name in sums}).encode()

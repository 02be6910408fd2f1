"""The sums of a folder that several trees have: one list, since a client sees one folder.

The administrator's files lie over the image's, and each tree has the sums of its own files. A signature of either is no
signature of both; nobody asks for it here, as what this machine has itself needs none.

Source: sha256sum(1).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from mkmirror import trust
from mkmirror.index import Absent, open_file


def read_sums(trees: Sequence[Path], folder: Sequence[str]) -> Optional[bytes]:
    """Return the sums of a folder, e.g. `("tinycorelinux", "sysext", "x86_64")`; None where at most one tree has any.

    The first tree counts for a name that several have. Raises BadInput naming the file and the line, OSError.
    """
    found: list[dict[str, str]] = []
    for tree in trees:
        try:
            served = open_file((tree,), (*folder, trust.SUMS))
        except Absent:
            continue
        with served.stream as stream:
            text = stream.read(trust.SUMS_LIMIT_BYTES).decode("utf-8", "replace")
        found.append(trust.parse_sums(text, str(tree.joinpath(*folder, trust.SUMS))))
    if len(found) < 2:
        return None
    return trust.build_sums({name: sums[name] for sums in reversed(found) for name in sums}).encode()

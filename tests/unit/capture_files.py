"""Outputs of real machines, from the folder that MK_CAPTURES names; read in place.

Without the folder each pattern is one skipped parameter that says so: the repository's own captures cover the parsers'
branches then, and only they.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

OWN = Path(__file__).resolve().parent.parent / "data" / "captures"
CAPTURES = Path(os.environ.get("MK_CAPTURES") or "/nonexistent")
WHY_NOT = "MK_CAPTURES names no folder of real machines' outputs"


def captures(*patterns: str, own: str = "") -> list[object]:
    """The files of the patterns and the repository's `own`; without the folder one parameter that is skipped."""
    found = [path for pattern in patterns for path in sorted(CAPTURES.glob(pattern))]
    found += sorted(OWN.glob(own)) if own else []
    real: list[object] = [pytest.param(path, id=path.name) for path in found]
    if not CAPTURES.is_dir():
        real.append(pytest.param(CAPTURES, id=patterns[0], marks=pytest.mark.skip(reason=WHY_NOT)))
    return real


def unpack(path: Path, folder: Path, *parts: str) -> Path:
    """Unpack the parts (wildcards: "*/sys/devices/system/cpu/*") of a tree; return its root, which holds `sys` or
    `proc`. By tar(1), as Python's takes ten times as long."""
    command = ["tar", "-xJf", str(path), "-C", str(folder), "--wildcards", *parts]
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    assert finished.returncode == 0 or "Not found in archive" in finished.stderr, finished.stderr
    for depth in range(4):
        for found in sorted(folder.glob("*/" * depth + "[sp][yr][so]*")):
            if found.name in ("sys", "proc") and found.is_dir():
                return found.parent
    raise AssertionError(f"{path.name} holds neither sys nor proc")

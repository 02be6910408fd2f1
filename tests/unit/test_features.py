"""tests/features.toml maps every feature and defect of the protocol to its test, or to the later work it waits for."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent.parent
FEATURES: dict[str, Any] = tomllib.loads((ROOT / "tests/features.toml").read_text(encoding="utf-8"))
ENTRIES = [(kind, number, entry) for kind in ("row", "defect") for number, entry in FEATURES[kind].items()]
LATER = {"extensions", "image", "network", "razor-server"}
"""The works that a row can wait for; razor-server is the third dialect, answered with one clear refusal."""


def test_every_row_and_defect_is_there() -> None:
    assert sorted(map(int, FEATURES["row"])) == list(range(1, 113))
    assert sorted(FEATURES["defect"]) == [f"B{number:02d}" for number in range(1, 62)]


@pytest.mark.parametrize(
    ("kind", "number", "entry"), ENTRIES, ids=[f"{kind}-{number}" for kind, number, _ in ENTRIES]
)
def test_is_shown_or_waits(kind: str, number: str, entry: dict[str, Any]) -> None:
    assert set(entry) <= {"title", "tests", "later"}, f"{kind} {number}: unknown keys"
    tests, later = entry.get("tests", []), entry.get("later", [])
    assert entry["title"]
    assert tests or later, f"{kind} {number} has neither a test nor a later work"
    assert set(later) <= LATER
    for test in tests:
        name, _, function = test.partition("::")
        path = ROOT / name
        assert path.is_file(), f"{kind} {number}: {name} does not exist"
        assert re.search(rf"^\s*(async )?def {re.escape(function)}\(", path.read_text(encoding="utf-8"), re.M), (
            f"{kind} {number}: no {test}"
        )

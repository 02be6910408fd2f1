"""One version: mkcore.version, pyproject.toml, the Debian changelog, the rpm recipe, the manual page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mkcore.version import VERSION

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("pyproject.toml", r'^version = "([^"]+)"$'),
        ("packaging/debian/changelog", r"^mksuite \(([0-9.]+)(?:-[^)]+)?\)"),
        ("packaging/rpm/mksuite.spec", r"^Version: +([0-9.]+)$"),
        ("packaging/rpm/mksuite.spec", r"^\* .* - ([0-9.]+)-1$"),
        ("man/mk.toml.5", r'"mksuite ([0-9.]+)"'),
    ],
)
def test_the_version_is_the_same_everywhere(name: str, pattern: str) -> None:
    found = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert found.group(1) == VERSION

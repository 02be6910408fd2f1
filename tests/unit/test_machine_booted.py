"""What each form was booted with: kept by digest, several writers, nothing of forms that are no more."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.machines.booted import read_booted, record_booted


def make_image(folder: Path, content: bytes) -> str:
    """Make a folder with one form and its manifest; return the digest."""
    digest = hashlib.sha256(content).hexdigest()
    (folder / "mk.iso").write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps({"files": {"mk.iso": {"sha256": digest}}}))
    return digest


def test_ways_of_one_form_come_together(tmp_path: Path) -> None:
    digest = make_image(tmp_path, b"one")
    ways = [f"way {number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda how: record_booted(how, "mk.iso", folder=tmp_path), ways))
    record_booted("way 3", "mk.iso", folder=tmp_path)
    assert read_booted(tmp_path) == {digest: ways}


def test_a_rebuilt_form_has_been_booted_with_nothing(tmp_path: Path) -> None:
    make_image(tmp_path, b"one")
    record_booted("USB/BIOS", "mk.iso", folder=tmp_path)
    digest = make_image(tmp_path, b"another")
    assert digest not in read_booted(tmp_path)
    record_booted("USB/UEFI", "mk.iso", folder=tmp_path)
    assert read_booted(tmp_path) == {digest: ["USB/UEFI"]}


def test_what_is_not_shipped_is_not_entered(tmp_path: Path) -> None:
    make_image(tmp_path, b"one")
    (tmp_path / "mk.iso").write_bytes(b"changed")
    with pytest.raises(AssertionError, match="run make image"):
        record_booted("USB/BIOS", "mk.iso", folder=tmp_path)
    assert read_booted(tmp_path) == {}

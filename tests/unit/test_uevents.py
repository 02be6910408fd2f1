"""Whether hardware came or went."""

from __future__ import annotations

from pathlib import Path

import pytest

from mkcore.uevents import is_newer, read_learnt, read_seqnum


def test_seqnum(tmp_path: Path) -> None:
    assert read_seqnum(tmp_path) == 0
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/uevent_seqnum").write_text("1840\n", encoding="ascii")
    assert read_seqnum(tmp_path) == 1840


def test_udev_s_database(tmp_path: Path) -> None:
    assert read_learnt(tmp_path) == 0, "no udev"
    (tmp_path / "data").mkdir()
    first = read_learnt(tmp_path)
    assert first > 0
    (tmp_path / ".#n2").write_text("I:1\n", encoding="ascii")
    (tmp_path / ".#n2").rename(tmp_path / "data/n2")
    added = read_learnt(tmp_path)
    assert added > first
    (tmp_path / "data/n2").unlink()
    assert read_learnt(tmp_path) > added


@pytest.mark.parametrize(
    ("before", "now", "newer"),
    [
        ((5, 9), (5, 9), False),
        ((5, 9), (5, 10), False),  # udev was late
        ((5, 9), (6, 9), False),  # the loopback interface of a service's own network
        ((5, 9), (6, 10), True),
        ((5, 0), (6, 0), True),  # no udev
        ((5, 0), (6, 10), True),  # a file of an earlier version
        ((5, 9), (6, 0), True),
    ],
)
def test_is_newer(before: tuple[int, int], now: tuple[int, int], newer: bool) -> None:
    assert is_newer(before, now) is newer

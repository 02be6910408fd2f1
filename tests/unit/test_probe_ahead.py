"""Tools that were started before they were asked for."""

from __future__ import annotations

import time
from pathlib import Path

from probe_tree import make_tool

from mkcore import spawn
from mkcore.proc import Outcome, finish
from mkctl.probe.ahead import Ahead


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_a_tool_that_is_under_way_is_taken_over_once(tmp_path: Path) -> None:
    make_tool(tmp_path, "tool", f"echo $1 >> {tmp_path}/calls; echo out $1")
    command, other = (str(tmp_path / "tool"), "first"), (str(tmp_path / "tool"), "second")
    ahead = Ahead([command])
    assert ahead.run(command, timeout_s=30).stdout == b"out first\n"
    assert lines(tmp_path / "calls") == ["first"]
    assert ahead.run(command, timeout_s=30).stdout == b"out first\n"
    assert ahead.run(other, timeout_s=30).stdout == b"out second\n"
    assert lines(tmp_path / "calls") == ["first", "first", "second"]


def test_a_missing_tool_is_missing_for_whoever_asks(tmp_path: Path) -> None:
    command = (str(tmp_path / "none"),)
    assert Ahead([command]).run(command, timeout_s=30).outcome is Outcome.MISSING


def test_what_nobody_took_over_is_ended(tmp_path: Path) -> None:
    make_tool(tmp_path, "tool", "sleep 1000 & wait")
    ahead = Ahead([(str(tmp_path / "tool"),)])
    began = time.monotonic()
    ahead.drop()
    assert time.monotonic() - began < 30


def test_the_time_limit_counts_from_the_start(tmp_path: Path) -> None:
    make_tool(tmp_path, "tool", "echo part; exec sleep 1000")
    child = spawn.start([str(tmp_path / "tool")])
    child.began -= 60
    done = finish(child, timeout_s=50)
    assert done.outcome is Outcome.TIMED_OUT
    assert done.duration_s >= 60

"""Tools that were started before they were asked for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from probe_tree import make_tool, make_tree

from mkcore import spawn
from mkcore.proc import Outcome, finish
from mkctl.probe.ahead import LSCPU, LSHW, Ahead, known_seqnum, start_ahead
from mkctl.probe.model import FactsFile
from mkctl.probe.store import save_facts


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


def test_the_number_of_the_last_collection_is_read_from_the_end_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    assert known_seqnum(str(path)) is None
    for number in (0, 7, 2**63 - 1):
        save_facts(path, FactsFile(generation=1, complete=True, uevent_seqnum=number, facts={"a": "x" * 300}))
        assert known_seqnum(str(path)) == number
    path.write_bytes(b"{}")
    assert known_seqnum(str(path)) is None


@pytest.mark.parametrize(
    ("known", "now", "busy", "starts"),
    [(7, "7", False, True), (7, "8", False, False), (7, "7", True, False), (7, "", False, False)],
)
def test_tools_start_ahead_only_while_hardware_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: int, now: str, busy: bool, starts: bool
) -> None:
    for name in ("lshw", "lscpu"):
        make_tool(tmp_path / "bin", name, f"echo {name} >> {tmp_path}/calls")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    root = make_tree(tmp_path / "root", {"run/mk-facts/": "", "sys/kernel/uevent_seqnum": f"{now}\n"})
    save_facts(root / "run/mk-facts/facts.json", FactsFile(generation=1, complete=True, uevent_seqnum=known))
    if busy:
        make_tree(root, {"run/udev/queue": ""})
    ahead = start_ahead(str(root))
    assert ahead.seqnum == (known if starts else None)
    assert [ahead.run(command, timeout_s=30).ok for command in (LSHW, LSCPU)] == [True, True]
    assert sorted(lines(tmp_path / "calls")) == ["lscpu", "lshw"]

"""The benchmarks' programs that are text here and run inside the image, where no linter looks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.facts import IDENTITY, IPA, build_argv, parse_measured
from bench.image import BESIDE, PSS

ROOT = Path(__file__).resolve().parents[2]


def test_the_bare_imports_say_what_they_hold() -> None:
    argv = [sys.executable, "-I", "-c", BESIDE, str(os.getpid())]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    ours, bare = map(int, done.stdout.split())
    assert min(ours, bare) > 1000, "kB"


def test_the_sum_over_the_slice_is_a_program() -> None:
    compile(PSS, "PSS", "exec")


def measure(entries: dict[str, list[list[str]]], rounds: int = 2) -> str:
    argv = build_argv(ROOT, entries, rounds)
    argv[0] = sys.executable
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_entries_are_measured_in_turn(tmp_path: Path) -> None:
    say = ["sh", "-c", 'echo "$0" >> "$1"; echo noise; echo noise >&2']
    calls = tmp_path / "calls"
    entries = {"one": [[*say, "a", str(calls)], [*say, "b", str(calls)]], "two": [[*say, "c", str(calls)]]}
    figures = parse_measured(measure(entries))
    assert calls.read_text(encoding="utf-8").split() == ["a", "b", "c", "c", "a", "b"]
    assert set(figures) == {"one", "two"}
    assert all(each.wall_s > 0 and each.peak_rss_mb > 0.1 for each in figures.values())


def test_a_command_that_failed_is_no_figure() -> None:
    text = measure({"bad": [["sh", "-c", "exit 3"]]}, 1)
    with pytest.raises(RuntimeError, match="bad: 1 of 1 runs failed"):
        parse_measured(text)
    assert parse_measured(text, free=("bad",))["bad"].wall_s > 0
    with pytest.raises(RuntimeError, match="gone"):
        parse_measured(measure({"gone": [["/no/such/tool"]]}, 1), free=("gone",))


def test_the_identity_of_a_fresh_process_is_measured() -> None:
    compile(IDENTITY.format(root="/"), "IDENTITY", "exec")
    compile(IPA, "IPA", "exec")

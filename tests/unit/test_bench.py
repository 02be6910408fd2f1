"""The benchmarks' programs that are text here and run inside the image, where no linter looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import __main__ as command
from bench.extensions import PROGRAM, TCE_LOAD, UNDO
from bench.facts import IDENTITY, IPA, build_argv, parse_measured
from bench.image import BESIDE, PSS
from bench.mirror import Served
from bench.rows import Row, judge, list_missed, merge, table

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


def test_what_is_asked_for_is_a_most_or_a_least() -> None:
    rows = [
        Row("mirror.large_file_over_nginx", 0.71, "ratio", "nginx", 1.0, 0.71),
        Row("mirror.small_files_over_webrick", 2.9, "ratio", "WEBrick", 1.0, 2.9),
        Row("facts.identity_ms", 5.1, "ms"),
        Row("other", 1, "s"),
    ]
    assert [judge(row) for row in rows] == [(">= 0.7", True), (">= 3", False), ("<= 5", False), ("", True)]
    lines = table(rows).splitlines()[1:]
    assert [line.split()[-1] for line in lines] == ["ok", "MISSED", "MISSED", "s"]


MISSED = Row("facts.identity_ms", 5.1, "ms")
HELD = Row("facts.identity_ms", 4.9, "ms")


def test_what_is_missed_is_a_line_each() -> None:
    rows = [Row("mirror.small_files_over_webrick", 2.9, "ratio", "WEBrick", 1.0, 2.9), Row("other", 1, "s"), MISSED]
    assert list_missed([HELD]) == []
    assert list_missed(rows) == [
        "MISSED mirror.small_files_over_webrick: 2.9 ratio, asked >= 3",
        "MISSED facts.identity_ms: 5.1 ms, asked <= 5",
    ]


@pytest.mark.parametrize(
    ("before", "now", "status"),
    [([], HELD, 0), ([], MISSED, 1), ([MISSED], HELD, 0), ([Row("image.iso_mb", 99.0, "MB")], HELD, 0)],
    ids=("held", "missed", "missed before", "another group missed before"),
)
def test_the_command_fails_where_a_figure_is_missed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    before: list[Row],
    now: Row,
    status: int,
) -> None:
    """Of the groups that were run; the record of them all is written in either case."""
    record = tmp_path / "bench.json"
    merge(record, before)
    monkeypatch.setattr(command, "RECORD", record)
    monkeypatch.setattr(command, "GROUPS", {"facts": (lambda _: [now],), "size": (lambda _: [MISSED, 1 / 0],)})
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "facts"])
    assert command.main() == status
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("MISSED facts.identity_ms: ") is bool(status)
    assert {row.name: row.value for row in merge(record, [])}[now.name] == now.value


def test_the_installation_s_programs_are_programs(tmp_path: Path) -> None:
    compile(PROGRAM, "PROGRAM", "exec")
    for text in (TCE_LOAD, UNDO):
        subprocess.run(["bash", "-n", "-c", text], check=True, timeout=60)
    mark = tmp_path / "mark"
    entries = {"a": [["touch", str(mark)], ["rm", str(mark)]]}
    code = PROGRAM.replace("/usr/share/bench/file0", str(mark))
    argv = [sys.executable, "-c", code, json.dumps({"rounds": 2, "entries": entries})]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [each > 0 for each in json.loads(done.stdout)["a"]] == [True, True]


def test_a_server_s_cost_is_read_from_the_kernel() -> None:
    served = Served(0, os.getpid())
    before = served.cpu_s()
    sum(number * number for number in range(200_000))
    assert 0 < served.cpu_s() - before < 20
    assert served.peak_rss_mb() > 5

"""mkcore.proc: real programs that behave, fail, hang, flood, fork, and are missing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mkcore.errors import ToolFailed
from mkcore.proc import Outcome, require, run


def test_a_good_run() -> None:
    done = run(("sh", "-c", "cat; echo warned >&2"), timeout_s=30, stdin=b"x" * 300_000)
    assert (done.outcome, done.status, done.stdout, done.stderr) == (Outcome.OK, 0, b"x" * 300_000, "warned\n")
    assert done.ok
    assert require(done) == done.stdout
    assert done.describe() == "sh ended well: warned"


def test_the_environment_is_c_and_without_the_services_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("NOTIFY_SOCKET", "/x")
    monkeypatch.setenv("LISTEN_FDS", "1")
    text = require(run(("env",), timeout_s=30)).decode()
    assert "LC_ALL=C\n" in text
    assert "NOTIFY_SOCKET" not in text
    assert "LISTEN_FDS" not in text


def test_failure_and_signal_are_outcomes() -> None:
    failed = run(("sh", "-c", "echo oh no >&2; exit 3"), timeout_s=30)
    assert (failed.outcome, failed.status) == (Outcome.FAILED, 3)
    assert failed.describe() == "sh ended with status 3: oh no"
    killed = run(("sh", "-c", "kill -TERM $$"), timeout_s=30)
    assert (killed.outcome, killed.status) == (Outcome.SIGNALLED, 15)
    with pytest.raises(ToolFailed, match="killed by signal 15"):
        require(killed)


@pytest.mark.parametrize("name", ["no-such-tool", "/no/such/tool", "/etc/passwd", "bad\0name"])
def test_a_missing_tool_is_an_outcome(name: str) -> None:
    done = run((name,), timeout_s=30)
    assert (done.outcome, done.status) == (Outcome.MISSING, -1)
    assert "cannot be started: " in done.describe()


def test_a_hanging_tool_dies_with_its_children_and_keeps_what_it_wrote(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    done = run(("sh", "-c", f"echo part; sleep 1000 & echo $! > {pid_file}; wait"), timeout_s=3.0)
    assert done.outcome is Outcome.TIMED_OUT
    assert done.stdout == b"part\n"
    assert done.duration_s < 100
    assert "did not end within" in done.describe()
    assert gone(int(pid_file.read_text()))


def test_a_tool_that_closed_its_output_and_runs_on_is_stopped_too() -> None:
    assert run(("sh", "-c", "exec >&- 2>&-; sleep 1000"), timeout_s=0.5).outcome is Outcome.TIMED_OUT


def test_a_tool_that_ignores_its_input_is_no_failure() -> None:
    assert run(("true",), timeout_s=30, stdin=b"x" * 1_000_000).outcome is Outcome.OK


def test_a_flood_is_stopped_at_the_limit() -> None:
    done = run(("sh", "-c", "yes"), timeout_s=30, limit_bytes=100_000)
    assert done.outcome is Outcome.FLOODED
    assert len(done.stdout) == 100_000
    assert done.duration_s < 30


def test_standard_error_is_bounded_without_being_an_error() -> None:
    done = run(("sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' e >&2; printf '\\377'"), timeout_s=30)
    assert (done.outcome, len(done.stderr), done.stdout) == (Outcome.OK, 65_536, b"\xff")


def gone(pid: int) -> bool:
    """Wait until a process is dead; init or this test reaps it, so a zombie counts as dead."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
                if stream.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        os.sched_yield()
    return False

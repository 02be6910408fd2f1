"""The one door to starting programs.

A program runs with the C locale, no standard input beyond what is given, its own process group, a time limit and an
output limit; at either limit the whole group is killed, so that no grandchild is left behind. What happened is a
value, not an exception: a missing or hanging tool is an ordinary outcome for whoever collects facts.

`finish` takes over a program that `mkcore.spawn` started. Both are without `subprocess` and `selectors`, whose import
is a tenth of what a run of mk-facts may cost.
"""

from __future__ import annotations

import enum
import os
import select
import time
from collections.abc import Sequence
from typing import NamedTuple, Union

from mkcore import spawn
from mkcore.errors import ToolFailed

_STDERR_LIMIT_BYTES = 64 << 10
_TAIL_S = 1.0  # how long to wait for a killed group to be reaped
_CHUNK_BYTES = 1 << 16
_FIRST_LOOK_S, _LAST_LOOK_S = 0.0002, 0.02  # how often to look whether a program that closed its output has ended
_SIGKILL = 9


class Outcome(enum.Enum):
    """How a run ended."""

    OK = "ok"
    FAILED = "failed"
    SIGNALLED = "signalled"
    TIMED_OUT = "timed_out"
    FLOODED = "flooded"
    MISSING = "missing"


class Finished(NamedTuple):
    """One ended run. `status` is the exit status, or the signal's number for SIGNALLED, or -1 when nothing ended."""

    argv: tuple[str, ...]
    outcome: Outcome
    status: int
    stdout: bytes
    stderr: str
    duration_s: float

    @property
    def ok(self) -> bool:
        """True for exit status 0 within all limits."""
        return self.outcome is Outcome.OK

    def describe(self) -> str:
        """Say in one line what happened, with the last line that the program wrote to standard error."""
        said = self.stderr.strip().splitlines()
        tail = f": {said[-1].strip()[:200]}" if said else ""
        texts = {
            Outcome.OK: "ended well",
            Outcome.FAILED: f"ended with status {self.status}",
            Outcome.SIGNALLED: f"was killed by signal {self.status}",
            Outcome.TIMED_OUT: f"did not end within {self.duration_s:.1f} s",
            Outcome.FLOODED: f"wrote more than {len(self.stdout)} bytes",
            Outcome.MISSING: "cannot be started",
        }
        return f"{self.argv[0]} {texts[self.outcome]}{tail}"


def require(finished: Finished) -> bytes:
    """Return the output of a run that must have ended well; raise ToolFailed otherwise."""
    if not finished.ok:
        raise ToolFailed(finished.describe())
    return finished.stdout


def run(argv: Sequence[str], *, timeout_s: float, limit_bytes: int = 16 << 20, stdin: bytes = b"") -> Finished:
    """Run a program and return how it ended; never raises for what the program does.

    argv[0] is looked up on PATH when it has no slash. Standard output is kept up to `limit_bytes`, standard error up to
    64 KiB as text.
    """
    try:
        child = spawn.start(argv, feed=bool(stdin))
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        return Finished(tuple(argv), Outcome.MISSING, -1, b"", text, 0.0)
    return finish(child, timeout_s=timeout_s, limit_bytes=limit_bytes, stdin=stdin)


def finish(
    child: spawn.Child, *, timeout_s: float, limit_bytes: int = 16 << 20, stdin: bytes = b""
) -> Finished:
    """Read a started program to its end; as `run`. The time limit counts from its start."""
    output = _Output(limit_bytes)
    reaper = _Reaper(child.pid)
    try:
        stopped = _communicate(child, stdin, output, child.began + timeout_s, reaper)
    finally:
        reaper.kill_group()
        spawn.close((child.stdin, child.stdout, child.stderr))
    outcome, status = _judge(stopped, reaper.status)
    return Finished(
        child.argv, outcome, status, bytes(output.stdout), output.text(), time.monotonic() - child.began
    )


class _Output:
    """What a child wrote so far."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.stdout = bytearray()
        self.stderr = bytearray()

    def take(self, from_stdout: bool, data: bytes) -> bool:
        """Keep `data`; return False when that is more than the limit of standard output."""
        if not from_stdout:
            self.stderr += data[: _STDERR_LIMIT_BYTES - len(self.stderr)]
            return True
        room = self.limit_bytes - len(self.stdout)
        self.stdout += data[:room]
        return len(data) <= room

    def text(self) -> str:
        return self.stderr.decode("utf-8", "replace")


class _Reaper:
    """Waits for one child; `status` is its exit status, minus the signal's number, or None while it lives."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.status: Union[int, None] = None

    def wait(self, deadline: float) -> bool:
        """Return whether the child ended before the deadline; it is looked for at least once."""
        pause_s = _FIRST_LOOK_S
        while self.status is None:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:  # reaped by someone else: how it ended is not known
                self.status = 0
                break
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= deadline:
                return False
            else:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_LOOK_S)
        return True

    def kill_group(self) -> None:
        """Kill what is left of the child's process group and reap the child."""
        try:
            os.killpg(self._pid, _SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.wait(time.monotonic() + _TAIL_S)


def _communicate(
    child: spawn.Child, stdin: bytes, output: _Output, deadline: float, reaper: _Reaper
) -> Union[Outcome, None]:
    """Feed and read the child until it closed its ends and ended; return the limit it hit, None for none."""
    pending = memoryview(stdin)
    poller, opened = select.poll(), {child.stdout, child.stderr}
    for descriptor in opened:
        poller.register(descriptor, select.POLLIN)
    if child.stdin >= 0:
        os.set_blocking(child.stdin, False)
        opened.add(child.stdin)
        poller.register(child.stdin, select.POLLOUT)
    while opened:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            return Outcome.TIMED_OUT
        for descriptor, _ in poller.poll(remaining_s * 1000 + 1):
            if descriptor == child.stdin:
                pending = _feed(descriptor, pending)
                ended = not pending
            else:
                data = os.read(descriptor, _CHUNK_BYTES)
                if not output.take(descriptor == child.stdout, data):
                    return Outcome.FLOODED
                ended = not data
            if ended:
                poller.unregister(descriptor)
                opened.discard(descriptor)
        if child.stdin >= 0 and child.stdin not in opened:
            os.close(child.stdin)  # the end of its input
            child.stdin = -1
    return None if reaper.wait(deadline) else Outcome.TIMED_OUT


def _feed(descriptor: int, pending: memoryview) -> memoryview:
    try:
        return pending[os.write(descriptor, pending[:_CHUNK_BYTES]) :]
    except BlockingIOError:
        return pending
    except BrokenPipeError:  # a program need not read what it is given
        return pending[:0]


def _judge(stopped: Union[Outcome, None], status: Union[int, None]) -> tuple[Outcome, int]:
    if stopped is not None or status is None:
        return stopped or Outcome.TIMED_OUT, -1
    if status < 0:
        return Outcome.SIGNALLED, -status
    return (Outcome.OK if status == 0 else Outcome.FAILED), status

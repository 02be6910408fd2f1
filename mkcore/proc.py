"""The one door to starting programs.

A program runs with the C locale, no standard input beyond what is given, its own process group, a time limit and an
output limit; at either limit the whole group is killed, so that no grandchild is left behind. What happened is a
value, not an exception: a missing or hanging tool is an ordinary outcome for whoever collects facts.
"""

from __future__ import annotations

import contextlib
import enum
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Union

from mkcore.errors import ToolFailed

_STDERR_LIMIT_BYTES = 64 << 10
_TAIL_S = 1.0  # how long to wait for a killed group to be reaped


class Outcome(enum.Enum):
    """How a run ended."""

    OK = "ok"
    FAILED = "failed"
    SIGNALLED = "signalled"
    TIMED_OUT = "timed_out"
    FLOODED = "flooded"
    MISSING = "missing"


@dataclass(frozen=True)
class Finished:
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
    began = time.monotonic()
    command = tuple(argv)
    environment = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    environment.update(LC_ALL="C", LANGUAGE="")
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        return Finished(command, Outcome.MISSING, -1, b"", text, time.monotonic() - began)
    output = _Output(limit_bytes)
    try:
        stopped = _communicate(child, stdin, output, began + timeout_s)
    finally:
        _kill_group(child)
    outcome, status = _judge(stopped, child.returncode)
    return Finished(command, outcome, status, bytes(output.stdout), output.text(), time.monotonic() - began)


_DROPPED = frozenset({"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID"})


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


def _communicate(
    child: subprocess.Popen[bytes], stdin: bytes, output: _Output, deadline: float
) -> Union[Outcome, None]:
    """Feed and read the child until it closed its ends and ended; return the limit it hit, None for none."""
    pending = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for stream, events in ((child.stdout, 1), (child.stderr, 1), (child.stdin, 2)):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, events)
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return Outcome.TIMED_OUT
            for key, _ in selector.select(remaining):
                stream = _stream(key.fileobj)
                if stream is child.stdin:
                    pending = _feed(selector, stream, pending)
                elif not _drain(selector, stream, stream is child.stdout, output):
                    return Outcome.FLOODED
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return Outcome.TIMED_OUT
    return None


def _stream(fileobj: object) -> IO[bytes]:
    assert hasattr(fileobj, "fileno")
    return fileobj  # type: ignore[return-value]


def _feed(selector: selectors.BaseSelector, stream: IO[bytes], pending: memoryview) -> memoryview:
    try:
        pending = pending[os.write(stream.fileno(), pending[:65536]) :]
    except BrokenPipeError:  # a program need not read what it is given
        pending = pending[:0]
    if not pending:
        selector.unregister(stream)
        stream.close()
    return pending


def _drain(selector: selectors.BaseSelector, stream: IO[bytes], is_stdout: bool, output: _Output) -> bool:
    data = os.read(stream.fileno(), 65536)
    if not data:
        selector.unregister(stream)
        return True
    return output.take(is_stdout, data)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the child's process group, reap the child, close the pipes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_TAIL_S)
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _judge(stopped: Union[Outcome, None], returncode: Union[int, None]) -> tuple[Outcome, int]:
    if stopped is not None or returncode is None:
        return stopped or Outcome.TIMED_OUT, -1
    if returncode < 0:
        return Outcome.SIGNALLED, -returncode
    return (Outcome.OK if returncode == 0 else Outcome.FAILED), returncode

"""The start of a program: the lower half of the one door, for whoever cannot wait for the import of the upper half.

`mkcore.proc` bounds and judges a run; this module only starts one, and imports nothing that a fresh interpreter does
not have. mk-facts starts its slowest tool with it before anything else, so that the tool runs while the interpreter
loads the rest: that is a quarter of the whole run. Source: posix_spawn(3).
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_OWN = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID")
_SIGPIPE, _SIGXFSZ = 13, 25  # Python ignores them, programs expect the default; numbers, as `signal` is slow to import


class Child:
    """A started program: its process id (which is its group's too) and our ends of its pipes, -1 for none.

    began: monotonic seconds just before the start.
    """

    __slots__ = ("argv", "began", "pid", "stderr", "stdin", "stdout")

    def __init__(self, argv: tuple[str, ...], began: float, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.argv = argv
        self.began = began
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr


def start(argv: Sequence[str], *, feed: bool = False) -> Child:
    """Start a program in a session of its own, in the C locale, without the service manager's variables.

    argv[0] is looked up on PATH when it has no slash. feed: standard input is a pipe, else empty. Raises OSError when
    it cannot be started, ValueError for a zero byte in an argument. The caller reads, waits and closes.
    """
    command = tuple(argv)
    environment = {name: value for name, value in os.environ.items() if name not in _OWN}
    environment.update(LC_ALL="C", LANGUAGE="")
    began = time.monotonic()
    ours: list[int] = []
    theirs: list[int] = []
    pid = 0
    try:
        for writes in (False, True, True):
            if writes or feed:
                reading, writing = os.pipe()
                ours.append(reading if writes else writing)
                theirs.append(writing if writes else reading)
            else:
                ours.append(-1)
                theirs.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(theirs)]
        pid = os.posix_spawnp(
            command[0], command, environment, file_actions=actions, setsid=True, setsigdef=(_SIGPIPE, _SIGXFSZ)
        )
    finally:
        close(theirs)
        if not pid:
            close(ours)
    return Child(command, began, pid, *ours)


def close(descriptors: Sequence[int]) -> None:
    """Close those that are descriptors; -1 is none."""
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)

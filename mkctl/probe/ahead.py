"""Tools that run before anybody asked for them.

One run of mk-facts would take as long as lshw and then as long as the import of the rest of the program, unless the two
went side by side: so the slow tools start first, before this program's own imports, and whoever runs one of them later
takes over the one that is under way. Each serves once; a second collection runs its tools anew, as hardware may have
changed. Nothing starts ahead while hardware comes and goes: then the run waits before it collects (`rounds`).

Imports nothing that costs time.
"""

from __future__ import annotations

import os
import time

from mkcore import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Optional

    from mkcore.proc import Finished

LSHW = ("lshw", "-json")
LSCPU = ("lscpu", "-J")
_FACTS, _SEQNUM, _UDEV_QUEUE = "/run/mk-facts/facts.json", "/sys/kernel/uevent_seqnum", "/run/udev/queue"
_TAIL_BYTES = 80
_BOOTED_S = 120.0  # so long after its start a machine has found its devices


class Ahead:
    """Programs under way, by their command. seqnum: the kernel's uevent number before the first start, else None."""

    def __init__(self, commands: Iterable[tuple[str, ...]] = (), seqnum: Optional[int] = None) -> None:
        """Start the commands; one that cannot be started is left to `run`, which says so."""
        self.seqnum = seqnum
        self._children: dict[tuple[str, ...], spawn.Child] = {}
        for command in commands:
            self._start(command)

    def _start(self, command: tuple[str, ...]) -> None:
        try:
            self._children[command] = spawn.start(command)
        except OSError:
            return

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Finished:
        """Run a program as `mkcore.proc.run` does, or take over the one of this command that is under way."""
        from mkcore import proc  # by now a start was made

        child = self._children.pop(tuple(argv), None)
        return proc.run(argv, timeout_s=timeout_s) if child is None else proc.finish(child, timeout_s=timeout_s)

    def drop(self) -> None:
        """End what nobody took over."""
        while self._children:
            from mkcore import proc

            proc.finish(self._children.popitem()[1], timeout_s=0.0)


def start_ahead(top: str = "") -> Ahead:
    """Start the slow tools, if hardware stands still: no event since the last collection, or long after the boot.

    top: what comes before the paths that are looked at, "" for the machine's own.
    """
    known, now = known_seqnum(top + _FACTS), _number(_read(top + _SEQNUM, 0))
    booted = known is None and time.clock_gettime(time.CLOCK_BOOTTIME) > _BOOTED_S
    if now is None or not (booted or known == now) or os.path.exists(top + _UDEV_QUEUE):
        return Ahead()
    return Ahead((LSHW, LSCPU), now)


def known_seqnum(path: str) -> Optional[int]:
    """Return the uevent number of the last collection that facts.json tells of; None where there is none.

    Read from the end of the file, where its keys' order puts it: reading the whole would need the JSON parser.
    """
    tail = _read(path, _TAIL_BYTES)
    return _number(tail.rpartition(b'"uevent_seqnum":')[2].partition(b",")[0])


def _read(path: str, tail_bytes: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            if tail_bytes:
                file.seek(-tail_bytes, os.SEEK_END)
            return file.read(4096)
    except OSError:
        return b""


def _number(text: bytes) -> Optional[int]:
    text = text.strip()
    return int(text) if text.isdigit() and len(text) < 20 else None

"""Waiting for the first moment at which a checkin makes sense: a route to the server, and the end of the start skew.

Both waits run beside each other. A route is looked for when networkd says that something changed and on a schedule of
its own (protocol 1.7), so that neither a missing bus nor another network manager keeps the node silent. After a
signal the next looks follow quickly, because networkd tells of an address a moment before its routes are in place.
The skew counts from the start of the process: on a slow machine the interpreter and its modules take seconds, which
spread nodes as well as a wait does.
"""

from __future__ import annotations

import asyncio
import os
from typing import Callable

from mkcore.files import read_line
from mkctl.network import delay_s

QUICK_S = 0.1
"""First look after a signal; the following ones double their distance until they join the schedule."""


class Wakeup:
    """Something happened: whoever waits looks again. Set from signals and calls, cleared by the one who waits."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: set[asyncio.Event] = set()

    def set(self) -> None:
        """Wake who waits now, or the next one who does."""
        self._is_set = True
        for each in self._waiting:
            each.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until set or for `timeout_s`; True when it was set. It is clear afterwards."""
        event = asyncio.Event()  # made here, as before Python 3.10 it belongs to the loop that it is made in
        self._waiting.add(event)
        try:
            if not self._is_set:
                await asyncio.wait_for(event.wait(), max(0.0, timeout_s))
        except asyncio.TimeoutError:
            pass
        finally:
            self._waiting.discard(event)
        was_set, self._is_set = self._is_set or event.is_set(), False
        return was_set


class Schedule:
    """When to look for a route again: 1, 2, 4 ... 64 s; after a signal from 0.1 s on, doubling."""

    def __init__(self) -> None:
        self._attempt = 0
        self._quick_s = 0.0

    def next_s(self) -> float:
        """The delay before the next look."""
        if 0 < self._quick_s < 1.0:
            self._quick_s *= 2
            return self._quick_s / 2
        self._quick_s = 0.0
        self._attempt += 1
        return delay_s(self._attempt - 1)

    def signalled(self) -> None:
        """The network changed: begin with quick looks again."""
        self._attempt, self._quick_s = 0, QUICK_S


def parse_started_s(stat: str, ticks_per_s: int) -> float:
    """Parse /proc/PID/stat: when the process was started, in seconds of CLOCK_BOOTTIME; 0.0 where it does not say.

    Source: proc_pid_stat(5), field 22; the name in field 2 may hold blanks and brackets.
    """
    fields = stat.rpartition(")")[2].split()
    return int(fields[19]) / ticks_per_s if len(fields) > 19 and fields[19].isascii() and fields[19].isdigit() else 0.0


def read_started_s() -> float:
    """Return when this process was started, in seconds of CLOCK_BOOTTIME."""
    return parse_started_s(read_line("/proc/self/stat"), os.sysconf("SC_CLK_TCK"))


async def wait_for_route(
    has_route: Callable[[], bool], changed: Wakeup, waiting: Callable[[float], None], given_up: Callable[[], bool]
) -> bool:
    """Wait until `has_route()`; True then. False as soon as `given_up()`, which is asked after each wait.

    `changed` is set by networkd's signals. `waiting(delay_s)` is told before each wait, for the status.
    """
    schedule = Schedule()
    while not has_route():
        delay = schedule.next_s()
        waiting(delay)
        if await changed.wait(delay):
            schedule.signalled()
        if given_up():
            return has_route()
    return True

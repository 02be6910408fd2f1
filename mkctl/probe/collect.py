"""Running collectors side by side, so that none can lose another.

The historic agents collected group after group inside one exception handler: the first odd line of one tool dropped
all later groups (defect B34). Here each collector runs in a thread of its own, with its own time limit; what it raises
or how long it hangs ends up in its own status. Threads suffice: collectors wait for tools and for the kernel. One that
hangs inside the kernel (a dead disk below sysfs) cannot be stopped at all; it is left behind and its late result
ignored.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Callable, NamedTuple

from mkcore.errors import MkError
from mkcore.jsonfields import Json
from mkctl.probe.model import Status

log = logging.getLogger(__name__)


class Collected(NamedTuple):
    """What a collector brings back: facts, how it went, and one line on what is wrong ("" for nothing).

    facts: flat facts under the names that servers know. structured: Facter 4's structured facts by their top-level
    name. inventory: parts of the inventory document; the parts of all collectors are joined, objects key by key.
    tool_s: how long its tool ran, which may have been started before the collector was.
    """

    facts: Mapping[str, Json] = {}
    status: Status = Status.OK
    error: str = ""
    structured: Mapping[str, Json] = {}
    inventory: Mapping[str, Json] = {}
    tool_s: float = 0.0


class Collector(NamedTuple):
    """A source of facts. `collect` takes no arguments, may raise any error, and is given up after `timeout_s`.

    awaited: when this is False (the LLDP listener, which takes half a minute) the facts are complete without it, and it
    takes part in the timer's runs alone.
    """

    name: str
    timeout_s: float
    collect: Callable[[], Collected]
    awaited: bool = True


class Ended(NamedTuple):
    """The end of one collector's run."""

    name: str
    duration_ms: int
    result: Collected


class Running:
    """Collectors that run side by side; what ended is taken in batches, as it is written to the file."""

    def __init__(self) -> None:
        self._ended: queue.SimpleQueue[tuple[int, Ended]] = queue.SimpleQueue()
        self._waiting: dict[int, tuple[Collector, float]] = {}
        self._started = 0

    def start(self, collectors: Iterable[Collector]) -> None:
        """Start each in a thread of its own."""
        for collector in collectors:
            self._started += 1
            self._waiting[self._started] = (collector, time.monotonic())
            arguments = (collector, self._started, self._ended)
            threading.Thread(target=_run, args=arguments, name=f"mk-{collector.name}", daemon=True).start()

    @property
    def waiting(self) -> list[Collector]:
        """Those that have neither ended nor reached their limit, in the order of their start."""
        return [collector for collector, _ in self._waiting.values()]

    def take(self, wait_s: float, gather_s: float = 0.0) -> list[Ended]:
        """Return what ended, waiting for at most wait_s until something does, and gather_s longer for its like.

        Every start is returned exactly once: when it ends or when its limit passes, whichever is first.
        """
        until, found = time.monotonic() + wait_s, list[Ended]()
        while self._waiting:
            limit = min(began + each.timeout_s for each, began in self._waiting.values())
            try:
                number, one = self._ended.get(timeout=max(0.0, min(until, limit) - time.monotonic()))
            except queue.Empty:
                fresh = self._give_up_late()
            else:
                fresh = [one] if self._waiting.pop(number, None) else []  # no longer waited for: it came too late
            if fresh and not found:
                until = min(until, time.monotonic() + gather_s)
            found += fresh
            if until <= time.monotonic() and self._ended.empty():
                break
        return found

    def _give_up_late(self) -> list[Ended]:
        found: list[Ended] = []
        for number, (collector, began) in list(self._waiting.items()):
            if began + collector.timeout_s <= time.monotonic():
                del self._waiting[number]
                error = f"did not end within {collector.timeout_s:g} s"
                found.append(Ended(collector.name, _since_ms(began), Collected({}, Status.TIMED_OUT, error)))
        return found


def run_collectors(collectors: Sequence[Collector]) -> list[Ended]:
    """Run all side by side until each has ended or reached its limit; every one exactly once, first ended first."""
    running, found = Running(), list[Ended]()
    running.start(collectors)
    while running.waiting:
        found += running.take(3600.0)
    return found


def _run(collector: Collector, number: int, ended: queue.SimpleQueue[tuple[int, Ended]]) -> None:
    began = time.monotonic()
    try:
        result = collector.collect()
    except (MkError, OSError) as error:
        result = Collected({}, Status.FAILED, " ".join(str(error).split()))
    except Exception as error:  # a defect in one collector must not cost the facts of the others
        log.exception("collector %s: unexpected error", collector.name)
        result = Collected({}, Status.FAILED, f"unexpected {type(error).__name__}: {error}")
    duration_ms = max(_since_ms(began), round(result.tool_s * 1000))
    ended.put((number, Ended(collector.name, duration_ms, result)))


def _since_ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)

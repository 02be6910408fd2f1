"""One run of the probe: collect until the hardware stood still meanwhile.

A start request that arrives while the unit is starting merges into that start and is gone, so that a disk which appears
during a collection would be noticed only by the next timer. Therefore a run compares the kernel's uevent number before
and after a collection and collects again until it is the same, within bounds: rounds are counted and the total time
leaves room below the unit's TimeoutStartSec=. Before a round it waits, for some seconds at most, until udev has nothing
to do and the number stood still for a moment: one device makes many events, and at boot, while drivers are loaded, a
collection would be half the machine, be registered, and slow the boot down. The number that stands in the file is the
one from before the collection: whoever compares it with the kernel's can err towards "old" only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from mkcore import events
from mkcore.files import read_line
from mkcore.journal import log_event
from mkctl.probe.collect import Collector, Ended, run_collectors
from mkctl.probe.model import Status
from mkctl.probe.store import FactsStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """Bounds of one run.

    total_s: no new round that might end later; below TimeoutStartSec=180 of the unit. first_quiet_s, quiet_s: how long
    no event may have come before the first and the next rounds; quiet_limit_s: what is waited for that at most.
    """

    rounds: int = 5
    total_s: float = 165.0
    first_quiet_s: float = 0.3
    quiet_s: float = 1.0
    quiet_limit_s: float = 8.0
    poll_s: float = 0.05


@dataclass(frozen=True)
class Kernel:
    """Where hardware changes show: the kernel's uevent number, and whether udev is still working on events."""

    seqnum: Callable[[], int]
    busy: Callable[[], bool] = lambda: False


def watch_kernel(top: Path, sys_root: Path) -> Kernel:
    """Return the view of the machine, or of a tree: /sys/kernel/uevent_seqnum, and udev's mark that its queue is not
    empty."""
    queue = top / "run/udev/queue"
    return Kernel(lambda: read_seqnum(sys_root), queue.exists)


def read_seqnum(sys_root: Path) -> int:
    """Return the kernel's uevent number; 0 where there is none."""
    text = read_line(sys_root / "kernel/uevent_seqnum")
    return int(text) if text.isascii() and text.isdigit() else 0


def collect_until_stable(
    collectors: Sequence[Collector],
    store: FactsStore,
    kernel: Kernel,
    status: Callable[[str], None],
    pace: Pace = Pace(),
) -> int:
    """Collect into the store; return the number of rounds. `status` takes a sentence on how it goes."""
    began = time.monotonic()
    longest_s = max((collector.timeout_s for collector in collectors), default=0.0)
    store.begin()
    if pace.first_quiet_s > 0 and (not store.content.complete or store.content.uevent_seqnum != kernel.seqnum()):
        _wait_quiet(kernel, pace.first_quiet_s, pace)
    number = 0
    while True:
        number += 1
        before = kernel.seqnum()
        _collect_once(collectors, store, before, status)
        if kernel.seqnum() == before:
            return number
        if number >= pace.rounds or time.monotonic() - began + pace.quiet_limit_s + longest_s > pace.total_s:
            log.info("hardware still comes and goes after %d collections; the next start looks again", number)
            return number
        _wait_quiet(kernel, pace.quiet_s, pace)


def _collect_once(
    collectors: Sequence[Collector], store: FactsStore, before: int, status: Callable[[str], None]
) -> None:
    began = time.monotonic()
    pending = [collector.name for collector in collectors]
    failed: list[str] = []
    for ended in run_collectors(collectors):
        pending.remove(ended.name)
        if pending:
            status(f"Collecting hardware facts, waiting for {', '.join(pending)}")
        store.accept(ended)
        if ended.result.status is not Status.OK:
            failed.append(ended.name)
            _report(ended, store)
        elif ended.result.error:
            log.warning("collector %s: %s", ended.name, ended.result.error)
    store.finish(before, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)
    duration_s = time.monotonic() - began
    count = len(store.content.facts)
    problem = f", without news from {', '.join(failed)}" if failed else ""
    status(f"{count} hardware facts collected in {duration_s:.1f} s{problem}")
    log_event(
        log,
        events.FACTS_COLLECTED,
        f"{count} facts collected in {duration_s:.1f} s{problem}",
        facts=count,
        generation=store.content.generation,
        duration_ms=round(duration_s * 1000),
        failed=" ".join(failed),
    )


def _report(ended: Ended, store: FactsStore) -> None:
    kept = len(store.content.collectors[ended.name].facts)
    consequence = f"keeping its {kept} facts from before" if kept else "its facts are missing"
    log_event(
        log,
        events.COLLECTOR_FAILED,
        f"collector {ended.name}: {ended.result.error}; {consequence}, the others are not affected",
        collector=ended.name,
        status=ended.result.status.value,
        error=ended.result.error,
        duration_ms=ended.duration_ms,
    )


def _wait_quiet(kernel: Kernel, quiet_s: float, pace: Pace) -> None:
    """Wait until no uevent came for quiet_s and udev is idle, at most for pace.quiet_limit_s."""
    began = since = time.monotonic()
    last = kernel.seqnum()
    while time.monotonic() - since < quiet_s and time.monotonic() - began < pace.quiet_limit_s:
        time.sleep(pace.poll_s)
        current = kernel.seqnum()
        if current != last or kernel.busy():
            last, since = current, time.monotonic()

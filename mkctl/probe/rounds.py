"""One run of the probe: collect until the hardware stood still meanwhile.

A start request that arrives while the unit is starting merges into that start and is gone, so that a disk which appears
during a collection would be noticed only by the next timer. Therefore a run compares the kernel's uevent number before
and after a collection and collects again until it is the same, within bounds: rounds are counted and the total time
leaves room below the unit's TimeoutStartSec=. What is not awaited, the LLDP listener, runs beside the rounds, and while
it alone is still running the number is watched, too; so is, when it has ended, whether udev has learnt more of the
devices meanwhile, which has no number. Before a round it waits, for some seconds at most, until udev has
nothing to do and the number stood still for a moment: one device makes many events, and at boot, while drivers are
loaded, a collection would be half the machine, be registered, and slow the boot down.

Facts that are complete change as a whole: what some collectors saw while others have yet to end, or what all saw while
hardware moved, is not written, as each change would be a registration of its own. The number that stands in the file is
the one from before the collection: whoever compares it with the kernel's can err towards "old" only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from mkcore import events
from mkcore.journal import log_event
from mkcore.uevents import is_newer, read_learnt, read_seqnum
from mkctl.probe.collect import Collector, Ended, Running
from mkctl.probe.model import Status
from mkctl.probe.store import FactsStore

log = logging.getLogger(__name__)


class Pace(NamedTuple):
    """Bounds of one run.

    total_s: no new round that might end later; below TimeoutStartSec=360 of the unit. first_quiet_s, quiet_s: how long
    no event may have come before the first and the next rounds; quiet_limit_s: what is waited for that at most.
    gather_s: collectors that end within so long of each other are written together.
    """

    rounds: int = 8
    total_s: float = 345.0
    first_quiet_s: float = 0.3
    quiet_s: float = 1.0
    quiet_limit_s: float = 8.0
    poll_s: float = 0.05
    gather_s: float = 0.03


PACE = Pace()


class Kernel(NamedTuple):
    """Where hardware changes show: the kernel's uevent number, whether udev is still working on events, and a number
    that changes whenever udev has stored what it learnt of a device."""

    seqnum: Callable[[], int]
    busy: Callable[[], bool] = lambda: False
    learnt: Callable[[], int] = lambda: 0


def watch_kernel(top: Path, sys_root: Path) -> Kernel:
    """Return the view of the machine, or of a tree: /sys/kernel/uevent_seqnum, udev's mark that its queue is not empty,
    and the time of the last change in the folder of its database."""
    udev = top / "run/udev"
    return Kernel(lambda: read_seqnum(sys_root), (udev / "queue").exists, lambda: read_learnt(udev))


def collect_until_stable(
    collectors: Sequence[Collector],
    store: FactsStore,
    kernel: Kernel,
    status: Callable[[str], None],
    pace: Pace = PACE,
    since: Optional[int] = None,
    overdue: Optional[Callable[[], bool]] = None,
) -> int:
    """Collect into the store; return the number of rounds. `status` takes a sentence on how it goes.

    Collectors that are not awaited start with the first round and run once, beside all rounds. With `overdue` they
    start after the last one, if it then says so and none of them has run in this boot. since: the uevent number when
    tools of the first round were started ahead, which is done only while hardware stands still.
    """
    run = _Run([each for each in collectors if each.awaited], store, kernel, status, pace)
    listeners = [each for each in collectors if not each.awaited]
    store.begin(each.name for each in collectors if each.awaited or overdue is None)
    moved = not store.content.complete or store.content.uevent_seqnum != kernel.seqnum()
    if since is None and moved and pace.first_quiet_s > 0:
        _wait_quiet(kernel, pace.first_quiet_s, pace)
    if overdue is None:
        run.start_listening(listeners)
    run.collect(since)
    run.go_on()
    if run.is_first and kernel.busy():  # with a device whose rules were read before the mark for udev was there
        _wait_quiet(kernel, pace.quiet_s, pace)
        run.go_on()
    if overdue and not store.content.listened and overdue() and run.has_time_for(listeners):
        run.start_listening(listeners)
        run.go_on()
    return run.rounds


class _Run:
    """One run: rounds of the awaited collectors, and the others beside them."""

    def __init__(
        self,
        awaited: Sequence[Collector],
        store: FactsStore,
        kernel: Kernel,
        status: Callable[[str], None],
        pace: Pace,
    ) -> None:
        self.running = Running()
        self.rounds = 0
        self._awaited = awaited
        self._store = store
        self._kernel = kernel
        self._status = status
        self._pace = pace
        self._began = time.monotonic()
        self._before = 0
        self._learnt = 0
        self.is_first = not store.content.complete
        self._listening = False
        self._failed: list[str] = []
        self._owed_s: Optional[float] = None

    def start_listening(self, listeners: Sequence[Collector]) -> None:
        """Start what is not awaited."""
        self.running.start(listeners)
        if listeners:
            self._listening = True
            self._store.note_listening()

    def has_time_for(self, listeners: Sequence[Collector]) -> bool:
        """All that is not awaited would end within the bounds of the run."""
        longest_s = max((collector.timeout_s for collector in listeners), default=0.0)
        return time.monotonic() - self._began + longest_s <= self._pace.total_s

    def go_on(self) -> None:
        """Collect again as long as hardware moves, and wait for what is still running."""
        while not self.is_done():
            if self.moved():
                _wait_quiet(self._kernel, self._pace.quiet_s, self._pace)
                self.collect()
            else:
                self.listen()
        if self._owed_s is not None:
            self._finish(self._owed_s)

    def moved(self) -> bool:
        """Hardware came or went since the last round, or became known, and there is time for another."""
        return self._is_old() and self._may_repeat()

    def _is_old(self) -> bool:
        """Whether the last round missed something. What udev learns makes it ask for a collection of its own, unless
        that merges into this one, as half a minute of listening is long enough for, or this is the first of the boot,
        until whose end it asks for none."""
        if self._kernel.seqnum() != self._before:
            busy = self._kernel.busy()  # before the time: what udev has dealt with by then shows there
            if busy or is_newer((self._before, self._learnt), (self._kernel.seqnum(), self._kernel.learnt())):
                return True
        late = self.is_first or self._listening
        return late and not self.running.waiting and self._kernel.learnt() != self._learnt

    def is_done(self) -> bool:
        """All have ended, and another round is not needed or not possible."""
        if self.running.waiting:
            return False
        if not self._is_old():
            return True
        if self._may_repeat():
            return False
        log.info("hardware still comes and goes after %d collections; the next start looks again", self.rounds)
        return True

    def _may_repeat(self) -> bool:
        longest_s = max((collector.timeout_s for collector in self._awaited), default=0.0)
        ends_s = time.monotonic() - self._began + self._pace.quiet_limit_s + longest_s
        return self.rounds < self._pace.rounds and ends_s <= self._pace.total_s

    def collect(self, since: Optional[int] = None) -> None:
        """One round of the awaited collectors, then the file is complete. since: as for collect_until_stable."""
        self.rounds += 1
        self._failed = []
        self._before, began = self._kernel.seqnum() if since is None else since, time.monotonic()
        ahead = since is not None and since != self._kernel.seqnum()  # udev may have learnt what the tools did not see
        self._learnt = 0 if ahead else self._kernel.learnt()
        self.running.start(self._awaited)
        while any(collector.awaited for collector in self.running.waiting):
            self._accept(self.running.take(self._pace.total_s, self._pace.gather_s))
            pending = [collector.name for collector in self.running.waiting if collector.awaited]
            if pending:
                self._status(f"Collecting hardware facts, waiting for {', '.join(pending)}")
                if not self._store.content.complete:
                    self._store.write()
        duration_s = time.monotonic() - began
        if self._store.content.complete and self.moved():
            self._owed_s = duration_s  # the next round sees all of it
        else:
            self._finish(duration_s)

    def listen(self) -> None:
        """Wait a moment for those that are not awaited; what they brought is a generation of its own."""
        began = time.monotonic()
        batch = self.running.take(self._pace.quiet_s, self._pace.gather_s)
        self._accept(batch)
        if self._store.changed:
            duration_s = max(time.monotonic() - began, max((ended.duration_ms / 1000 for ended in batch), default=0.0))
            self._finish(duration_s)

    def _accept(self, batch: Sequence[Ended]) -> None:
        self._store.accept(batch)
        for ended in batch:
            if ended.result.status is not Status.OK:
                self._failed.append(ended.name)
                _report(ended, self._store)
            elif ended.result.error:
                log.warning("collector %s: %s", ended.name, ended.result.error)

    def _finish(self, duration_s: float) -> None:
        self._owed_s = None
        self._store.finish(self._before, self._learnt, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)
        count = len(self._store.content.facts)
        problem = f"; failed: {', '.join(self._failed)}" if self._failed else ""
        listening = [collector.name for collector in self.running.waiting]
        rest = f"; still waiting for {', '.join(listening)}" if listening else ""
        self._status(f"{count} hardware facts collected in {duration_s:.1f} s{problem}{rest}")
        log_event(
            log,
            events.FACTS_COLLECTED,
            f"{count} facts collected in {duration_s:.1f} s{problem}",
            facts=count,
            generation=self._store.content.generation,
            duration_ms=round(duration_s * 1000),
            failed=" ".join(self._failed),
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

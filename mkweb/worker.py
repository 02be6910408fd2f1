"""The one thread that carries applies and ordered restarts through; requests only leave it work and read what stands.

Why a thread: the answer to a push goes out first, then the restart, which takes as long as mkctl needs to stop and
start. Each turn of the thread looks at the state, asks mkweb.apply for the next step, writes apply.json and only then
does the step.

Source: design 8 (Apply).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Optional

from mkcore import retry
from mkcore.errors import BusFailed, NotAuthorized
from mkcore.jsonfields import Json, digest
from mkweb import announce
from mkweb.apply import Apply, Do, Phase, Report, Seen, Step, begin_apply, enter, next_step, spacing_left_s
from mkweb.controller import UNIT, Controller
from mkweb.store import Order, Store

RESTART_SPACING_S = 60.0
GIVE_UP_S = 60.0
"""How long an ordered restart that is not allowed is tried."""
ANSWER_LIMIT_S = 5.0
"""How long the restart waits for the answer to the push to be on its way."""
DISK_RETRY_S = 5.0
LONGEST_WAIT_S = 30.0
BACKOFF_BASE_S = 2.0
BACKOFF_CEILING_S = 60.0

log = logging.getLogger(__name__)


def boottime_usec() -> int:
    """Return CLOCK_BOOTTIME in microseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class Refused(Exception):
    """A request that cannot be met now: the HTTP status, one line, and after how many seconds to ask again (0: no
    use).
    """

    def __init__(self, status: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class Worker:
    """Holds the state of mkweb and does what it owes. Public methods may be called from any thread."""

    def __init__(
        self,
        store: Store,
        controller: Controller,
        *,
        min_spacing_s: Callable[[], int],
        rand: Callable[[], float],
        now_usec: Callable[[], int] = boottime_usec,
    ) -> None:
        self._store = store
        self._controller = controller
        self._min_spacing_s = min_spacing_s
        self._rand = rand
        self._now_usec = now_usec
        self._lock = threading.Condition()
        self._woken = False
        self._seen = Seen()
        self._attempts = 0
        self._told_of_right = False
        self._answer_by_usec = 0
        self._doing = ""
        self._apply = store.read_apply(now_usec())
        self._order = store.read_order(now_usec())
        self._config = store.read_config() if self._apply is None else self._restore(self._apply)
        if self._apply is not None and self._apply.open:
            log.info("finishing the apply of %s, found in phase %s", self._apply.digest[:12], self._apply.phase.value)

    def _restore(self, apply: Apply) -> dict[str, Json]:
        try:
            return self._store.put_files(apply)
        except OSError as error:
            log.error(
                "cannot write the configuration files (%s); the apply's own copy counts and they are tried again",
                error,
            )
            return apply.previous_config if apply.phase is Phase.REFUSED else apply.config

    # what requests see and leave

    def state(self) -> tuple[dict[str, Json], dict[str, Json], Optional[Apply]]:
        """Return the stored configuration, the one before it and the last apply (None when there was none)."""
        with self._lock:
            previous = self._store.read_previous() if self._apply is None else self._apply.previous_config
            return self._config, previous, self._apply

    def busy(self) -> bool:
        """Return whether an apply is open or a restart owed, so that the process must stay."""
        with self._lock:
            return self._order.owed or self.applying()

    def applying(self) -> bool:
        """Return whether an apply is open."""
        with self._lock:
            return self._apply is not None and self._apply.open

    def status(self) -> str:
        """Return one sentence for STATUS=."""
        with self._lock:
            if self._order.owed:
                return "Restarting mkctl as ordered."
            if self._apply is None:
                return "No configuration was pushed."
            name = self._apply.digest[:12]
            if self._apply.open:
                doing = self._doing or self._apply.verdict or "just accepted"
                return f"Configuration {name} is {self._apply.phase.value}: {doing}."
            return f"Configuration {name} was {self._apply.phase.value}: {self._apply.verdict}."

    def check(self, wanted: str) -> None:
        """Raise Refused when a configuration of digest `wanted` cannot be taken now: one is open, it was rolled
        back before, too soon.
        """
        with self._lock:
            last = self._apply
            if last is not None and last.open:
                raise Refused(409, f"an apply is open ({last.phase.value}): {self._doing or last.verdict}")
            if last is not None and wanted in last.refused_digests:
                raise Refused(422, f"rolled back before; last verdict: {last.verdict}")
            left_s = spacing_left_s(last, self._now_usec())
            if left_s > 0:
                raise Refused(429, f"the next configuration is taken in {left_s:.0f} s", left_s)

    def push(self, config: dict[str, Json]) -> Apply:
        """Store `config` as a new apply, to begin once `answered` is called; raise Refused as `check` does,
        OSError when it cannot be stored.
        """
        wanted = digest(config)
        with self._lock:
            self.check(wanted)
            now = self._now_usec()
            apply = begin_apply(
                config,
                wanted,
                self._config,
                digest(self._config),
                self._apply,
                now,
                self._store.boot_id,
                self._min_spacing_s(),
            )
            self._store.write_apply(apply)  # from here on it will be finished, whatever happens
            self._enter(apply)
            self._config = self._restore(apply)
            self._told_of_right = False
            self._order = replace(self._order, owed=False)  # the apply restarts mkctl anyway
            self._await_answer()
        announce.tell_stored(apply)
        return apply

    def answered(self) -> None:
        """The answer to the push or order has been handed to the kernel: go on."""
        with self._lock:
            self._answer_by_usec = 0
            self._wake()

    def report(self, about: str, report: Report, reason: str = "") -> str:
        """Take mkctl's verdict about digest `about` and return the phase; raise Refused (409) when no apply waits
        for it, OSError.
        """
        with self._lock:
            apply = self._apply
            if apply is not None and apply.open and apply.phase is not Phase.REFUSED and apply.digest == about:
                if apply.report is Report.NONE:
                    apply = replace(apply, report=report, reason=reason)
                    self._store.write_apply(apply)
                    self._apply = apply
                    self._wake()
                return str(apply.phase.value)
            if (
                apply is not None
                and apply.digest == about
                and apply.phase is Phase.REFUSED
                and report is Report.REFUSED
            ):
                return str(apply.phase.value)
            if report is Report.CONFIRMED and about == digest(self._config) and not (apply is not None and apply.open):
                return Phase.CONFIRMED.value
            raise Refused(409, f"no apply of {about[:12] or 'an empty digest'} waits for a verdict")

    def order_restart(self) -> None:
        """Order one restart of mkctl, to begin once `answered` is called; raise Refused: an apply is open (409),
        too soon (429); OSError.
        """
        with self._lock:
            if self._apply is not None and self._apply.open:
                raise Refused(409, f"an apply is open ({self._apply.phase.value}), which restarts mkctl anyway")
            now = self._now_usec()
            left_s = RESTART_SPACING_S - (now - self._order.boottime_usec) / 1e6
            if left_s > 0:
                raise Refused(429, f"mkctl was restarted by order less than {RESTART_SPACING_S:.0f} s ago", left_s)
            order = Order(now, True)
            self._store.write_order(order)
            self._order = order
            self._seen, self._attempts, self._told_of_right = Seen(), 0, False
            self._await_answer()
        announce.tell_ordered()

    # the thread

    def run(self) -> None:
        """Do what is owed, for ever; meant for a daemon thread."""
        while True:
            wait_s = self.turn()
            with self._lock:
                if not self._woken and wait_s > 0:
                    self._lock.wait(min(wait_s, LONGEST_WAIT_S))
                self._woken = False

    def turn(self) -> float:
        """Do the next step and return in how many seconds the one after it is due, if nothing happens before."""
        with self._lock:
            apply, order = self._apply, self._order
            waiting_s = (self._answer_by_usec - self._now_usec()) / 1e6
        try:
            if waiting_s > 0 and self.busy():
                return waiting_s
            if apply is not None and apply.open:
                return self._turn_apply(apply)
            return self._turn_order(order) if order.owed else LONGEST_WAIT_S
        except OSError as error:
            log.error("cannot write the state of the apply (%s); tried again in %.0f s", error, DISK_RETRY_S)
            return DISK_RETRY_S

    def _turn_apply(self, apply: Apply) -> float:
        if apply.phase in (Phase.RESTARTING, Phase.REFUSED):
            look = self._controller.look()
            self._seen = replace(self._seen, active=look.active, in_use=look.in_use, config_error=look.config_error)
            if self._seen.job == "done" and look.active != "active" and not self._seen.details:
                self._seen = replace(self._seen, details=self._controller.last_words(look))
        step = next_step(apply, self._seen, self._now_usec())
        if step.do is Do.LOOK:
            self._doing = step.why
            return step.wait_s
        if step.do is Do.RESTART:
            self._store.put_files(apply)  # a full disk may have kept the last step from it
            self._restart()
        else:
            self._decide(step)
        return 0.0

    def _decide(self, step: Step) -> None:
        """Write the new phase, then make the files say what it says; the report that a request left meanwhile is
        kept.
        """
        with self._lock:
            assert self._apply is not None
            if step.do is Do.BEGIN:
                self._store.put_files(self._apply)
            apply = enter(self._apply, step, self._now_usec(), self._min_spacing_s())
            self._store.write_apply(apply)
            self._enter(apply)
            self._config = self._store.put_files(apply)
        announce.tell_step(step, apply)

    def _enter(self, apply: Apply) -> None:
        if self._apply is None or self._apply.phase is not apply.phase:
            self._seen, self._attempts = Seen(), 0
        self._apply, self._doing = apply, ""

    def _restart(self) -> None:
        """Restart mkctl and remember what came of it."""
        self._doing = "mkctl is being restarted"
        try:
            job = self._controller.restart()
        except BusFailed as error:
            self._blocked(error)
            return
        details = "" if job == "done" else self._controller.last_words(self._controller.look())
        self._seen = replace(self._seen, job=job, job_usec=self._now_usec(), details=details, blocked="", retry_usec=0)
        self._attempts = 0

    def _blocked(self, error: BusFailed) -> None:
        self._attempts += 1
        wait_s = max(
            1.0, retry.backoff_s(self._attempts, base_s=BACKOFF_BASE_S, ceiling_s=BACKOFF_CEILING_S, rand=self._rand)
        )
        self._seen = replace(self._seen, blocked=str(error), retry_usec=self._now_usec() + int(wait_s * 1e6))
        if not isinstance(error, NotAuthorized):
            log.warning("mkctl could not be restarted (%s); tried again in %.0f s", error, wait_s)
        elif not self._told_of_right:
            self._told_of_right = True
            announce.tell_right_missing(UNIT, error)

    def _turn_order(self, order: Order) -> float:
        now = self._now_usec()
        if self._seen.blocked and now < self._seen.retry_usec:
            return (self._seen.retry_usec - now) / 1e6
        self._restart()
        if self._seen.blocked and (self._now_usec() - order.boottime_usec) / 1e6 < GIVE_UP_S:
            return 0.0
        log.info("ordered restart of mkctl: %s", self._seen.job or f"given up, {self._seen.blocked}")
        with self._lock:
            self._seen, self._attempts = Seen(), 0
            self._order = replace(order, owed=False)
            self._store.write_order(self._order)
        return 0.0

    def _await_answer(self) -> None:
        """Hold the restart back until the answer has left, or until it is clear that nobody will say so."""
        self._answer_by_usec = self._now_usec() + int(ANSWER_LIMIT_S * 1e6)
        self._wake()

    def _wake(self) -> None:
        self._woken = True
        self._lock.notify_all()

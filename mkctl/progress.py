"""The watchdog, fed from the loop's own progress.

A thread or timer that beats whatever happens would keep a stuck service alive. Here each step of the agent declares
how long it may take at most; a timer of the same loop sends WATCHDOG=1 only while the current step is within its
limit. So both a blocked loop (the timer does not run) and a step that never ends (the timer runs and is silent) get
the service restarted.

Source: sd_notify(3), WatchdogSec= in systemd.service(5).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Callable, Optional

log = logging.getLogger(__name__)


class Progress:
    """Beats `interval_s` apart while the declared step is not overdue; without an interval (no watchdog) it only
    declares."""

    def __init__(self, beat: Callable[[], None], interval_s: Optional[float], clock: Callable[[], float]) -> None:
        self._beat = beat
        self._interval_s = interval_s
        self._clock = clock
        self._step = "starting"
        self._until_s = clock() + 60.0

    def step(self, name: str, limit_s: float) -> None:
        """Declare that the agent now does `name`, which ends within `limit_s` seconds or hangs."""
        self._step, self._until_s = name, self._clock() + limit_s

    def is_overdue(self) -> bool:
        """Tell whether the current step has taken longer than it declared."""
        return self._clock() > self._until_s

    async def run(self) -> None:
        """Beat until cancelled; without a watchdog only wait for that."""
        if self._interval_s is None:
            await asyncio.Event().wait()
            return
        said = ""
        while True:
            if not self.is_overdue():
                self._beat()
            elif said != self._step:
                said = self._step
                log.error("%s has not ended in time; systemd's watchdog will restart this service", said)
            await asyncio.sleep(self._interval_s)

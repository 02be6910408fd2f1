"""Holding a registration back while the extensions of the image are being merged.

What they install may add facts, and a registration a few seconds early would only be followed by a second one; so the
collection that follows an installation is waited for, too. The wait has an end, `extensions.builtin_wait_s`: a slow
mirror delays no node. Checkins go on meanwhile.

A unit is under way while systemd has a job for it: so one that is queued behind the other counts, and one that is not
installed does not. Source: ListJobs() in org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Set
from typing import Callable, Optional

from mkcore.errors import BusFailed

FETCHING = "mk-fetch.service"
INSTALLING = "mk-extensions.service"
COLLECTING = "mk-facts.service"

log = logging.getLogger(__name__)


class Hold:
    """Asks systemd until nothing is under way or the time is up; from then on never again in this process.

    jobs: the units that systemd has jobs for.
    """

    def __init__(self, jobs: Callable[[], Awaitable[Set[str]]], wait_s: float, now_s: Callable[[], float]) -> None:
        self.active = False
        self._jobs = jobs
        self._wait_s = wait_s
        self._now_s = now_s
        self._began_s: Optional[float] = None
        self._over = wait_s <= 0
        self._units = {FETCHING, INSTALLING}

    async def look(self) -> bool:
        """Ask again; True while a registration has to wait. A bus that does not answer holds nothing back."""
        if self._over:
            return False
        now_s = self._now_s()
        if self._began_s is None:
            self._began_s = now_s
        self._over = now_s - self._began_s >= self._wait_s or not await self._any_busy()
        self.active = not self._over
        return self.active

    async def _any_busy(self) -> bool:
        try:
            jobs = await self._jobs()
        except BusFailed as error:
            log.info("cannot ask for the extensions' units (%s); not waiting for them", error)
            return False
        if INSTALLING in jobs:
            self._units.add(COLLECTING)
        return not self._units.isdisjoint(jobs)

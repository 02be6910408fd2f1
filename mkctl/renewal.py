"""When leases are renewed because no server answers.

What DHCP says may be news since the lease was given: the option that somebody has just added, the address of a server
that has moved. By itself a client hears of it after half of the lease's time, which can be hours.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Optional

RENEW_S = 300.0


class Renewal:
    """Due each RENEW_S, for as long as no server is known or answers. now_s: a clock that never goes back.

    rand: a number from 0 to 1 by which the first time is spread, as a hall is switched on at once.
    """

    def __init__(self, now_s: Callable[[], float], rand: Callable[[], float] = random.random) -> None:
        self._now_s = now_s
        self._rand = rand
        self._next_s: Optional[float] = None

    def is_due(self, lacking: bool) -> bool:
        """Tell whether leases are to be renewed now; lacking: whether a server is, so that it would help."""
        if not lacking:
            self._next_s = None
            return False
        if self._next_s is None:
            self._next_s = self._now_s() + RENEW_S * self._rand()
        if self._now_s() < self._next_s:
            return False
        self._next_s = self._now_s() + RENEW_S
        return True

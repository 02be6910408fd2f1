"""How often something may happen: a token bucket for each address that asks, and a bound on how many are remembered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Callable


class RateLimit:
    """`rate_per_s` calls a second on average, `burst` at once. `clock` is monotonic, in seconds."""

    _ADDRESSES = 4096

    def __init__(self, rate_per_s: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Count one call: 0.0 when it may go on, else the seconds until the next one may."""
        with self._lock:
            now_s = self._clock()
            tokens, at_s = self._buckets.pop(address, (float(self._burst), now_s))
            tokens = min(float(self._burst), tokens + (now_s - at_s) * self._rate_per_s)
            allowed = tokens >= 1
            self._buckets[address] = (tokens - 1 if allowed else tokens, now_s)
            if len(self._buckets) > self._ADDRESSES:
                self._buckets.popitem(last=False)
            return 0.0 if allowed else (1 - tokens) / self._rate_per_s

    def remembered(self) -> int:
        """How many addresses are remembered; never more than a few thousand."""
        with self._lock:
            return len(self._buckets)

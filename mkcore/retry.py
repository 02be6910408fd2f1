"""The one policy of when to try again, as pure functions.

Failures back off with full jitter below a ceiling; good contacts repeat at a fixed rate in a slot that depends on the
node's identity alone. So a hall that was powered on together, or that lost its server together, spreads over the
interval by itself. Times are seconds of one monotonic clock (CLOCK_BOOTTIME in mkctl).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Optional


def backoff_s(
    attempt: int,
    *,
    base_s: float,
    ceiling_s: float,
    rand: Callable[[], float],
    retry_after_s: Optional[float] = None,
) -> float:
    """Return how long to wait after failure number `attempt` (1 is the first).

    Full jitter: uniform in 0..min(ceiling_s, base_s * 2^(attempt-1)); `rand` returns a number in 0..1. A server's
    own wish `retry_after_s` is honoured up to the ceiling and then spread by at most base_s, so that nodes which got
    the same answer do not come back in the same second.
    """
    limit_s = min(ceiling_s, base_s * 2.0 ** min(max(attempt, 1) - 1, 62))
    if retry_after_s is None or retry_after_s <= 0:
        return rand() * limit_s
    spread_s = min(base_s, ceiling_s / 10)
    return min(retry_after_s, ceiling_s - spread_s) + rand() * spread_s


def phase_s(identity: str, interval_s: float) -> float:
    """Return the node's own place in the interval: the same for ever, uniform in 0..interval_s over identities."""
    number = int.from_bytes(hashlib.sha256(identity.encode("utf-8", "replace")).digest()[:8], "big")
    return number / 2**64 * interval_s


def first_slot_s(contact_s: float, identity: str, interval_s: float) -> float:
    """Return the first time after `contact_s` that is congruent to the node's phase; at most one interval later."""
    phase = phase_s(identity, interval_s)
    slot = contact_s - math.fmod(contact_s, interval_s) + phase
    return slot if slot > contact_s else slot + interval_s


def next_slot_s(previous_slot_s: float, interval_s: float, now_s: float) -> float:
    """Return the slot after `previous_slot_s` that lies in the future; missed slots are skipped, not made up."""
    missed = max(0, math.floor((now_s - previous_slot_s) / interval_s))
    slot = previous_slot_s + (missed + 1) * interval_s
    return slot if slot > now_s else slot + interval_s

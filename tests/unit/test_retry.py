"""mkcore.retry: pure arithmetic of when; properties rather than examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.retry import backoff_s, first_slot_s, next_slot_s, phase_s

times = st.floats(min_value=0, max_value=1e7, allow_nan=False)
intervals = st.floats(min_value=1, max_value=3600)


@given(st.integers(-5, 10_000), st.floats(0, 1))
def test_back_off_is_full_jitter_below_the_ceiling(attempt: int, chance: float) -> None:
    wait = backoff_s(attempt, base_s=2, ceiling_s=90, rand=lambda: chance)
    assert 0 <= wait <= 90
    assert wait == chance * min(90, 2 * 2 ** min(max(attempt, 1) - 1, 30))


@pytest.mark.parametrize(("asked_s", "low", "high"), [(10, 10, 12), (1, 1, 3), (500, 88, 90), (90, 88, 90)])
def test_retry_after_is_honoured_up_to_the_ceiling_and_spread(asked_s: float, low: float, high: float) -> None:
    for chance in (0.0, 0.5, 1.0):
        assert low <= backoff_s(3, base_s=2, ceiling_s=90, rand=lambda c=chance: c, retry_after_s=asked_s) <= high
    assert backoff_s(1, base_s=2, ceiling_s=90, rand=lambda: 0.5, retry_after_s=0) == 1.0


@given(st.text(), intervals)
def test_the_phase_is_stable_and_inside_the_interval(identity: str, interval_s: float) -> None:
    phase = phase_s(identity, interval_s)
    assert 0 <= phase <= interval_s
    assert phase == phase_s(identity, interval_s)


def test_phases_spread_a_hall_evenly() -> None:
    bins = [0] * 60
    for number in range(6000):
        bins[int(phase_s(f"4c4c4544-0000-{number:04d}", 60))] += 1
    assert 60 < min(bins) <= max(bins) < 145


@given(times, st.text(max_size=8), intervals)
def test_the_first_slot_follows_within_one_interval(contact_s: float, identity: str, interval_s: float) -> None:
    slot = first_slot_s(contact_s, identity, interval_s)
    assert contact_s < slot <= contact_s + interval_s * 1.000001
    off = (slot - phase_s(identity, interval_s)) / interval_s
    assert off == pytest.approx(round(off), abs=1e-6)


@given(times, intervals, st.floats(-10_000, 1e6))
def test_later_slots_keep_the_rate_and_skip_missed_ones(previous_s: float, interval_s: float, late_s: float) -> None:
    now_s = previous_s + late_s
    slot = next_slot_s(previous_s, interval_s, now_s)
    assert slot > now_s
    assert slot <= max(now_s, previous_s) + interval_s * 1.000001
    off = (slot - previous_s) / interval_s
    assert off == pytest.approx(round(off), abs=1e-6)
    assert slot >= previous_s + interval_s * 0.999999

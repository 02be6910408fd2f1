"""When the server's time is asked for again, and when not: systemd is a stand-in here.

The real one steps a real clock in tests/image/test_clock_behind.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mkcore import systemd1
from mkcore.errors import TlsFailed
from mkcore.systemd1 import JobResult
from mkctl.correction import Correction

EARLY = TlsFailed("the server's certificate is not yet valid", too_early=True)


@pytest.mark.parametrize("result", list(JobResult))
def test_only_a_clock_that_was_set_is_the_end_of_it(monkeypatch: pytest.MonkeyPatch, result: JobResult) -> None:
    """A first server with a wrong Date must not cost the second one its node."""

    async def start_unit(*_asked: object) -> JobResult:
        return result

    async def describe_end(*_asked: object) -> str:
        return "ended"

    async def ask() -> None:
        return

    monkeypatch.setattr(systemd1, "start_unit", start_unit)
    monkeypatch.setattr(systemd1, "describe_end", describe_end)
    server = "https://one.example"
    bus: Any = None
    correction = Correction(ask, lambda: server, lambda: bus, bus)
    assert correction.helps(EARLY)
    asyncio.run(correction.make())
    assert not correction.helps(EARLY), "the same server is not asked twice"
    server = "https://two.example"
    assert correction.helps(EARLY) is (result is not JobResult.DONE)

"""Asking resolved for services in several domains: one that cannot be asked hides none of the others' answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mkcore import network1
from mkcore.errors import BusFailed

BUS: Any = None
ANSWER = [(0, 0, 8026, "mk.good.example")]


@pytest.mark.parametrize("domains", [("good.example", "dead.example"), ("dead.example", "good.example")])
def test_a_dead_domain_hides_no_other_s_answer(monkeypatch: pytest.MonkeyPatch, domains: tuple[str, ...]) -> None:
    async def resolve(_bus: object, _service: str, domain: str) -> list[tuple[int, int, int, str]]:
        if domain == "dead.example":
            raise BusFailed("no answer in time")
        return ANSWER

    monkeypatch.setattr(network1, "resolve_service", resolve)
    assert asyncio.run(network1.resolve_services(BUS, "_mk._tcp", domains)) == {"good.example": ANSWER}


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_asked: object) -> list[tuple[int, int, int, str]]:
        raise KeyError("a defect")

    monkeypatch.setattr(network1, "resolve_service", resolve)
    with pytest.raises(KeyError):
        asyncio.run(network1.resolve_services(BUS, "_mk._tcp", ("good.example",)))

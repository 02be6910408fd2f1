"""Damaged inputs for every parser: no exception other than ours, no hang.

A few hundred inputs a parser in each run; MK_FUZZ_INPUTS says how many in the full one (`tests.full` has a cell for
each parser). A failure prints the input itself and how to get it again.
"""

from __future__ import annotations

import ast
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mkcore.errors import MkError
from tests.fuzz.mutate import damage
from tests.fuzz.parsers import PARSERS, Call, Parser

ROOT = Path(__file__).resolve().parents[2]
INPUTS = int(os.environ.get("MK_FUZZ_INPUTS", "200"))
BATCH = 10 if INPUTS < 10_000 else 100
"""Inputs that one number drawn by hypothesis stands for: drawing takes a hundred times as long as parsing."""
LIMIT_S = 60.0
"""For a batch of inputs of some kilobytes, on a machine that may be busy with other things."""
MAX_CODE = 48
"""Bytes that say how a seed is damaged."""


class Hang(AssertionError):
    """A parser that did not come back."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise Hang in this thread after so many seconds."""

    def expired(_number: int, _frame: Optional[FrameType]) -> None:
        raise Hang(f"no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def feed(parser: Parser, call: Call, number: int) -> None:
    """Feed the batch of inputs that the number stands for; AssertionError names the input that is answered wrongly."""
    numbers = random.Random(number)
    with limited(LIMIT_S):
        for _ in range(BATCH):
            data = damage(parser.seeds, numbers.randbytes(numbers.randrange(MAX_CODE + 1)), parser.as_json)
            try:
                call(data)
            except MkError:
                continue
            except Exception as error:
                raise AssertionError(f"{parser.name} on {data!r}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_no_exception_but_ours_and_no_hang(parser: Parser) -> None:
    call = parser.call

    @settings(
        max_examples=max(1, INPUTS // BATCH),
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(min_value=0, max_value=2**64 - 1))
    def check(number: int) -> None:
        feed(parser, call, number)

    check()


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_the_shapes_themselves_are_read(parser: Parser) -> None:
    """What is damaged is a real shape: undamaged, at least the first is accepted."""
    parser.call(parser.seeds[0])


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_random_bytes(parser: Parser) -> None:
    call = parser.call

    @settings(max_examples=max(20, INPUTS // 20), deadline=None, database=None, derandomize=True)
    @given(st.binary(max_size=400))
    def check(data: bytes) -> None:
        with limited(LIMIT_S):
            try:
                call(data)
            except MkError:
                return

    check()


def public_parsers() -> set[str]:
    """The names of all functions parse_* of the probe and of what is installed: "lshw.parse_lshw"."""
    return {
        f"{path.relative_to(folder).with_suffix('').as_posix().replace('/', '.')}.{node.name}"
        for folder in (ROOT / "mkctl/probe", ROOT / "mkmirror")
        for path in sorted(folder.rglob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("parse_")
    }


def test_every_parser_is_in_the_table() -> None:
    names = {parser.name.partition("-")[0] for parser in PARSERS}
    assert public_parsers() - names == set()


def test_damages_differ_and_repeat() -> None:
    """The fuzzer reaches many inputs, and one program always gives the same."""
    parser = next(each for each in PARSERS if each.name == "lshw.parse_lshw")
    randoms = random.Random(1)
    codes = [bytes(randoms.randrange(256) for _ in range(20)) for _ in range(500)]
    made = [damage(parser.seeds, code, True) for code in codes]
    assert len(set(made)) > 300
    assert made == [damage(parser.seeds, code, True) for code in codes]

"""Damaged inputs: a real shape and a program of a few bytes that says what to do to it.

The program is what the fuzzer draws, so that one input is cheap to draw, a failing one shrinks to the fewest and
smallest damages, and the same program always gives the same input. Random bytes alone would never get past the first
check of a parser; damages of real shapes do.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

_TOKENS = (
    b"\n",
    b"\r\n",
    b"\0",
    b":",
    b" : ",
    b"=",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"\\",
    b"-1",
    b"0x",
    b"99999999999999999999999999",
    b"1e999",
    b"NaN",
    b"null",
    b"\xff\xfe",
    b"\xe2\x80\xa8",
    b"\x1b[31m",
    b"  ",
    b"\t",
    b"A" * 300,
    b"\xd9\xa3",
    "\u00b2".encode(),
)
"""Pieces that parsers stumble over; the last two are a digit to str.isdigit() alone."""
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**63,
    10**30,
    "",
    "x",
    "-1",
    "\0",
    "\ud800",
    " \t\n",
    "A" * 300,
    "\u00b2",
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"id": 1, "children": {}},
)
"""What may stand in place of any value of a JSON document."""


class Program:
    """Reads the numbers that decide; beyond its end all are 0."""

    def __init__(self, code: bytes) -> None:
        self._code = code
        self._at = 0

    @property
    def ended(self) -> bool:
        """Nothing is left to decide."""
        return self._at >= len(self._code)

    def below(self, limit: int) -> int:
        """The next number in 0..limit-1; two bytes where one would not reach."""
        size = 1 if limit <= 256 else 2
        number = int.from_bytes(self._code[self._at : self._at + size], "big")
        self._at += size
        return number % limit if limit else 0


def damage(seeds: Sequence[bytes], code: bytes, as_json: bool = False) -> bytes:
    """Choose a seed and damage it as the program says; as_json: mostly inside the document's tree."""
    program = Program(code)
    data = seeds[program.below(len(seeds))]
    if as_json and program.below(4):
        return _damage_json(data, program)
    while not program.ended:
        data = _OPERATIONS[program.below(len(_OPERATIONS))](data, program, seeds)
    return data


def _span(data: bytes, program: Program) -> tuple[int, int]:
    start = program.below(len(data) + 1)
    return start, min(len(data), start + 1 + program.below(64))


def _overwrite(data: bytes, program: Program, _: Sequence[bytes]) -> bytes:
    at = program.below(len(data) + 1)
    return data[:at] + bytes((program.below(256),)) + data[at + 1 :]


def _delete(data: bytes, program: Program, _: Sequence[bytes]) -> bytes:
    start, end = _span(data, program)
    return data[:start] + data[end:]


def _repeat(data: bytes, program: Program, _: Sequence[bytes]) -> bytes:
    start, end = _span(data, program)
    return data[:end] + data[start:end] * (1 + program.below(8)) + data[end:]


def _insert(data: bytes, program: Program, _: Sequence[bytes]) -> bytes:
    at = program.below(len(data) + 1)
    return data[:at] + _TOKENS[program.below(len(_TOKENS))] + data[at:]


def _truncate(data: bytes, program: Program, _: Sequence[bytes]) -> bytes:
    return data[: program.below(len(data) + 1)]


def _splice(data: bytes, program: Program, seeds: Sequence[bytes]) -> bytes:
    other = seeds[program.below(len(seeds))]
    return data[: program.below(len(data) + 1)] + other[program.below(len(other) + 1) :]


def _number(data: bytes, program: Program, _: Sequence[bytes]) -> bytes:
    at, size = program.below(len(data) + 1), (1, 2, 4, 8)[program.below(4)]
    value = _NUMBERS[program.below(len(_NUMBERS))] & (256**size - 1)
    return data[:at] + value.to_bytes(size, ("little", "big")[program.below(2)]) + data[at + size :]


def _digits(data: bytes, program: Program, _: Sequence[bytes]) -> bytes:
    """Replace a number; Python refuses to convert one of 5,000 digits."""
    found = list(re.finditer(rb"[0-9]+", data))
    if not found:
        return data
    match = found[program.below(len(found))]
    number = (b"", b"0", b"-7", b"4294967296", b"9" * 40, b"9" * 5000, b"0x1f", b"1.5")[program.below(8)]
    return data[: match.start()] + number + data[match.end() :]


def _lines(data: bytes, program: Program, _: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    one, two = program.below(len(lines)), program.below(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


_OPERATIONS = (_overwrite, _delete, _repeat, _insert, _truncate, _splice, _number, _digits, _lines)


def _damage_json(data: bytes, program: Program) -> bytes:
    holder = [json.loads(data)]
    while not program.ended:
        container: Any = holder
        for _ in range(1 + program.below(8)):
            key = _key(container, program)
            inner = container[key] if key is not None else None
            if not isinstance(inner, (dict, list)) or not inner:
                break
            container = inner
        _change(container, program)
    return json.dumps(holder[0]).encode("utf-8", "surrogatepass")


def _key(container: Any, program: Program) -> Any:
    keys = list(container) if isinstance(container, dict) else list(range(len(container)))
    return keys[program.below(len(keys))] if keys else None


def _change(container: Any, program: Program) -> None:
    key, what = _key(container, program), program.below(6)
    if key is None:
        return
    if what == 0 and len(container) > 1:
        del container[key]
    elif what == 1 and isinstance(container, dict):
        container[f"{key}:"] = container.pop(key)
    elif what == 2:
        for _ in range(1 + program.below(150)):
            container[key] = [container[key]]
    elif what == 3 and isinstance(container, list):
        container.extend([copy.deepcopy(container[key])] * (1 + program.below(4)))
    else:
        container[key] = copy.deepcopy(_VALUES[program.below(len(_VALUES))])

"""Sets of CPUs as the kernel writes them, kept as integers: bit N stands for CPU N.

The kernel writes the sets of a CPU as masks of 32-bit words ("00000000,0000010f") and, in newer versions, as lists
("0-3,8") too; which CPUs run and are present stands in lists alone. Integers make the set operations on 512 CPUs cost
nothing. Source: Documentation/admin-guide/cputopology.rst of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator

_MAX_CPUS = 1 << 16


def parse_list(text: str) -> int:
    """Parse a list: "0-3,8" -> 0b100001111; 0 for the empty set and for what is no list."""
    found = 0
    for part in text.split(",") if text else ():
        low, dash, high = part.strip().partition("-")
        first, last = _number(low), _number(high if dash else low)
        if not 0 <= first <= last < _MAX_CPUS:
            return 0
        found |= (1 << (last + 1)) - (1 << first)
    return found


def parse_mask(text: str) -> int:
    """Parse a mask: "00000000,0000010f" -> 0b100001111; 0 for the empty set and for what is no mask."""
    digits = text.replace(",", "").strip()
    if len(digits) > _MAX_CPUS // 4 or not digits.isalnum():
        return 0
    try:
        return int(digits, 16)
    except ValueError:
        return 0


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else -1


def lowest(cpus: int) -> int:
    """Return the number of the first CPU of a set that is not empty."""
    return (cpus & -cpus).bit_length() - 1


def members(cpus: int) -> Iterator[int]:
    """Yield the numbers in rising order."""
    while cpus:
        yield lowest(cpus)
        cpus &= cpus - 1


def count(cpus: int) -> int:
    """Return how many CPUs a set has."""
    return bin(cpus).count("1")


def format_set(cpus: int) -> str:
    """Write a set as the kernel's list: 0b100001111 -> "0-3,8"; "" for the empty set."""
    parts: list[str] = []
    while cpus:
        first = lowest(cpus)
        run = lowest(~(cpus >> first))  # how many follow each other
        parts.append(str(first) if run == 1 else f"{first}-{first + run - 1}")
        cpus &= ~((1 << (first + run)) - 1)
    return ",".join(parts)

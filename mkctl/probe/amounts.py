"""Amounts as `lshw` prints them: "8GiB", "931GiB (1TB)", "1Gbit/s", "2267MHz".

`lshw -json` gives plain numbers, its text listing gives scaled ones. The facts have always carried the text form and
servers make tags of it ("memsize_8GiB"), so the numbers are scaled here by the tool's own two rules: the value moves to
the next prefix while it is above ten thousand (10,240 for powers of two) or divides evenly, and every division cuts
off. Hence 1,999,000,000 Hz is "1999MHz", 2 GHz is "2GHz", and a disk of 1,000,204,886,016 bytes is "931GiB (1TB)".
Protocol 6.10.
"""

from __future__ import annotations

PREFIXES = "KMGTPEZY"


def format_binary(size_bytes: int) -> str:
    """Format a positive number of bytes with binary prefixes: 8589934592 -> "8GiB" (and 512 -> "512iB", as lshw)."""
    return _scale(size_bytes, 1024) + "iB"


def format_decimal(value: int) -> str:
    """Format a positive number with decimal prefixes and no unit: 2267000000 -> "2267M"."""
    return _scale(value, 1000)


def format_amount(value: int, node_class: str) -> str:
    """Format the size or capacity of a node of this lshw class; a class without a unit gives the bare number."""
    if node_class == "disk":
        return f"{format_binary(value)} ({format_decimal(value)}B)"
    if node_class in {"memory", "address", "storage", "volume", "display"}:
        return format_binary(value)
    if node_class in {"processor", "bus", "system"}:
        return format_decimal(value) + "Hz"
    if node_class == "network":
        return format_decimal(value) + "bit/s"
    if node_class == "power":
        return f"{value}mWh"
    return str(value)


def format_clock(clock_hz: int, node_class: str) -> str:
    """Format a clock: "133MHz"; for memory with the cycle time: "1333MHz (0.8ns)"."""
    text = format_decimal(clock_hz) + "Hz"
    return f"{text} ({1.0e9 / clock_hz:.1f}ns)" if node_class == "memory" else text


def _scale(value: int, base: int) -> str:
    exponent = 0
    while exponent < len(PREFIXES) and value > 0 and (value > 10 * base or value % base == 0):
        value //= base
        exponent += 1
    return f"{value}{PREFIXES[exponent - 1] if exponent else ''}"

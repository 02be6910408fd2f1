"""Amounts as Facter 4 writes them beside the plain numbers: "7.64 GiB", "0 bytes", "34.06%".

The structured facts give each size twice, `*_bytes` for programs and a text for people. The text moves to the next unit
when its two decimals would read 1024.00, and halves are rounded up ("1.13 GiB" for 1.125). Source: outputs of Facter 4.
"""

from __future__ import annotations

import math

from mkcore.jsonfields import Json

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_size(size_bytes: int) -> str:
    """Format a number of bytes: 8198971392 -> "7.64 GiB", 1023 -> "1023 bytes", 1073740800 -> "1.00 GiB"."""
    if size_bytes < 1024:
        return f"{size_bytes} bytes"
    scaled, unit = size_bytes / 1024, 0
    while _round(scaled) >= 1024 and unit + 1 < len(_UNITS):
        scaled, unit = scaled / 1024, unit + 1
    return f"{_round(scaled):.2f} {_UNITS[unit]}"


def format_share(part: int, whole: int) -> str:
    """Format a share of a positive whole in percent: (722239488, 8198971392) -> "8.81%"."""
    return f"{_round(part / whole * 100):.2f}%"


def amounts(name: str, size_bytes: int) -> dict[str, Json]:
    """Return a size in both forms: ("used", 0) -> {"used": "0 bytes", "used_bytes": 0}."""
    return {name: format_size(size_bytes), f"{name}_bytes": size_bytes}


def format_frequency(hertz: int) -> str:
    """Format a clock: 2600000000 -> "2.60 GHz", 800000000 -> "800.00 MHz"."""
    scaled, unit = float(hertz), "Hz"
    for larger in ("kHz", "MHz", "GHz"):
        if scaled >= 1000:
            scaled, unit = scaled / 1000, larger
    return f"{_round(scaled):.2f} {unit}"


def _round(value: float) -> float:
    return math.floor(value * 100 + 0.5) / 100

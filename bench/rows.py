"""Rows of the benchmark: one measured value each, with its peer of the same run.

``build/bench.json`` is a list of ``{"name", "value", "unit", "peer", "peer_value", "ratio"}``. Names with ``_over_``
are judged by their ratio (ours / the peer's of the same run; ``value`` repeats it), the others by their value; without
a peer the peer's fields are null. A ``peer`` without a value is a remark. ``_mb`` is 10^6 bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

LIMITS = {
    "boot.kernel_to_registered_over_online": 1.4,
    "memory.suite_idle_pss_mb": 38.0,
    "memory.mkctl_over_bare_imports": 1.2,
    "image.kernel_plus_initrd_mb": 60.0,
    "image.iso_mb": 67.0,
    "image.container_mb": 30.0,
    "image.first_stage_mb": 25.0,
    "image.min_memory_mb": 256.0,
    "image.min_memory_uefi_mb": 512.0,
    "facts.wall_over_originals": 0.16,
    "facts.wall_over_ipa": 0.15,
    "facts.wall_over_one_lshw": 1.6,
    "facts.wall_over_originals_vm": 0.16,
    "facts.wall_over_ipa_vm": 0.15,
    "facts.identity_ms": 5.0,
    "mirror.cpu_per_gib_over_nginx": 3.0,
    "network.possible_to_registered_s": 15.0,
}
"""The largest value that is asked for; a row without an entry here or below is only reported."""
LEAST = {
    "mirror.large_file_over_nginx": 0.7,
    "mirror.small_files_over_webrick": 3.0,
}
"""The smallest value that is asked for."""


@dataclass(frozen=True)
class Row:
    """One figure. ``value`` in ``unit``; ``peer`` names what was measured beside it."""

    name: str
    value: float
    unit: str
    peer: Optional[str] = None
    peer_value: Optional[float] = None
    ratio: Optional[float] = None


def against(name: str, ours: float, unit: str, peer: str, theirs: float) -> Row:
    """A row judged by its ratio when the name says ``_over_``, else a value with its peer's beside it."""
    ratio = round(ours / theirs, 3)
    if "_over_" in name:
        return Row(name, ratio, "ratio", peer, round(theirs, 3), ratio)
    return Row(name, round(ours, 3), unit, peer, round(theirs, 3), ratio)


def merge(path: Path, rows: Iterable[Row]) -> list[Row]:
    """Write ``rows`` into the JSON file at ``path``, replacing rows of the same name; return all."""
    kept = {}
    if path.exists():
        kept = {entry["name"]: Row(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))}
    kept.update({row.name: row for row in rows})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in kept.values()], indent=1) + "\n", encoding="utf-8")
    return list(kept.values())


def judge(row: Row) -> tuple[str, bool]:
    """Return what is asked for of a row, e.g. `<= 1.4` ("" for nothing), and whether it holds."""
    if row.name in LEAST:
        return f">= {LEAST[row.name]:g}", row.value >= LEAST[row.name]
    if row.name in LIMITS:
        return f"<= {LIMITS[row.name]:g}", row.value <= LIMITS[row.name]
    return "", True


def list_missed(rows: Iterable[Row]) -> list[str]:
    """One line for each row that is not what is asked for, e.g. `MISSED facts.identity_ms: 5.1 ms, asked <= 5`."""
    judged = [(row, *judge(row)) for row in rows]
    return [f"MISSED {row.name}: {row.value:g} {row.unit}, asked {asked}" for row, asked, held in judged if not held]


def table(rows: Iterable[Row]) -> str:
    """The rows as text for people: name, value, limit and verdict, peer."""
    lines = [f"{'name':44} {'value':>10} {'unit':6} {'asked':>8}  beside"]
    for row in rows:
        asked, held = judge(row)
        verdict = "" if not asked else "  ok" if held else "  MISSED"
        beside = row.peer or ""
        beside += "" if row.peer_value is None else f": {row.peer_value:g}"
        lines.append(f"{row.name:44} {row.value:>10.3f} {row.unit:6} {asked:>8}  {beside}{verdict}")
    return "\n".join(lines)

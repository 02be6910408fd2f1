"""Bounds and sanity of the facts that a stranger sends, before anything is kept."""

from __future__ import annotations

import math

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, canonical

from .settings import Limits


def check_facts(facts: dict[str, Json], limits: Limits) -> bytes:
    """Return the facts in canonical form when they are within bounds.

    Raises BadInput for too many or too big facts, names too long, nesting too deep, numbers that are not finite, and
    NUL characters, which neither the databases nor a page can show.
    """
    if len(facts) > limits.facts_count:
        raise BadInput(f"attributes_hash: more than {limits.facts_count} facts")
    for name in facts:
        if len(name) > limits.fact_name_chars:
            raise BadInput(f"attributes_hash: a fact's name is longer than {limits.fact_name_chars} characters")
    _check_values(facts, limits.facts_depth)
    form = canonical(facts)
    if len(form) > limits.facts_bytes:
        raise BadInput(f"attributes_hash: {len(form)} bytes of facts, at most {limits.facts_bytes} are kept")
    return form


def _check_values(facts: dict[str, Json], most: int) -> None:
    """Walk without recursion: the depth is what is being checked."""
    waiting: list[tuple[Json, int]] = [(facts, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > most:
            raise BadInput(f"attributes_hash: nested deeper than {most} levels")
        if isinstance(value, dict):
            waiting += [(name, depth + 1) for name in value] + [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]
        elif isinstance(value, str) and "\0" in value:
            raise BadInput("attributes_hash: NUL character")
        elif isinstance(value, float) and not math.isfinite(value):
            raise BadInput("attributes_hash: a number is not finite")

"""Everything that `mkctl status` shows, as one document: mkctl's own status beside what mkweb and mk-facts wrote.

One function makes it for the verb and for Describe() on the bus, so that both say the same.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Optional

from mkcore.errors import BadInput
from mkcore.files import read_bytes
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkctl.probation import Apply, read_apply
from mkctl.probe.model import LIMIT_BYTES, FactsFile, parse_facts_file
from mkctl.status import Status, build_status


def boottime_usec() -> int:
    """CLOCK_BOOTTIME in microseconds: goes on during suspend, never jumps when the wall clock is set."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def read_facts_file(path: Path) -> tuple[FactsFile, str]:
    """Read facts.json: (content, problem or ""). An absent file is an empty, incomplete content without a problem."""
    try:
        return parse_facts_file(read_bytes(path, LIMIT_BYTES), str(path)), ""
    except FileNotFoundError:
        return FactsFile(), ""
    except (BadInput, OSError) as error:
        return FactsFile(), str(error)


def build_document(status: Status, alive: bool, apply: Apply, facts: FactsFile, now_usec: int) -> dict[str, Json]:
    """Build the document; ages are seconds, None for what never happened."""
    return {
        **build_status(status),
        "running": alive,
        "last_checkin_age_s": age_s(status.last_checkin_usec, now_usec),
        "next_checkin_in_s": -age if (age := age_s(status.next_checkin_usec, now_usec)) is not None else None,
        "registered_age_s": age_s(status.registered_usec, now_usec),
        "apply": {"digest": apply.digest, "phase": apply.phase.value, "verdict": apply.verdict},
        "facts": {
            "age_s": age_s(facts.boottime_usec, now_usec),
            "complete": facts.complete,
            "count": len(facts.facts),
            "generation": facts.generation,
            "collectors": {name: state.status.value for name, state in sorted(facts.collectors.items())},
        },
        "extensions": {"installed": extensions_of(facts, ""), "refused": extensions_of(facts, "_refused")},
    }


def extensions_of(facts: FactsFile, which: str) -> list[Json]:
    """Names of the extensions that the last collection saw installed; which: "_refused" for those that were not."""
    text = facts.facts.get(f"mk_extensions{which}", "")
    return list(filter(None, text.split(","))) if isinstance(text, str) else []


def age_s(then_usec: int, now_usec: int) -> Optional[float]:
    """Seconds since a time stamp, to a tenth; None when it is 0."""
    return round((now_usec - then_usec) / 1e6, 1) if then_usec else None


def describe(status: Status, paths: Paths, alive: bool) -> dict[str, Json]:
    """Read what else belongs to it and build the document for `status`."""
    facts, _ = read_facts_file(paths.facts)
    return build_document(status, alive, read_apply(paths.apply), facts, boottime_usec())

"""mkweb's record of the apply that is under way, as far as it concerns mkctl.

mkweb writes apply.json before each step of an apply; mkctl reads it to learn whether the configuration that it runs
with is on probation, and which ones were refused. A file that cannot be read is no apply: mkweb owns it and repairs
it, and mkctl's verdict would only be late.

    {"version": 1, "digest": "9f86...", "previous": "44136f...", "phase": "probation", "verdict": "",
     "boottime_usec": 81230000, "boot_id": "...", "spacing_s": 60, "refused_digests": ["2c26..."]}
"""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass
from pathlib import Path

from mkcore.errors import BadInput
from mkcore.files import read_object
from mkcore.jsonfields import Json, get_int, get_str, get_strings

VERSION = 1
MAX_USEC = 2**63 - 1
LIMIT_BYTES = 4 << 20
"""mkweb's own limit: both maps stand in it."""

log = logging.getLogger(__name__)


class ApplyPhase(enum.Enum):
    """Steps of an apply; NONE: there was none in this boot."""

    NONE = "none"
    STORED = "stored"
    RESTARTING = "restarting"
    PROBATION = "probation"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


OPEN_PHASES = frozenset({ApplyPhase.STORED, ApplyPhase.RESTARTING, ApplyPhase.PROBATION})


@dataclass(frozen=True)
class Apply:
    """The latest apply: the digest it is about, its phase, its verdict in words, when it entered the phase."""

    digest: str = ""
    phase: ApplyPhase = ApplyPhase.NONE
    verdict: str = ""
    boottime_usec: int = 0
    refused_digests: frozenset[str] = frozenset()

    def is_open_for(self, digest: str) -> bool:
        """Tell whether the configuration `digest` waits for a verdict of mkctl."""
        return self.phase in OPEN_PHASES and self.digest == digest


def parse_apply(body: dict[str, Json], where: str = "apply.json") -> Apply:
    """Parse apply.json. Raises BadInput naming the key."""
    get_int(body, "version", where=where, low=VERSION, high=VERSION)
    phase = get_str(body, "phase", where=where)
    if phase not in {each.value for each in ApplyPhase}:
        raise BadInput(f"{phase!r} is no phase of an apply", f"{where}.phase")
    return Apply(
        digest=get_str(body, "digest", default="", where=where),
        phase=ApplyPhase(phase),
        verdict=get_str(body, "verdict", default="", where=where),
        boottime_usec=get_int(body, "boottime_usec", default=0, where=where, low=0, high=MAX_USEC),
        refused_digests=frozenset(get_strings(body, "refused_digests", default=[], where=where)),
    )


def read_apply(path: Path) -> Apply:
    """Read apply.json at `path`; an absent or unusable file is no apply."""
    try:
        return parse_apply(read_object(path, LIMIT_BYTES), str(path))
    except FileNotFoundError:
        return Apply()
    except (BadInput, OSError) as error:
        log.debug("%s; going on as without an apply", error)
        return Apply()

"""What a pushed map would change, and whether it may: pure. The trial of a pattern over the names of facts is the
caller's.

Source: design 8 (What may be pushed); protocol 2.3 and 2.4 with defects B19 to B22.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mkcore.config import ORIGIN_PUSH, PUSH, Site, differs, effective, validate_push
from mkcore.errors import BadInput
from mkcore.jsonfields import Json, canonical

PATTERN_KEY = "mk_fact_excl_pattern"
MERGED_LIMIT_BYTES = 256 << 10
"""Of the stored map as canonical JSON. A merge never removes a key, so without a limit invented keys would fill /run.
"""


@dataclass(frozen=True)
class Judged:
    """A valid push: the map to store, the keys that it changes, the protected ones among the sent that have no effect.

    `pattern` is a new exclusion pattern, to be tried before it is relied upon; empty when there is none.
    """

    merged: dict[str, Json]
    changed: tuple[str, ...]
    protected: tuple[str, ...]
    pattern: str


def judge_push(sent: Mapping[str, Json], stored: Mapping[str, Json], site: Site) -> Judged:
    """Judge the map `sent` over the `stored` one; raise BadInput naming key, value and range when it may not be
    taken.
    """
    push = validate_push(sent, site)
    changed = changed_keys(sent, stored, site)
    merged: dict[str, Json] = {**stored, **push.stored}
    if changed:
        validate_push(merged, site)  # the number of keys counts for all of them
        size = len(canonical(merged))
        if size > MERGED_LIMIT_BYTES:
            raise BadInput(f"with what was pushed before it has {size} bytes, more than {MERGED_LIMIT_BYTES}")
    pattern = str(sent[PATTERN_KEY]) if PATTERN_KEY in changed else ""
    return Judged(merged, tuple(changed), push.protected_ignored, pattern)


def changed_keys(sent: Mapping[str, Json], stored: Mapping[str, Json], site: Site) -> list[str]:
    """Return the sent keys that are not in use for certain: by an earlier push or by the site, in the form of their
    type.

    A key that neither has set takes the default of the dialect that mkctl speaks, which only mkctl knows; mkctl
    posted the map because that default differs, so such a key counts as changed.
    """
    current = effective(site, stored, {})
    different = set(differs(sent, current))
    for name in sent:
        pushable = PUSH.get(name)
        if pushable is None or (pushable.protected and name not in current.config.apply_allow_push):
            continue
        known = current.origins[pushable.key.name]
        if known != ORIGIN_PUSH and pushable.key.name not in site.values:
            different.add(name)
    return [name for name in sent if name in different]


def protected_keys(stored: Mapping[str, Json], site: Site) -> Sequence[str]:
    """Return the stored keys that have no effect because the site does not allow them to be pushed, sorted."""
    allowed = effective(site, {}, {}).config.apply_allow_push
    return sorted(name for name in stored if name in PUSH and PUSH[name].protected and name not in allowed)

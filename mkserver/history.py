"""What happened to a node, for people: one row an event, repeated ones counted, the newest kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mkcore.jsonfields import Json

from .schema import events
from .settings import Limits

FIRST_SEEN = "first_seen"
REGISTERED = "registered"
FACTS_CHANGED = "facts_changed"
COMMAND = "command"
ORDERED = "ordered"
STATE = "state"
BOOT = "boot"
CONFIG = "config"

Detail = Mapping[str, Any]
NONE: Detail = {}
"""An event that its text says whole."""

_DIFF_ROWS = 60
_DIFF_CHARS = 160
_DETAIL_CHARS = 8_000
_TRIM_EVERY = 64


@dataclass(frozen=True)
class HistoryEvent:
    """One row of a node's history; `times` > 1 when the same thing happened again and nothing else in between."""

    at_ms: int
    kind: str
    text: str
    detail: dict[str, Json]
    times: int


def record(
    connection: Connection, node_id: str, at_ms: int, kind: str, text: str, detail: Detail = NONE, *, limits: Limits
) -> None:
    """Add an event, or count it when it repeats the newest one; drop what is beyond the limits, oldest first."""
    detail_text = json.dumps(detail, sort_keys=True)
    newest = connection.execute(
        sa.select(events).where(events.c.node_id == node_id).order_by(events.c.id.desc()).limit(1)
    ).first()
    if newest is not None and (newest.kind, newest.text, newest.detail) == (kind, text, detail_text):
        again = {"at_ms": at_ms, "times": newest.times + 1}
        connection.execute(sa.update(events).where(events.c.id == newest.id).values(again))
        return
    row = {"node_id": node_id, "at_ms": at_ms, "kind": kind, "text": text, "detail": detail_text, "times": 1}
    inserted: Any = connection.execute(sa.insert(events).values(row)).inserted_primary_key
    added = int(inserted[0])
    own = sa.select(events.c.id).where(events.c.node_id == node_id).order_by(events.c.id.desc())
    beyond = connection.execute(own.offset(limits.history).limit(1)).scalar()
    if beyond is not None:
        connection.execute(sa.delete(events).where(events.c.node_id == node_id, events.c.id <= beyond))
    if added % _TRIM_EVERY == 0:
        connection.execute(sa.delete(events).where(events.c.id <= added - limits.all_history))


def read_history(connection: Connection, node_id: str) -> list[HistoryEvent]:
    """All kept events of a node, newest first."""
    rows = connection.execute(sa.select(events).where(events.c.node_id == node_id).order_by(events.c.id.desc()))
    return [HistoryEvent(r.at_ms, r.kind, r.text, json.loads(r.detail), r.times) for r in rows]


def _shown(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _DIFF_CHARS else text[:_DIFF_CHARS] + "…"


def build_diff(old: Mapping[str, Json], new: Mapping[str, Json]) -> dict[str, Json]:
    """Compare two fact maps: {"added": {name: text}, "removed": {…}, "changed": {name: [old, new]}, "more": n}.

    Values are shortened to 160 characters, rows to 60, all of it to 8,000 characters; `more` counts what is left out.
    """
    added: dict[str, Json] = {name: _shown(new[name]) for name in sorted(new.keys() - old.keys())}
    removed: dict[str, Json] = {name: _shown(old[name]) for name in sorted(old.keys() - new.keys())}
    changed: dict[str, Json] = {}
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            changed[name] = [_shown(old[name]), _shown(new[name])]
    rows, chars, more = _DIFF_ROWS, _DETAIL_CHARS, 0
    for part in (changed, added, removed):
        for name in list(part):
            rows, chars = rows - 1, chars - len(json.dumps([name, part[name]]))
            if rows < 0 or chars < 0:
                del part[name]
                more += 1
    return {"added": added, "removed": removed, "changed": changed, "more": more}

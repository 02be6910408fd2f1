"""What was installed on a node beyond its image, as one more table of its page.

From the inventory document where the node sends it; else from the two flat facts that each node with extensions sends,
which have names alone. All of it is a stranger's words, cut and cleaned as those of the hardware tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mkcore.jsonfields import Json

from .cells import ROWS, Object, keyed, labelled, plain, section, text_of

FACTS = ("mk_extensions", "mk_extensions_refused")
_COLUMNS = ["Name", "Kind", "State", "Asked for by", "From or why"]


def software_tables(document: Object, facts: Mapping[str, Json]) -> list[dict[str, Any]]:
    """Return the table, as `hardware.build_tables` makes them; none where there is nothing to show."""
    rows = _rows(section(document, "extensions")) or _rows_of_facts(facts)
    if not rows:
        return []
    more = f"{len(rows) - ROWS} more are not shown" if len(rows) > ROWS else ""
    shown = {"columns": _COLUMNS, "rows": rows[:ROWS], "count": len(rows), "note": more, "pairs": []}
    return [{"id": "hw-extensions", "title": "Extensions", **shown}]


def _rows(extensions: Object) -> list[list[str]]:
    rows: list[list[str]] = []
    for name, each in keyed(extensions, "installed"):
        signed = labelled("signed by", text_of(each, "signed_by"))
        origin = ", ".join(filter(None, (text_of(each, "mirror"), signed)))
        rows.append([plain(name), text_of(each, "kind"), "installed", text_of(each, "by"), origin])
    for name, each in keyed(extensions, "packages"):
        version = labelled("package", text_of(each, "version"))
        rows.append([plain(name), version, "installed", text_of(each, "by"), text_of(each, "mirror")])
    for name, each in keyed(extensions, "kernel_modules"):
        rows.append([plain(name), "module", text_of(each, "state"), text_of(each, "by"), text_of(each, "reason")])
    for name, each in keyed(extensions, "refused"):
        rows.append([plain(name), "", "refused", text_of(each, "by"), text_of(each, "reason")])
    return rows


def _rows_of_facts(facts: Mapping[str, Json]) -> list[list[str]]:
    return [
        [plain(name), "", state, "", ""]
        for fact, state in zip(FACTS, ("installed", "refused"))
        for name in str(facts.get(fact, "")).split(",")
        if name
    ]

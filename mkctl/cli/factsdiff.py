"""`mkctl facts --diff`: what changed since the registration that the server took last."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mkcore.errors import BadInput, NotReady
from mkcore.files import read_object
from mkcore.jsonfields import Json, get_object, get_str
from mkcore.paths import Paths
from mkctl.cli.lookup import leaves, opened
from mkctl.cli.status import Denied
from mkctl.factsview import FactsView
from mkctl.state import FACTS_LIMIT_BYTES


@dataclass(frozen=True)
class Change:
    """One value that is not as it was registered. kind: added, removed or changed; volatile: no reason to register."""

    name: str
    kind: str
    before: Json
    after: Json
    volatile: bool


def read_registered(paths: Paths) -> tuple[str, dict[str, Json]]:
    """Read (server, facts) of the last registration. Raises NotReady when there was none, Denied, BadInput."""
    path = paths.registered_facts
    try:
        body = read_object(path, FACTS_LIMIT_BYTES)
    except FileNotFoundError:
        raise NotReady("not registered since this machine started") from None
    except PermissionError:
        raise Denied(f"{path}: permission denied; run as root or as a member of group mkctl") from None
    except OSError as error:
        raise BadInput(error.strerror or "cannot be read", str(path)) from None
    return get_str(body, "server", where=str(path)), get_object(body, "facts", where=str(path))


def find_changes(view: FactsView, before: dict[str, Json], after: dict[str, Json]) -> list[Change]:
    """Return the changes, sorted by name; values in structures are named with dots."""
    old, new = leaves(opened(before)), leaves(opened(after))
    steady = {*leaves(view.steady(before)), *leaves(view.steady(after))}
    found: list[Change] = []
    for name in sorted({*old, *new}):
        if name in old and name in new and old[name] == new[name]:
            continue
        kind = "changed" if name in old and name in new else "added" if name in new else "removed"
        found.append(Change(name, kind, old.get(name), new.get(name), name not in steady))
    return found


def show_changes(changes: list[Change], server: str, as_json: bool, chosen: bool = False) -> None:
    """Print the changes, one line each: - removed, + added, ~ changed. chosen: others were not asked for."""
    if as_json:
        document: dict[str, Json] = {"server": server}
        for kind in ("added", "removed", "changed"):
            document[kind] = {each.name: _as_json(each) for each in changes if each.kind == kind}
        print(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False))
        return
    from mkctl.cli.facts import text_of

    for each in changes:
        remark = "  (volatile: no reason to register again)" if each.volatile else ""
        lines = {
            "added": f"+ {each.name} = {text_of(each.after)}",
            "removed": f"- {each.name} = {text_of(each.before)}",
            "changed": f"~ {each.name} = {text_of(each.before)} -> {text_of(each.after)}",
        }
        print(lines[each.kind] + remark)
    if not changes:
        print(f"nothing {'of that name ' if chosen else ''}changed since the registration with {server}")


def _as_json(change: Change) -> Json:
    values = {"before": change.before, "after": change.after}
    absent = {"added": "before", "removed": "after"}.get(change.kind)
    return {**{key: value for key, value in values.items() if key != absent}, "volatile": change.volatile}

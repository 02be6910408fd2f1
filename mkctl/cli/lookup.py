"""Finding values by name: whole names and shell patterns, and with dots values inside structures.

`networking.hostname` is a value in a fact, `disks.*.serial` one of each disk in the inventory. A key that itself has
dots (the PCI address 0000:00:1f.2) is found too, because each number of steps is tried as one key.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, parse_object
from mkctl.registration import INVENTORY


def find_values(name: str, trees: Iterable[Mapping[str, Json]]) -> dict[str, Json]:
    """Return what `name` means in the first of the trees that has it: {"disks.sda.serial": "S1", …}; {} for nothing."""
    for tree in trees:
        found = {key: value for key, value in tree.items() if fnmatch.fnmatchcase(key, name)}
        found = found or dict(_reach(opened(tree), name.split("."), ""))
        if found:
            return found
    return {}


def opened(facts: Mapping[str, Json]) -> dict[str, Json]:
    """The facts with the inventory's text as the document that it is."""
    text = facts.get(INVENTORY)
    if not isinstance(text, str):
        return dict(facts)
    try:
        return {**facts, INVENTORY: parse_object(text, INVENTORY)}
    except BadInput:  # a fact of this name that the site made
        return dict(facts)


def leaves(tree: Mapping[str, Json], before: str = "") -> dict[str, Json]:
    """Return the values of a tree of objects under their paths; lists and empty objects are values."""
    found: dict[str, Json] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found.update(leaves(value, f"{before}{key}."))
        else:
            found[before + key] = value
    return found


def _reach(value: Json, steps: Sequence[str], path: str) -> Iterator[tuple[str, Json]]:
    if not steps:
        yield path, value
        return
    items = value.items() if isinstance(value, dict) else _numbered(value)
    for key, inside in items:
        for count in range(1, min(len(steps), key.count(".") + 1) + 1):
            if fnmatch.fnmatchcase(key, ".".join(steps[:count])):
                yield from _reach(inside, steps[count:], f"{path}.{key}" if path else key)


def _numbered(value: Json) -> Iterable[tuple[str, Json]]:
    return [(str(number), item) for number, item in enumerate(value)] if isinstance(value, list) else []

"""The optional group facts: each lshw class and the whole of lscpu as JSON texts, `mk_hw_*_json_str`.

For every entry that a class listing (`lshw -c bus`) shows at its top, the historic agents had a fact that held the
entry with all below it: `mk_hw_bus_core_json_str`, `mk_hw_disk_disk_array_json_str`. The stock exclusion pattern drops
every name that ends so; a site whose pattern lets them through gets them as ever, but whole: the agents read nesting
from the indentation of the text, lost elements and hung others into the wrong one (defects B38 to B40). Here the class
listing is made of the tree: a device of the class stands below its parent if that is of the class, else at the top.

An array holds what carries an index and what is called network or disk; other devices are objects under their name, a
second one of the same name joins the array of that name. What is disabled is dropped, what has no driver is flagged
with `"UNCLAIMED": true`. The JSON of lshw has no `resources`. Source: protocol 6.2, 6.5 (rules 1 to 3), 6.6, 6.10.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from mkcore.jsonfields import Json
from mkctl.probe.flatten import describe
from mkctl.probe.lshw import Node
from mkctl.probe.names import clean_key, clean_name

SUFFIX = "_json_str"
_GROUPS = (("bus", "bus"), ("mem", "memory"), ("disk", "disk"), ("proc", "processor"), ("nw", "network"))
_ALWAYS_ARRAYS = ("network", "disk")
_NOT_REPORTED = "cache_array"


def group_facts(roots: Iterable[Node]) -> dict[str, str]:
    """Make the group facts of the five classes: {"mk_hw_bus_core_json_str": '{"description":"Motherboard",...}'}."""
    facts: dict[str, str] = {}
    trees = tuple(roots)
    for group, node_class in _GROUPS:
        for entry, value in list_class(trees, node_class).items():
            if group != "mem" or _NOT_REPORTED not in entry:
                facts[clean_name(f"mk_hw_{group}_{entry}{SUFFIX}")] = _write(value)
    return facts


def lscpu_group(pairs: Mapping[str, str]) -> dict[str, str]:
    """Make the group fact of lscpu: all its keys and values, keys cleaned as ever ("CPU_op-mode(s)")."""
    return {f"mk_hw_lscpu_hash{SUFFIX}": _write({clean_key(key): value for key, value in pairs.items()})}


def list_class(roots: Iterable[Node], node_class: str) -> dict[str, Json]:
    """Return the class listing: entries by name, arrays as "usb_array"; fields as the text listing has them."""
    listing: dict[str, Json] = {}
    for root in roots:
        _list_device(root, node_class, listing, listing)
    return listing


def _list_device(node: Node, node_class: str, container: dict[str, Json], listing: dict[str, Json]) -> None:
    if node.disabled:
        return
    inside = listing
    if node.node_class == node_class:
        inside = dict[str, Json](describe(node))
        if not node.claimed:
            inside["UNCLAIMED"] = True
        _put(container, node, inside)
    for child in node.children:
        _list_device(child, node_class, inside, listing)


def _put(container: dict[str, Json], node: Node, entry: dict[str, Json]) -> None:
    key = clean_key(node.name)
    if not node.indexed and key not in _ALWAYS_ARRAYS and key not in container:
        container[key] = entry
        return
    array: Json = None
    while not isinstance(array, list):  # past a device that is itself called "…_array"
        key += "_array"
        array = container.setdefault(key, list[Json]())
    array.append(entry)


def _write(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

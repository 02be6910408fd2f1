"""The inventory's JSON Schema: assembled from one fragment per section, and what it says about volatile values.

The fragments lie beside this module in schema/SECTION.json. A value that changes without meaning anything (a
temperature, a counter, the speed of a link) is marked there with `"x-volatile": true`; such values are part of the
document, but their change is no reason to register again. So one place says both what a value is and whether it counts.
Source: JSON Schema draft 2020-12; its section 6.5 on keywords of one's own.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from mkcore.errors import BadInput
from mkcore.files import read_object
from mkcore.jsonfields import Json
from mkctl.probe.model import INVENTORY_VERSION

FOLDER = Path(__file__).parent / "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = f"https://mksuite.org/schema/inventory-{INVENTORY_VERSION}.json"
VOLATILE = "x-volatile"
_DEPTH_LIMIT = 32

Schema = dict[str, Json]


@lru_cache(maxsize=1)
def build_schema() -> Schema:
    """Return the schema of the whole document. Raises BadInput or OSError when the installed fragments are damaged."""
    properties: Schema = {"schema_version": {"const": INVENTORY_VERSION, "description": "Version of this schema."}}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix == ".json":
            properties[path.stem] = _rebase(read_object(path), f"#/properties/{path.stem}/")
    return {
        "$schema": DIALECT,
        "$id": ID,
        "title": "Hardware inventory",
        "description": "What mk-facts found out about one machine. What is not known is absent. Sizes are bytes.",
        "type": "object",
        "properties": properties,
        "required": ["schema_version"],
        "additionalProperties": False,
    }


def _rebase(value: Json, base: str) -> Json:
    """A fragment's references to itself, made references into the whole schema."""
    if isinstance(value, list):
        return [_rebase(item, base) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _rebase(item, base) for key, item in value.items() if key not in ("$schema", "$id")}
    target = found.get("$ref")
    if isinstance(target, str) and target.startswith("#"):
        found["$ref"] = base.rstrip("/") + target[1:] if target in ("#", "#/") else base + target[2:]
    return found


def steady_inventory(document: dict[str, Json]) -> Json:
    """Return the document without the values that its schema marks as volatile."""
    return _steady(document, build_schema(), _DEPTH_LIMIT)


def volatile_paths() -> list[str]:
    """Return the marked paths in words, sorted: "disks.*.health.temperature_c"; "*" is any key, "[]" any item."""
    found: list[str] = []
    _find_volatile(build_schema(), "", found, _DEPTH_LIMIT)
    return sorted(set(found))


def _steady(value: Json, schema: Schema, depth: int) -> Json:
    if depth == 0:
        return value
    schema = _resolve(schema)
    if isinstance(value, list):
        items = _object(schema, "items")
        return [_steady(item, items, depth - 1) for item in value]
    if not isinstance(value, dict):
        return value
    inside = {key: _of_key(schema, key) for key in value}
    return {key: _steady(item, inside[key], depth - 1) for key, item in value.items() if not _marked(inside[key])}


def _find_volatile(schema: Schema, path: str, found: list[str], depth: int) -> None:
    resolved = _resolve(schema)
    if _marked(schema):
        found.append(path)
    elif depth:
        named = {key: inside for key, inside in _object(resolved, "properties").items() if isinstance(inside, dict)}
        keyed = [inside for inside in _object(resolved, "patternProperties").values() if isinstance(inside, dict)]
        inside_of = [*named.items(), *(("*", inside) for inside in [*keyed, _object(resolved, "additionalProperties")])]
        for key, inside in inside_of:
            _find_volatile(inside, f"{path}.{key}" if path else key, found, depth - 1)
        if "items" in resolved:
            _find_volatile(_object(resolved, "items"), f"{path}[]", found, depth - 1)


def _marked(schema: Schema) -> bool:
    return schema.get(VOLATILE) is True or _resolve(schema).get(VOLATILE) is True


def _of_key(schema: Schema, key: str) -> Schema:
    named = _object(schema, "properties").get(key)
    if isinstance(named, dict):
        return named
    for pattern, inside in _object(schema, "patternProperties").items():
        if isinstance(inside, dict) and re.search(pattern, key):
            return inside
    return _object(schema, "additionalProperties")


def _object(schema: Schema, key: str) -> Schema:
    value = schema.get(key)
    return value if isinstance(value, dict) else {}


def _resolve(schema: Schema) -> Schema:
    """Follow a reference to another place of the whole schema. Raises BadInput for one that leads nowhere."""
    target = schema.get("$ref")
    if not isinstance(target, str):
        return schema
    place: Json = build_schema()
    for step in target[2:].split("/"):
        place = place.get(step) if isinstance(place, dict) else None
    if not isinstance(place, dict) or "$ref" in place:
        raise BadInput(f"the reference {target} leads nowhere", ID)
    return place

"""The inventory's schema: whole, valid, strict, installed; and what it marks as volatile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mkcore.jsonfields import Json
from mkctl.probe.model import INVENTORY_VERSION
from mkctl.probe.schema import FOLDER, ID, build_schema, steady_inventory, volatile_paths

ROOT = Path(__file__).resolve().parents[2]
VALIDATOR = jsonschema.Draft202012Validator


def test_the_assembled_schema_is_one() -> None:
    schema: Any = build_schema()
    VALIDATOR.check_schema(schema)
    assert schema["$id"] == ID and ID.endswith(f"-{INVENTORY_VERSION}.json")
    assert json.loads(json.dumps(schema)) == schema
    VALIDATOR(schema).validate({"schema_version": INVENTORY_VERSION})
    for wrong in ({}, {"schema_version": INVENTORY_VERSION + 1}, {"schema_version": 1, "no_such_section": {}}):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR(schema).validate(wrong)


def walk(schema: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every object of the schema that describes a value, with its path."""
    found = [(path, schema)] if "type" in schema or "properties" in schema else []
    for key, inside in schema.get("properties", {}).items():
        found += walk(inside, f"{path}.{key}")
    keyed = [*schema.get("patternProperties", {}).values(), *schema.get("$defs", {}).values()]
    for inside in [*keyed, schema.get("items")]:
        found += walk(inside, f"{path}.*") if isinstance(inside, dict) else []
    return found


def test_objects_are_closed_and_values_described() -> None:
    for path, inside in walk(build_schema()):
        if inside.get("type") == "object":
            closed = inside.get("additionalProperties") is False or "unevaluatedProperties" in inside
            assert closed or isinstance(inside.get("additionalProperties"), dict), path
        leaf = path.rpartition(".")[2]
        assert leaf == leaf.lower(), path


def test_the_fragments_are_installed() -> None:
    assert '"mkctl.probe" = ["schema/*.json"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    names = {path.suffix for path in FOLDER.iterdir()}
    assert names == {".json"}


def test_volatile_values_are_left_out_and_others_stay() -> None:
    assert {"nics.*.speed_mbps", "nics.*.carrier"} <= set(volatile_paths())
    document: dict[str, Json] = {
        "schema_version": 1,
        "system": {"serial": "S1"},
        "nics": {"eno1": {"mac": "52:54:00:12:34:56", "speed_mbps": 1000, "carrier": True}},
        "unknown": [{"x": 1}],
    }
    assert steady_inventory(document) == {
        "schema_version": 1,
        "system": {"serial": "S1"},
        "nics": {"eno1": {"mac": "52:54:00:12:34:56"}},
        "unknown": [{"x": 1}],
    }

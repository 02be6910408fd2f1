"""Holding parts of the inventory to the published schema."""

from __future__ import annotations

from collections.abc import Mapping

import jsonschema

from mkctl.probe.model import INVENTORY_VERSION
from mkctl.probe.schema import build_schema

VALIDATOR = jsonschema.Draft202012Validator(build_schema(), format_checker=jsonschema.FormatChecker())


def check_schema(inventory: Mapping[str, object]) -> None:
    """Fail unless a document with these sections is what the schema says."""
    VALIDATOR.validate({"schema_version": INVENTORY_VERSION, **inventory})

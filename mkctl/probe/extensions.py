"""What was installed beyond the image: extensions, Python packages, kernel modules, and what was refused.

mk-extensions keeps the list; here it becomes two flat facts, which servers' rules can match, and a section of the
inventory. A machine without extensions has none of these, so that nothing changes for a server that knows no such
facts. Times are left out: they differ at each boot and mean nothing to a server. Source: mk-extensions(8).

    mk_extensions          debug-tools.raw,nano.tcz      (names of files, sorted)
    mk_extensions_refused  x.tcz
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mkcore.files import read_object
from mkcore.jsonfields import Json, get_int, get_object, get_str
from mkctl.probe.collect import Collected
from mkctl.probe.texts import clean_text

VERSION = 1
LIMIT_BYTES = 8 << 20
NAMES_LIMIT = 200
"""Names in a flat fact, refusals and modules in the inventory; a list of thousands is nothing to match by a rule."""
INSTALLED_LIMIT = 1_000
"""Extensions in the inventory, and packages: it goes to a server with each change."""
TEXT_LIMIT = 300
FACT = "mk_extensions"

_EXTENSION = ("kind", "by", "mirror", "sha256", "signed_by")
_PACKAGE = ("version", "by", "mirror", "sha256")
_MODULE = ("state", "by", "reason")
_REFUSED = ("by", "reason")


class Tables(NamedTuple):
    """The tables of installed.json by name: what is said of each extension, package, module and refusal."""

    extensions: Mapping[str, Mapping[str, Json]] = {}
    packages: Mapping[str, Mapping[str, Json]] = {}
    modules: Mapping[str, Mapping[str, Json]] = {}
    refused: Mapping[str, Mapping[str, Json]] = {}


def collect_extensions(path: Path) -> Collected:
    """Read installed.json at `path`; no file is nothing installed. Raises BadInput, OSError."""
    try:
        tables = parse_tables(read_object(path, LIMIT_BYTES), str(path))
    except FileNotFoundError:
        return Collected()
    return Collected(extension_facts(tables), inventory=build_section(tables))


def parse_tables(body: Mapping[str, Json], where: str) -> Tables:
    """Parse installed.json as far as it is told to a server. Raises BadInput naming the key."""
    get_int(body, "version", where=where, low=VERSION, high=VERSION)
    found: dict[str, dict[str, dict[str, Json]]] = {}
    for key, fields in (
        ("extensions", _EXTENSION), ("packages", _PACKAGE), ("modules", _MODULE), ("refused", _REFUSED),
    ):  # fmt: skip
        table = get_object(body, key, default={}, where=where)
        place = f"{where}: {key}"
        found[key] = {name: _entry(get_object(table, name, where=place), fields, f"{place}.{name}") for name in table}
    return Tables(**found)


def _entry(entry: Mapping[str, Json], fields: tuple[str, ...], where: str) -> dict[str, Json]:
    texts = {field: clean_text(get_str(entry, field, default="", where=where))[:TEXT_LIMIT] for field in fields}
    found: dict[str, Json] = {field: text for field, text in texts.items() if text}
    size_bytes = get_int(entry, "size_bytes", default=0, low=0, where=where)
    if size_bytes:
        found["size_bytes"] = size_bytes
    return found


def extension_facts(tables: Tables) -> dict[str, Json]:
    """Make the flat facts; one that would be empty is left out."""
    facts = {FACT: _join(tables.extensions), f"{FACT}_refused": _join(tables.refused)}
    return {name: value for name, value in facts.items() if value}


def _join(names: Mapping[str, object]) -> str:
    found = sorted(filter(None, (clean_text(name)[:TEXT_LIMIT] for name in names)))
    more = [f"and {len(found) - NAMES_LIMIT} more"] if len(found) > NAMES_LIMIT else []
    return ",".join(found[:NAMES_LIMIT] + more)


def build_section(tables: Tables) -> dict[str, Json]:
    """Make the inventory's section {"extensions": {"installed": {...}, "packages": {...}, ...}}; {} for nothing."""
    parts = {
        "installed": (tables.extensions, INSTALLED_LIMIT),
        "packages": (tables.packages, INSTALLED_LIMIT),
        "kernel_modules": (tables.modules, NAMES_LIMIT),
        "refused": (tables.refused, NAMES_LIMIT),
    }
    section: dict[str, Json] = {
        part: {name: dict(table[name]) for name in sorted(table)[:limit]}
        for part, (table, limit) in parts.items()
        if table
    }
    return {"extensions": section} if section else {}

"""Cells of the hardware tables: texts made of a stranger's JSON, which may hold anything anywhere.

What is of another kind than expected is as good as absent; long texts are cut, and what a terminal or a page would obey
is taken out.
"""

from __future__ import annotations

import re
from typing import Any

from mkcore.errors import one_line
from mkcore.jsonfields import Json

from .inventory import size_text

ROWS = 256
CHARS = 200

Object = dict[str, Json]


def section(holder: Json, key: str) -> Object:
    """The object under a key, an empty one where there is none."""
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, dict) else {}


def sections(holder: Json, key: str) -> list[Object]:
    """The objects of the list under a key."""
    value = holder.get(key) if isinstance(holder, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def keyed(document: Object, key: str) -> list[tuple[str, Object]]:
    """Members of a section that are objects, in the order in which people count."""
    found = [(name, each) for name, each in section(document, key).items() if isinstance(each, dict)]
    return sorted(found, key=lambda item: natural(item[0]))


def addressed(document: Object, key: str) -> list[tuple[str, Object]]:
    """The same of a section whose names are hexadecimal addresses, in which people's way of counting goes astray."""
    return sorted(keyed(document, key), key=lambda item: item[0])


def natural(name: str) -> list[Any]:
    """Sort key under which nic2 comes before nic10."""
    return [(0, int(part), "") if part.isdecimal() and len(part) < 9 else (1, 0, part) for part in _PARTS.split(name)]


_PARTS = re.compile(r"([0-9]+)")


def text_of(holder: Object, *keys: str) -> str:
    """The values of the keys in one text; what is no plain value is left out."""
    return " ".join(filter(None, (plain(holder.get(key)) for key in keys)))


def plain(value: Json) -> str:
    """A plain value as a text: "yes", "5", a text on one line; "" for everything else."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)[:CHARS]
    return one_line(value[: 4 * CHARS])[:CHARS] if isinstance(value, str) else ""


def either(value: Json, yes: str, no: str) -> str:
    """One of two words for true and false, "" for everything else."""
    return (yes if value else no) if isinstance(value, bool) else ""


def with_unit(text: str, unit: str) -> str:
    """A text with what follows it, "" for no text."""
    return f"{text} {unit}" if text else ""


def labelled(label: str, text: str) -> str:
    """A text with what precedes it, "" for no text."""
    return f"{label} {text}" if text else ""


def lines(*parts: str) -> str:
    """The parts on lines of their own, empty ones left out."""
    return "\n".join(filter(None, parts))


def texts(value: Json) -> list[str]:
    """The plain values of a list as texts; none of what is no list."""
    return [text for text in map(plain, value[:ROWS]) if text] if isinstance(value, list) else []


def size_of(holder: Object, key: str) -> str:
    """The number of bytes under a key as people write it: "16 GiB"."""
    value = holder.get(key)
    return size_text(str(value)) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else ""

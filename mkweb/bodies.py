"""The bodies in which a configuration arrives, decoded to one map.

Two generations of clients encode the same map differently, and each original server understood only its own client:
Razor's dropped the last character whatever it was, Hanlon's undid HTML entities inside values that meant them
literally. Here every reading is tried in one fixed order and the first that is JSON wins, so that a body that is JSON
already is never altered.

Source: protocol 4 (table of bodies, PORT paragraph); entities as Ruby's CGI.unescapeHTML knows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote_plus

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, parse_json

FORM_FIELDS = ("json_hash", "config")
MAX_FORM_FIELDS = 64

_ENTITY = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,8})|#[xX]([0-9A-Fa-f]{1,7}));")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def parse_body(body: bytes) -> dict[str, Json]:
    """Decode the body of POST /setMkConfig to its map, e.g. `{"mk_checkin_interval": 60}`; raise BadInput when no
    reading fits.

    The order: JSON as it is; HTML entities undone; percent-encoded with an optional `=` at the end; form field
    `json_hash` or `config`.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 from byte {error.start} on", "body") from None
    if not text.strip():
        raise BadInput("empty", "body")
    first = ""
    for name, reading in _readings(text):
        try:
            value = parse_json(reading, "body")
        except BadInput as error:
            first = first or str(error)
            continue
        if not isinstance(value, dict):
            raise BadInput(f"a configuration is a JSON object, and this ({name}) is not", "body")
        return value
    raise BadInput(
        f"neither JSON nor percent-encoded JSON nor a form with {' or '.join(FORM_FIELDS)} ({first})", "body"
    )


def _readings(text: str) -> Iterator[tuple[str, str]]:
    yield "JSON as it is", text
    unescaped = unescape_entities(text)
    if unescaped != text:
        yield "entities undone", unescaped
    stripped = text.strip()
    try:
        yield "percent-encoded", unquote_plus(stripped[:-1] if stripped.endswith("=") else stripped, errors="strict")
        fields = dict(parse_qsl(stripped, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS))
    except ValueError:  # UnicodeDecodeError is one: the escapes are not UTF-8, or there are too many fields
        return
    for field in FORM_FIELDS:
        if field in fields:
            yield f"form field {field}", fields[field]
            yield f"form field {field}, entities undone", unescape_entities(fields[field])


def unescape_entities(text: str) -> str:
    """Undo the five named and the numeric HTML entities, once, in one pass; what is unknown or names no character
    stays as it is.
    """
    return _ENTITY.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    name, decimal, hexadecimal = match.groups()
    if name:
        return _NAMED[name]
    code = int(decimal) if decimal else int(hexadecimal, 16)
    return match[0] if code > _LAST_CODE_POINT or code in _SURROGATES else chr(code)

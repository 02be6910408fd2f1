"""Razor: MAC list as `hw_id`, registration as a form whose one field `json_hash` holds JSON with `@` keys.

Facts go out as strings alone: the Razor microkernel ran Facter 1.x, whose facts are flat text, and the server's tag
rules compare text (`"true"`, `"2"`). Structured facts did not exist there and are left out (protocol 6.8, row 72).
Source: protocol 3.2, 3.5, 3.9, 6.7; rows 41, 42, 54.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mkctl.dialects.envelope import parse_checkin, parse_registration
from mkctl.dialects.model import Dialect, Request

if TYPE_CHECKING:
    from mkcore.jsonfields import Json
    from mkctl.identity import Identity

UNENCODED = re.compile(rb"[A-Za-z0-9_.\-]")


def build_checkin(checkin_uri: str, identity: Identity, first_checkin: bool, last_state: str = "idle") -> Request:
    """Build the checkin. `hw_id` is sent even if it is empty; `first_checkin` is never sent as false."""
    flag = "&first_checkin=true" if first_checkin else ""
    return Request("GET", f"{checkin_uri}?hw_id={identity.hw_id}&last_state={last_state}{flag}")


def build_registration(
    register_uri: str, identity: Identity, facts: Mapping[str, Json], last_state: str = "idle"
) -> Request:
    """Build the registration; `facts` in their own types (strings are made here)."""
    content = {"@hw_id": identity.hw_id, "@attributes_hash": flat_facts(facts), "@last_state": last_state}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Request("POST", register_uri, headers, b"json_hash=" + encode_form(text))


def flat_facts(facts: Mapping[str, Json]) -> dict[str, str]:
    """Turn facts into Facter 1.x's flat strings: `true` -> "true", 5 -> "5"; null, lists and objects are left out."""
    flat: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, bool):
            flat[name] = "true" if value else "false"
        elif isinstance(value, (str, int, float)):
            flat[name] = str(value)
    return flat


def encode_form(data: bytes) -> bytes:
    """Encode as Ruby 1.8's client did: everything but `A-Z a-z 0-9 _ . -` becomes `%xx` in lower case, blanks too."""
    return b"".join(
        bytes((byte,)) if UNENCODED.match(bytes((byte,))) else b"%%%02x" % byte for byte in data
    )


RAZOR = Dialect(
    name="razor",
    base_path="/razor/api",
    build_checkin=build_checkin,
    parse_checkin=parse_checkin,
    build_registration=build_registration,
    parse_registration=parse_registration,
)

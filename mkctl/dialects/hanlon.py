"""Hanlon: SMBIOS UUID and MAC list, registration as raw JSON of the media type `text/json`.

Facts keep their types, structured ones too, as Facter 2.4 gave them; the server stores nested values as sent.
Source: protocol 3.2, 3.5, 3.9; the real server's transcripts 8 to 62; rows 41 to 44, 55.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mkctl.dialects.envelope import parse_checkin, parse_registration
from mkctl.dialects.model import Dialect, Request

if TYPE_CHECKING:
    from mkcore.jsonfields import Json
    from mkctl.identity import Identity


def build_checkin(checkin_uri: str, identity: Identity, first_checkin: bool, last_state: str = "idle") -> Request:
    """Build the checkin. Both identities are sent even if empty; `first_checkin` is never sent as false."""
    flag = "&first_checkin=true" if first_checkin else ""
    query = f"uuid={identity.uuid}&mac_id={identity.hw_id}&last_state={last_state}{flag}"
    return Request("GET", f"{checkin_uri}?{query}")


def build_registration(
    register_uri: str, identity: Identity, facts: Mapping[str, Json], last_state: str = "idle"
) -> Request:
    """Build the registration; the order of the keys is the original client's."""
    content = {
        "mac_id": identity.hw_id,
        "uuid": identity.uuid,
        "attributes_hash": dict(facts),
        "last_state": last_state,
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Request("POST", register_uri, {"Content-Type": "text/json"}, text)


HANLON = Dialect(
    name="hanlon",
    base_path="/hanlon/api/v1",
    build_checkin=build_checkin,
    parse_checkin=parse_checkin,
    build_registration=build_registration,
    parse_registration=parse_registration,
)

"""The table of dialects, which one to speak to a server, and how a server is recognised.

The source of the address decides first (`mkctl.discovery.DIALECT_OF_PREFIX`), then what the rest of the configuration
betrays, then one harmless request: a checkin without parameters, which every server refuses in its own words and which
changes nothing there. Source: protocol 3.9, 9.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from mkcore.errors import BadInput
from mkcore.jsonfields import parse_object
from mkctl.dialects.hanlon import HANLON
from mkctl.dialects.model import Dialect, Registration, Reply, Request, Routes
from mkctl.dialects.razor import RAZOR

if TYPE_CHECKING:
    from mkcore.http import Answer

__all__ = [
    "DIALECTS", "HANLON", "RAZOR", "Dialect", "Registration", "Reply", "Request", "Routes",
    "dialect_of_path", "probe_requests", "recognise",
]  # fmt: skip

DIALECTS = {dialect.name: dialect for dialect in (HANLON, RAZOR)}


def dialect_of_path(path: str) -> Optional[Dialect]:
    """Return the dialect that a checkin path or base path belongs to, None where it is neither's."""
    if "/razor/api/" in path + "/":
        return RAZOR
    if "/api/v1/" in path + "/":
        return HANLON
    return None


def probe_requests(uri: str, checkin_path: str = "") -> tuple[Request, ...]:
    """Build the harmless requests, to be sent in this order until one answer is recognised.

    `uri` is scheme, host and port. With a checkin path of its own there is one, else one for each dialect's path.
    """
    paths = (checkin_path,) if checkin_path else tuple(dialect.checkin_path for dialect in DIALECTS.values())
    return tuple(Request("GET", uri + path) for path in paths)


def recognise(answer: Answer) -> Optional[Dialect]:
    """Tell whose words the answer to a harmless request is in; None when they are nobody's (404, HTML, ...)."""
    try:
        body = parse_object(answer.body, "probe")
    except BadInput:
        return None
    if "std_err_code" in body:
        return RAZOR
    response = body.get("response")
    result = response.get("result") if isinstance(response, dict) else None
    if isinstance(result, dict) and "type" in result:
        return HANLON
    return None

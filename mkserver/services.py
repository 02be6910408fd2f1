"""What a request needs: the parts of the server, and small readings of the request that all routes share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qsl

from flask import current_app, request

from mkcore.errors import BadInput
from mkcore.rate import RateLimit

from .auth import Gate
from .desk import Desk
from .registry import Caller, Registry
from .settings import Settings

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")


@dataclass(frozen=True)
class Services:
    """The parts of one running server."""

    settings: Settings
    registry: Registry
    desk: Desk
    gate: Gate
    rate: RateLimit


def services() -> Services:
    """The parts of the server that answers this request."""
    return cast(Services, current_app.extensions["mkserver"])


def request_base() -> str:
    """HOST:PORT as the request addressed this server; goes into scripts and URLs, so only names and addresses pass.

    Raises BadInput.
    """
    settings = services().settings
    host: str = request.environ.get("HTTP_HOST", "") or f"{settings.host}:{settings.port}"
    if not _HOST.match(host):
        raise BadInput("Host header: not a name or address")
    return host


def peer_address() -> str:
    """Address of whoever sent the request."""
    return request.remote_addr or ""


def caller(dialect: str) -> Caller:
    """The caller of a node route. Raises BadInput."""
    return Caller(dialect, request_base(), peer_address())


def query_pairs() -> dict[str, str]:
    """Query parameters, the last of a repeated one. Raises BadInput for bytes that are not UTF-8 or hold a NUL."""
    return dict(parse_pairs(request.query_string, "query"))


def form_pairs(body: bytes) -> dict[str, str]:
    """Fields of a form body, percent-encoded in either case. Raises BadInput."""
    return dict(parse_pairs(body, "form"))


def parse_pairs(data: bytes, where: str) -> list[tuple[str, str]]:
    """Parse `a=b&c=d`. Raises BadInput.

    >>> parse_pairs(b"uuid=&last_state=idle", "query")
    [('uuid', ''), ('last_state', 'idle')]
    """
    try:
        text = data.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=64)
    except UnicodeDecodeError as error:
        raise BadInput("not UTF-8", where) from error
    except ValueError as error:
        raise BadInput("too many fields", where) from error
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise BadInput("NUL character", where)
    return pairs

"""What a request must pass before it reaches a route: bounds for strangers, credentials for people.

Node routes: a body of at most 4 MB and a rate for each address. Routes for people: this machine or the password; and
for everything that changes something, proof that it was not another site's page that sent it (Sec-Fetch-Site, Origin,
and a token in forms or a media type that a form cannot have).
"""

from __future__ import annotations

import math
from typing import Optional
from urllib.parse import urlsplit

from flask import Response, abort, request
from werkzeug.exceptions import TooManyRequests

from .services import form_pairs, peer_address, services

_NODE_PREFIXES = ("/hanlon/", "/razor/", "/ipxe/", "/mirror/", "/image/")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_node_route(path: str) -> bool:
    """Whether a path belongs to nodes, who have no password."""
    return path.startswith(_NODE_PREFIXES)


def authorization() -> str:
    """The Authorization header as sent."""
    return request.headers.get("Authorization", "")


def guard() -> Optional[Response]:
    """Run before each request; ends it with an HTTP error or lets it pass."""
    if is_node_route(request.path):
        _guard_node()
        return None
    return _guard_people()


def _guard_node() -> None:
    parts = services()
    if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        abort(403, description="node routes are not for web pages")
    wait_s = parts.rate.wait_s(peer_address())
    if wait_s > 0:
        raise TooManyRequests("too many requests from this address", retry_after=math.ceil(wait_s))
    length = request.content_length or 0
    if length > parts.settings.limits.body_bytes:
        abort(413, description=f"body of {length} bytes, at most {parts.settings.limits.body_bytes} are read")


def _guard_people() -> Optional[Response]:
    gate = services().gate
    address, header = peer_address(), authorization()
    if gate.must_wait(address):
        raise TooManyRequests("too many wrong passwords: wait a minute", retry_after=60)
    if not (header and gate.admits(header, address)) and not gate.is_open_to(address, request.host):
        if not gate.has_password:
            abort(403, description="no password is set: only this machine is let in, by the name localhost")
        return Response(
            "A password is needed.\n",
            status=401,
            content_type="text/plain",
            headers={"WWW-Authenticate": 'Basic realm="mkserver", charset="UTF-8"'},
        )
    if request.method not in _SAFE_METHODS:
        _guard_change()
    return None


def _guard_change() -> None:
    """Refuse what another site's page may have sent with the browser's stored password."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        abort(403, description="sent from another site")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        abort(403, description="sent from another site")
    if request.path.startswith("/api/"):
        if request.method != "DELETE" and request.mimetype != "application/json":
            abort(415, description="send application/json")
        if origin is None and "Referer" in request.headers:
            abort(403, description="sent from a page without saying which")
    elif not services().gate.accepts_form(form_pairs(request.get_data()).get("token"), authorization()):
        abort(403, description="this form is too old or not from here: load the page again")


def add_security_headers(response: Response) -> Response:
    """Add what keeps a page's content and its reach bounded; node routes' answers stay as the protocol has them."""
    if not is_node_route(request.path):
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        if not request.path.startswith("/static/"):
            response.headers.setdefault("Cache-Control", "no-store")
    return response

"""Addresses of servers as people and networks write them: URIs, literals, names, base paths. Pure.

Nothing is guessed: what no server can have is refused with the reason.
Source: RFC 3986 (URI), RFC 1123 (names), protocol 1.2 and 1.3.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from mkcore.errors import BadInput

LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(\.{LABEL})*\.?")
NUMERIC = re.compile(r"[0-9.]+|0[xX][0-9a-fA-F]+")
PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")


def parse_uri(text: str) -> tuple[str, str]:
    """Split a server's address into (scheme, host and port; base path): ("http://192.0.2.1:8026", "/hanlon/api/v1").

    Raises BadInput, saying what is wrong, for anything but http(s) with a usable host, port and plain path.
    """
    parts_of_host = text.partition("://")[2].partition("/")[0]
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        bare = parts_of_host.count(":") > 1 and "[" not in parts_of_host
        wrong = (
            "IPv6 stands in brackets, as in http://[2001:db8::1]:8026"
            if bare
            else "HOST or HOST:PORT with a port of 1 to 65535 is needed"
        )
        raise BadInput(f"{_shown(text)}: {wrong}") from None
    if parts.scheme not in ("http", "https") or any(c.isspace() or not c.isprintable() for c in text):
        raise BadInput(f"{_shown(text)} is no address that begins with http:// or https://")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise BadInput(f"{_shown(text)}: only scheme, host, port and path are allowed")
    literal = build_address(host) if "[" in parts.netloc or NUMERIC.fullmatch(host) else build_name(host)
    if port == 0:
        raise BadInput(f"{_shown(text)}: port 0 is out of range (1 to 65535)")
    return f"{parts.scheme}://{literal}" + (f":{port}" if port else ""), parse_base(parts.path)


def _shown(text: str) -> str:
    return repr(hide_password(text)[:80])


def hide_password(text: str) -> str:
    """Return an address for a message: `http://***@mk.example`, as what stands before an @ is somebody's password."""
    return re.sub(r"(?s)(?<=//).*@", "***@", text)


def build_address(text: str) -> str:
    """Return an IP address as it stands in a URI (IPv6 in brackets). Raises BadInput where no server can be."""
    try:
        address = ipaddress.ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError as error:
        raise BadInput(f"{text[:60]!r} is no IP address") from error
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255" or "%" in str(address):
        raise BadInput(f"{address} is not the address of a server")
    return f"[{address}]" if address.version == 6 else str(address)


def build_name(text: str) -> str:
    """Return a host name in lower case. Raises BadInput for what the DNS cannot hold."""
    if not HOST_NAME.fullmatch(text):
        raise BadInput(f"{text[:60]!r} is no host name")
    return text.lower()


def parse_base(text: str) -> str:
    """Return the base path of an API, "" for the root: `hanlon/api/v1/` -> `/hanlon/api/v1`. Raises BadInput."""
    path = "/" + text.strip("/")
    if path == "/":
        return ""
    if not PATH.fullmatch(path) or "/../" in path + "/" or "/./" in path + "/":
        raise BadInput(f"{text[:80]!r} is no path")
    return path

"""Where the server is, from the sources that name it outright: kernel line, credentials, configuration files.

Explicit beats found: a pushed address that the site allowed, then the kernel line, then the credential `mk.server`,
then the configuration files, which have their own order. Sources that have to be asked over the network come after
these. Nothing is guessed: what cannot be used is one line in `problems` and the next source counts (B05).
Source: protocol 1.2 (parameters), 1.4 (order, paths), 9.6 (dialects); B04, B05.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional
from urllib.parse import urlsplit

from mkcore.errors import BadInput
from mkctl.cmdline import Token, last_value, only_value
from mkctl.dialects import DIALECTS, HANLON, RAZOR, Dialect, Request, Routes, dialect_of_path, probe_requests

DEFAULT_PORT = 8026
KEYS = ("ip", "server", "port", "base_uri", "uri")

# Source of the address -> dialect; the neutral prefix and the other sources say nothing.
DIALECT_OF_PREFIX: dict[str, Optional[Dialect]] = {"hanlon": HANLON, "razor": RAZOR, "mk": None}

LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(\.{LABEL})*\.?")
NUMERIC = re.compile(r"[0-9.]+|0[xX][0-9a-fA-F]+")
PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")

NOT_SUPPORTED = "the razor-server protocol (razor.register=) is not supported yet"


@dataclass(frozen=True)
class Candidate:
    """One server that a source names.

    `uri` is scheme, host and port: `http://192.0.2.1:8026`. `base_path` is "" or the path of the API, e.g.
    `/hanlon/api/v1`. `source` is for people (`kernel line`, `credential`, the file's name, `server's push`).
    `dialect` is what the source says of it, None where it is silent.
    """

    uri: str
    source: str
    dialect: Optional[Dialect] = None
    base_path: str = ""
    checkin_path: str = ""
    register_path: str = ""

    def routes(self, dialect: Dialect) -> Routes:
        """Absolute URIs of both calls: own paths, else those below `base_path`, else the dialect's."""
        base = self.base_path or dialect.base_path
        return Routes(
            self.uri + (self.checkin_path or base + "/node/checkin"),
            self.uri + (self.register_path or base + "/node/register"),
        )

    def probes(self) -> tuple[Request, ...]:
        """The harmless requests that tell the dialect where `dialect` is None; send them until one is recognised."""
        return probe_requests(self.uri, self.checkin_path or (self.base_path and self.base_path + "/node/checkin"))


@dataclass(frozen=True)
class Problem:
    """Why something that a source says is not used: one line. `unsupported` marks what a later version may take."""

    text: str
    unsupported: bool = False


@dataclass(frozen=True)
class Found:
    """What discovery yields. The first candidate is the one to use; the others were outranked and are for display."""

    candidates: tuple[Candidate, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Configured:
    """An address and paths as configuration files, a credential or a push name them; all may be "".

    `uri` may carry a path, which is the base of the API. `dialect` is `auto`, `razor` or `hanlon`.
    """

    uri: str = ""
    source: str = ""
    checkin_path: str = ""
    register_path: str = ""
    dialect: str = "auto"


def discover(tokens: Sequence[Token], pushed: str, credential: str, configured: Configured) -> Found:
    """Collect the candidates of all sources in their order.

    `tokens`: the kernel line. `pushed`: `mk_uri` of a push where the site allows it, else "". `credential`: content of
    `mk.server`, "" without. `configured`: the site's `[server]` table; its paths and dialect hold for every source that
    names none.
    """
    candidates: list[Candidate] = []
    problems: list[Problem] = []
    _add_uri(candidates, problems, pushed, "server's push")
    _add_kernel_line(candidates, problems, tokens)
    _add_uri(candidates, problems, credential.strip(), "credential mk.server")
    _add_uri(candidates, problems, configured.uri, configured.source or "configuration")
    says_hanlon = HANLON if only_value(tokens, "smbios_uuid")[0] else None
    return Found(tuple(_complete(each, configured, says_hanlon) for each in candidates), tuple(problems))


def parse_uri(text: str) -> tuple[str, str]:
    """Split a server's address into (scheme, host and port; base path): ("http://192.0.2.1:8026", "/hanlon/api/v1").

    Raises BadInput, saying what is wrong, for anything but http(s) with a usable host, port and plain path.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise BadInput(f"{text[:80]!r}: {error}") from error
    if parts.scheme not in ("http", "https") or any(c.isspace() or not c.isprintable() for c in text):
        raise BadInput(f"{text[:80]!r} is no http:// address")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise BadInput(f"{text[:80]!r}: only scheme, host, port and path are allowed")
    literal = build_address(host) if "[" in parts.netloc or NUMERIC.fullmatch(host) else build_name(host)
    if port == 0:
        raise BadInput(f"{text[:80]!r}: port 0 is out of range (1 to 65535)")
    return f"{parts.scheme}://{literal}" + (f":{port}" if port else ""), parse_base(parts.path)


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


def _add_uri(candidates: list[Candidate], problems: list[Problem], text: str, source: str) -> None:
    if not text:
        return
    try:
        uri, base_path = parse_uri(text)
    except BadInput as error:
        problems.append(Problem(f"{source}: {error}: not used"))
        return
    candidates.append(Candidate(uri, source, base_path=base_path))


def _add_kernel_line(candidates: list[Candidate], problems: list[Problem], tokens: Sequence[Token]) -> None:
    if any(token.name.lower() == "razor.register" for token in tokens):
        problems.append(Problem(NOT_SUPPORTED, unsupported=True))
    for prefix in ("mk", "hanlon", "razor"):
        given: dict[str, str] = {}
        for key in KEYS:
            name = f"{prefix}.{key}"
            # An address counts only when it is given exactly once (protocol 1.2); for the rest the rightmost wins.
            value, reason = only_value(tokens, name) if key == "ip" else (last_value(tokens, name), "")
            if reason:
                problems.append(Problem(reason))
            elif value:
                given[key] = value
            elif any(token.name == name for token in tokens):
                problems.append(Problem(f"kernel line: {name}= is empty: not used"))
        _add_prefix(candidates, problems, prefix, given)


def _add_prefix(candidates: list[Candidate], problems: list[Problem], prefix: str, given: dict[str, str]) -> None:
    source = next((f"{prefix}.{key}" for key in ("uri", "ip", "server") if key in given), "")
    if not source:
        if given:
            names = ", ".join(f"{prefix}.{key}=" for key in given)
            problems.append(Problem(f"kernel line: {names} without {prefix}.ip= or {prefix}.server=: not used"))
        return
    try:
        uri, base_path = _address_of(prefix, given)
    except BadInput as error:
        problems.append(Problem(f"kernel line: {error}: not used"))
        return
    candidates.append(Candidate(uri, f"kernel line ({source}=)", DIALECT_OF_PREFIX[prefix], base_path))


def _address_of(prefix: str, given: dict[str, str]) -> tuple[str, str]:
    if "uri" in given:
        uri, base_path = parse_uri(given["uri"])
    else:
        host = build_address(given["ip"]) if "ip" in given else build_name(given["server"])
        port = given.get("port", str(DEFAULT_PORT))
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
            raise BadInput(f"{prefix}.port={port[:20]} is no port (1 to 65535)")
        uri, base_path = f"http://{host}:{int(port)}", ""
    return uri, parse_base(given["base_uri"]) if "base_uri" in given else base_path


def _complete(found: Candidate, configured: Configured, says_hanlon: Optional[Dialect]) -> Candidate:
    """Add the site's paths where the source names no base, and the dialect where the rest betrays it (protocol 9.6)."""
    own = not found.base_path
    checkin_path = configured.checkin_path if own else ""
    dialect = (
        found.dialect
        or DIALECTS.get(configured.dialect)
        or says_hanlon
        or dialect_of_path(checkin_path or found.base_path)
    )
    return replace(
        found, dialect=dialect, checkin_path=checkin_path, register_path=configured.register_path if own else ""
    )

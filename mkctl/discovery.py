"""Where the server is: all sources in one order, the written ones before the found ones. Pure.

Explicit beats found: a pushed address that the site allowed, then the kernel line, the credential `mk.server`, the
site's files; then what DHCP says, the DNS, next-server; last the file that the package ships. `originals` restores the
order of the historic microkernels (protocol 1.4). Nothing is guessed: what cannot be used is one line in `problems` and
the next source counts (B05).

Several servers are tried in turn, but only among their own kind: who can silence the server that somebody wrote down
must not win the machine by naming another one over DHCP.
Source: protocol 1.2 (parameters), 1.3 (DHCP), 1.4 (order, paths), 9.6 (dialects); B04, B05.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Optional

from mkcore.errors import BadInput
from mkcore.site import SERVER_PORT
from mkctl.addresses import build_address, build_name, parse_base, parse_uri
from mkctl.candidate import WRITTEN, Candidate, Configured, Found, Kind, Problem
from mkctl.cmdline import Token, last_value, only_value
from mkctl.dialects import DIALECTS, HANLON, RAZOR, Dialect, dialect_of_path
from mkctl.hints import Hints, Lease, usable_address

NO_HINTS = Hints()
KEYS = ("ip", "server", "port", "base_uri", "uri")
OTHER_WORDS = ("next_server", "fingerprint", "root", "sshkey")
"""What else may stand behind `mk.` on the kernel line; whoever reads them is elsewhere."""

# Source of the address -> dialect: the prefix on the kernel line, the name in the DNS. What is neutral says nothing,
# nor do DHCP and next-server, which both kinds of server use: a base path, option 226, tells by itself.
DIALECT_OF_PREFIX: dict[str, Optional[Dialect]] = {"hanlon": HANLON, "razor": RAZOR, "mk": None}

ORDERS: dict[str, tuple[Kind, ...]] = {
    "explicit": (
        *(Kind.PUSH, Kind.KERNEL_LINE, Kind.CREDENTIAL, Kind.SITE),
        *(Kind.DHCP, Kind.SERVICE, Kind.NAME, Kind.NEXT_SERVER, Kind.SHIPPED),
    ),
    "originals": (
        *(Kind.PUSH, Kind.KERNEL_LINE, Kind.NAME, Kind.DHCP, Kind.NEXT_SERVER),
        *(Kind.SERVICE, Kind.CREDENTIAL, Kind.SITE, Kind.SHIPPED),
    ),
}

NOT_SUPPORTED = "the razor-server protocol (razor.register=) is not supported yet"


def discover(
    tokens: Sequence[Token],
    pushed: str,
    credential: str,
    configured: Configured,
    hints: Hints = NO_HINTS,
    order: str = "explicit",
) -> Found:
    """Collect the candidates of all sources in their order.

    `tokens`: the kernel line. `pushed`: `mk_uri` of a push where the site allows it, else "". `credential`: content of
    `mk.server`, "" without. `configured`: the site's `[server]` table; its paths and dialect hold for every source that
    names none. `hints`: what the network says. `order`: a key of ORDERS. While a better source is still
    to be asked (`hints.awaits`), only what is as good as the kernel line counts.
    """
    candidates: list[Candidate] = []
    problems: list[Problem] = []
    _add_uri(candidates, problems, pushed, Kind.PUSH)
    _add_kernel_line(candidates, problems, tokens, hints if order == "originals" else NO_HINTS)
    candidates += _of_cloud_config(hints)
    # Two credentials can name it; which of them it was, the configuration knows.
    _add_uri(candidates, problems, credential.strip(), Kind.CREDENTIAL, "" if configured.uri else configured.source)
    own = Kind.SHIPPED if configured.shipped else Kind.SITE
    _add_uri(candidates, problems, configured.uri, own, configured.source)
    candidates += _found(hints)
    for text in (last_value(tokens, "mk.next_server"), hints.next_server):  # as iPXE was told, and as it is now
        _add_next_server(candidates, problems, text, hints)
    problems += map(Problem, hints.problems)
    says_hanlon = HANLON if only_value(tokens, "smbios_uuid")[0] else None
    kinds = ORDERS[order]
    if hints.awaits:
        candidates = [each for each in candidates if kinds.index(each.kind) <= kinds.index(Kind.KERNEL_LINE)]
    if hints.unasked:
        candidates = [each for each in candidates if each.kind is not Kind.SHIPPED]
    ranked = sorted(candidates, key=lambda each: kinds.index(each.kind))
    return Found(
        tuple(_distinct(_complete(each, configured, says_hanlon) for each in ranked)), tuple(dict.fromkeys(problems))
    )


def _distinct(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Leave out what a better source names already: trying the same server twice in a turn helps nobody."""
    seen: set[object] = set()
    for each in candidates:
        if each.mark not in seen:
            seen.add(each.mark)
            yield each


def _add_uri(candidates: list[Candidate], problems: list[Problem], text: str, kind: Kind, source: str = "") -> None:
    if not text:
        return
    source = source or kind.value
    try:
        uri, base_path = parse_uri(text)
    except BadInput as error:
        problems.append(Problem(f"{source}: {error}: not used", written=kind in WRITTEN))
        return
    candidates.append(Candidate(uri, source, base_path=base_path, kind=kind))


def _of_cloud_config(hints: Hints) -> Iterator[Candidate]:
    """The server of the cloud-config that the kernel line names: whoever wrote that line wrote it down (Hanlon 3)."""
    said = hints.cloud
    if said is not None:
        paths = (said.checkin_path, said.register_path)
        yield Candidate(said.uri, "kernel line (cloud-config)", HANLON, "", Kind.KERNEL_LINE, *paths)


def _found(hints: Hints) -> Iterator[Candidate]:
    """What DHCP and the DNS name. Port and base path of a lease count for names and next-server, too (protocol 1.4)."""
    for lease in hints.leases:
        if lease.server:
            options = "DHCPv6 vendor options" if lease.version == 6 else "DHCP option 224"
            source = f"{options}, {lease.interface}"
            yield Candidate(_uri(lease.server, lease), source, base_path=lease.base_uri, kind=Kind.DHCP)
    for service in hints.services:
        yield Candidate(f"http://{service.host}:{service.port}", "DNS, _mk._tcp", kind=Kind.SERVICE)
    lease = _ports(hints)
    for name in hints.names:
        dialect = DIALECT_OF_PREFIX[name]
        base_path = lease.base_uri if dialect is HANLON else ""
        yield Candidate(_uri(name, lease), f"DNS name {name}", dialect, base_path, Kind.NAME)


def _ports(hints: Hints) -> Lease:
    """The first lease that names a port or a base path, for sources that name none."""
    return next((lease for lease in hints.leases if lease.port or lease.base_uri), Lease(""))


def _uri(host: str, lease: Lease) -> str:
    return f"http://{host}:{lease.port or SERVER_PORT}"


def _add_next_server(candidates: list[Candidate], problems: list[Problem], text: str, hints: Hints) -> None:
    if not text:
        return
    lease = _ports(hints)
    try:
        host = usable_address(text)
    except BadInput as error:
        problems.append(Problem(f"next-server: {error}: not used"))
        return
    candidates.append(Candidate(_uri(host, lease), "next-server", base_path=lease.base_uri, kind=Kind.NEXT_SERVER))


def _add_kernel_line(
    candidates: list[Candidate], problems: list[Problem], tokens: Sequence[Token], hints: Hints
) -> None:
    if any(token.name.lower() == "razor.register" for token in tokens):
        problems.append(Problem(NOT_SUPPORTED, unsupported=True, written=True))
    refused = list(_unknown_words(tokens))
    for prefix in ("mk", "hanlon", "razor"):
        given: dict[str, str] = {}
        for key in KEYS:
            name = f"{prefix}.{key}"
            # An address counts only when it is given exactly once (protocol 1.2); for the rest the rightmost wins.
            value, reason = only_value(tokens, name) if key == "ip" else (last_value(tokens, name), "")
            if reason:
                refused.append(reason)
            elif value:
                given[key] = value
            elif any(token.name == name for token in tokens):
                refused.append(f"kernel line: {name}= is empty: not used")
        if "uri" in given:  # which has them all
            idle = ", ".join(f"{prefix}.{key}=" for key in ("ip", "server", "port") if key in given)
            refused += [f"kernel line: {idle} beside {prefix}.uri=: not used"] if idle else []
        if prefix == "hanlon" and ("ip" in given or "server" in given):
            _borrow(given, _ports(hints))
        try:
            candidates += _of_prefix(prefix, given)
        except BadInput as error:
            refused.append(f"kernel line: {error}: not used")
    problems += (Problem(text, written=True) for text in refused)


def _unknown_words(tokens: Sequence[Token]) -> Iterator[str]:
    """Name what begins like a word of ours and is none: `mk.url=`, `MK.IP=`, `Razor.ip=`. What other servers' lines
    say beside an address (razor.extend=) is theirs."""
    for name in dict.fromkeys(token.name for token in tokens):
        prefix, dot, key = name.partition(".")
        own = prefix.lower()
        if not dot or own not in DIALECT_OF_PREFIX:
            continue
        words = (*KEYS, *OTHER_WORDS) if own == "mk" else KEYS
        if (prefix, key) != (own, key.lower()) and key.lower() in words:
            yield f"kernel line: {name[:40]}= is not read, {own}.{key.lower()}= would be: not used"
        elif own == "mk" and key not in words:
            known = ", ".join(f"mk.{each}=" for each in words)
            yield f"kernel line: {name[:40]}= is not known here ({known} are): not used"


def _borrow(given: dict[str, str], lease: Lease) -> None:
    """Take port and base path from the lease where the kernel line names none, as Hanlon's microkernel did."""
    if lease.port:
        given.setdefault("port", str(lease.port))
    if lease.base_uri:
        given.setdefault("base_uri", lease.base_uri)


def _of_prefix(prefix: str, given: dict[str, str]) -> Iterator[Candidate]:
    """The server that the words of one prefix name, if they name one. Raises BadInput, naming the word."""
    source = next((f"{prefix}.{key}" for key in ("uri", "ip", "server") if key in given), "")
    if source:
        uri, base_path = _address_of(prefix, given)
        yield Candidate(uri, f"kernel line ({source}=)", DIALECT_OF_PREFIX[prefix], base_path, Kind.KERNEL_LINE)
    elif given:
        names = ", ".join(f"{prefix}.{key}=" for key in given)
        raise BadInput(f"{names} without {prefix}.ip= or {prefix}.server=")


def _address_of(prefix: str, given: dict[str, str]) -> tuple[str, str]:
    """Return (scheme, host and port; base path) of what is given. Raises BadInput, naming the word that is wrong."""
    key = next(each for each in ("uri", "ip", "server") if each in given)
    text = given[key]
    try:
        if key == "uri":
            uri, base_path = parse_uri(text)
        else:
            host, base_path = build_address(text) if key == "ip" else build_name(text), ""
            uri = f"http://{host}:{_port(prefix, given)}"
    except BadInput as error:
        other = ""
        if key != "uri" and "://" in text:
            other = f" ({prefix}.uri= takes such)"
        elif key != "uri" and re.search(r"[^:]:[0-9]+$", text):
            other = f" (its port belongs in {prefix}.port=)"
        raise BadInput(f"{prefix}.{key}=: {error}{other}") from None
    if "base_uri" not in given:
        return uri, base_path
    try:
        return uri, parse_base(given["base_uri"])
    except BadInput as error:
        raise BadInput(f"{prefix}.base_uri=: {error}") from None


def _port(prefix: str, given: dict[str, str]) -> int:
    port = given.get("port", str(SERVER_PORT))
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise BadInput(f"{prefix}.port={port[:20]} is no port (1 to 65535)")
    return int(port)


def _complete(found: Candidate, configured: Configured, says_hanlon: Optional[Dialect]) -> Candidate:
    """Add the site's paths where the source names no base, and the dialect where the rest betrays it (protocol 9.6)."""
    own = not found.base_path
    checkin_path = found.checkin_path or (configured.checkin_path if own else "")
    register_path = found.register_path or (configured.register_path if own else "")
    dialect = (
        found.dialect
        or DIALECTS.get(configured.dialect)
        or says_hanlon
        or dialect_of_path(checkin_path or found.base_path)
    )
    return replace(found, dialect=dialect, checkin_path=checkin_path, register_path=register_path)

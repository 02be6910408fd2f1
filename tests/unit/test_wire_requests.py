"""Every request as the original clients sent it, compared byte for byte on a connection (rows 41, 46, 54, 55, 112).

The expected bytes are in tests/data/wire and no program of this project produced them. Compared are method, target,
Host, Accept, Content-Type, Content-Length and body; User-Agent is ours, and there is no further header.
"""

from __future__ import annotations

import json
import platform
import re

import pytest

from mkcore.http import exchange, user_agent
from mkcore.jsonfields import Json
from mkcore.version import VERSION
from mkctl.candidate import Candidate
from mkctl.dialects import HANLON, RAZOR, Request, Routes
from mkctl.identity import Identity
from tests.fakes import Recorded, WireServer, json_answer, parse_request, read_wire

COMPARED = ("host", "accept", "content-type", "content-length")
UUID = "564D1A2B-3C4D-5E6F-7081-92A3B4C5D6E7"
FIRST, SECOND = "00:0c:29:c9:52:ba", "00:0c:29:c9:52:c4"
FACTS: dict[str, Json] = {"hostname": "mk000C29C952BA", "is_virtual": True, "mk_hw_cpu_count": "2"}

# The transcript's nodes; its own client sent the uuid in lower case, which is the server's business alone.
NODE = "564d0c5d-0000-0000-0000-000000000001"
A1, A2 = "52:54:00:aa:00:01", "52:54:00:aa:00:02"


def routes(dialect_name: str) -> Routes:
    dialect = {"razor": RAZOR, "hanlon": HANLON}[dialect_name]
    return Candidate("http://SERVER", "test").routes(dialect)


def attributes(file: str) -> dict[str, Json]:
    """The facts of a recorded registration, read by json alone."""
    found: dict[str, Json] = json.loads(parse_request(read_wire(file)).body)["attributes_hash"]
    return found


def razor_checkin(identity: Identity, first: bool) -> Request:
    return RAZOR.build_checkin(routes("razor").checkin, identity, first, "idle")


def hanlon_checkin(identity: Identity, first: bool) -> Request:
    return HANLON.build_checkin(routes("hanlon").checkin, identity, first, "idle")


def hanlon_register(identity: Identity, facts: dict[str, Json]) -> Request:
    return HANLON.build_registration(routes("hanlon").register, identity, facts, "idle")


CASES = {
    "protocol/3.2-razor-checkin.http": razor_checkin(Identity(UUID, (FIRST, SECOND)), True),
    "protocol/3.2-hanlon-checkin.http": hanlon_checkin(Identity(UUID, (FIRST,)), True),
    "protocol/3.5-razor-register.http": RAZOR.build_registration(
        routes("razor").register, Identity(UUID, (FIRST, SECOND)), FACTS, "idle"
    ),
    "protocol/3.5-hanlon-register.http": hanlon_register(Identity(UUID, (FIRST, SECOND)), FACTS),
    "hanlon/08-request.http": hanlon_checkin(Identity(NODE, (A1, A2)), True),
    "hanlon/09-request.http": hanlon_checkin(Identity(NODE, (A1, A2)), False),
    "hanlon/18-request.http": hanlon_register(Identity(NODE, (A1, A2)), attributes("hanlon/18-request.http")),
    "hanlon/19-request.http": hanlon_checkin(Identity(NODE, (A1, A2)), False),
    "hanlon/20-request.http": hanlon_checkin(Identity(NODE, (A1, A2)), True),
    "hanlon/25-request.http": hanlon_register(Identity(NODE.upper(), (A1, A2)), attributes("hanlon/25-request.http")),
    "hanlon/56-request.http": hanlon_register(Identity(NODE, (A1,)), attributes("hanlon/56-request.http")),
    "hanlon/58-request.http": hanlon_checkin(Identity(NODE, (A1,)), False),
    "hanlon/62-request.http": hanlon_checkin(Identity(NODE, (A1,)), False),
    "hanlon/connection-1-request.http": hanlon_checkin(Identity("", ("02:fc:00:00:00:01",)), True),
    "hanlon/connection-3-request.http": hanlon_checkin(Identity("", ("02:fc:00:00:00:01",)), False),
}


def send(request: Request) -> tuple[bytes, str]:
    """Send a request over the product's own client; return what arrived and the server's host:port."""
    with WireServer(json_answer(b'{"errcode":0}')) as server:
        place = f"127.0.0.1:{server.port}"
        headers = {"User-Agent": user_agent("mkctl"), **request.headers}
        exchange(request.method, request.uri.replace("SERVER", place), headers=headers, body=request.body)
        (raw,) = server.wait_for(1)
    return raw, place


def expected(file: str, place: str) -> Recorded:
    """The recorded request with the recording server's address in place of the original one."""
    raw = read_wire(file)
    host = parse_request(raw).header("host")
    assert host is not None
    return parse_request(raw.replace(f"Host: {host}\r\n".encode(), f"Host: {place}\r\n".encode()))


@pytest.mark.parametrize("file", CASES)
def test_request_is_the_recorded_one(file: str) -> None:
    raw, place = send(CASES[file])
    sent, wanted = parse_request(raw), expected(file, place)
    assert (sent.method, sent.target) == (wanted.method, wanted.target)
    assert sent.body == wanted.body
    assert {name: sent.header(name) for name in COMPARED} == {name: wanted.header(name) for name in COMPARED}


@pytest.mark.parametrize("file", CASES)
def test_no_other_header_is_sent(file: str) -> None:
    raw, _ = send(CASES[file])
    sent = parse_request(raw)
    names = [name for name, _ in sent.headers]
    assert set(names) <= {"host", "accept", "user-agent", "content-type", "content-length", "connection"}
    assert sent.header("connection") in (None, "close")
    assert (sent.header("content-length") is None) == (sent.method == "GET")


def test_row_112_user_agent_names_component_python_and_kernel() -> None:
    raw, _ = send(CASES["protocol/3.2-razor-checkin.http"])
    python = ".".join(platform.python_version_tuple()[:2])
    pattern = rf"mkctl/{re.escape(VERSION)} python/{re.escape(python)} linux/[0-9]+\.[0-9]+"
    assert re.fullmatch(pattern, parse_request(raw).header("user-agent") or "")


def test_ipv6_host_is_bracketed() -> None:
    with WireServer(json_answer(b"{}"), host="::1") as server:
        exchange("GET", hanlon_checkin(Identity(), False).uri.replace("http://SERVER", server.uri))
        (raw,) = server.wait_for(1)
    assert parse_request(raw).header("host") == f"[::1]:{server.port}"

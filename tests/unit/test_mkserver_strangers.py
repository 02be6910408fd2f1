"""What strangers do to the node routes: malformed, oversized, too many, too often. Refused in the dialect's words."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from mkserver_live import Live

from mkcore.rate import RateLimit
from mkserver.settings import Limits

REGISTER = "/hanlon/api/v1/node/register"
NODE = "564D0C5D-0000-0000-0000-000000000001"
GOOD: dict[str, Any] = {"uuid": NODE, "mac_id": "AA", "last_state": "idle", "attributes_hash": {"a": "b"}}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for all tests that leave nothing behind."""
    with Live(tmp_path_factory.mktemp("live")) as running:
        yield running


def _error(live: Live, body: bytes, headers: Optional[dict[str, str]] = None) -> tuple[int, str, str]:
    answer = live.ask("POST", REGISTER, body, {"Content-Type": "text/json", **(headers or {})})
    result = answer.json["response"]["result"]
    assert list(result) == ["code", "type", "description"]
    assert result["code"] == answer.status
    assert live.get("/api/nodes").json["nodes"] == [], "nothing is kept"
    return answer.status, result["type"], result["description"]


def _with(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


VALIDATION = "Grape::Exceptions::ValidationErrors"
NO_JSON = "Grape::Exceptions::InvalidMessageBody"
INPUT = "ProjectHanlon::Error::Slice::InputError"
MISSING = "ProjectHanlon::Error::Slice::MissingArgument"


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 500, NO_JSON),
        (_with()[:-20], 500, NO_JSON),
        (b'{"a":\xff\xfe}', 500, NO_JSON),
        (_with().replace(b'"b"', b'"\xff"'), 500, NO_JSON),
        (_with().replace(b'"b"', b'"\x00"'), 500, NO_JSON),
        (_with().replace(b'"b"', b"NaN"), 500, NO_JSON),
        (b'{"a":' + b"[" * 200_000, 500, NO_JSON),
        (_with().replace(b'"b"', b"[" * 50 + b"]" * 50), 400, INPUT),
        (_with().replace(b'"b"', b'"\\u0000"'), 400, INPUT),
        (_with(attributes_hash={"a" * 300: "b"}), 400, INPUT),
        (_with(attributes_hash={str(number): 1 for number in range(5001)}), 400, INPUT),
        (_with(attributes_hash={"a": "b" * (1 << 20)}), 400, INPUT),
        (_with(attributes_hash="text"), 500, VALIDATION),
        (_with(attributes_hash=[1]), 500, VALIDATION),
        (_with(attributes_hash=7), 500, VALIDATION),
        (_with(attributes_hash=None), 400, MISSING),
        (_with(uuid={"a": 1}), 500, VALIDATION),
        (_with(uuid=5, mac_id=6), 500, VALIDATION),
        (_with(last_state=None), 400, MISSING),
        (_with(last_state=["idle"]), 500, VALIDATION),
        (_with(last_state="x" * 65), 400, INPUT),
        (_with(last_state="a\nb"), 400, INPUT),
        (_with(uuid="a b"), 400, INPUT),
        (_with(uuid="x" * 65), 400, INPUT),
        (_with(uuid="", mac_id="_".join(f"{number:012X}" for number in range(65))), 400, INPUT),
        (_with(uuid="../../etc", mac_id=""), 400, INPUT),
        (b"[]", 500, VALIDATION),
        (b"null", 500, VALIDATION),
        (b"5", 500, VALIDATION),
        (b"{}", 500, VALIDATION),
    ],
)
def test_malformed_registrations(live: Live, body: bytes, status: int, kind: str) -> None:
    found = _error(live, body)
    assert found[:2] == (status, kind), found


def test_ten_megabytes(live: Live) -> None:
    assert _error(live, b"x" * 10_000_000)[:2] == (413, INPUT)
    raw = json.dumps({**GOOD, "attributes_hash": {"a": "b" * 10_000_000}}).encode()
    assert _error(live, raw)[:2] == (413, INPUT)
    answer = live.ask("POST", "/razor/api/node/register", b"json_hash=" + b"x" * 10_000_000)
    assert (answer.status, answer.json["http_err_code"], answer.json["std_err_code"]) == (413, 413, 111)


def test_chunked_bodies_are_bounded_too(live: Live) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = f"POST {REGISTER} HTTP/1.1\r\nHost: {live.base}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as connection:
        connection.sendall(head.encode() + chunk * 80 + b"0\r\n\r\n")
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.split()[1] == b"413"
    assert json.loads(received.partition(b"\r\n\r\n")[2])["response"]["result"]["type"] == INPUT


@pytest.mark.parametrize("host", ["a b", "a\tb", "x/y", "a,b", "[::1", "exa$mple", "a" * 300])
def test_hosts_that_could_end_a_line_of_a_script_are_refused(live: Live, host: str) -> None:
    answer = live.get("/hanlon/api/v1/config/ipxe", Host=host)
    assert answer.status == 400


@pytest.mark.parametrize("host", ["10.0.2.2:8026", "mk.example", "[fd00::2]:8026", "hanlon"])
def test_the_script_uses_the_address_that_was_asked(live: Live, host: str) -> None:
    assert f"chain http://{host}/hanlon/api/v1/boot" in live.get("/hanlon/api/v1/config/ipxe", Host=host).text
    assert f"chain http://{host}/razor/api/boot?hw_id=" in live.get("/ipxe/razor", Host=host).text
    assert live.get("/ipxe/nope", Host=host).status == 404


def test_full_server_makes_room_only_in_place_of_expired_nodes(tmp_path: Path) -> None:
    with Live(tmp_path, limits=Limits(nodes=3)) as live:
        for number in range(3):
            assert live.register(f"N{number}", {"n": "1"}).status == 201
            live.clock.now_s += 1
        full = live.register("N3", {"n": "1"})
        assert full.status == 404
        assert full.json["response"]["result"]["type"] == "ProjectHanlon::Error::Slice::CouldNotRegisterNode"
        assert live.command("N3") == "register", "a checkin and a boot are answered all the same"
        assert live.get("/hanlon/api/v1/boot?uuid=N4&dhcp_mac=x").status == 200
        live.clock.now_s += 310
        assert live.register("N1", {"n": "1"}).status == 201
        assert live.register("N3", {"n": "1"}).status == 201
        names = {node["hw_ids"][0] for node in live.get("/api/nodes").json["nodes"]}
        assert names == {"N1", "N2", "N3"}


def test_one_address_cannot_take_all_places(tmp_path: Path) -> None:
    with Live(tmp_path, limits=Limits(nodes_of_one_address=2)) as live:
        assert [live.register(f"N{number}", {"n": "1"}).status for number in range(3)] == [201, 201, 404]


def test_facts_of_all_nodes_are_bounded(tmp_path: Path) -> None:
    with Live(tmp_path, limits=Limits(all_facts_bytes=3000)) as live:
        assert live.register("N1", {"n": "x" * 2000}).status == 201
        assert live.register("N2", {"n": "x" * 2000}).status == 404
        assert live.register("N1", {"n": "x" * 2500}).status == 201, "a replacement counts once"


def test_history_of_all_nodes_is_bounded(tmp_path: Path) -> None:
    with Live(tmp_path, limits=Limits(all_history=50)) as live:
        for number in range(120):
            live.register("N1", {"n": str(number)})
        assert len(live.get("/api/nodes/N1").json["history"]) < 50 + 64


def test_rate_of_one_address(tmp_path: Path) -> None:
    with Live(tmp_path, limits=Limits(requests_per_s=0.01, requests_burst=3)) as live:
        assert [live.checkin(NODE).status for _ in range(3)] == [200, 200, 200]
        late = live.checkin(NODE)
        assert late.status == 429
        assert 1 <= int(late.headers["retry-after"]) <= 100
        assert late.json["response"]["result"]["code"] == 429
        assert live.get("/razor/api/node/checkin").json["http_err_code"] == 429
        assert live.get("/api/nodes").status == 200, "people are not counted"


def test_token_bucket() -> None:
    now = [0.0]
    limit = RateLimit(2.0, 3, lambda: now[0])
    assert [limit.wait_s("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limit.wait_s("b") == 0.0
    now[0] = 1.0
    assert [limit.wait_s("a") for _ in range(3)] == [0.0, 0.0, 0.5]
    for number in range(5000):
        limit.wait_s(str(number))
    assert limit.remembered() <= 4096


def test_web_pages_may_not_pose_as_nodes(live: Live) -> None:
    body = _with()
    for header in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert _error(live, body, header)[0] == 403


def test_a_database_that_is_not_there_is_503(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        with live.services.registry.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE nodes RENAME TO nodes_gone")
        answer = live.checkin(NODE)
        assert answer.status == 503
        assert answer.json["response"]["result"]["type"] == "ProjectHanlon::Error::Slice::InternalError"
        assert live.get("/api/nodes").status == 503
        assert live.get("/api/nodes").headers["retry-after"] == "5"

"""Razor's dialect over raw sockets: recorded requests of the protocol, its answers and its numbered errors."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mkserver_live import Live

from tests.fakes import read_wire

MAC = "000C29C952BA_000C29C952C4"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A fresh server."""
    with Live(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for all tests that leave nothing behind."""
    with Live(tmp_path_factory.mktemp("empty")) as running:
        yield running


def _raw(live: Live, request: bytes) -> tuple[int, dict[str, str], Any]:
    """Send a recorded request whose Host is put right; returns status, headers, JSON."""
    request = request.replace(b"192.168.2.1:8026", live.base.encode())
    request = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split()[1]), headers, json.loads(body)


def _form(live: Live, document: str) -> Any:
    body = f"json_hash={quote(document, safe='')}".encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return live.ask("POST", "/razor/api/node/register", body, headers)


def _register(live: Live, hw_id: str, facts: dict[str, Any]) -> Any:
    return _form(live, json.dumps({"@hw_id": hw_id, "@attributes_hash": facts, "@last_state": "idle"}))


def test_recorded_checkin_of_an_unknown_node(live: Live) -> None:
    status, headers, answer = _raw(live, read_wire("protocol/3.2-razor-checkin.http"))
    wanted = json.loads(read_wire("protocol/3.3-razor-checkin-answer.json"))
    assert (status, headers["content-type"]) == (200, "application/json")
    assert list(answer) == list(wanted)
    assert answer["response"] == {"command_name": "register", "command_param": {}}
    for key in ("resource", "command", "result", "http_err_code", "errcode"):
        assert answer[key] == wanted[key]


def test_client_config_is_the_stock_servers_thirteen_keys(live: Live) -> None:
    _status, _headers, answer = _raw(live, read_wire("protocol/3.2-razor-checkin.http"))
    wanted = json.loads(read_wire("protocol/2.1-razor-client-config.json"))
    assert answer["client_config"] == {**wanted, "mk_uri": f"http://{live.base}"}
    assert len(wanted) == 13


def test_recorded_registration(live: Live) -> None:
    status, _headers, answer = _raw(live, read_wire("protocol/3.5-razor-register.http"))
    wanted = json.loads(read_wire("protocol/3.5-razor-register-answer.json"))
    assert status == 200
    assert list(answer) == list(wanted)
    assert set(answer["response"]) == set(wanted["response"])
    assert answer["response"]["@hw_id"] == MAC.split("_")
    assert answer["response"]["@tags"] == ["cpus_2"]
    assert answer["response"]["@attributes_hash"]["hostname"] == "mk000C29C952BA"
    _status, _headers, known = _raw(live, read_wire("protocol/3.2-razor-checkin.http"))
    assert known["response"]["command_name"] == "register", "first_checkin is in that request"
    again = live.get(f"/razor/api/node/checkin?hw_id={MAC}&last_state=idle").json
    assert again["response"]["command_name"] == "acknowledge"


@pytest.mark.parametrize(
    ("query", "number", "kind", "text"),
    [
        ("", 114, "MissingArgument", "Must Provide Hardware IDs[hw_id]"),
        ("hw_id=&last_state=idle", 114, "MissingArgument", "Must Provide Hardware IDs[hw_id]"),
        ("hw_id={}&last_state=idle", 114, "MissingArgument", "Must Provide Hardware IDs[hw_id]"),
        ("hw_id=_&last_state=idle", 114, "MissingArgument", "Must Provide Hardware IDs[hw_id]"),
        ("hw_id=AA", 114, "MissingArgument", "Must Provide Last State[last_state]"),
        ("hw_id=AA&last_state=", 114, "MissingArgument", "Must Provide Last State[last_state]"),
        ("hw_id=A%20A&last_state=idle", 111, "InputError", "hw_id: not a hardware identifier"),
        ("hw_id=AA&last_state=%00", 111, "InputError", "query: NUL character"),
        ("hw_id=%ff&last_state=idle", 111, "InputError", "query: not UTF-8"),
    ],
)
def test_checkin_errors(empty: Live, query: str, number: int, kind: str, text: str) -> None:
    answer = empty.get(f"/razor/api/node/checkin?{query}")
    wanted = json.loads(read_wire("protocol/3.9-razor-error.json"))
    assert list(answer.json) == list(wanted)
    assert answer.status == answer.json["http_err_code"] == 400
    assert answer.json["std_err_code"] == number
    assert answer.json["err_class"] == f"ProjectRazor::Error::Slice::{kind}"
    assert answer.json["result"] == text
    assert (answer.json["slice"], answer.json["command"]) == ("ProjectRazor::Slice::Node", "checkin_node")
    assert "errcode" not in answer.json


def test_the_probing_request_gets_the_protocols_error_exactly(live: Live) -> None:
    assert live.get("/razor/api/node/checkin").json == json.loads(read_wire("protocol/3.9-razor-error.json"))


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{not json",
        "[1]",
        '"text"',
        json.dumps({"@hw_id": "AA", "@last_state": "idle"}),
        json.dumps({"@hw_id": "AA", "@last_state": "idle", "@attributes_hash": {}}),
        json.dumps({"@hw_id": "AA", "@last_state": "idle", "@attributes_hash": "text"}),
        json.dumps({"@hw_id": "AA", "@last_state": "idle", "@attributes_hash": [1]}),
        json.dumps({"@hw_id": 7, "@last_state": "idle", "@attributes_hash": {"a": "b"}}),
        json.dumps({"@hw_id": "AA", "@last_state": {}, "@attributes_hash": {"a": "b"}}),
        json.dumps({"@last_state": "idle", "@attributes_hash": {"a": "b"}}),
        json.dumps({"@hw_id": "AA", "@last_state": "idle", "@attributes_hash": {"a": "\0"}}),
        '{"@hw_id":"AA","@last_state":"idle","@attributes_hash":{"a":NaN}}',
        '{"@hw_id":"AA","@last_state":"idle","@attributes_hash":{"a":1e999}}',
        '{"@hw_id":"AA","@last_state":"idle","@attributes_hash":{"a":' + "[" * 100_000,
        '{"@hw_id":"AA","@last_state":"idle","@attributes_hash":{"a":' + "[" * 60 + "]" * 60 + "}}",
    ],
)
def test_malformed_registrations_are_refused_and_store_nothing(empty: Live, document: str) -> None:
    answer = _form(empty, document)
    assert answer.status == answer.json["http_err_code"] == 400
    assert answer.json["err_class"].startswith("ProjectRazor::Error::Slice::")
    assert answer.json["command"] == "register_node"
    assert empty.get("/api/nodes").json["nodes"] == []


def test_keys_without_at_are_accepted(live: Live) -> None:
    answer = _form(live, json.dumps({"hw_id": "AA", "attributes_hash": {"a": "1"}, "last_state": "idle"}))
    assert answer.status == 200
    assert answer.json["response"]["@attributes_hash"] == {"a": "1"}


def test_old_clients_send_uuid(live: Live) -> None:
    answer = _form(live, json.dumps({"@uuid": "AA_BB", "@attributes_hash": {"a": "1"}, "@last_state": "idle"}))
    assert answer.json["response"]["@hw_id"] == ["AA", "BB"]


def test_ids_are_joined_and_taken_from_all_but_the_oldest(live: Live) -> None:
    first = _register(live, "AA_BB", {"a": "1"}).json["response"]["@uuid"]
    live.clock.now_s += 5
    second = _register(live, "CC", {"a": "2"}).json["response"]["@uuid"]
    live.clock.now_s += 5
    answer = _register(live, "BB_CC", {"a": "3"}).json["response"]
    assert answer["@uuid"] == first
    assert answer["@hw_id"] == ["AA", "BB", "CC"]
    assert live.get(f"/razor/api/node/{second}").json["response"]["@hw_id"] == []


def test_case_counts(live: Live) -> None:
    _register(live, "AABB", {"a": "1"})
    told = live.get("/razor/api/node/checkin?hw_id=aabb&last_state=idle").json["response"]["command_name"]
    assert told == "register"


def test_boot_finds_the_node_by_its_microkernels_spelling(live: Live) -> None:
    node = _register(live, "525400AA0001", {"a": "1"}).json["response"]["@uuid"]
    script = live.get("/razor/api/boot?hw_id=52:54:00:aa:00:01_______&dhcp_mac=01-52-54-00-aa-00-01")
    assert (script.status, script.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    shown = live.get(f"/razor/api/node/{node}").json["response"]
    assert shown["@dhcp_mac"] == "01-52-54-00-aa-00-01"
    assert live.get("/razor/api/boot?mac=52:54:00:aa:00:01").status == 200


def test_node_list_and_unknown_routes(live: Live) -> None:
    node = _register(live, "AA", {"a": "1"}).json["response"]["@uuid"]
    listed = live.get("/razor/api/node").json
    uri = f"http://{live.base}/razor/api/node/{node}"
    assert listed["response"] == [{"@uuid": node, "@classname": "ProjectRazor::Node", "@noun": "node", "@uri": uri}]
    unknown = live.get("/razor/api/node/nope")
    assert (unknown.status, unknown.json["std_err_code"]) == (400, 116)
    nothing = live.get("/razor/api/config")
    assert (nothing.status, nothing.json["http_err_code"]) == (404, 404)
    wrong = live.ask("POST", "/razor/api/node/checkin", b"")
    assert (wrong.status, wrong.json["std_err_code"]) == (405, 128)


def test_one_machine_may_speak_both_dialects(live: Live) -> None:
    """Matched by the MAC that a Hanlon registration without UUID kept."""
    first = live.register("", {"a": "1"}, mac_id="AABB").json["response"]["@uuid"]
    answer = _register(live, "AABB", {"a": "2"})
    assert answer.json["response"]["@uuid"] == first
    assert live.get("/hanlon/api/v1/node?mac_id=aabb").json["response"]["@attributes_hash"] == {"a": "2"}

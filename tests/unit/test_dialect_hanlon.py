"""Hanlon's dialect: requests, answers, how it is recognised (rows 41, 43, 46, 49 to 53, 55; protocol 3.2 to 3.9)."""

from __future__ import annotations

import json

import pytest

from mkcore.errors import ServerRefused
from mkcore.http import Answer
from mkctl.dialects import DIALECTS, HANLON, RAZOR, dialect_of_path, probe_requests, recognise
from mkctl.identity import Identity
from tests.fakes import read_wire

BASE = "http://192.168.2.1:8026"
IDENTITY = Identity("564D1A2B-3C4D-5E6F-7081-92A3B4C5D6E7", ("00:0c:29:c9:52:ba", "00:0c:29:c9:52:c4"))


def answer(body: bytes, status: int = 200) -> Answer:
    return Answer(status, {"content-type": "application/json"}, body)


def test_checkin_uri() -> None:
    uri = BASE + HANLON.checkin_path
    identity = "uuid=564D1A2B-3C4D-5E6F-7081-92A3B4C5D6E7&mac_id=000C29C952BA_000C29C952C4"
    first = HANLON.build_checkin(uri, IDENTITY, True, "idle")
    assert first.uri == f"{uri}?{identity}&last_state=idle&first_checkin=true"
    assert HANLON.build_checkin(uri, IDENTITY, False, "idle").uri == f"{uri}?{identity}&last_state=idle"


def test_an_absent_uuid_is_sent_empty() -> None:
    assert "?uuid=&mac_id=&last_state=idle" in HANLON.build_checkin(BASE, Identity(), False, "idle").uri


def test_registration_keeps_types_and_order() -> None:
    facts = {"is_virtual": True, "processorcount": 4, "mk_hw_cpu_count": "2", "os": {"a": [1, None]}, "name": "Müller"}
    request = HANLON.build_registration(BASE + HANLON.register_path, IDENTITY, facts, "idle")
    assert (request.method, request.headers) == ("POST", {"Content-Type": "text/json"})
    assert request.body is not None
    assert list(json.loads(request.body)) == ["mac_id", "uuid", "attributes_hash", "last_state"]
    assert json.loads(request.body)["attributes_hash"] == facts
    assert "Müller".encode() in request.body


def test_checkin_answer() -> None:
    reply = HANLON.parse_checkin(answer(read_wire("protocol/3.3-hanlon-checkin-answer.json")))
    assert reply.command == "acknowledge"
    assert reply.config is not None
    assert reply.config["mk_checkin_interval"] == 60


@pytest.mark.parametrize("command", ["acknowledge", "register", "reboot", "poweroff", "inventory", "x" * 64])
def test_every_command_is_handed_on(command: str) -> None:
    response = {"command_name": command, "command_param": {"any": ["thing"]}}
    reply = HANLON.parse_checkin(answer(json.dumps({"errcode": 0, "response": response}).encode()))
    assert (reply.command, reply.config) == (command, None)


def test_the_status_of_a_checkin_is_not_looked_at() -> None:
    body = b'{"errcode":0,"response":{"command_name":"register"},"client_config":null}'
    assert HANLON.parse_checkin(answer(body, 201)).command == "register"
    assert HANLON.parse_checkin(answer(body, 500)).command == "register"


@pytest.mark.parametrize("errcode", [1, -1, 114])
def test_errcode_other_than_zero(errcode: int) -> None:
    body = json.dumps({"errcode": errcode, "result": "no such\nnode", "response": {"command_name": "reboot"}}).encode()
    for parse in (HANLON.parse_checkin, HANLON.parse_registration):
        with pytest.raises(ServerRefused, match=f"errcode {errcode}, no such node"):
            parse(answer(body))


def test_retry_after_is_kept() -> None:
    with pytest.raises(ServerRefused) as caught:
        HANLON.parse_checkin(Answer(503, {"retry-after": "17"}, b"busy"))
    assert (caught.value.status, caught.value.retry_after_s) == (503, 17.0)


@pytest.mark.parametrize(
    ("body", "node", "remark"),
    [
        (b"", "", "the answer is empty"),
        (b"OK", "", "the answer is not JSON"),
        (b"[1]", "", "the answer is not JSON"),
        (b"{}", "", "the answer names no node"),
        (b'{"response":{"@uuid":7}}', "", "the answer names no node"),
        (b'{"errcode":0,"response":{"@uuid":"1GkZ"}}', "1GkZ", ""),
    ],
)
def test_any_2xx_is_a_registration(body: bytes, node: str, remark: str) -> None:
    for status in (200, 201, 204):
        found = HANLON.parse_registration(answer(body, status))
        assert found.node == node
        assert found.remark.startswith(remark)


@pytest.mark.parametrize("status", [100, 300, 302, 400, 404, 500, 503])
def test_no_other_status_is_a_registration(status: int) -> None:
    with pytest.raises(ServerRefused, match=f"HTTP {status}"):
        HANLON.parse_registration(answer(b'{"errcode":0,"response":{"@uuid":"1GkZ"}}', status))


def test_recognising() -> None:
    assert recognise(answer(read_wire("protocol/3.9-hanlon-error.json"), 400)) is HANLON
    assert recognise(answer(read_wire("protocol/3.9-razor-error.json"), 400)) is RAZOR
    for body in (b"", b"404 Not Found", b"<html>", b"[]", b"{}", b'{"response":7}', b'{"response":{"result":"Ok"}}'):
        assert recognise(answer(body, 404)) is None


def test_probing_asks_each_dialects_path_without_parameters() -> None:
    assert [each.uri for each in probe_requests(BASE)] == [BASE + HANLON.checkin_path, BASE + RAZOR.checkin_path]
    assert [each.uri for each in probe_requests(BASE, "/own")] == [BASE + "/own"]
    assert set(DIALECTS) == {"razor", "hanlon"}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/razor/api/node/checkin", "razor"),
        ("/razor/api", "razor"),
        ("/hanlon/api/v1", "hanlon"),
        ("/x/api/v1/y", "hanlon"),
    ],
)
def test_dialect_of_a_path(path: str, name: str) -> None:
    assert dialect_of_path(path) is DIALECTS[name]


@pytest.mark.parametrize("path", ["", "/", "/api", "/api/v10/x", "/razor/apix"])
def test_a_path_of_neither(path: str) -> None:
    assert dialect_of_path(path) is None

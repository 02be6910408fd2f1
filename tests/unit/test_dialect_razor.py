"""Razor's dialect: requests, form encoding, flat facts, errors (rows 41, 42, 46, 54; protocol 3.2, 3.5, 3.9, 6.7)."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadAnswer, ServerRefused
from mkcore.http import Answer
from mkctl.dialects import RAZOR, recognise
from mkctl.dialects.razor import encode_form, flat_facts
from mkctl.identity import Identity
from tests.fakes import read_wire

BASE = "http://192.168.2.1:8026"
IDENTITY = Identity("564D1A2B-3C4D-5E6F-7081-92A3B4C5D6E7", ("00:0c:29:c9:52:ba", "00:0c:29:c9:52:c4"))


def answer(body: bytes, status: int = 200) -> Answer:
    return Answer(status, {"content-type": "application/json"}, body)


def test_checkin_uri() -> None:
    uri = BASE + RAZOR.checkin_path
    first = RAZOR.build_checkin(uri, IDENTITY, True, "idle")
    assert first.uri == uri + "?hw_id=000C29C952BA_000C29C952C4&last_state=idle&first_checkin=true"
    later = RAZOR.build_checkin(uri, IDENTITY, False, "idle")
    assert later.uri == uri + "?hw_id=000C29C952BA_000C29C952C4&last_state=idle"
    assert (later.method, later.body, dict(later.headers)) == ("GET", None, {})


def test_an_empty_identity_is_sent_empty() -> None:
    assert "?hw_id=&last_state=idle" in RAZOR.build_checkin(BASE, Identity(), False, "idle").uri


def test_registration_form() -> None:
    request = RAZOR.build_registration(BASE + RAZOR.register_path, IDENTITY, {"is_virtual": True, "n": 2}, "idle")
    assert request.method == "POST"
    assert request.headers == {"Content-Type": "application/x-www-form-urlencoded"}
    assert request.body is not None
    assert b"+" not in request.body and b" " not in request.body
    (text,) = parse_qs(request.body.decode("ascii"), strict_parsing=True)["json_hash"]
    assert json.loads(text) == {
        "@hw_id": "000C29C952BA_000C29C952C4",
        "@attributes_hash": {"is_virtual": "true", "n": "2"},
        "@last_state": "idle",
    }


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        (b"AZaz09_.-", b"AZaz09_.-"),
        (b" ", b"%20"),
        (b"+~*'()!", b"%2b%7e%2a%27%28%29%21"),
        ("{\"ä\"}".encode(), b"%7b%22%c3%a4%22%7d"),
        (b"\n\x00", b"%0a%00"),
    ],
)
def test_form_encoding_of_the_ruby_1_8_client(data: bytes, encoded: bytes) -> None:
    assert encode_form(data) == encoded


@given(st.binary(max_size=300))
def test_form_encoding_is_reversible(data: bytes) -> None:
    encoded = encode_form(data)
    assert unquote_to_bytes(encoded) == data
    assert set(encoded) <= set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-%")
    assert encoded.count(b"%") * 2 + len(data) == len(encoded)


def test_facts_become_facter_1_strings() -> None:
    facts = {"b": True, "f": False, "i": 5, "r": 1.5, "s": "text", "none": None, "list": ["a"], "map": {"k": "v"}}
    assert flat_facts(facts) == {"b": "true", "f": "false", "i": "5", "r": "1.5", "s": "text"}


def test_checkin_answer_with_razors_thirteen_keys() -> None:
    reply = RAZOR.parse_checkin(answer(read_wire("protocol/3.3-razor-checkin-answer.json")))
    assert reply.command == "acknowledge"
    assert reply.config == json.loads(read_wire("protocol/2.1-razor-client-config.json"))
    assert reply.config is not None and len(reply.config) == 13


def test_registration_answer_names_the_node() -> None:
    found = RAZOR.parse_registration(answer(read_wire("protocol/3.5-razor-register-answer.json")))
    assert (found.node, found.remark) == ("63XAZ7brS9gXUoL6PSz2wk", "")


def test_error_of_3_9_in_the_servers_own_words() -> None:
    wrong = answer(read_wire("protocol/3.9-razor-error.json"), 400)
    for parse in (RAZOR.parse_checkin, RAZOR.parse_registration):
        with pytest.raises(ServerRefused, match=r"Must Provide Hardware IDs\[hw_id\] \(HTTP 400\)") as caught:
            parse(wrong)
        assert caught.value.status == 400
    assert recognise(wrong) is RAZOR


def test_hanlons_error_is_understood_too() -> None:
    with pytest.raises(ServerRefused, match="At least one of the optional arguments"):
        RAZOR.parse_checkin(answer(read_wire("protocol/3.9-hanlon-error.json"), 400))


def test_an_error_with_status_200_is_an_error() -> None:
    with pytest.raises(ServerRefused):
        RAZOR.parse_registration(answer(read_wire("protocol/3.9-razor-error.json"), 200))


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, b"exec failed\n", r"checkin refused: exec failed \(HTTP 500\)"),
        (404, b"Bad path", r"checkin refused: Bad path \(HTTP 404\)"),
        (404, b"<html>no</html>", r"checkin refused: no reason given \(HTTP 404\)"),
        (502, b'{"cut', r"checkin refused: no reason given \(HTTP 502\)"),
        (503, b"", r"checkin refused: no reason given \(HTTP 503\)"),
    ],
)
def test_text_errors(status: int, body: bytes, words: str) -> None:
    with pytest.raises(ServerRefused, match=words):
        RAZOR.parse_checkin(answer(body, status))


def test_text_with_status_200_is_no_checkin_answer() -> None:
    with pytest.raises(BadAnswer, match="checkin: not JSON"):
        RAZOR.parse_checkin(answer(b"some slice output"))

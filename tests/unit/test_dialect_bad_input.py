"""Answers that no server should give: each is one of our errors with one line that says where (both dialects)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadAnswer, ServerRefused
from mkcore.http import Answer
from mkctl.dialects import DIALECTS, Dialect, recognise

GOOD = {"errcode": 0, "response": {"command_name": "acknowledge"}, "client_config": {"mk_checkin_interval": 60}}
DIALECT = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))


def changed(**changes: object) -> bytes:
    body = {key: value for key, value in {**GOOD, **changes}.items() if value is not KeyError}
    return json.dumps(body).encode()


@DIALECT
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "checkin: not JSON"),
        (b"\x00\xff garbage", "checkin: not UTF-8 at byte 1"),
        (b"<html><body>Welcome to the hotel</body></html>", "checkin: not JSON"),
        (changed()[:-10], "checkin: not JSON"),
        (b'{"errcode":0,"response":{"command_name":"\xff"}}', "not UTF-8"),
        (b"null", "a JSON object is wanted"),
        (b"0", "a JSON object is wanted"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"errcode":' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply"),
        (b'{"errcode":0,"response":{"command_name":"a"},"client_config":{"mk_x":NaN}}', "not JSON"),
        (b'{"errcode":0,"response":{"command_name":"a"},"client_config":{"mk_x":1e999}}', "not JSON"),
        (changed(errcode=KeyError), "errcode: is missing"),
        (changed(errcode="0"), 'errcode: must be an integer, not "0"'),
        (changed(errcode=False), "errcode: must be an integer, not false"),
        (changed(errcode=None), "errcode: must be an integer"),
        (changed(errcode=0.0), "errcode: must be an integer"),
        (changed(response=KeyError), "response: is missing"),
        (changed(response=[]), "response: must be an object"),
        (changed(response="acknowledge"), "response: must be an object"),
        (changed(response={}), "response.command_name: is missing"),
        (changed(response={"command_name": 7}), "response.command_name: must be a string, not 7"),
        (changed(response={"command_name": None}), "response.command_name: must be a string"),
        (changed(response={"command_name": ["reboot"]}), "response.command_name: must be a string"),
        (changed(response={"command_name": ""}), "response.command_name: no command"),
        (changed(response={"command_name": "x" * 10_000}), "response.command_name: no command: xxx"),
        (changed(response={"command_name": "reboot\n"}), "response.command_name: no command: reboot"),
        (changed(response={"command_name": "re\x1b[31mboot"}), "response.command_name: no command"),
        (changed(response={"command_name": "re boot"}), "response.command_name: no command"),
        (changed(response={"command_name": "r\ud800"}), "response.command_name: no command"),
        (changed(client_config=[]), "client_config: must be an object"),
        (changed(client_config="mk"), "client_config: must be an object"),
        (changed(client_config=0), "client_config: must be an object"),
    ],
)
def test_bad_checkin_answers(dialect: Dialect, body: bytes, words: str) -> None:
    with pytest.raises(BadAnswer) as caught:
        dialect.parse_checkin(Answer(200, {}, body))
    text = str(caught.value)
    assert words in text
    assert len(text) < 200
    assert text.isprintable()


@DIALECT
@pytest.mark.parametrize(
    "body",
    [
        b'{"std_err_code":114}',
        b'{"errcode":"\\u001b[31m"}',
        b'{"std_err_code":[1],"result":{"a":"b"}}',
        b'{"response":{"result":{"type":null}}}',
        b'{"response":{"result":{"type":5,"description":["x"]}}}',
        json.dumps({"std_err_code": 1, "result": "line\nline\x1b[31m" + "x" * 100_000}).encode(),
    ],
)
def test_odd_errors_are_still_one_line(dialect: Dialect, body: bytes) -> None:
    for parse in (dialect.parse_checkin, dialect.parse_registration):
        with pytest.raises(ServerRefused) as caught:
            parse(Answer(400, {}, body))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400


@DIALECT
def test_an_http_error_in_other_words_is_a_refusal_with_its_retry_after(dialect: Dialect) -> None:
    with pytest.raises(ServerRefused, match="HTTP 503") as caught:
        dialect.parse_checkin(Answer(503, {"retry-after": "9"}, b'{"message":"overloaded"}'))
    assert caught.value.retry_after_s == 9.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["errcode", "response", "command_name", "client_config", "std_err_code", "result", "type",
                         "description", "@uuid", "code"]) | st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


def only_our_errors(dialect: Dialect, answer: Answer) -> None:
    try:
        reply = dialect.parse_checkin(answer)
        assert 1 <= len(reply.command) <= 64
    except (BadAnswer, ServerRefused) as error:
        assert str(error).isprintable()
    try:
        found = dialect.parse_registration(answer)
        assert found.node or found.remark
    except ServerRefused as error:
        assert str(error).isprintable()
    recognise(answer)


@DIALECT
@given(body=st.binary(max_size=200), status=st.integers(100, 599))
def test_any_bytes(dialect: Dialect, body: bytes, status: int) -> None:
    only_our_errors(dialect, Answer(status, {}, body))


@DIALECT
@given(value=JSON, status=st.sampled_from([200, 201, 400, 500]))
def test_any_json(dialect: Dialect, value: object, status: int) -> None:
    only_our_errors(dialect, Answer(status, {}, json.dumps(value).encode()))

"""Servers that misbehave below the dialects: each ends in one of our errors within its deadline."""

from __future__ import annotations

import time

import pytest

from mkcore.errors import BadAnswer, Unreachable
from mkcore.http import exchange
from mkctl.dialects import DIALECTS
from mkctl.identity import Identity
from tests.fakes import Drip, Endless, Hang, Play, Reset, WireServer, json_answer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
GOOD = json_answer(b'{"errcode":0,"response":{"command_name":"reboot"}}')


SLOW_S, BUSY_S = 1.0, 60.0
"""Limits for answers that never end, and for those that do; the second one bounds a hanging test."""


@pytest.mark.parametrize(
    ("play", "kind", "limit_s"),
    [
        pytest.param(json_answer(b"[" + b"1," * 5_000_000 + b"1]"), BadAnswer, BUSY_S, id="10 MB"),
        pytest.param(Endless(HEAD + b"\r\n"), BadAnswer, BUSY_S, id="endless body"),
        pytest.param(Endless(HEAD, b"X: " + b"x" * 1000 + b"\r\n"), BadAnswer, BUSY_S, id="endless headers"),
        pytest.param(HEAD + b"Content-Length: 500\r\n\r\n{", BadAnswer, BUSY_S, id="truncated"),
        pytest.param(REDIRECT, BadAnswer, BUSY_S, id="redirect"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", BadAnswer, BUSY_S, id="not HTTP"),
        pytest.param(b"", Unreachable, BUSY_S, id="closed at once"),
        pytest.param(Reset(), Unreachable, BUSY_S, id="reset"),
        pytest.param(Hang(), Unreachable, SLOW_S, id="silent"),
        pytest.param(Hang(GOOD[:-5]), Unreachable, SLOW_S, id="silent before the end"),
        pytest.param(Drip(GOOD, 0.05), Unreachable, SLOW_S, id="dripping"),
    ],
)
def test_misbehaviour(play: Play, kind: type[Exception], limit_s: float) -> None:
    begun = time.monotonic()
    with WireServer(play) as server:
        for dialect in DIALECTS.values():
            request = dialect.build_checkin(server.uri + dialect.checkin_path, Identity(), True, "idle")
            with pytest.raises(kind) as caught:
                exchange(request.method, request.uri, deadline_s=limit_s)
            assert str(caught.value).isprintable()
            assert f"127.0.0.1:{server.port}" in str(caught.value)
    assert time.monotonic() - begun < BUSY_S


def test_nobody_listens() -> None:
    with WireServer(b"") as server:
        gone = server.uri
    with pytest.raises(Unreachable):
        exchange("GET", gone, deadline_s=5.0)

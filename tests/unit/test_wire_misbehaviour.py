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


@pytest.mark.parametrize(
    ("play", "kind"),
    [
        pytest.param(json_answer(b"[" + b"1," * 5_000_000 + b"1]"), BadAnswer, id="10 MB"),
        pytest.param(Endless(HEAD + b"\r\n"), BadAnswer, id="endless body"),
        pytest.param(Endless(HEAD, b"X: " + b"x" * 1000 + b"\r\n"), BadAnswer, id="endless headers"),
        pytest.param(HEAD + b"Content-Length: 500\r\n\r\n{", BadAnswer, id="truncated"),
        pytest.param(REDIRECT, BadAnswer, id="redirect"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", BadAnswer, id="not HTTP"),
        pytest.param(b"", Unreachable, id="closed at once"),
        pytest.param(Reset(), Unreachable, id="reset"),
        pytest.param(Hang(), Unreachable, id="silent"),
        pytest.param(Hang(GOOD[:-5]), Unreachable, id="silent before the end"),
        pytest.param(Drip(GOOD, 0.05), Unreachable, id="dripping"),
    ],
)
def test_misbehaviour(play: Play, kind: type[Exception]) -> None:
    begun = time.monotonic()
    with WireServer(play) as server:
        for dialect in DIALECTS.values():
            request = dialect.build_checkin(server.uri + dialect.checkin_path, Identity(), True, "idle")
            with pytest.raises(kind) as caught:
                exchange(request.method, request.uri, deadline_s=1.0)
            assert str(caught.value).isprintable()
            assert f"127.0.0.1:{server.port}" in str(caught.value)
    assert time.monotonic() - begun < 20.0


def test_nobody_listens() -> None:
    with WireServer(b"") as server:
        gone = server.uri
    with pytest.raises(Unreachable):
        exchange("GET", gone, deadline_s=5.0)

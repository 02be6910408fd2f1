"""mkcore.http: exact requests, and every way in which a server can be bad, over real sockets.

The time limits below bound hanging only; what is measured is that nothing lasts longer than its deadline allows.
"""

from __future__ import annotations

import gzip
import re
import socket
import threading
import time

import pytest

from mkcore.errors import BadAnswer, MkError, Unreachable
from mkcore.http import Answer, exchange, retry_after_s, user_agent
from tests.fakes import Drip, Endless, Hang, Play, Reset, WireServer, in_turn, json_answer, parse_request

OK = json_answer(b"{}")


def test_a_get_sends_exactly_these_headers() -> None:
    with WireServer(OK) as server:
        uri = f"{server.uri}/razor/api/node/checkin?hw_id=000C29C952BA_000C29C952C4&last_state=idle&first_checkin=true"
        answer = exchange("GET", uri, component="mkctl")
        (raw,) = server.wait_for(1)
    assert raw == (
        b"GET /razor/api/node/checkin?hw_id=000C29C952BA_000C29C952C4&last_state=idle&first_checkin=true HTTP/1.1\r\n"
        b"Host: 127.0.0.1:%d\r\nAccept: */*\r\nUser-Agent: %s\r\n\r\n" % (server.port, user_agent("mkctl").encode())
    )
    assert answer == Answer(200, answer.headers, b"{}")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("body", [b"json_hash=%7b%7d", b"", b"\xff\x00", b"x" * 300_000])
def test_a_post_sends_its_body_as_it_is(body: bytes) -> None:
    with WireServer(OK) as server:
        exchange("POST", f"{server.uri}/x", body=body, headers={"Content-Type": "text/json"})
        request = parse_request(server.wait_for(1)[0])
    assert request.headers == (
        ("host", f"127.0.0.1:{server.port}"),
        ("accept", "*/*"),
        ("user-agent", user_agent("mk")),
        ("content-type", "text/json"),
        ("content-length", str(len(body))),
    )
    assert request.body == body


def test_given_headers_replace_the_own_ones() -> None:
    with WireServer(OK) as server:
        exchange("GET", server.uri, headers={"User-Agent": "Ruby", "Accept": "text/json"})
        request = parse_request(server.wait_for(1)[0])
    assert (request.header("user-agent"), request.header("accept")) == ("Ruby", "text/json")
    assert request.target == "/"


def test_nothing_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NETRC", f"{tmp_path}/netrc")
    with open(f"{tmp_path}/netrc", "w", encoding="ascii") as stream:
        stream.write("machine 127.0.0.1 login a password b\n")
    with WireServer(OK) as server:
        assert exchange("GET", server.uri).status == 200
        assert parse_request(server.wait_for(1)[0]).header("authorization") is None


def test_each_exchange_has_its_own_connection_and_no_cookies() -> None:
    with WireServer(json_answer(b"{}", headers=["Set-Cookie: a=b"])) as server:
        for _ in range(3):
            exchange("GET", server.uri)
        assert all(parse_request(raw).header("cookie") is None for raw in server.wait_for(3))


@pytest.mark.parametrize(
    "status", ["200 OK", "201 Created", "400 Bad Request", "404 Not Found", "500 Oops", "204 No Content"]
)
def test_answers_of_any_status_are_answers(status: str) -> None:
    body = b"" if status.startswith("204") else b'{"result":{}}'
    with WireServer(json_answer(body, status)) as server:
        answer = exchange("GET", server.uri)
    assert (answer.status, answer.body) == (int(status[:3]), body)


def test_bodies_by_chunks_to_the_end_and_of_other_encodings() -> None:
    plays = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab\xff\r\n2\r\ncd\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nto the end",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 \xfcmlaut\r\nX-Odd: \xff\xfe\r\nX-Two: a\r\nx-two: b\r\nContent-Length: 1\r\n\r\nx",
    ]
    with WireServer(in_turn(*plays)) as server:
        answers = [exchange("GET", server.uri) for _ in plays]
    assert [answer.body for answer in answers] == [b"ab\xffcd", b"to the end", b"", b"x"]
    assert answers[3].headers["x-two"] == "a, b"


HEAD = b"HTTP/1.1 200 OK\r\n"
BAD: list[tuple[str, Play, type[MkError], str]] = [
    ("truncated", HEAD + b"Content-Length: 20\r\n\r\nhalf", BadAnswer, "4 of 20 bytes came|before its end"),
    ("truncated chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nab", BadAnswer, "before its end"),
    ("bad chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab", BadAnswer, "before its end|not an HTTP"),
    (
        "10 MB declared",
        HEAD + b"Content-Length: 10000000\r\n\r\n" + b"x" * 10_000_000,
        BadAnswer,
        "larger than 1000000",
    ),
    ("10 MB undeclared", HEAD + b"\r\n" + b"x" * 10_000_000, BadAnswer, "larger than 1000000"),
    ("endless body", Endless(HEAD + b"\r\n"), BadAnswer, "larger than 1000000"),
    (
        "endless chunks",
        Endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nabcd\r\n"),
        BadAnswer,
        "larger than",
    ),
    ("endless header", Endless(HEAD + b"X: "), BadAnswer, "not an HTTP answer"),
    ("endless headers", Endless(HEAD, b"X: y\r\n"), BadAnswer, "not an HTTP answer"),
    ("bad length", HEAD + b"Content-Length: many\r\n\r\nx", BadAnswer, "'many' is not a number|not an HTTP answer"),
    ("negative length", HEAD + b"Content-Length: -5\r\n\r\nx", BadAnswer, "is not a number|not an HTTP answer"),
    ("garbage", b"\xff\xfe\x00 garbage\r\n\r\n", BadAnswer, "not an HTTP answer"),
    ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n", BadAnswer, "not an HTTP answer"),
    ("bad status", b"HTTP/1.1 abc OK\r\n\r\n", BadAnswer, "not an HTTP answer"),
    (
        "redirect",
        b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.9/\r\n\r\n",
        BadAnswer,
        "redirects to http://192.0.2.9/",
    ),
    ("redirect nowhere", b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", BadAnswer, "redirects to nowhere"),
    ("not modified", b"HTTP/1.1 304 Not Modified\r\n\r\n", BadAnswer, "redirects"),
    ("switched", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", BadAnswer, "status 101"),
    ("compressed", json_answer(gzip.compress(b"{}"), headers=["Content-Encoding: gzip"]), BadAnswer, "compressed"),
    ("closed at once", b"", Unreachable, "closed without an answer"),
    ("reset at once", Reset(), Unreachable, "reset"),
    ("reset in the body", Reset(HEAD + b"Content-Length: 20\r\n\r\nhalf"), Unreachable, "reset"),
]


@pytest.mark.parametrize(("play", "kind", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_answers_are_one_line_with_the_address(play: Play, kind: type[MkError], said: str) -> None:
    with WireServer(play) as server:
        with pytest.raises(MkError) as caught:
            exchange("GET", f"{server.uri}/checkin?uuid=secret")
        assert caught.type is kind, caught.value
        assert re.search(said, str(caught.value), re.IGNORECASE), caught.value
        assert f"127.0.0.1:{server.port}/checkin" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert len(str(caught.value)) < 300
        assert "\n" not in str(caught.value)
    assert threads_end()


SLOW: list[tuple[str, Play]] = [
    ("silent", Hang()),
    ("silent after the status", Hang(HEAD)),
    ("silent in the body", Hang(HEAD + b"Content-Length: 20\r\n\r\nhalf")),
    ("dripping status", Drip(b"HTTP/1.1 200 OK" * 100, 0.05)),
    ("dripping header", Drip(HEAD + b"X: " + b"y" * 1000, 0.05)),
    ("dripping body", Drip(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000, 0.05)),
    ("dripping chunks", Drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 1000, 0.05)),
    ("endless provisional answers", Drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.02)),
]


@pytest.mark.parametrize("play", [row[1] for row in SLOW], ids=[row[0] for row in SLOW])
def test_one_deadline_covers_everything_and_no_thread_stays(play: Play) -> None:
    with WireServer(play) as server:
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"no complete answer within 0\.7 s|timed out"):
            exchange("GET", f"{server.uri}/x", deadline_s=0.7)
        assert time.monotonic() - began < 15
        assert threads_end()


def threads_end() -> bool:
    """Wait until the exchanges' own threads are gone, while the bad server still plays."""
    for thread in threading.enumerate():
        if thread.name == "http-exchange":
            thread.join(10)
    return not [thread for thread in threading.enumerate() if thread.name == "http-exchange"]


def test_the_limit_is_the_callers() -> None:
    with WireServer(json_answer(b"x" * 1001)) as server:
        assert len(exchange("GET", server.uri, limit_bytes=1001).body) == 1001
        with pytest.raises(BadAnswer, match="larger than 1000 bytes"):
            exchange("GET", server.uri, limit_bytes=1000)


UNUSABLE = [
    "ftp://192.0.2.1/", "razor", "", "http://", "http:///x", "http://a b/", "http://127.0.0.1:99999/", "http://[::1/",
    "http://127.0.0.1:port/", "http://" + "a" * 300 + "/", "http://no-such-name.invalid/", "http://\u2603.invalid/",
]  # fmt: skip


@pytest.mark.parametrize("uri", UNUSABLE)
def test_addresses_that_lead_nowhere(uri: str) -> None:
    with pytest.raises(Unreachable) as caught:
        exchange("GET", uri, deadline_s=15)
    assert "\n" not in str(caught.value)
    assert threads_end()


def test_a_refused_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match=r"Connection refused$"):
            exchange("GET", f"http://127.0.0.1:{unused.getsockname()[1]}/")


def test_a_listener_that_accepts_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        began = time.monotonic()
        with pytest.raises(Unreachable):
            exchange("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/", deadline_s=0.7)
        assert time.monotonic() - began < 15
        for filler in fillers:
            filler.close()


def test_a_name_is_tried_at_all_its_addresses_and_sent_as_it_was_written() -> None:
    # the server listens on IPv4 alone, while the name may lead to ::1 first
    with WireServer(OK) as server:
        assert exchange("GET", f"http://LocalHost:{server.port}/").status == 200
        host = parse_request(server.wait_for(1)[0]).header("host")
    assert host is not None
    assert host.lower() == f"localhost:{server.port}"


def greet_slowly(listener: socket.socket, stop: threading.Event) -> None:
    """Accept one TLS connection and drip the beginning of a handshake record of 16 kB."""
    connection, _ = listener.accept()
    with connection:
        for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 16_000:
            try:
                connection.send(bytes((byte,)))
            except OSError:
                return
            if stop.wait(0.05):
                return


def test_tls_has_the_same_deadline_and_the_same_errors() -> None:
    with WireServer(OK) as server, pytest.raises(Unreachable, match=r"^https://127\.0\.0\.1"):
        exchange("GET", f"https://127.0.0.1:{server.port}/", deadline_s=5)
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet_slowly, args=(listener, stop))
        thread.start()
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"no complete answer|timed out"):
            exchange("GET", f"https://127.0.0.1:{listener.getsockname()[1]}/", deadline_s=0.7)
        assert time.monotonic() - began < 15
        assert threads_end()
        stop.set()
        thread.join(10)


def test_ipv6_and_standard_ports_in_host() -> None:
    try:
        with WireServer(OK, host="::1") as server:
            exchange("GET", f"http://[::1]:{server.port}/")
            assert parse_request(server.wait_for(1)[0]).header("host") == f"[::1]:{server.port}"
    except OSError as error:
        pytest.skip(f"no IPv6 loopback on this machine: {error}")


def test_the_user_agent_names_component_python_and_kernel() -> None:
    assert re.fullmatch(r"mkctl/\d+\.\d+\.\d+ python/3\.\d+ linux/\d+\.\d+", user_agent("mkctl"))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "17"}, 17.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "9" * 400}, 86_400.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT", "date": "Sun, 06 Nov 1994 08:49:07 GMT"}, 30.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT", "date": "Sun, 06 Nov 1994 09:49:07 GMT"}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
        ({"retry-after": "Sun, 99 Foo 1994 08:49:37 GMT", "date": "x"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: object) -> None:
    assert retry_after_s(Answer(503, headers, b"")) == seconds

"""By the site's HTTP proxy: what it is sent, what is said where it fails, and that it is nobody whom certificates know.

For plain requests the proxy is a server that answers, as it is from the node's side; tunnels lead to a real server.
"""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

from mkcore.errors import BadInput, TlsFailed, Unreachable
from mkcore.http import exchange
from mkcore.keys import BY_NAME, parse_value
from mkcore.paths import paths_under
from mkcore.proxy import host_of, is_this_machine, proxy_to
from mkcore.trust import Trust
from mkctl.clock import ask_time
from mkctl.cloudsource import CloudSource
from mkctl.contact import Contact
from mkctl.hints import Hints
from mkctl.reports import Reporter
from mkctl.settings import load
from mkctl.state import Saved
from tests.fakes import Hang, WireServer, json_answer, parse_request
from tests.unit.http_proxy import Proxy
from tests.unit.test_https import ask_with_old_libraries, fingerprint
from tests.unit.tls_server import Authority, TlsServer

KEY = BY_NAME["server.proxy"]
NAMED = "mk.example:8026"
"""A server whose name only the proxy can resolve (RFC 2606)."""
ACKNOWLEDGE = b'{"errcode":0,"http_err_code":200,"response":{"command_name":"acknowledge","command_param":{}}}'


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca") / "site")


def test_a_plain_request_is_sent_to_the_proxy_whole() -> None:
    with WireServer(json_answer(b"{}")) as proxy:
        answer = exchange("POST", f"http://{NAMED}/x?y=1", body=b"z", proxy=proxy.uri)
        (request,) = map(parse_request, proxy.requests)
    assert (answer.status, answer.body) == (200, b"{}")
    assert (request.method, request.target, request.body) == ("POST", f"http://{NAMED}/x?y=1", b"z")
    assert request.header("host") == NAMED
    assert request.header("accept-encoding") is None and request.header("proxy-authorization") is None


def test_tls_goes_through_a_tunnel_and_knows_the_server_alone(ca: Authority) -> None:
    """By CA and name, and by the pinned certificate; the proxy reads nothing but where the tunnel leads."""
    chain, key = ca.issue("named", names="DNS:mk.example")
    with TlsServer(chain, key) as server, Proxy(server.port) as proxy:
        for trust in (Trust(ca=str(ca.root)), Trust(fingerprint=fingerprint(chain).replace(":", "").lower())):
            assert exchange("GET", f"https://{NAMED}/secret", trust=trust, proxy=proxy.uri).status == 200
        assert all(head.startswith(f"CONNECT {NAMED} HTTP/1.".encode()) for head in proxy.heads)
        assert b"secret" not in b"".join(proxy.heads) and len(server.requests) == 2


@pytest.mark.parametrize(
    ("host", "names"),
    [("[2001:db8::1]", "IP:2001:db8::1"), ("mk.example.", "DNS:mk.example"), ("192.0.2.1", "IP:192.0.2.1")],
    ids=["IPv6", "dot-of-the-root", "IPv4"],
)
def test_a_server_is_known_however_its_address_is_written(ca: Authority, host: str, names: str) -> None:
    """By this Python's libraries, and by Debian 12's."""
    with TlsServer(*ca.issue("written", names=names)) as server, Proxy(server.port) as proxy:
        assert exchange("GET", f"https://{host}/", trust=Trust(ca=str(ca.root)), proxy=proxy.uri).status == 200
        assert ask_with_old_libraries(f"https://{host}/", ca, proxy.uri) == "200\n"


def test_a_proxy_may_take_its_time_to_reach_a_server(ca: Authority) -> None:
    """Longer than an address that swallows packets is given before the next one's turn."""
    chain, key = ca.issue("far", names="DNS:mk.example")
    with TlsServer(chain, key) as server, Proxy(server.port, reached_after_s=7.0) as proxy:
        assert exchange("GET", f"https://{NAMED}/", trust=Trust(ca=str(ca.root)), proxy=proxy.uri).status == 200


def test_the_node_s_own_certificate_is_for_the_server_alone(ca: Authority) -> None:
    mine, key = ca.issue("mine")
    with TlsServer(*ca.issue("asks", names="DNS:mk.example"), client_ca=ca.root) as server, Proxy(server.port) as proxy:
        trust = Trust(ca=str(ca.root), certificate=str(mine), key=str(key))
        assert exchange("GET", f"https://{NAMED}/", trust=trust, proxy=proxy.uri).status == 200
        with pytest.raises(TlsFailed, match="the server refuses the client certificate, or that there is none"):
            exchange("GET", f"https://{NAMED}/", trust=Trust(ca=str(ca.root)), proxy=proxy.uri)


@pytest.mark.parametrize("names", ["DNS:other.example", "IP:127.0.0.1"])
def test_another_server_behind_the_proxy_is_refused(ca: Authority, names: str) -> None:
    """Also one whose certificate is for the address of the proxy."""
    with TlsServer(*ca.issue("other", names=names)) as server, Proxy(server.port) as proxy:
        with pytest.raises(TlsFailed, match=rf"^https://{NAMED}/ by the proxy {proxy.uri}: .* another name"):
            exchange("GET", f"https://{NAMED}/", trust=Trust(ca=str(ca.root)), proxy=proxy.uri)
        with pytest.raises(TlsFailed):
            exchange("GET", f"https://{NAMED}/", trust=Trust(fingerprint="0" * 64), proxy=proxy.uri)
        assert server.requests == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        proxy = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Unreachable) as caught:
        exchange("GET", f"{scheme}://{NAMED}/x", proxy=proxy)
    assert str(caught.value).startswith(f"{scheme}://{NAMED}/x by the proxy {proxy}: Connection refused")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("407 Proxy Authentication Required", 'does not let it through: "407 Proxy Authentication Required"'),
        ("502 Bad\tGateway", 'does not let it through: "502 Bad'),
    ],
)
def test_a_tunnel_that_is_refused(status: str, said: str) -> None:
    with Proxy(0, status) as proxy, pytest.raises(Unreachable) as caught:
        exchange("GET", f"https://{NAMED}/", proxy=proxy.uri)
    assert said in str(caught.value) and "\n" not in str(caught.value) and caught.value.retryable


def test_a_proxy_that_wants_a_user() -> None:
    """Nobody but a proxy answers so (RFC 9110 section 15.5.8)."""
    required = json_answer(b"", "407 Proxy Authentication Required")
    with WireServer(required) as proxy, pytest.raises(Unreachable) as caught:
        exchange("GET", f"http://{NAMED}/", proxy=proxy.uri)
    assert str(caught.value).endswith(": the proxy wants to know a user, and there is none")


@pytest.mark.parametrize(
    "refusal",
    [
        "502 Bad Gateway",
        "504 Gateway Timeout",
        "503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 111",
        "403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0",
        "503 Service Unavailable\r\nProxy-Status: p.example; error=connection_refused",
    ],
)
def test_a_proxy_that_does_not_reach_the_server(refusal: str) -> None:
    """It counts as a server that cannot be reached, so that another one gets its turn."""
    with Proxy(0, refusal) as proxy, pytest.raises(Unreachable) as caught:
        exchange("GET", f"http://{NAMED}/x?secret=1", proxy=proxy.uri)
    status = refusal[:3]
    assert str(caught.value) == (
        f"http://{NAMED}/x by the proxy {proxy.uri}: the proxy does not reach it (status {status})"
    )


def test_a_server_that_is_busy_says_so_by_a_proxy_too() -> None:
    busy = json_answer(b"{}", "503 Service Unavailable", ("Retry-After: 7",))
    with WireServer(busy) as server, Proxy(server.port) as proxy:
        answer = exchange("GET", f"http://{NAMED}/", proxy=proxy.uri)
    assert (answer.status, answer.headers["retry-after"]) == (503, "7")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_silent_costs_the_deadline_and_no_more(scheme: str) -> None:
    with WireServer(Hang()) as proxy:
        began = time.monotonic()
        with pytest.raises(Unreachable, match=f"by the proxy {proxy.uri}: "):
            exchange("GET", f"{scheme}://{NAMED}/", proxy=proxy.uri, deadline_s=1.0)
        assert time.monotonic() - began < 60.0


def test_what_listens_on_this_machine_is_reached_directly() -> None:
    proxy = "http://192.0.2.9:3128"
    own = ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "127.1", "0x7f.1", "2130706433")
    assert {proxy_to(f"http://{host}:8026/", proxy) for host in own} == {""}
    assert proxy_to(f"http://{NAMED}/", proxy) == proxy


def test_hosts() -> None:
    assert host_of("http://[2001:db8::1]:8026/x") == "2001:db8::1"
    assert host_of("http://razor:8026") == "razor"
    assert host_of("http://[") == ""
    for own in ("127.3.2.1", "::1", "::ffff:127.0.0.1", "a.localhost", "LOCALHOST."):
        assert is_this_machine(own), own
    for other in ("", "128.0.0.1", "192.0.2.1", "fe80::1", "localhost.example", "127.0.0.1.example"):
        assert not is_this_machine(other), other


def test_a_node_checks_in_by_the_proxy_alone(tmp_path: Path) -> None:
    """The name of the server leads nowhere here, and the only route is the proxy's."""
    paths = paths_under(str(tmp_path))
    paths.etc.mkdir(parents=True)
    (paths.proc / "net").mkdir(parents=True)
    (paths.proc / "net/route").write_text("")
    contact = Contact(paths, (), Reporter())
    with WireServer(json_answer(ACKNOWLEDGE)) as proxy:
        site = f'[server]\nuri = "http://{NAMED}"\ndialect = "hanlon"\nproxy = "{proxy.uri}/"\n'
        (paths.etc / "mk.toml").write_text(site)
        contact.identify("")
        assert contact.look(load(paths), Saved(), Hints()) == ""
        assert contact.has_route(), "the proxy is on loopback"
        assert asyncio.run(contact.check_in(True)).command == "acknowledge"
        assert parse_request(proxy.requests[0]).target.startswith(f"http://{NAMED}/hanlon/api/v1/node/checkin?")


def test_the_time_and_a_cloud_config_are_asked_for_by_it(ca: Authority, tmp_path: Path) -> None:
    chain, key = ca.issue("timed", names="DNS:mk.example")
    paths = paths_under(str(tmp_path))
    paths.clock.parent.mkdir(parents=True)
    with TlsServer(chain, key, date="Mon, 23 Nov 2026 12:00:00 GMT") as server, Proxy(server.port) as proxy:
        assert ask_time(f"https://{NAMED}/", Trust(ca=str(ca.root)), paths, proxy.uri) == 1795435200
    with WireServer(json_answer(b"- not a cloud-config")) as server:
        source = CloudSource([f"http://{NAMED}/cloud-config"], lambda _: None, Trust, server.uri)
        asyncio.run(source.ask())
        assert parse_request(server.requests[0]).target == f"http://{NAMED}/cloud-config"


def test_how_it_is_written() -> None:
    assert parse_value(KEY, " HTTP://Proxy.Example:3128/ ") == "http://proxy.example:3128"
    assert parse_value(KEY, "") == ""
    for wrong in ("https://p:1", "http://p:1/path", "p:3128", "socks5://p:1", "http://p:70000", 3128, "http://p:x"):
        with pytest.raises(BadInput, match=r"is not a proxy's address, http://HOST:PORT with neither user nor path$"):
            parse_value(KEY, wrong)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(BadInput) as caught:
        parse_value(KEY, "http://me:secret@p:3128")
    assert "secret" not in str(caught.value) and str(caught.value).startswith("what is written there is not a proxy's")

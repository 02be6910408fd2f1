"""mk-fetch by the site's HTTP proxy: mirrors whose names only the proxy knows, and the machine's own one without it."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore.config import validate_push
from mkcore.errors import BadInput, ServerRefused, TlsFailed, Unreachable
from mkcore.site import Site
from mkmirror import remote, trust
from mkmirror.gather import is_temporary
from mkmirror.remote import Fetching, Sums
from mkmirror.staged import By
from mkmirror.strict import Way
from tests.fakes import WireServer, in_turn, json_answer
from tests.unit.fetch_node import LIST, RAW, Node, add_raw, add_sums, make_node, put
from tests.unit.http_proxy import Proxy
from tests.unit.pgp_keys import Gpg
from tests.unit.tls_server import Authority, TlsServer

NAMED = "http://mirror.example"
"""A mirror that no resolver here has (RFC 2606)."""


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    with tempfile.TemporaryDirectory() as folder:
        made = Gpg(Path(folder))
        made.make_key("site")
        yield made
        made.close()


@pytest.fixture
def node(tmp_path: Path, gpg: Gpg) -> Iterator[Node]:
    """A machine that trusts a mirror with two extensions, one of them on its list; its own mirror has one more."""
    with make_node(tmp_path) as made:
        add_raw(made.own, "near")
        put(made.own, LIST, '["near.raw"]')
        for name in ("listed", "wanted"):
            add_raw(made.remote, name)
        put(made.remote, LIST, '["listed.raw"]')
        add_sums(made.remote / RAW, gpg, "site")
        made.trust(gpg, "site")
        yield made


@pytest.fixture
def proxy(node: Node) -> Iterator[Proxy]:
    with Proxy(int(node.remote_server.uri.rsplit(":", 1)[1])) as proxy:
        yield proxy


def say(node: Node, proxy: str, mirror: str = f"{NAMED}/tinycorelinux") -> None:
    node.site(f'[mirror]\ntce_mirror = "{mirror}"\n[extensions]\ninstall = ["wanted.raw"]\nproxy = "{proxy}"\n')


def test_all_of_a_mirror_elsewhere_comes_by_it(node: Node, proxy: Proxy) -> None:
    """Lists, sums, signatures and files, and nothing of the machine's own mirror."""
    say(node, proxy.uri)
    staged = node.run()
    names = {each.name: each.by for each in staged.requests}
    assert names == {"near.raw": By.BUILTIN, "wanted.raw": By.SITE, "listed.raw": By.PUSH}
    asked = [line.split(" ")[1] for line in proxy.lines]
    assert all(uri.startswith(f"{NAMED}/tinycorelinux/") for uri in asked)
    assert {uri.removeprefix(NAMED) for uri in asked} == set(node.remote_server.asked), "nothing went past it"
    wanted = {LIST, *(f"{RAW}/{name}" for name in (trust.SUMS, trust.SIGNATURE, "listed.raw", "wanted.raw"))}
    assert {f"{NAMED}/{path}" for path in wanted} <= set(asked)
    assert node.own_server.asked


def test_a_mirror_that_a_server_names_comes_by_it_too(node: Node, proxy: Proxy) -> None:
    say(node, proxy.uri, "")
    node.push(mk_tce_mirror=f"{NAMED}/tinycorelinux")
    assert {each.name for each in node.run().requests} >= {"listed.raw"}
    assert proxy.lines


def test_what_listens_on_this_machine_is_asked_directly(node: Node, proxy: Proxy) -> None:
    """Also where it is not the suite's own mirror, and however its address is written."""
    port = proxy.uri.rsplit(":", 1)[1]
    for host in ("127.0.0.1", "localhost", "127.1"):
        say(node, f"http://127.0.0.1:{port}", node.tce.replace("127.0.0.1", host))
        assert {each.name for each in node.run().requests} >= {"wanted.raw"}
    assert proxy.lines == []


def test_a_proxy_that_is_not_there_is_asked_again(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 75, for which systemd starts it again; the machine's own extension is staged all the same."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        proxy = f"http://127.0.0.1:{free.getsockname()[1]}"
    say(node, proxy)
    staged = node.run(status=75)
    assert [each.name for each in staged.requests] == ["near.raw"]
    said = capsys.readouterr().err
    assert f"{NAMED}/{LIST} by the proxy {proxy}: Connection refused; tried again later" in said


@pytest.mark.parametrize(
    ("refusal", "said", "again"),
    [
        ("407 Proxy Authentication Required", "the proxy wants to know a user, and there is none", True),
        ("502 Bad Gateway", "the proxy does not reach it (status 502)", True),
        ("403 Forbidden", "answers with status 403", False),
    ],
)
def test_what_a_proxy_refuses(tmp_path: Path, refusal: str, said: str, again: bool) -> None:
    """One line that names it, for small files and for large ones."""
    with Proxy(0, refusal) as proxy:
        way = Way(strict=True, proxy=proxy.uri)
        for ask in (
            lambda: remote.read_small(f"{NAMED}/x", way=way),
            lambda: remote.fetch(f"{NAMED}/x", tmp_path / "x", Sums(), Fetching(attempts=1, way=way)),
        ):
            with pytest.raises((Unreachable, ServerRefused)) as caught:
                ask()
            assert str(caught.value) == f"{NAMED}/x by the proxy {proxy.uri}: {said}"
            assert is_temporary(caught.value) is again


def test_a_download_goes_on_where_the_proxy_broke_off(tmp_path: Path) -> None:
    """The rest alone is asked for, by the proxy again. What had not filled a block of 16 KiB comes anew."""
    content, tag = bytes(range(250)) * 200, 'ETag: "one"'
    there = 2 << 14
    rest = json_answer(content[there:], "206 Partial Content", (tag, f"Content-Range: bytes {there}-49999/50000"))
    half = f"HTTP/1.1 200 OK\r\n{tag}\r\nContent-Length: 50000\r\n\r\n".encode() + content[:there]
    with WireServer(in_turn(half, rest)) as server, Proxy(server.port) as proxy:
        how = Fetching(wait=lambda _: None, way=Way(proxy=proxy.uri))
        assert remote.fetch(f"{NAMED}/x", tmp_path / "x", Sums(), how)
        assert (tmp_path / "x").read_bytes() == content
        assert f"Range: bytes={there}-\r\n".encode() in proxy.heads[1]


def test_a_mirror_behind_tls_is_known_by_itself(tmp_path: Path) -> None:
    """The tunnel leads to one that the system's CAs do not know, and nothing is asked of it."""
    ca = Authority(tmp_path / "ca")
    with TlsServer(*ca.issue("mirror", names="DNS:mirror.example")) as server, Proxy(server.port) as proxy:
        with pytest.raises(TlsFailed, match=rf"^https://mirror\.example/x by the proxy {proxy.uri}: "):
            remote.read_small("https://mirror.example/x", way=Way(proxy=proxy.uri))
        assert all(line.startswith("CONNECT mirror.example:443 ") for line in proxy.lines)
        assert server.requests == []


def test_no_server_chooses_it() -> None:
    with pytest.raises(BadInput, match="never taken from a server"):
        validate_push(json.loads('{"mk_extensions_proxy": "http://192.0.2.9:3128"}'), Site())

"""mkctl behind the site's HTTP proxy, as a process: what is asked by it and what is not; a password stays unseen."""

from __future__ import annotations

from tests.bus.harness import Node, wait_until
from tests.bus.server import Server
from tests.fakes import WireServer, json_answer
from tests.unit.http_proxy import Proxy

KEYS = ("server.proxy", "extensions.proxy")
NAMED = "http://mk.example:8026"
"""A server whose name only the proxy can resolve (RFC 2606)."""


def test_all_that_the_server_is_asked_goes_by_it_and_nothing_else(node: Node, server: Server) -> None:
    """A proxy that does not reach the server is told of with its address, and asked again; mkweb needs none."""
    with Proxy(server.wire.port, "502 Bad Gateway") as proxy, WireServer(json_answer(b"{}", "202 Accepted")) as mkweb:
        node.mkweb_uri = mkweb.uri
        node.configure(NAMED)
        node.write("etc/mk/mk.toml.d/50-proxy.toml", f'[server]\ndialect = "hanlon"\nproxy = "{proxy.uri}"\n')
        server.command, server.config = "register", {"mk_checkin_interval": 77, "mk_checkin_skew": 0}
        with node.daemon() as daemon:
            daemon.wait_for(rf"by the proxy {proxy.uri}: the proxy does not reach it \(status 502\)")
            proxy.refusal = ""
            assert node.call("CheckIn").returncode == 0
            wait_until(server.registrations, "a registration")
            wait_until(lambda: mkweb.requests, "the server's configuration, handed to mkweb")
        shown = node.mkctl("config", "--origin").stdout
        assert proxy.uri in next(line for line in shown.splitlines() if line.startswith("server.proxy"))
    assert {line.split(" ")[1].rpartition("/")[0] for line in proxy.lines} == {f"{NAMED}/hanlon/api/v1/node"}


def test_a_password_is_refused_and_never_seen(node: Node, server: Server) -> None:
    """Nor is anything else sent to that proxy: the server is asked directly, and what is wrong is one line."""
    with Proxy(server.wire.port) as proxy:
        wrong = proxy.uri.replace("//", "//me:s3cret@")
        node.write("etc/mk/mk.toml.d/50-proxy.toml", "".join(f'{key} = "{wrong}"\n' for key in KEYS))
        with node.daemon() as daemon:
            daemon.wait_for(f"{server.uri} answers")
            lines = daemon.said(r"what is written there is not a proxy's address")
            assert [name for line in lines for name in KEYS if name in line] == [*KEYS]
            seen = ["\n".join(daemon.lines), *(path.read_text() for path in (node.root / "run").rglob("*.json"))]
            for verb in (("config", "--origin"), ("status",), ("status", "--json"), ("facts",)):
                done = node.mkctl(*verb)
                seen += [done.stdout, done.stderr]
        assert "s3cret" not in "".join(seen) and proxy.heads == []

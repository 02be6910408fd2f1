"""HTTPS to the server, with certificates of a real CA and real TLS over loopback: what is taken, and why it is not."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from mkcore.config import validate_push
from mkcore.errors import BadConfig, BadInput, MkError, TlsFailed, Unreachable
from mkcore.http import exchange
from mkcore.keys import BY_NAME, NEVER_PUSHED, parse_value
from mkcore.paths import Paths, paths_under
from mkcore.site import Site
from mkcore.trust import Trust
from mkctl.cmdline import parse_cmdline
from mkctl.contact import Contact
from mkctl.hints import Hints
from mkctl.reports import Reporter
from mkctl.settings import load, server_trust, without_effect
from mkctl.state import Saved
from tests.fakes import WireServer
from tests.unit.tls_server import Authority, TlsServer, run


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca") / "site")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca") / "other")


def fingerprint(chain: Path) -> str:
    return run("x509", "-in", str(chain), "-noout", "-fingerprint", "-sha256").partition("=")[2].strip()


def refused(server: TlsServer, trust: Trust) -> str:
    with pytest.raises(TlsFailed) as caught:
        exchange("GET", f"{server.uri}/node/checkin", trust=trust)
    assert server.requests == [], "something was sent to a server that is not trusted"
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{server.uri}/node/checkin: ")
    assert caught.value.retryable and isinstance(caught.value, Unreachable)
    return str(caught.value).partition("/node/checkin: ")[2]


def test_a_server_of_the_site_s_ca_is_taken(ca: Authority) -> None:
    with TlsServer(*ca.issue("good")) as server:
        assert exchange("GET", server.uri, trust=Trust(ca=str(ca.root))).status == 200
        assert server.requests[0].startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept" % server.port)


@pytest.mark.parametrize(
    ("case", "said", "too_early"),
    [
        ({"until": "20210101000000Z"}, "has expired (it is 20", False),
        ({"since": "20890101000000Z"}, "is not yet valid (it is 20", True),
        ({"names": "IP:127.0.0.2"}, "is for another name (IP address mismatch, certificate is not valid for", False),
        ({"names": "DNS:localhost"}, "is for another name (IP address mismatch, certificate is not valid for", False),
    ],
    ids=["expired", "not-yet-valid", "other-address", "name-for-address"],
)
def test_what_is_wrong_with_a_certificate_is_said(
    ca: Authority, case: dict[str, str], said: str, too_early: bool
) -> None:
    with TlsServer(*ca.issue("wrong", **case)) as server:
        line = refused(server, Trust(ca=str(ca.root)))
        with pytest.raises(TlsFailed) as caught:
            exchange("GET", server.uri, trust=Trust(ca=str(ca.root)))
    assert line.startswith(f"the server's certificate {said}"), line
    assert caught.value.too_early is too_early


def test_a_name_is_compared(ca: Authority) -> None:
    with TlsServer(*ca.issue("named", names="DNS:elsewhere.example")) as server:
        with pytest.raises(TlsFailed, match=r"is for another name \(Hostname mismatch, .* 'localhost'"):
            exchange("GET", f"https://localhost:{server.port}", trust=Trust(ca=str(ca.root)))
        assert server.requests == []


def test_another_ca_s_server_is_refused(ca: Authority, other: Authority) -> None:
    with TlsServer(*ca.issue("unknown")) as server:
        for trust in (Trust(ca=str(other.root)), Trust()):
            assert refused(server, trust).startswith("the server's certificate is of no CA that is known here (")


def test_a_site_s_ca_stands_in_the_system_s_place(ca: Authority, other: Authority) -> None:
    """What the system trusts is not trusted beside it, and nothing of the environment is."""
    with TlsServer(*ca.issue("system")) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(ca.root))
        patch.setenv("REQUESTS_CA_BUNDLE", str(ca.root))
        assert "no CA" in refused(server, Trust(ca=str(other.root)))
        assert "no CA" in refused(server, Trust())


@pytest.mark.parametrize("case", [{}, {"until": "20210101000000Z"}, {"names": "DNS:elsewhere.example"}])
def test_a_pinned_certificate_is_taken_whatever_its_name_and_dates(ca: Authority, case: dict[str, str]) -> None:
    chain, key = ca.issue("pinned", **case)
    pin = str(parse_value(BY_NAME["server.fingerprint"], fingerprint(chain)))
    first = chain.read_text().partition("-----END CERTIFICATE-----\n")
    assert pin == hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[0] + first[1])).hexdigest()
    with TlsServer(chain, key) as server:
        assert exchange("GET", server.uri, trust=Trust(fingerprint=pin)).status == 200


def test_a_certificate_that_is_not_the_pinned_one_is_refused_though_its_ca_is_known(ca: Authority) -> None:
    pinned, _ = ca.issue("pinned-one")
    chain, key = ca.issue("other-one")
    trust = Trust(ca=str(ca.root), fingerprint=fingerprint(pinned).replace(":", "").lower())
    with TlsServer(chain, key) as server:
        line = refused(server, trust)
    assert line == (
        "the server's certificate is not the pinned one: SHA-256 " + fingerprint(chain).replace(":", "").lower()
    )


def test_a_client_certificate_is_shown(ca: Authority) -> None:
    mine, my_key = ca.issue("node")
    with TlsServer(*ca.issue("asks"), client_ca=ca.root) as server:
        trust = Trust(ca=str(ca.root), certificate=str(mine), key=str(my_key))
        assert exchange("GET", server.uri, trust=trust).status == 200


def test_a_wrong_client_certificate_is_said(ca: Authority, other: Authority) -> None:
    wrong, wrong_key = other.issue("stranger")
    late, late_key = ca.issue("late", until="20210101000000Z")
    for certificate, key, why in (
        (wrong, wrong_key, "unknown ca"),
        (late, late_key, "certificate expired"),
        ("", "", "certificate required"),
    ):
        with TlsServer(*ca.issue("asks-again"), client_ca=ca.root) as server:
            line = refused(server, Trust(ca=str(ca.root), certificate=str(certificate), key=str(key)))
        assert line == f"the server refuses the client certificate, or that there is none: {why}"


def test_files_that_cannot_be_used_are_named(ca: Authority, other: Authority, tmp_path: Path) -> None:
    chain, key = ca.issue("files")
    _, foreign = other.issue("foreign")
    locked = tmp_path / "locked.key"
    run("ec", "-in", str(key), "-aes128", "-passout", "pass:secret", "-out", str(locked))
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no certificate\n")
    root = str(ca.root)
    for trust, named in (
        (Trust(ca="/nonexistent/ca.pem"), "/nonexistent/ca.pem: no certificates of CAs (No such file or directory)"),
        (Trust(ca=str(rubbish)), f"{rubbish}: no certificates of CAs ("),
        (Trust(ca=root, certificate=str(chain), key=str(foreign)), f"{chain} and {foreign}: no certificate with its"),
        (Trust(ca=root, certificate=str(chain), key=str(locked)), f"{chain} and {locked}: no certificate with its"),
        (Trust(ca=root, certificate=str(chain)), f"{chain}: no certificate with its private key ("),
    ):
        with TlsServer(chain, key) as server, pytest.raises(BadConfig) as caught:
            exchange("GET", server.uri, trust=trust)
        assert str(caught.value).startswith(named), caught.value
        assert server.requests == []


def test_a_server_without_tls_is_said(ca: Authority) -> None:
    with WireServer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server, pytest.raises(MkError) as caught:
        exchange("GET", f"https://127.0.0.1:{server.port}/", trust=Trust(ca=str(ca.root)))
    assert str(caught.value).startswith(f"https://127.0.0.1:{server.port}/: ")


def test_a_server_that_waits_for_http_where_tls_begins_is_said() -> None:
    """As mkserver and nginx do, for which a greeting of TLS is no whole request."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        uri = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(Unreachable) as caught:
            exchange("GET", uri, deadline_s=1.0)
    assert str(caught.value) == f"{uri}: timed out while TLS began (is it a port for http://?)"


def test_a_server_that_hangs_behind_tls_is_no_port_for_http(ca: Authority) -> None:
    chain, key = ca.issue("hangs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    done = threading.Event()

    def greet(listening: socket.socket) -> None:
        with context.wrap_socket(listening.accept()[0], server_side=True):
            done.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        uri = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        threading.Thread(target=greet, args=(listening,), daemon=True).start()
        with pytest.raises(Unreachable) as caught:
            exchange("GET", uri, deadline_s=3.0, trust=Trust(ca=str(ca.root)))
        done.set()
    assert str(caught.value) == f"{uri}: no complete answer within 3 s"


@pytest.mark.parametrize("name", sorted(NEVER_PUSHED))
def test_by_what_the_server_is_known_is_never_pushed(name: str) -> None:
    with pytest.raises(BadInput) as caught:
        validate_push({"mk_checkin_interval": 60, name: "/tmp/ca.pem"}, Site())
    assert str(caught.value) == f"{name}: by what a server is known or reached is never taken from a server"


def test_credentials_beat_the_configuration_and_the_kernel_line_pins(tmp_path: Path) -> None:
    paths = paths_under(str(tmp_path))
    paths.etc.mkdir(parents=True)
    (paths.etc / "mk.toml").write_text('[server]\nca = "/etc/ca.pem"\nclient_key = "/etc/node.key"\n')
    assert server_trust(load(paths), paths, ()) == Trust(ca="/etc/ca.pem", key="/etc/node.key")
    paths.credentials.mkdir(parents=True)
    for name in ("mk.ca", "mk.certificate", "mk.key"):
        (paths.credentials / name).write_text("PEM")
    trust = server_trust(load(paths), paths, parse_cmdline(f"mk.fingerprint={':'.join(['AB'] * 32)}"))
    folder = paths.credentials
    assert trust == Trust(str(folder / "mk.ca"), "ab" * 32, str(folder / "mk.certificate"), str(folder / "mk.key"))


@pytest.mark.parametrize("before", ["", "sha256 Fingerprint=", "SHA256 Fingerprint=", "Fingerprint="])
def test_a_fingerprint_may_be_what_openssl_prints(tmp_path: Path, before: str) -> None:
    said = before + ":".join(["0A"] * 32)
    paths = paths_under(str(tmp_path))
    assert server_trust(load(paths), paths, parse_cmdline(f'"mk.fingerprint={said}"')).fingerprint == "0a" * 32
    paths.etc.mkdir(parents=True)
    (paths.etc / "mk.toml").write_text(f'server.fingerprint = "{said}"\n')
    assert server_trust(load(paths), paths, ()).fingerprint == "0a" * 32


@pytest.mark.parametrize(
    ("trust", "uri", "said"),
    [
        (Trust(ca="/ca"), "http://s", "http://s: a CA of the site counts for https:// alone: this server is not v"),
        (Trust(fingerprint="0a"), "http://s", "a fingerprint of the site counts"),
        (Trust(unusable="mistyped"), "http://s", "a CA or fingerprint that cannot be used of the site counts"),
        (Trust(ca="/ca", certificate="/c", key="/k"), "http://s", "a CA and a client certificate of the site"),
        (Trust(key="/k"), "https://s", "a client key without its certificate (server.client_certificate) is not shown"),
        (Trust(), "http://s", ""),
        (Trust(ca="/ca", certificate="/c"), "https://s", ""),
    ],
)
def test_trust_without_effect_is_said(trust: Trust, uri: str, said: str) -> None:
    found = without_effect(trust, uri)
    assert said in found and bool(said) == bool(found)


@pytest.mark.parametrize(
    ("site", "line", "said"),
    [
        ('server.fingerprint = "00:11"', "", "server.fingerprint: "),
        ('server.ca = "site.pem"', "", "server.ca: "),
        ("", "mk.fingerprint=", "mk.fingerprint= is empty"),
        ("", "mk.fingerprint=AB:CD", "mk.fingerprint=: .AB:CD. is not a SHA-256 of 64 hexadecimal digits"),
    ],
)
def test_trust_that_cannot_be_used_is_not_the_system_s(
    ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: str, line: str, said: str
) -> None:
    """A server that the system's CAs vouch for is refused all the same: the site meant another one alone."""
    monkeypatch.setattr("mkcore.http.DEFAULT_CA_BUNDLE_PATH", str(ca.root))
    paths = paths_under(str(tmp_path))
    paths.etc.mkdir(parents=True)
    (paths.etc / "mk.toml").write_text(f"{site}\n")
    trust = server_trust(load(paths), paths, parse_cmdline(line))
    with TlsServer(*ca.issue("known")) as server:
        assert exchange("GET", server.uri).status == 200
        with pytest.raises(BadConfig, match=f"{said}.*; the server cannot be verified"):
            exchange("GET", server.uri, trust=trust)
        assert len(server.requests) == 1
    (paths.etc / "mk.toml.d").mkdir()
    (paths.etc / "mk.toml.d/50.toml").write_text(f'server.fingerprint = "{"0" * 64}"\nserver.ca = "/etc/ca.pem"\n')
    mended = server_trust(load(paths), paths, ())
    assert mended.unusable == "", "a file that counts more has the last word"
    pinned = server_trust(load(paths), paths, parse_cmdline(f"mk.fingerprint={'1' * 64}"))
    assert (pinned.unusable, pinned.fingerprint) == ("", "1" * 64)


def _contact(tmp_path: Path, uri: str, ca: Authority) -> tuple[Contact, Paths]:
    paths = paths_under(str(tmp_path))
    paths.etc.mkdir(parents=True, exist_ok=True)
    (paths.etc / "mk.toml").write_text(f'[server]\nuri = "{uri}"\nca = "{ca.root}"\ndialect = "hanlon"\n')
    contact = Contact(paths, (), Reporter())
    contact.identify("")
    assert contact.look(load(paths), Saved(), Hints()) == ""
    return contact, paths


def test_a_checkin_goes_over_tls_and_is_tried_again_after_a_refusal(ca: Authority, tmp_path: Path) -> None:
    """The way of mkctl: a refused certificate is a failed checkin like any other; with a right one the next works."""
    answer = b'{"errcode":0,"http_err_code":200,"response":{"command_name":"acknowledge","command_param":{}}}'
    with TlsServer(*ca.issue("stale", until="20210101000000Z"), body=answer) as server:
        contact, _ = _contact(tmp_path, server.uri, ca)
        for _ in range(2):
            with pytest.raises(TlsFailed, match="has expired"):
                asyncio.run(contact.check_in(True))
    with TlsServer(*ca.issue("renewed"), body=answer) as server:
        contact, _ = _contact(tmp_path, server.uri, ca)
        assert asyncio.run(contact.check_in(True)).command == "acknowledge"


OLD = """
import sys
sys.path.insert(0, sys.argv[1])
import urllib3
if urllib3.__version__.startswith("1."):
    from mkcore.http import exchange
    from mkcore.trust import Trust
    print(exchange("GET", sys.argv[2], trust=Trust(ca=sys.argv[3]), proxy=sys.argv[4]).status)
"""


def ask_with_old_libraries(uri: str, ca: Authority, proxy: str = "") -> str:
    """Return what an exchange by the system's Python says; skip where that has no urllib3 of before 2.0."""
    root = Path(__file__).resolve().parents[2]
    argv = ["/usr/bin/python3", "-I", "-c", OLD, str(root), uri, str(ca.root), proxy]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if "ModuleNotFoundError" in done.stderr or done.stdout == "" == done.stderr:
        pytest.skip("the system's Python has no urllib3 of before 2.0")
    return done.stdout + done.stderr


def test_an_address_is_compared_by_debian_12_s_libraries_too(ca: Authority) -> None:
    """urllib3 before 2.0 tells nobody the server's name where that is an address."""
    with TlsServer(*ca.issue("good-for-old")) as server:
        assert ask_with_old_libraries(server.uri, ca) == "200\n"

"""mkctl and a server behind TLS, as processes: checkins, the clock that is asked for, and a key that stays unseen."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.bus.harness import FakeSystemd, Node, wait_until
from tests.unit.tls_server import Authority, TlsServer

CLOCK = "mk-clock.service"
DATE = "Tue, 15 Nov 2033 08:12:31 GMT"
ACKNOWLEDGE = b'{"errcode":0,"http_err_code":200,"response":{"command_name":"acknowledge","command_param":{}}}'
EARLY = "20890101000000Z"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    yield Authority(tmp_path_factory.mktemp("ca") / "site")


def configure(node: Node, server: TlsServer, ca: Authority, allowed: bool = True) -> None:
    """The site's words on this server."""
    more = f'[server]\nca = "{ca.root}"\ndialect = "hanlon"\n[clock]\nfrom_server = {json.dumps(allowed)}\n'
    node.configure(server.uri)
    node.write("etc/mk/mk.toml.d/50-tls.toml", more)


@dataclass(frozen=True)
class Wrong:
    """What is said, and why: the certificate's names or dates (`issue`), a stranger's CA, a server that knows no client
    of ours, another certificate that is pinned.
    """

    reason: str
    issue: Mapping[str, str] = field(default_factory=dict)
    by_stranger: bool = False
    asks_clients: bool = False
    pin: bool = False


WRONG: Mapping[str, Wrong] = {
    "expired": Wrong("the server's certificate has expired", {"until": "20210101000000Z"}),
    "not-yet-valid": Wrong("the server's certificate is not yet valid", {"since": EARLY}),
    "wrong-name": Wrong("the server's certificate is for another name", {"names": "DNS:elsewhere.example"}),
    "unknown-ca": Wrong("the server's certificate is of no CA that is known here", by_stranger=True),
    "wrong-client": Wrong("the server refuses the client certificate, or that there is none", asks_clients=True),
    "other-pin": Wrong("the server's certificate is not the pinned one", pin=True),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_once_and_tried_again(node: Node, ca: Authority, tmp_path: Path, name: str) -> None:
    """By itself, for as long as it takes: once the server is mended, the next checkin works in the same process."""
    wrong, stranger = WRONG[name], Authority(tmp_path / "stranger")
    right = ca.issue(f"right-{name}")
    bad = (stranger if wrong.by_stranger else ca).issue(f"bad-{name}", **wrong.issue)
    client = ca.issue(f"client-{name}")
    for credential, file in zip(("mk.certificate", "mk.key"), client):
        node.write(f"run/credentials/{credential}", file.read_text())
    with TlsServer(*bad, client_ca=stranger.root if wrong.asks_clients else None, body=ACKNOWLEDGE) as server:
        configure(node, server, ca)
        if wrong.pin:
            pem = ssl.PEM_cert_to_DER_cert(right[0].read_text().partition("-----END")[0] + "-----END CERTIFICATE-----")
            node.write("proc/cmdline", f"mk.fingerprint={hashlib.sha256(pem).hexdigest()}\n")
        node.write("etc/mk/mk.toml.d/60-often.toml", "[checkin]\ninterval_s = 1\nretry_ceiling_s = 1\n")
        with node.daemon() as daemon:
            wait_until(lambda: node.status().get("failed_checkins", 0) >= 3, "three failures")
            assert len(daemon.said(wrong.reason)) == 1, daemon.lines
            assert wrong.reason in node.status()["last_error"]
            assert not [raw for raw in server.requests if not raw.startswith(b"HEAD / ")], "asked for the time alone"
            server.show(*right, client_ca=ca.root)
            node.wait_status(state="idle", last_error="")
            assert daemon.process.poll() is None and server.requests


def test_the_server_s_time_is_asked_for_once(node: Node, systemd: FakeSystemd, ca: Authority) -> None:
    """Where its certificate is not valid yet: mkctl leaves the time, and has mk-clock started, at the first failure."""
    systemd.units[CLOCK] = ("inactive", "dead")
    with TlsServer(*ca.issue("early", since=EARLY), date=DATE) as server:
        configure(node, server, ca)
        with node.daemon() as daemon:
            wait_until(lambda: systemd.started == [CLOCK], "the start of mk-clock")
            daemon.wait_for("the server's certificate is not yet valid")
            for _ in range(2):
                assert node.call("CheckIn").returncode != 0
        assert systemd.started == [CLOCK]
        assert node.read("run/mkctl/clock.json") == {"time_s": 2_015_655_151, "server": f"{server.uri}/"}
        assert [raw.split(b" ")[0] for raw in server.requests] == [b"HEAD"], "the node told nothing of itself"


@pytest.mark.parametrize(
    ("skipped", "end"), [(False, "ended as done"), (True, "was skipped: its conditions do not hold")]
)
def test_how_the_correction_ended_is_said(
    node: Node, systemd: FakeSystemd, ca: Authority, skipped: bool, end: str
) -> None:
    """A clock that was set once since the boot is not set again; systemd calls that start done, too."""
    systemd.units[CLOCK] = ("inactive", "dead")
    systemd.skipped = {CLOCK} if skipped else set()
    with TlsServer(*ca.issue("early-end", since=EARLY), date=DATE) as server:
        configure(node, server, ca)
        with node.daemon() as daemon:
            daemon.wait_for(f"{CLOCK} {end}")
            assert len(daemon.said(f"{CLOCK} (ended|was)")) == 1


def test_the_time_is_asked_for_again_where_it_was_not_said(node: Node, systemd: FakeSystemd, ca: Authority) -> None:
    """A server that does not say it costs this attempt alone; the reason is said once."""
    systemd.units[CLOCK] = ("inactive", "dead")
    with TlsServer(*ca.issue("early-mute", since=EARLY)) as server:
        configure(node, server, ca)
        with node.daemon() as daemon:
            daemon.wait_for("the server's time is not taken: .* is no time")
            assert node.call("CheckIn").returncode != 0
            assert systemd.started == []
            server.date = DATE
            assert node.call("CheckIn").returncode != 0
            assert systemd.started == [CLOCK]
            assert len(daemon.said("the server's time is not taken")) == 1


def test_only_where_the_site_allows_it(node: Node, systemd: FakeSystemd, ca: Authority) -> None:
    with TlsServer(*ca.issue("early", since=EARLY), date=DATE) as server:
        configure(node, server, ca, allowed=False)
        with node.daemon() as daemon:
            daemon.wait_for("the server's certificate is not yet valid")
            assert node.call("CheckIn").returncode != 0
        assert systemd.started == [] and server.requests == []
        assert not (node.root / "run/mkctl/clock.json").exists()


def test_only_for_the_clock(node: Node, systemd: FakeSystemd, ca: Authority) -> None:
    """An expired certificate is none that a clock which goes forward would mend."""
    with TlsServer(*ca.issue("old", until="20210101000000Z"), date=DATE) as server:
        configure(node, server, ca)
        with node.daemon() as daemon:
            daemon.wait_for("the server's certificate has expired")
            assert node.call("CheckIn").returncode != 0
        assert systemd.started == [] and server.requests == []


def test_the_private_key_is_never_seen(node: Node, ca: Authority) -> None:
    """By credential; not on the command line, in the environment, in what it says, on the bus or in its files."""
    chain, key = ca.issue("node")
    secret = key.read_text().splitlines()[1]
    node.write("run/credentials/mk.certificate", chain.read_text())
    node.write("run/credentials/mk.key", key.read_text())
    with TlsServer(*ca.issue("asks"), client_ca=ca.root, body=ACKNOWLEDGE) as server:
        configure(node, server, ca)
        node.write("etc/mk/mk.toml.d/60-log.toml", '[log]\nlevel = "DEBUG"\n')
        with node.daemon() as daemon:
            wait_until(lambda: server.requests, "a checkin with the client's certificate")
            assert node.call("CheckIn").returncode == 0
            process = Path("/proc", str(daemon.process.pid))
            seen = [(process / name).read_bytes().decode("utf-8", "replace") for name in ("cmdline", "environ")]
            seen += [node.call("Describe").stdout, *daemon.lines, node.mkctl("config", "--origin").stdout]
            seen += [path.read_text() for path in (node.root / "run/mkctl").iterdir()]
            seen += [raw.decode() for raw in server.requests]
    assert any("acknowledge" in each for each in seen)
    assert not [each for each in seen if secret in each or "PRIVATE KEY" in each]


def test_a_client_certificate_that_is_not_taken_is_said(node: Node, ca: Authority, tmp_path: Path) -> None:
    chain, key = Authority(tmp_path / "other").issue("stranger")
    node.write("run/credentials/mk.certificate", chain.read_text())
    node.write("run/credentials/mk.key", key.read_text())
    with TlsServer(*ca.issue("asks"), client_ca=ca.root, body=ACKNOWLEDGE) as server:
        configure(node, server, ca)
        with node.daemon() as daemon:
            daemon.wait_for(
                "the server refuses the client certificate, or that there is none: unknown ca; trying again"
            )
            good, good_key = ca.issue("node")
            node.write("run/credentials/mk.certificate", good.read_text())
            node.write("run/credentials/mk.key", good_key.read_text())
            assert node.call("CheckIn").returncode == 0, "the right one works without a restart"

"""A mirror's name that a server pushed, and that leads to this machine or to this link: no byte is sent there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mkcore.errors import BadInput
from mkmirror import remote
from mkmirror.gather import is_temporary
from mkmirror.offers import Mirror, Trusting
from mkmirror.remote import Fetching, Sums
from mkmirror.sources import is_link_local
from mkmirror.strict import Way, judge_of, refuse
from mkmirror.trust import Verify
from tests.fakes import WireServer, json_answer

NAME = "mirror.example"
STRICT = Way(strict=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WireServer]:
    """A server on this machine, to which a name in somebody else's DNS leads."""
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1" if host == NAME else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with WireServer(json_answer(b"{}")) as found:
        yield found


def test_a_name_that_leads_back_here(server: WireServer, tmp_path: Path) -> None:
    """Small files, sums, questions and downloads: refused for good, and the server there hears nothing."""
    uri = f"http://{NAME}:{server.port}"
    mirror = Mirror(uri, False, Trusting(Verify.SIGNATURE, (), tmp_path, way=STRICT))
    for ask in (
        lambda: remote.read_small(f"{uri}/list", way=STRICT),
        lambda: remote.fetch(f"{uri}/a.raw", tmp_path / "a.raw", Sums(), Fetching(way=STRICT)),
        lambda: mirror.folder("sysext/x86_64"),
        lambda: mirror.read(f"{uri}/a.raw.dep"),
        lambda: mirror.ask(f"{uri}/a.raw"),
    ):
        with pytest.raises(BadInput, match=r"mirror\.example.*its name leads to this machine itself \(127\.") as caught:
            ask()
        assert not is_temporary(caught.value) and "\n" not in str(caught.value)
    assert server.requests == []
    assert remote.read_small(f"{uri}/list") == b"{}", "the site's own mirror may be anywhere"
    assert remote.read_small(f"http://127.0.0.1:{server.port}/list", way=STRICT) == b"{}"


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        ("127.0.0.2", "this machine itself"),
        ("::1", "this machine itself"),
        ("::ffff:127.0.0.1", "this machine itself"),
        ("0.0.0.0", "this machine itself"),
        ("::", "this machine itself"),
        ("169.254.169.254", "an address of this link"),
        ("::ffff:169.254.1.1", "an address of this link"),
        ("fe80::1%eth0", "an address of this link"),
        ("192.168.1.1", ""),
        ("2001:db8::1", ""),
    ],
)
def test_addresses(peer: str, said: str) -> None:
    assert said in refuse(peer) and bool(refuse(peer)) is bool(said)


def test_numbers_are_judged_as_they_are_written() -> None:
    for uri in ("http://127.0.0.1:2157/x", "http://[::1]/x", "http://0x7f.1/x", "http://localhost/x", "http://[bad"):
        assert judge_of(uri, strict=True) is None
    assert (
        judge_of("http://a.example/x", strict=True) is not None and judge_of("http://a.example/x", strict=False) is None
    )
    for host in ("0.0.0.0", "0", "[::]", "[::ffff:0.0.0.0]", "169.254.0.1"):
        assert is_link_local(f"http://{host}/x"), host

"""What counts as this machine itself (B31)."""

from __future__ import annotations

import argparse

import pytest

from mkcore.loopback import is_loopback, parse_listen


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_loopback_peers(peer: str) -> None:
    assert is_loopback(peer)


@pytest.mark.parametrize("peer", ["", "192.0.2.1", "0.0.0.0", "::", "::ffff:192.0.2.1", "fe80::1", "::11", "localhost"])
def test_other_peers(peer: str) -> None:
    assert not is_loopback(peer)


def test_addresses_to_listen_on() -> None:
    assert parse_listen("127.0.0.1:2156") == ("127.0.0.1", 2156)
    assert parse_listen("localhost:0") == ("localhost", 0)
    assert parse_listen("[::1]:80") == ("::1", 80)


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:2156",
        "2156",
        ":2156",
        "127.0.0.1",
        "127.0.0.1:99999",
        "127.0.0.1:x",
        "127.0.0.1:²",
        "evil:1",
        "[::]:1",
        "",
    ],
)
def test_addresses_that_are_not_this_machines(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="HOST:PORT"):
        parse_listen(text)

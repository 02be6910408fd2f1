"""What is said of an address that is refused: never the password that somebody wrote into it."""

from __future__ import annotations

from typing import Callable

import pytest

from mkcore.errors import BadInput
from mkcore.keys import BY_NAME, parse_value
from mkctl.addresses import parse_uri

READERS: list[Callable[[str], object]] = [parse_uri, lambda text: parse_value(BY_NAME["server.uri"], text)]
WITH_A_PASSWORD = [
    "http://user:geheim@mk.example:8026",
    "http://user:geheim@2001:db8::1/x",
    "http://user:ge@heim@mk.example/",
    "ftp://user:geheim@mk.example/",
    "http://user:ge/heim@mk.example",
    "http://user:geheim@mk.example:99999/",
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("text", WITH_A_PASSWORD)
def test_a_password_in_an_address_is_not_shown(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(text)
    assert "heim" not in str(refused.value) and "user" not in str(refused.value)


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_secret_is_shown(read: Callable[[str], object]) -> None:
    with pytest.raises(BadInput, match=r"ftp://mk\.example"):
        read("ftp://mk.example")

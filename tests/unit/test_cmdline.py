"""The kernel line is split as the kernel does it, and names are anchored (B04)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkctl.cmdline import Token, last_value, only_value, parse_cmdline, values


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ()),
        ("\n", ()),
        ("quiet ro\n", (Token("quiet"), Token("ro"))),
        ("a=1  b=\tc=x=y", (Token("a", "1", True), Token("b", "", True), Token("c", "x=y", True))),
        ('a="two words" b', (Token("a", "two words", True), Token("b"))),
        ('"a=two words" b', (Token("a", "two words", True), Token("b"))),
        ('a="open to the end', (Token("a", "open to the end", True),)),
        ('"', (Token(""),)),
        ("quiet -- razor.ip=192.0.2.1", (Token("quiet"), Token("--"), Token("razor.ip", "192.0.2.1", True))),
    ],
)
def test_split(text: str, tokens: tuple[Token, ...]) -> None:
    assert parse_cmdline(text) == tokens


def test_names_are_anchored() -> None:
    tokens = parse_cmdline("xrazor.ip=192.0.2.1 razor_ip=192.0.2.2 razor.ipx=192.0.2.3 razor.ip")
    assert values(tokens, "razor.ip") == ()
    assert last_value(tokens, "razor.ip") == ""


def test_rightmost_and_exactly_once() -> None:
    tokens = parse_cmdline("k=1 k=2 once=3")
    assert last_value(tokens, "k") == "2"
    assert only_value(tokens, "once") == ("3", "")
    assert only_value(tokens, "none") == ("", "")
    value, reason = only_value(tokens, "k")
    assert value == ""
    assert "2 times" in reason


@given(st.text(max_size=200))
def test_anything_can_be_split(text: str) -> None:
    for token in parse_cmdline(text):
        assert token.has_value or not token.value

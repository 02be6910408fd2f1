"""Names that strangers wrote: nothing in them leads out of a folder, into a line of its own or into an option."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkmirror.formats import sysext, tce, wheel
from mkmirror.lists import lines_of, parse_json_list, parse_list
from mkmirror.names import is_name, require_inside, require_name, require_name_or_path

TRICKS = [
    "",
    ".",
    "..",
    "../x.tcz",
    "../../etc/passwd",
    "/etc/passwd",
    "a/../b.tcz",
    "a//b.tcz",
    "a/",
    "a\0.tcz",
    "a\n.tcz",
    "a\x1b[2J.tcz",
    "a b.tcz",
    "-rf",
    "--option=x",
    ".hidden.tcz",
    "~root",
    "$(reboot)",
    "a;b",
    "a\\b",
    "http://x/y",
    "%2e%2e",
    "ä.tcz",
    "\u202etcz",
    "\udcff",
    "x" * 4000,
]


@pytest.mark.parametrize("text", TRICKS, ids=[ascii(text)[:20] for text in TRICKS])
def test_tricks_are_no_names(text: str) -> None:
    assert not is_name(text)
    for call in (
        lambda: require_name(text, "here"),
        lambda: require_name_or_path(text, "here"),
        lambda: tce.file_name(text, "6.1"),
        lambda: sysext.extension_name(text),
        lambda: wheel.parse_wheel(text),
        lambda: wheel.parse_wanted(text, "here"),
    ):
        with pytest.raises(BadInput) as caught:
            call()
        assert len(str(caught.value)) < 200
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["a.tcz", "libstdc++6.tcz", "Xorg-7.7.tcz", "gtk+3", "a_b~1", "9p.tcz", "+x", "_x"])
def test_names_of_real_extensions(text: str) -> None:
    assert require_name(text, "here") == text


@pytest.mark.parametrize("text", ["", "/", "/etc", "..", "a/../b", "a//b", "a\nb", "a\0", "a/", "./a", "x/" * 3000])
def test_paths_that_lead_out_of_an_image(text: str) -> None:
    with pytest.raises(BadInput):
        require_inside(text, "here")


def test_paths_inside_an_image_may_have_any_printable_characters() -> None:
    for text in ("usr/local/bin/a b", "usr/share/ä", "a/..b", "etc/.hidden", "a/-x"):
        assert require_inside(text, "here") == text


@given(st.text(max_size=300))
def test_what_is_a_name_is_one_harmless_word(text: str) -> None:
    if is_name(text):
        assert not set(text) & set("/\\\0\n \t'\"$;&|<>*?%:@#")
        assert text[0] not in ".-~"
        assert text.isascii()
        assert text.isprintable()


@given(st.binary(max_size=400))
def test_lists_give_names_or_one_line(data: bytes) -> None:
    try:
        names = parse_list(data, "list")
    except BadInput as error:
        assert str(error).isprintable()
    else:
        assert all(re.fullmatch(r"[A-Za-z0-9._+~/-]+", name) and ".." not in name.split("/") for name in names)


def test_plain_lines() -> None:
    text = "\ufeffa\r\n\n# comment\n  b  \t\n c # why\nd#e\n#\n"
    assert list(lines_of(text, "f")) == [("a", "f:1"), ("b", "f:4"), ("c", "f:5"), ("d#e", "f:6")]


def test_lists_have_an_end() -> None:
    with pytest.raises(BadInput, match="more than 10000"):
        list(lines_of("a\n" * 10_001, "f"))
    with pytest.raises(BadInput, match="more than 10000"):
        parse_list(b"- a\n" * 10_001, "f")
    with pytest.raises(BadInput, match="more than 10000"):
        parse_json_list("[" + '"a",' * 10_000 + '"a"]', "f")

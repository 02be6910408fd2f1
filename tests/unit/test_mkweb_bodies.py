"""The bodies of a push: the originals' own bytes, the documented order, and what no reading makes JSON."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkweb.bodies import parse_body, unescape_entities

DATA = Path(__file__).resolve().parent.parent / "data" / "mkweb"


def body_of(name: str) -> bytes:
    return (DATA / name).read_bytes().split(b"\r\n\r\n", 1)[1]


def test_the_bytes_that_razors_client_sends() -> None:
    body = body_of("razor-set-config.http")
    assert len(body) == 84
    assert parse_body(body) == {"mk_checkin_interval": 60, "mk_log_level": "Logger::ERROR"}


def test_the_bytes_that_hanlons_client_sends() -> None:
    body = body_of("hanlon-set-config.http")
    sent = parse_body(body)
    assert sent == json.loads(body)
    assert sent["mk_fact_excl_pattern"].startswith("(^facter.*$)|(^id$)|")
    assert len(sent) == 9


READINGS = [
    pytest.param(b'{"mk_a": 1}', {"mk_a": 1}, id="JSON"),
    pytest.param(b'  {"mk_a": 1}\r\n', {"mk_a": 1}, id="JSON with blanks around"),
    pytest.param(b'\xef\xbb\xbf{"mk_a":1}', {"mk_a": 1}, id="JSON with a byte order mark"),
    pytest.param(b"{}", {}, id="empty map"),
    pytest.param(
        b'{"mk_a":"x &amp; y &#39; +%20="}', {"mk_a": "x &amp; y &#39; +%20="}, id="JSON is never altered (B25)"
    ),
    pytest.param(b'{"mk_a":"ends with ="}', {"mk_a": "ends with ="}, id="JSON keeps its last character (B24)"),
    pytest.param(b"{&quot;mk_a&quot;:&quot;b&quot;}", {"mk_a": "b"}, id="entities"),
    pytest.param(b"{&#34;mk_a&#x22;:&#X22;&lt;&gt;&#39;&apos;&#34;}", {"mk_a": "<>''"}, id="numeric entities"),
    pytest.param(b"{&quot;mk_a&quot;:&quot;&amp;lt;&quot;}", {"mk_a": "&lt;"}, id="entities are undone once"),
    pytest.param(
        b"{&quot;mk_a&quot;:&quot;&nbsp;&copy;&#1114112;&quot;}",
        {"mk_a": "&nbsp;&copy;&#1114112;"},
        id="unknown ones stay",
    ),
    pytest.param(b"%7b%22mk_a%22%3a1%7d=", {"mk_a": 1}, id="percent-encoded with ="),
    pytest.param(b"%7B%22mk_a%22%3A1%7D", {"mk_a": 1}, id="percent-encoded without ="),
    pytest.param(b"%7b%22mk_a%22%3a%22b+c%2bd%22%7d=\r\n", {"mk_a": "b c+d"}, id="plus is a blank"),
    pytest.param(b"%7b%22mk_a%22%3a%22=%22%7d=", {"mk_a": "="}, id="one = alone is dropped"),
    pytest.param(b"%7b%22mk_a%22%3a%22%c3%a9%22%7d=", {"mk_a": "é"}, id="UTF-8 escapes"),
    pytest.param(b"json_hash=%7B%22mk_a%22%3A1%7D", {"mk_a": 1}, id="form field json_hash"),
    pytest.param(b"x=1&config=%7B%22mk_a%22%3A1%7D", {"mk_a": 1}, id="form field config"),
    pytest.param(
        b"config=%7B%22mk_a%22%3A2%7D&json_hash=%7B%22mk_a%22%3A1%7D", {"mk_a": 1}, id="json_hash comes first"
    ),
    pytest.param(b"json_hash=%7B%26quot%3Bmk_a%26quot%3B%3A1%7D", {"mk_a": 1}, id="entities inside a form field"),
    pytest.param(b'{"mk_a":{"b":[1,null,true]}}', {"mk_a": {"b": [1, None, True]}}, id="nested"),
]


@pytest.mark.parametrize(("body", "wanted"), READINGS)
def test_readings(body: bytes, wanted: object) -> None:
    assert parse_body(body) == wanted


REFUSED = [
    (b"", "empty"),
    (b" \r\n", "empty"),
    (b"\xff\xfe{", "not UTF-8"),
    (b"{", "neither JSON"),
    (b'{"mk_a": 1', "neither JSON"),
    (b"garbage", "neither JSON"),
    (b"json_hash=garbage", "neither JSON"),
    (b"%ff%fe=", "neither JSON"),
    (b"&".join(b"a%d=1" % n for n in range(100)), "neither JSON"),
    (b"[1,2]", "JSON object"),
    (b'"text"', "JSON object"),
    (b"%5b1%5d=", "JSON object"),
    (b'{"mk_a": NaN}', "neither JSON"),
    (b"[" * 100_000, "neither JSON"),
    (b"\0", "neither JSON"),
]


@pytest.mark.parametrize(("body", "why"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_refused(body: bytes, why: str) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        parse_body(body)
    assert "\n" not in str(caught.value)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_&;=%+", max_size=8), inner, max_size=3),
    max_leaves=6,
)
MAPS = st.dictionaries(st.text("mk_abc", min_size=1, max_size=12), VALUES, max_size=4)


@given(MAPS)
def test_every_encoding_of_a_map_comes_back_as_that_map(wanted: dict[str, object]) -> None:
    text = json.dumps(wanted)
    for body in (
        text,
        quote(text, safe="") + "=",
        quote_plus(text) + "=",
        "json_hash=" + quote_plus(text),
        "config=" + quote(text, safe=""),
    ):
        assert parse_body(body.encode()) == wanted


@given(st.binary(max_size=200))
def test_any_bytes_give_a_map_or_one_line(body: bytes) -> None:
    try:
        assert isinstance(parse_body(body), dict)
    except BadInput as error:
        assert "\n" not in str(error)


def test_entities_that_name_no_character_stay() -> None:
    assert unescape_entities("&#xD800;&#55296;&#x110000;&;&#;&#x;&amp") == "&#xD800;&#55296;&#x110000;&;&#;&#x;&amp"

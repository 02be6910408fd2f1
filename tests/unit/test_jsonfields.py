"""mkcore.jsonfields and mkcore.errors: untrusted JSON becomes values or one line that says what is wrong where."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore import errors
from mkcore.errors import BadInput, MkError, ServerRefused
from mkcore.jsonfields import (
    canonical,
    digest,
    get_bool,
    get_int,
    get_list,
    get_object,
    get_str,
    get_strings,
    parse_json,
    parse_object,
    show,
)

BAD_DOCUMENTS = [
    (b"", "not JSON"),
    (b"{", "line 1 column 2"),
    (b'{"a":1}x', "column 8"),
    (b"\xff\xfe{}", "not UTF-8 at byte 0"),
    (b"[NaN]", "NaN"),
    (b'{"a":-Infinity}', "-Infinity"),
    (b"1e999", "out of range"),
    (b"[" * 100_000, "nested too deeply"),
    (b"[" * 101 + b"]" * 101, "nested too deeply"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested too deeply"),
]


@pytest.mark.parametrize(("data", "said"), BAD_DOCUMENTS, ids=range(len(BAD_DOCUMENTS)))
def test_bad_documents_name_place_and_cause(data: bytes, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_json(data, "/run/x.json")
    assert said in str(caught.value)
    assert str(caught.value).startswith("/run/x.json: ")
    assert caught.value.where == "/run/x.json"
    assert "\n" not in str(caught.value)


def test_documents_with_a_mark_and_with_lone_surrogates() -> None:
    assert parse_json(b"\xef\xbb\xbf[1]", "x") == [1]
    assert parse_json(r'{"\ud800k":["a\udfffb","\ud83d\ude00"]}', "x") == {"\ufffdk": ["a\ufffdb", "\U0001f600"]}


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"x"'])
def test_the_top_must_be_an_object(data: bytes) -> None:
    with pytest.raises(BadInput, match="a JSON object is wanted"):
        parse_object(data, "body")


DOCUMENT: dict[str, Any] = {"s": "x", "i": 5, "b": True, "o": {"k": 1}, "l": [1, "a"], "n": None, "f": 1.5, "t": ["a"]}


def test_getters_return_what_is_there() -> None:
    assert get_str(DOCUMENT, "s") == "x"
    assert get_int(DOCUMENT, "i", low=5, high=5) == 5
    assert get_bool(DOCUMENT, "b") is True
    assert get_object(DOCUMENT, "o") == {"k": 1}
    assert get_list(DOCUMENT, "l") == [1, "a"]
    assert get_strings(DOCUMENT, "t") == ["a"]


def test_a_missing_key_has_the_stated_default_or_fails() -> None:
    assert get_str(DOCUMENT, "x", default="d") == "d"
    assert get_strings(DOCUMENT, "x", default=("a",)) == ["a"]
    assert get_int({}, "x", default=-1, low=0) == -1
    with pytest.raises(BadInput, match=r"^reply\.response\.x: is missing$"):
        get_str({}, "x", where="reply.response")


WRONG: list[tuple[Callable[..., Any], str, str]] = [
    (get_str, "i", "w.i: must be a string, not 5"),
    (get_str, "n", "w.n: must be a string, not null"),
    (get_int, "b", "w.b: must be an integer, not true"),
    (get_int, "f", "w.f: must be an integer, not 1.5"),
    (get_int, "s", 'w.s: must be an integer, not "x"'),
    (get_bool, "i", "w.i: must be true or false, not 5"),
    (get_object, "l", 'w.l: must be an object, not [1, "a"]'),
    (get_list, "o", 'w.o: must be a list, not {"k": 1}'),
    (get_strings, "l", "w.l[0]: must be a string, not 1"),
]


@pytest.mark.parametrize(("getter", "key", "said"), WRONG)
def test_wrong_types_fail_even_where_there_is_a_default(getter: Callable[..., Any], key: str, said: str) -> None:
    for extra in ({}, {"default": None}):
        with pytest.raises(BadInput) as caught:
            getter(DOCUMENT, key, where="w", **extra)
        assert str(caught.value) == said


def test_integers_have_a_range() -> None:
    with pytest.raises(BadInput, match=r"^w\.i: 5 is not in 6\.\.7$"):
        get_int(DOCUMENT, "i", low=6, high=7, where="w")


def test_the_canonical_form_does_not_depend_on_order() -> None:
    assert canonical({"b": 1, "a": [True, None, "ü"]}) == '{"a":[true,null,"ü"],"b":1}'.encode()
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1})
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_what_was_parsed_can_always_be_written_again(value: Any) -> None:
    parsed = parse_json(json.dumps(value), "x")
    assert parse_json(canonical(parsed), "x") == parsed


@given(st.binary())
def test_any_bytes_parse_or_raise_bad_input(data: bytes) -> None:
    try:
        canonical(parse_json(data, "x"))
    except BadInput as error:
        assert str(error).startswith("x: ")


def test_values_in_messages_are_short() -> None:
    assert show("x" * 1000) == '"' + "x" * 56 + "..."
    assert show(object()) == "a value of type object"


def all_errors() -> list[type[MkError]]:
    found: list[type[MkError]] = [MkError]
    for each in found:
        found += [kind for kind in each.__subclasses__() if kind.__module__ == MkError.__module__]
    return found


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_says_how_to_go_on(kind: type[MkError]) -> None:
    assert kind.__doc__
    assert 64 <= kind.exit_status <= 78
    error = kind("first\nsecond  line")
    assert str(error) == "first second line"


def test_bus_names_are_unique_and_attributes_are_there() -> None:
    names = [kind.bus_name for kind in all_errors()]
    assert len(set(names)) == len(names)
    refused = ServerRefused("no", 503, 7.0)
    assert (refused.status, refused.retry_after_s, refused.retryable) == (503, 7.0, True)
    assert errors.NotAuthorized("x", "a.b").error_name == "a.b"
    assert BadInput("bad", "file").where == "file"

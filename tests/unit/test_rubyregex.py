"""mkcore.rubyregex: what Ruby's patterns find, Python's translation finds; the rest is refused with a reason."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_tree import make_tool

from mkcore.errors import BadInput, ToolFailed
from mkcore.keys import HANLON_EXCLUDE, RAZOR_EXCLUDE
from mkcore.rubyregex import compile_ruby, translate, try_pattern

# pattern, texts in which Ruby finds it, texts in which it does not (worked out by the rules of Onigmo's doc/RE)
MEANINGS: list[tuple[str, list[str], list[str]]] = [
    (r"^b$", ["a\nb\nc", "b"], ["ab"]),
    (r"\Ab", ["b\na"], ["a\nb"]),
    (r"b\z", ["b", "a\nb"], ["b\n", "b\na"]),
    (r"b\Z", ["b", "b\n"], ["b\n\n", "b\na"]),
    (r"\A\h{2}\H\z", ["fFg"], ["fgF", "ff"]),
    (r"[\h]+x", ["aFx"], ["gx"]),
    (r"\A[^\H]\z", ["a"], ["g"]),
    (r"a.b", ["axb"], ["a\nb"]),
    (r"(?m)a.b", ["a\nb"], []),
    (r"(?m:a.)(?-m:b.)", ["a\nbc"], ["a\nb\n"]),
    (r"a(?i)b|c", ["aB", "aC"], ["Ab", "c"]),
    (r"(?i:a)b", ["Ab"], ["AB"]),
    ("(?x) a # comment\n b \\  c", ["ab c"], ["a b c"]),
    ("(?x: a ) b", ["a b"], ["ab"]),
    (r"(?<year>\d{4})-\k<year>", ["1999-1999"], ["1999-2000"]),
    (r"(?'n'a)\k'n'", ["aa"], ["ab"]),
    (r"(?<n>a)(b)", ["ab"], []),
    (r"(a)(b)\2\1", ["abba"], ["abab"]),
    (r"(?>a+)b(c)\1", ["aabcc"], ["aabc"]),
    (r"\A(?>a|ab)c", ["ac"], ["abc"]),
    (r"\Aa*+a", [], ["aaa"]),
    (r"\Aa?+ab", ["aab"], ["ab"]),
    (r"\A(?:ab)++c", ["ababc"], []),
    (r"\Aa{2}?\z", ["", "aa"], ["a"]),
    (r"\Aa{1,2}?b", ["ab", "aab"], ["aaab"]),
    (r"\Aa{1,2}+b", ["aaaab"], ["b"]),
    (r"\Aa{2}{3}\z", ["aaaaaa"], ["aaaaa"]),
    (r"\Aa{,2}\z", ["", "aa"], ["aaa"]),
    (r"a{b}", ["a{b}"], ["ab"]),
    (r"a{,}", ["a{,}"], ["a"]),
    (r"(?<=a|bc)d", ["ad", "bcd"], ["cd"]),
    (r"(?<!a|bc)d", ["cd", "d"], ["ad", "bcd"]),
    (r"(?=.*b)a(?!c)", ["ab"], ["ac b", "a"]),
    (r"[[:alpha:]_]+[[:digit:]]", ["a_1"], ["-1"]),
    (r"\A[[:^digit:]]\z", ["a", "é"], ["1"]),
    (r"\A[^[:space:][:punct:]]+\z", ["ab1"], ["a b", "a-b"]),
    (r"[[:xdigit:]]{2}(:[[:xdigit:]]{2}){5}", ["52:54:00:aa:00:01"], ["52:54:00:aa:00"]),
    (r"[]a]", ["]"], ["b"]),
    (r"[^]a]", ["b"], ["]", "a"]),
    (r"[a\]b]", ["]"], ["c"]),
    (r"[a-]", ["-"], ["b"]),
    (r"[\x41-\x43]", ["B"], ["D"]),
    (r"[\b]", ["\b"], ["b"]),
    (r"\bsda\b", ["x sda y"], ["sdab"]),
    (r"\u0041\x42\x9\u{43}\103", ["AB\tCC"], []),
    (r"\e\a\cA\0", ["\x1b\x07\x01\x00"], []),
    (r"a\Rb", ["a\r\nb", "a\nb"], ["ab"]),
    (r"\/\-\.\"\#\ \~", ['/-."# ~'], []),
    (r"\w\W\d\D\s\S", ["a-1a b"], ["é-1a b"]),
    (r"a(?#a comment)b", ["ab"], []),
    ("", ["", "x"], []),
    (r"a|", ["b"], []),
    (r"(|a)b", ["b"], []),
    (r"]}", ["]}"], []),
]


@pytest.mark.parametrize(("pattern", "found", "not_found"), MEANINGS, ids=[row[0] for row in MEANINGS])
def test_translated_patterns_find_the_same(pattern: str, found: list[str], not_found: list[str]) -> None:
    search = compile_ruby(pattern).search
    assert [text for text in found if not search(text)] == []
    assert [text for text in not_found if search(text)] == []


REFUSED = [
    (r"\p{Alpha}", r"property \p"),
    (r"\P{L}", r"property \P"),
    (r"a\Kb", r"\K"),
    (r"\Ga", "search position"),
    (r"(?<a>x)\g<a>", "subexpression call"),
    (r"\X", "grapheme"),
    (r"(?~a)", "kind of group"),
    (r"(?(1)a|b)", "kind of group"),
    (r"(?u)a", "kind of group"),
    (r"[a[bc]]", "set inside a set"),
    (r"[a&&b]", "intersection"),
    (r"[[:foo:]]", "POSIX class"),
    (r"a)", "without an opening"),
    (r"(a", "without an end"),
    (r"[a", "bracket without an end"),
    (r"*a", "nothing to repeat"),
    (r"a|*", "nothing to repeat"),
    (r"(?:+)", "nothing"),
    ("a\\", "backslash at the end"),
    (r"(?#x", "comment without an end"),
    (r"\1(a)", "no group before"),
    (r"(?<n>a)\1", "no group before"),
    (r"\k<x>", "no group before"),
    (r"(?<a>x)(?<a>y)", "used twice"),
    (r"(?<mk_x>a)", "group name"),
    (r"(?<1a>a)", "group name"),
    (r"\yx", r"\y"),
    (r"\M-a", "meta"),
    (r"(?<=a+)b", "cannot be used"),
    (r"a{3,2}", "cannot be used"),
    (r"[z-a]", "cannot be used"),
    (r"(a\1)", "cannot be used"),
    (r"\u{110000}", "character number"),
    ("(" * 100, "nested too deeply"),
    ("(?:" * 5000 + ")" * 5000, "longer than"),
    ("a" * 10_001, "longer than"),
    (r"a{99999999999999999999}", "cannot be used"),
    (r"\i", r"escape \i"),
    (r"\é", r"escape \é"),
]


@pytest.mark.parametrize(("pattern", "said"), REFUSED, ids=[row[0][:20] for row in REFUSED])
def test_what_cannot_be_translated_is_refused_with_a_reason(pattern: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        compile_ruby(pattern)
    assert said in str(caught.value)


def test_the_place_of_the_trouble_is_named() -> None:
    with pytest.raises(BadInput, match="at character 3 of the pattern"):
        translate(r"ab\p{L}")


@given(st.text(alphabet=r"ab()[]{}|*+?\^$.<>:=!#-&'~0129,kxzZhHRmi ", max_size=30))
def test_any_text_translates_or_is_refused(pattern: str) -> None:
    try:
        compile_ruby(pattern)
    except BadInput as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("pattern", "sent", "kept_back"),
    [
        (
            RAZOR_EXCLUDE,
            ["hostname", "memoryfree_mb", "system_uptime", "mk_hw_nic_count"],
            ["facterversion", "sshrsakey", "uptime_days"],
        ),
        (
            HANLON_EXCLUDE,
            ["hostname", "memorysize_mb"],
            ["memoryfree_mb", "system_uptime", "mk_hw_lscpu_hash_json_str"],
        ),
    ],
)
def test_the_stock_patterns(pattern: str, sent: list[str], kept_back: list[str]) -> None:
    search = compile_ruby(pattern).search
    assert [name for name in sent if search(name)] == []
    assert [name for name in kept_back if not search(name)] == []


def test_a_trial_tells_which_names_are_found() -> None:
    assert try_pattern("^mem|é", ["memorysize", "swapfree", "café"], 20, 60) == ["memorysize", "café"]


def test_a_pattern_that_would_take_years_is_refused_in_time() -> None:
    began = time.monotonic()
    with pytest.raises(BadInput, match=r"takes more than 0\.2 s over 2 fact names"):
        try_pattern(r"^(a+)+\z", ["a" * 60 + "!", "b"], 0.2, 60)
    assert time.monotonic() - began < 60
    with pytest.raises(BadInput, match="without an end"):
        try_pattern("(a", [], 1, 60)


def test_a_busy_machine_is_no_fault_of_the_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that was given no processor for so long may be tried again."""
    make_tool(tmp_path, "python", "exec sleep 100")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ToolFailed, match="did not end within"):
        try_pattern("a", ["a"], 0.2, 0.5)

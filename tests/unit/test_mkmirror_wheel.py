"""Python packages: lists, versions as Ruby and Python write them, what runs here, and the pages that pip reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import default_environment
from packaging.tags import parse_tag
from packaging.version import Version

from mkcore.errors import BadInput
from mkmirror.formats import wheel

ANY = sorted(parse_tag("py3-none-any"), key=str)
TAGS = [*parse_tag("cp311-cp311-linux_x86_64"), *ANY]


@pytest.mark.parametrize(
    ("text", "name", "good", "bad"),
    [
        ("facter", "facter", ["0.1", "99"], []),
        ("json_pure  >= 1.7.7", "json-pure", ["1.7.7", "2.0"], ["1.7.6"]),
        ("foo ~> 1.2", "foo", ["1.2", "1.9.1"], ["1.1", "2.0"]),
        ("foo ~> 1.2.3", "foo", ["1.2.3", "1.2.99"], ["1.3", "1.2.2"]),
        ("foo ~> 1", "foo", ["1", "1.9"], ["2", "0.9"]),
        ("foo = 1.0", "foo", ["1.0", "1.0.0"], ["1.1"]),
        ("foo 1.0", "foo", ["1.0"], ["1.1"]),
        ("foo >= 1, < 2", "foo", ["1", "1.5"], ["2", "0.9"]),
        ("Foo.Bar>=1,!=1.5", "foo-bar", ["1"], ["1.5"]),
        ("foo==1.*", "foo", ["1.2"], ["2"]),
        ("foo~=1.4.2", "foo", ["1.4.9"], ["1.5"]),
        ("foo (>= 1)", "foo", ["1"], ["0"]),
    ],
)
def test_requirements(text: str, name: str, good: list[str], bad: list[str]) -> None:
    wanted = wheel.parse_wanted(text, "f")
    assert wanted.name == name
    assert all(version in wanted.versions for version in good)
    assert not any(version in wanted.versions for version in bad)


@pytest.mark.parametrize("text", ["foo[b, a]>=1", "foo[a,b] >= 1", "foo[a,b,a,](>=1)"])
def test_extras(text: str) -> None:
    """They are part of the wish, and stay so when it is written down and joined with another one."""
    wanted = wheel.parse_wanted(text, "f")
    assert str(wanted) == "foo[a,b] >=1" and wheel.parse_wanted(str(wanted), "f") == wanted
    (both,) = wheel.parse_wanted_list(f"{text}\nfoo [c]\n".replace(" [c]", "[c] < 3"), "f")
    assert str(both) == "foo[a,b,c] <3,>=1"


@pytest.mark.parametrize(
    "text", ["foo >> 1", "foo >=", "foo bar", "foo @ http://x/", "foo[x", "foo[x;y]", "foo[x]y", "foo ~> x", "<html>"]
)
def test_what_is_no_requirement(text: str) -> None:
    with pytest.raises(BadInput, match=r"^f"):
        wheel.parse_wanted(text, "f")


def test_lists_have_comments_and_blank_lines() -> None:
    """Defect B32: at run time an empty line ended the list, comments were names, and requirements were not honoured."""
    text = "# packages of the site\nfacter\n\njson_pure  >= 1.7.7  # why\r\n   \ndaemons\nfacter < 3\n"
    found = wheel.parse_wanted_list(text, "gem.list")
    assert [each.name for each in found] == ["facter", "json-pure", "daemons"]
    assert "1.7.6" not in found[1].versions
    assert "3" not in found[0].versions
    with pytest.raises(BadInput, match=r"^gem\.list:2"):
        wheel.parse_wanted_list("a\nb ??\n", "gem.list")


def test_wheel_names() -> None:
    found = wheel.parse_wheel("Foo_Bar-1.0+x-2-py2.py3-none-any.whl")
    assert (found.name, found.version, len(found.tags)) == ("foo-bar", Version("1.0+x"), 2)
    for file in ("foo.whl", "foo-1.0.tar.gz", "../foo-1.0-py3-none-any.whl", "foo-x-py3-none-any.whl", ""):
        with pytest.raises(BadInput):
            wheel.parse_wheel(file)


FILES = [
    "foo-1.0-py3-none-any.whl",
    "foo-1.10-py3-none-any.whl",
    "foo-1.10-cp311-cp311-linux_x86_64.whl",
    "foo-1.9-py3-none-any.whl",
    "foo-2.0rc1-py3-none-any.whl",
    "foo-3.0-cp27-cp27m-win32.whl",
    "bar-9-py3-none-any.whl",
    "baz-1.0b1-py3-none-any.whl",
]


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("foo", "foo-1.10-cp311-cp311-linux_x86_64.whl"),
        ("foo < 1.10", "foo-1.9-py3-none-any.whl"),
        ("foo ~> 1.0.0", "foo-1.0-py3-none-any.whl"),
        ("foo >= 2.0rc1", "foo-2.0rc1-py3-none-any.whl"),
        ("foo >= 3", ""),
        ("baz", "baz-1.0b1-py3-none-any.whl"),
        ("quux", ""),
    ],
)
def test_the_newest_that_runs_here(text: str, file: str) -> None:
    chosen = wheel.choose(map(wheel.parse_wheel, FILES), wheel.parse_wanted(text, "f"), TAGS)
    assert (chosen.file if chosen else "") == file


METADATA = """\
Metadata-Version: 2.1
Name: Foo_Bar
Version: 1.2
Requires-Dist: six>=1.5
Requires-Dist: tomli; python_version < "3"
Requires-Dist: rich; extra == "cli"
Requires-Python: >=3.9

Requires-Dist: not a field
"""


def test_what_a_package_needs() -> None:
    found = wheel.parse_metadata(METADATA, "f")
    assert (found.name, found.version) == ("foo-bar", Version("1.2"))
    environment = {key: str(value) for key, value in default_environment().items()}
    assert [str(each) for each in wheel.needs(found, environment)] == ["six >=1.5"]
    assert [each.name for each in wheel.needs(found, environment, ["cli"])] == ["six", "rich"]
    for text in ("", "Name: x\n", "Name: x\nVersion: y\n", "Name: x\nVersion: 1\nRequires-Dist: >>\n"):
        with pytest.raises(BadInput, match=r"^f"):
            wheel.parse_metadata(text, "f")


def test_pages_are_read_as_they_are_built() -> None:
    files = {"foo-1.0-py3-none-any.whl": ("a" * 64, "b" * 64), "foo-1!2-py3-none-any.whl": ("c" * 64, "")}
    found = wheel.parse_page(wheel.build_page("foo", files))
    assert {(each.file, each.sha256, each.metadata) for each in found} == {(key, *sums) for key, sums in files.items()}
    assert found[0].url.startswith("../../wheels/foo-")
    assert wheel.build_root(["b", "a", "b"]).count("<a ") == 2


def test_pages_of_others() -> None:
    text = (
        '<a href="https://files/x/foo-1.0-py3-none-any.whl?x=1#sha256=' + "A" * 64 + '" data-yanked="">foo</a>'
        '<a href="..">up</a><a name="x">y</a><a href="%2e%2e%2fpasswd">z</a><a href="a%00b.whl">n</a><'
    )
    (link,) = wheel.parse_page(text)
    assert (link.file, link.sha256, link.yanked) == ("foo-1.0-py3-none-any.whl", "a" * 64, True)


def refuses_in_one_line(call: Callable[[], object]) -> None:
    """Call; a refusal is fine when it is one line of printable characters."""
    try:
        call()
    except BadInput as error:
        assert str(error).isprintable()


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    wheel.parse_page(text)
    for parse in (wheel.parse_wanted_list, wheel.parse_metadata, wheel.parse_wheel, wheel.parse_wanted):
        refuses_in_one_line(partial(parse, text, "f"))


@pytest.mark.parametrize("condition", ['"a" < "b"', 'python_version ~= "abc"', "(" * 900])
def test_conditions_that_nobody_can_evaluate(condition: str) -> None:
    """A mirror wrote them; they cost the package, not the program that reads them."""
    text = f"Name: foo\nVersion: 1\nRequires-Dist: bar; {condition}\n"
    with pytest.raises(BadInput, match=r"nobody can tell whether it needs bar|nested too deeply"):
        wheel.needs(wheel.parse_metadata(text, "METADATA"), {"python_version": "3.11"})


def test_versions_of_thousands_of_digits() -> None:
    with pytest.raises(BadInput):
        wheel.parse_wanted("a>=" + "9" * 5000, "list")
    with pytest.raises(BadInput, match="Version has 5000 characters"):
        wheel.parse_metadata("Name: foo\nVersion: " + "9" * 5000 + "\n", "METADATA")

"""The files beside a Tiny Core extension, as real mirrors have them and as nobody should."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkmirror.formats import tce

KERNEL = "6.6.8-tinycore64"
MD5 = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("nano.tcz", "nano.tcz"),
        ("nano", "nano.tcz"),
        ("alsa-modules-KERNEL.tcz", f"alsa-modules-{KERNEL}.tcz"),
        ("alsa-modules-KERNEL", f"alsa-modules-{KERNEL}.tcz"),
        ("KERNEL.tcz", "KERNEL.tcz"),
        ("a-KERNEL-b.tcz", "a-KERNEL-b.tcz"),
    ],
)
def test_kernel_in_names(name: str, file: str) -> None:
    assert tce.file_name(name, KERNEL) == file


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("a.tcz", ("a.tcz",)),
        ("a.tcz\nb.tcz\n", ("a.tcz", "b.tcz")),
        (" a.tcz \r\n\r\n\tb\r\n", ("a.tcz", "b.tcz")),
        ("b.tcz\na.tcz\nb.tcz", ("b.tcz", "a.tcz")),
        ("fuse-KERNEL.tcz\n", (f"fuse-{KERNEL}.tcz",)),
        ("# none\n", ()),
    ],
)
def test_dependencies(text: str, names: tuple[str, ...]) -> None:
    assert tce.parse_dep(text, KERNEL, "x.dep") == names
    assert tce.parse_onboot(text, KERNEL) == names


@pytest.mark.parametrize("line", ["../a.tcz", "/a.tcz", "a b.tcz", ".tcz", "a\0.tcz", "x" * 4000, "<html>"])
def test_dependencies_that_are_no_names(line: str) -> None:
    with pytest.raises(BadInput, match=r"^x\.dep:2: "):
        tce.parse_dep(f"a.tcz\n{line}\n", KERNEL, "x.dep")


def test_md5() -> None:
    assert tce.parse_md5(f"{MD5}  nano.tcz\n", "nano.tcz", "f") == MD5
    assert tce.parse_md5(f"{MD5.upper()} *nano.tcz\r\n", "nano.tcz", "f") == MD5
    assert tce.parse_md5(f"{MD5}  /tmp/x/nano.tcz\n", "nano.tcz", "f") == MD5
    assert tce.parse_md5(MD5, "nano.tcz", "f") == MD5
    assert tce.parse_md5(tce.build_md5(MD5, "a.tcz"), "a.tcz", "f") == MD5
    for text in ("", f"{MD5}  other.tcz", f"{MD5[:-1]}  nano.tcz", "<html>404</html>", f"{MD5}  a b"):
        with pytest.raises(BadInput, match=r"^f"):
            tce.parse_md5(text, "nano.tcz", "f")


def test_content() -> None:
    text = "usr/local/bin/nano\n./usr/local/share/a b\n/usr/local/etc/x\nusr/local/tce.installed/\n.\n\n"
    assert tce.parse_content(text, "f") == (
        "usr/local/bin/nano",
        "usr/local/share/a b",
        "usr/local/etc/x",
        "usr/local/tce.installed",
    )
    with pytest.raises(BadInput, match=r"^f:2"):
        tce.parse_content("a\nusr/../../etc/passwd", "f")


def test_map() -> None:
    text = "# drivers\nlib/modules/mpt3sas.ko scsi/mpt3sas/mpt3sas.ko.gz\n\nbnx2.ko   net/bnx2.ko\n"
    assert tce.parse_map(text, "f") == (
        tce.MapEntry("lib/modules/mpt3sas.ko", "scsi/mpt3sas/mpt3sas.ko.gz"),
        tce.MapEntry("bnx2.ko", "net/bnx2.ko"),
    )
    for line in ("one", "a b c", "a ../b.ko", "../a b.ko", "a b/../../c.ko", "a\0 b"):
        with pytest.raises(BadInput, match=r"^f:1"):
            tce.parse_map(line, "f")


def test_places() -> None:
    assert tce.folder("15.x", "x86_64") == "15.x/x86_64/tcz"
    assert tce.start_script("nano.tcz") == "usr/local/tce.installed/nano"
    for release, build in (("15", "x86_64"), ("..", "x86"), ("15.x", ".."), ("15.x", "a/b"), ("15.x", ""), ("", "x86")):
        with pytest.raises(BadInput):
            tce.folder(release, build)


def test_info() -> None:
    assert tce.build_info("a.tcz", "An\nexample", "1.0", 4097) == (
        "Title:          a.tcz\nDescription:    An example\nVersion:        1.0\nSize:           5K\n"
    )


def refuses_in_one_line(call: Callable[[], object]) -> None:
    """Call; a refusal is fine when it is one line of printable characters."""
    try:
        call()
    except BadInput as error:
        assert str(error).isprintable()


@given(st.text(max_size=200))
def test_any_text_gives_names_or_one_line(text: str) -> None:
    for parse in (
        lambda: tce.parse_dep(text, KERNEL, "f"),
        lambda: tce.parse_map(text, "f"),
        lambda: tce.parse_content(text, "f"),
        lambda: tce.parse_md5(text, "a.tcz", "f"),
    ):
        refuses_in_one_line(parse)


@given(st.lists(st.from_regex(r"[A-Za-z0-9_+][A-Za-z0-9._+~-]{0,30}\.tcz", fullmatch=True), unique=True))
def test_what_is_built_is_read_again(names: list[str]) -> None:
    parsed = tce.parse_dep(tce.build_lines(names), "K", "f")
    assert parsed == tuple(dict.fromkeys(name.replace("-KERNEL.tcz", "-K.tcz") for name in names))

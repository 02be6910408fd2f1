"""Which file a name means, which never may be served, and the lists of names."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mkcore.errors import BadInput
from mkmirror.index import Absent, open_file, read_list
from mkmirror.lists import parse_list

TCZ = ("tinycorelinux", "4.x", "x86", "tcz")


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """The administrator's tree over the image's, with a secret beside them."""
    admin, image = tmp_path / "admin", tmp_path / "image"
    for tree in (admin, image):
        tree.joinpath(*TCZ).mkdir(parents=True)
    image.joinpath(*TCZ, "a.tcz").write_text("image a")
    image.joinpath(*TCZ, "b.tcz").write_text("image b")
    admin.joinpath(*TCZ, "b.tcz").write_text("admin b")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "admin-other").mkdir()
    (tmp_path / "admin-other/x").write_text("secret")
    return admin, image


def content(trees: tuple[Path, ...], *parts: str) -> str:
    served = open_file(trees, parts)
    with served.stream as stream:
        data = stream.read()
    assert served.size_bytes == len(data)
    return data.decode()


def test_the_administrators_tree_lies_over_the_images(trees: tuple[Path, Path]) -> None:
    assert content(trees, *TCZ, "a.tcz") == "image a"
    assert content(trees, *TCZ, "b.tcz") == "admin b"


def test_trees_need_not_exist(tmp_path: Path, trees: tuple[Path, Path]) -> None:
    assert content((tmp_path / "none", trees[1]), *TCZ, "a.tcz") == "image a"
    with pytest.raises(Absent):
        open_file((tmp_path / "none",), (*TCZ, "a.tcz"))


@pytest.mark.parametrize(
    "parts",
    [
        (),
        ("",),
        (*TCZ, ""),
        (*TCZ, ".."),
        (*TCZ, "..", "..", "..", "..", "..", "secret"),
        ("..", "secret"),
        (".", "x"),
        (*TCZ, ".hidden"),
        (*TCZ, "a.tcz\0"),
        (*TCZ, "../a.tcz"),
        (*TCZ, "a.tcz\n"),
        (*TCZ, "\udcff"),
        (*TCZ, "x" * 256),
        (*TCZ, "a.tcz", "b"),
        TCZ,
        ("a",) * 17,
        ("/etc", "passwd"),
        ("", "etc", "passwd"),
    ],
)
def test_what_no_request_reaches(trees: tuple[Path, Path], parts: tuple[str, ...]) -> None:
    (trees[0].joinpath(*TCZ) / ".hidden").write_text("x")
    with pytest.raises(Absent):
        open_file(trees, parts)


def test_links_inside_a_tree_are_followed_links_out_of_it_never(trees: tuple[Path, Path]) -> None:
    admin, image = trees
    folder = admin.joinpath(*TCZ)
    folder.joinpath("inside.tcz").symlink_to("b.tcz")
    (admin / "tinycorelinux/5.x").symlink_to("4.x")
    assert content(trees, *TCZ, "inside.tcz") == "admin b"
    assert content(trees, "tinycorelinux", "5.x", "x86", "tcz", "b.tcz") == "admin b"
    for number, target in enumerate(("../../../../../secret", "/etc/passwd", "nowhere", "loop4.tcz", "loop3.tcz")):
        folder.joinpath(f"loop{number}.tcz").symlink_to(target)
        with pytest.raises(Absent):
            open_file(trees, (*TCZ, f"loop{number}.tcz"))
    folder.joinpath("folder").symlink_to(admin.parent / "admin-other")
    with pytest.raises(Absent, match="out of"):
        open_file(trees, (*TCZ, "folder", "x"))
    folder.joinpath("image.tcz").symlink_to(image.joinpath(*TCZ, "a.tcz"))
    with pytest.raises(Absent, match="out of"):
        open_file(trees, (*TCZ, "image.tcz"))


def test_a_tree_that_is_itself_a_link_is_one(trees: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(trees[0])
    assert content((tmp_path / "link",), *TCZ, "b.tcz") == "admin b"


def test_a_link_that_leads_out_does_not_uncover_the_images_file(trees: tuple[Path, Path]) -> None:
    trees[0].joinpath(*TCZ, "a.tcz").symlink_to("/etc/passwd")
    with pytest.raises(Absent):
        open_file(trees, (*TCZ, "a.tcz"))


def test_only_regular_files(trees: tuple[Path, Path]) -> None:
    folder = trees[0].joinpath(*TCZ)
    os.mkfifo(folder / "pipe.tcz")
    (folder / "directory.tcz").mkdir()
    (folder / "device.tcz").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path has 108 bytes at most
        server.bind("socket.tcz")
        os.chdir(here)
    for name in ("pipe.tcz", "directory.tcz", "device.tcz", "socket.tcz"):
        with pytest.raises(Absent):
            open_file(trees, (*TCZ, name))


def test_the_tag_changes_with_the_content(trees: tuple[Path, Path]) -> None:
    path = trees[0].joinpath(*TCZ, "b.tcz")
    tags: set[str] = set()
    for number, text in enumerate(("admin b", "ADMIN B", "longer than before")):
        path.write_text(text)
        os.utime(path, ns=(0, 10**18 + number))
        served = open_file(trees, (*TCZ, "b.tcz"))
        served.stream.close()
        tags.add(served.tag)
    assert len(tags) == 3


LISTS = [
    ("", []),
    ("---\n", []),
    ("# nothing yet\n\n", []),
    ("[]", []),
    ("--- \n- open_vm_tools.tcz\n", ["open_vm_tools.tcz"]),
    ("- a.tcz\n- b.tcz\n", ["a.tcz", "b.tcz"]),
    ("  - a.tcz  # why\r\n\r\n  -   'b-1.0.tcz'\r\n  - \"c++.tcz\"\t# x", ["a.tcz", "b-1.0.tcz", "c++.tcz"]),
    ("- drivers/misc/vmci.ko\n- net/vsock/vsock.ko", ["drivers/misc/vmci.ko", "net/vsock/vsock.ko"]),
    ('["a.tcz",\n "b.tcz"]', ["a.tcz", "b.tcz"]),
    ("\ufeff- a.tcz", ["a.tcz"]),
]


@pytest.mark.parametrize(("text", "names"), LISTS, ids=range(len(LISTS)))
def test_lists(text: str, names: list[str]) -> None:
    assert parse_list(text.encode(), "list") == names


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"open_vm_tools.tcz", "list:1"),
        (b"- a.tcz\n-b.tcz", "list:2"),
        (b"- a.tcz\n- b c.tcz", "list:2"),
        (b"- a: b", "list:1"),
        (b"- &x a", "list:1"),
        (b"- {a: b}", "list:1"),
        (b"- [a]", "list:1"),
        (b"-", "list:1"),
        (b"- 'a", "list:1"),
        (b'- "a\\n"', "list:1"),
        (b"- a\n---\n- b", "list:2"),
        (b"list: [a]", "list:1"),
        (b"- ../../etc/passwd", "list:1"),
        (b"- /etc/passwd", "list:1"),
        (b"- a//b", "list:1"),
        (b"- " + b"x" * 300, "list:1"),
        (b"\xff", "list: not UTF-8"),
        (b'["a"', "list: not JSON"),
        (b'{"a": 1}', "list: must be a list"),
        (b'["a", 1]', r"list\[1\]"),
        (b'["a", "b c"]', r"list\[1\]"),
    ],
)
def test_broken_lists_name_their_line(data: bytes, where: str) -> None:
    with pytest.raises(BadInput, match=where):
        parse_list(data, "list")


def test_read_list(trees: tuple[Path, Path]) -> None:
    """The administrator's adds to the image's."""
    admin, image = trees
    assert read_list(trees, "tinycorelinux", "tce-install-list") == []
    (image / "tinycorelinux/tce-install-list.yaml").write_text("- image.tcz")
    assert read_list(trees, "tinycorelinux", "tce-install-list") == ["image.tcz"]
    (admin / "tinycorelinux/tce-install-list.json").write_text('["admin.tcz"]')
    assert read_list(trees, "tinycorelinux", "tce-install-list") == ["image.tcz", "admin.tcz"]
    (admin / "tinycorelinux/tce-install-list.json").write_text('["image.tcz", "b.tcz", "image.tcz"]')
    assert read_list(trees, "tinycorelinux", "tce-install-list") == ["image.tcz", "b.tcz"]
    (admin / "tinycorelinux/tce-install-list.json").write_text("garbage")
    with pytest.raises(BadInput, match=r"admin/tinycorelinux/tce-install-list\.json:1"):
        read_list(trees, "tinycorelinux", "tce-install-list")
    (admin / "tinycorelinux/tce-install-list.json").write_bytes(b"# " + b"x" * (1 << 20))
    with pytest.raises(BadInput, match="larger than"):
        read_list(trees, "tinycorelinux", "tce-install-list")


def test_a_list_is_no_way_out(trees: tuple[Path, Path]) -> None:
    (trees[0] / "tinycorelinux/kmod-install-list.yaml").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="out of"):
        read_list(trees, "tinycorelinux", "kmod-install-list")

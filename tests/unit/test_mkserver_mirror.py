"""The mirror that mkserver serves from a folder, and how nodes are pointed to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore.errors import BadConfig
from mkserver.pushed import build_client_config
from mkserver.serve import check_image, place_image
from mkserver.settings import Settings
from tests.mkserver_live import Live

TCZ = "tinycorelinux/15.x/x86_64/tcz"
DATA = bytes(range(256)) * 40


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A mirror as `mkmirror index` leaves it."""
    top = tmp_path / "mirror"
    for name, data in (
        (f"{TCZ}/a.tcz", DATA),
        (f"{TCZ}/SHA256SUMS", b"sums\n"),
        ("tinycorelinux/tce-install-list", b'["a.tcz"]'),
        ("gem-mirror/simple/foo/index.html", b"<script>alert(1)</script>"),
        (".hidden/a", b"no"),
    ):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return top


@pytest.fixture
def live(tmp_path: Path, tree: Path) -> Iterator[Live]:
    """A server with that mirror."""
    (tmp_path / "data").mkdir()
    with Live(tmp_path / "data", mirror=tree) as live:
        yield live


def test_files(live: Live) -> None:
    """Whole, by HEAD, in parts, and not again to who has them."""
    whole = live.get(f"/mirror/{TCZ}/a.tcz")
    assert (whole.status, whole.body, whole.headers["content-length"]) == (200, DATA, str(len(DATA)))
    assert whole.headers["content-type"] == "application/octet-stream"
    head = live.ask("HEAD", f"/mirror/{TCZ}/a.tcz")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(DATA)))
    part = live.get(f"/mirror/{TCZ}/a.tcz", Range="bytes=10000-", If_Range=whole.headers["etag"])
    assert (part.status, part.body) == (206, DATA[10000:])
    assert part.headers["content-range"] == f"bytes 10000-{len(DATA) - 1}/{len(DATA)}"
    assert live.get(f"/mirror/{TCZ}/a.tcz", Range="bytes=99999-").status == 416
    assert live.get(f"/mirror/{TCZ}/a.tcz", If_None_Match=whole.headers["etag"]).status == 304
    assert live.get(f"/mirror/{TCZ}/a.tcz", If_Modified_Since=whole.headers["last-modified"]).status == 304
    assert live.ask("POST", f"/mirror/{TCZ}/a.tcz", b"").status == 405
    assert live.get("/mirror/tinycorelinux/tce-install-list").json == ["a.tcz"]


def test_a_replaced_file_is_another_one(live: Live, tree: Path) -> None:
    """A download that goes on gets nothing of it."""
    tag = live.get(f"/mirror/{TCZ}/a.tcz").headers["etag"]
    (tree / TCZ / "new").write_bytes(b"x" * len(DATA))
    (tree / TCZ / "new").rename(tree / TCZ / "a.tcz")
    assert live.get(f"/mirror/{TCZ}/a.tcz", Range="bytes=5-", If_Range=tag).body == b"x" * len(DATA)


def test_an_index_of_packages_has_no_rights_here(live: Live) -> None:
    """Its HTML may be anybody's, and this server's pages give orders."""
    page = live.get("/mirror/gem-mirror/simple/foo/")
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "", "tinycorelinux", "tinycorelinux/", f"{TCZ}/b.tcz", f"{TCZ}/a.tcz/", ".hidden/a", "../data/password",
        "tinycorelinux/../../data/x", "%2e%2e/data/x", f"{TCZ}/a.tcz%00", "x" * 4000,
        "link", "out", "loop", "fifo",
    ],
)  # fmt: skip
def test_what_is_not_there(live: Live, tree: Path, path: str) -> None:
    """No listings, nothing hidden, nothing outside, nothing that would block: one line of text."""
    (tree.parent / "data/x").write_bytes(b"secret")
    (tree / "link").symlink_to("/etc/passwd")
    (tree / "out").symlink_to("../data/x")
    (tree / "loop").symlink_to("loop")
    os.mkfifo(tree / "fifo")
    answer = live.get(f"/mirror/{path}")
    assert answer.status == 404 and b"secret" not in answer.body and b"root:" not in answer.body
    assert answer.headers["content-type"].startswith("text/plain") and answer.text.count("\n") == 1


def test_a_link_inside_is_followed(live: Live, tree: Path) -> None:
    """As when one folder serves two releases."""
    (tree / "tinycorelinux/16.x").symlink_to("15.x")
    assert live.get("/mirror/tinycorelinux/16.x/x86_64/tcz/SHA256SUMS").text == "sums\n"


def test_nodes_need_no_password_and_pages_of_others_get_nothing(live: Live) -> None:
    """It is a node route like boot images."""
    from mkserver import auth

    auth.set_password(live.data, "correct horse battery")
    path = f"/mirror/{TCZ}/a.tcz"
    assert live.get(path).status == 200
    assert live.get(path, Host="192.0.2.7:8026").status == 200
    assert live.get("/", Host="192.0.2.7:8026").status == 401
    assert live.get(path, Origin="http://evil.example").status == 403


def test_without_a_mirror(tmp_path: Path) -> None:
    """The data directory's is served once it is there; a named one must be."""
    with Live(tmp_path) as live:
        assert live.get(f"/mirror/{TCZ}/a.tcz").status == 404
    assert place_image(Settings(data=tmp_path)).mirror == tmp_path / "mirror"
    with pytest.raises(BadConfig, match="no such folder"):
        check_image(Settings(data=tmp_path, mirror=tmp_path / "gone"))
    check_image(Settings(data=tmp_path, mirror=tmp_path))


@pytest.mark.parametrize(
    ("dialect", "key"),
    [("razor", "mk_tce_mirror_uri"), ("hanlon", "mk_tce_mirror"), ("razor", "mk_gem_mirror_uri"),
     ("hanlon", "mk_tce_install_list_uri"), ("razor", "mk_kmod_install_list_uri"), ("hanlon", "mk_gemlist_uri")],
)  # fmt: skip
def test_addresses_may_name_this_server(dialect: str, key: str) -> None:
    """{base} is the server as the node reaches it, whatever its address is."""
    made = build_client_config(dialect, "192.0.2.1:8026", {key: "http://{base}/mirror/tinycorelinux", "mk_x": "{base}"})
    assert made[key] == "http://192.0.2.1:8026/mirror/tinycorelinux"
    assert made["mk_x"] == "{base}"

"""mkcore.files and mkcore.paths: writing is all or nothing, reading is bounded."""

from __future__ import annotations

import grp
import os
import threading
from pathlib import Path

import pytest

from mkcore import files
from mkcore.errors import BadInput
from mkcore.paths import Paths, paths_under


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def test_a_write_replaces_the_content_and_sets_exactly_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    old_umask = os.umask(0o077)
    try:
        files.write_atomic(path, b"one", mode=0o644)
        assert path.stat().st_mode & 0o7777 == 0o644
        files.write_atomic(str(path), b"two", mode=0o640, group=grp.getgrgid(os.getgid()).gr_name)
    finally:
        os.umask(old_umask)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert path.stat().st_gid == os.getgid()
    assert names(tmp_path) == ["x.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    files.write_atomic(path, b"old")
    with pytest.raises(BadInput, match="no group"):
        files.write_atomic(path, b"new", group="no-such-group")
    with pytest.raises(FileNotFoundError):
        files.write_atomic(tmp_path / "absent" / "x", b"new")
    (tmp_path / "d").mkdir()
    with pytest.raises(OSError, match="directory"):
        files.write_atomic(tmp_path / "d", b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["d", "x"]


def test_readers_see_the_old_or_the_new_content_never_a_part(tmp_path: Path) -> None:
    path, size = tmp_path / "x", 200_000
    files.write_atomic(path, b"0" * size)
    done = threading.Event()
    torn: list[bytes] = []

    def read() -> None:
        while not done.is_set():
            data = files.read_bytes(path)
            if len(data) != size or len(set(data)) != 1:
                torn.append(data)

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(50):
        files.write_atomic(path, b"%d" % (number % 10) * size)
    done.set()
    thread.join(30)
    assert not torn


def test_json_round_trip_and_bad_content(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"b": "ü", "a": [1]})
    assert path.read_text(encoding="utf-8") == '{"a":[1],"b":"ü"}\n'
    assert files.read_object(path) == {"a": [1], "b": "ü"}
    path.write_bytes(b'{"a": 1')
    with pytest.raises(BadInput, match=f"^{path}: not JSON"):
        files.read_object(path)
    with pytest.raises(FileNotFoundError):
        files.read_object(tmp_path / "absent")


def test_reads_are_bounded_and_survive_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 10)
    assert files.read_bytes(path, 10) == b"a" * 10
    with pytest.raises(BadInput, match=f"^{path}: larger than 9 bytes$"):
        files.read_bytes(path, 9)
    path.write_bytes(b"caf\xe9\n")
    assert files.read_text(path) == "caf\ufffd\n"


def test_kernel_files_read_as_a_line_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"  52:54:00:00:00:01 \nsecond\n")
    (tmp_path / "b").write_bytes(b"dt-string\0")
    assert files.read_line(tmp_path / "a") == "52:54:00:00:00:01"
    assert files.read_line(tmp_path / "b") == "dt-string"
    assert files.read_line(tmp_path / "absent") == ""
    assert files.read_line(tmp_path) == ""


def test_remove_and_make_dir(tmp_path: Path) -> None:
    path = tmp_path / "d" / "e"
    files.make_dir(path, 0o750)
    files.make_dir(path, 0o700)
    assert path.stat().st_mode & 0o777 == 0o750
    files.write_atomic(path / "x", b"")
    files.remove(path / "x")
    files.remove(path / "x")
    files.remove(tmp_path / "absent" / "x")
    assert names(path) == []
    with pytest.raises(FileExistsError):
        files.write_atomic(tmp_path / "f", b"")
        files.make_dir(tmp_path / "f")


def test_a_root_moves_every_path(tmp_path: Path) -> None:
    moved = paths_under(str(tmp_path))
    for name, value in moved._asdict().items():
        assert tmp_path in value.parents, name
    assert moved.pushed == tmp_path / "run/mkweb/config.json"
    assert paths_under().state == Path("/run/mkctl/state.json") == Paths().state


def test_credentials_are_where_systemd_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert paths_under().credentials == Path()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/mkctl.service")
    assert paths_under().credentials == Path("/run/credentials/mkctl.service")
    assert paths_under(str(tmp_path)).credentials == tmp_path / "run/credentials"


def test_giving_a_file_away_follows_no_link(tmp_path: Path) -> None:
    """The directory's owner may swap the file for a link to another's before root gives it away."""
    folder, other = tmp_path / "data", tmp_path / "other"
    folder.mkdir()
    other.touch()
    if os.geteuid() == 0:
        os.chown(folder, 12345, 12345)
    (folder / "secret").symlink_to(other)
    files.give_to_owner_of(folder, folder / "secret")
    assert other.stat().st_uid == os.geteuid()
    assert (folder / "secret").lstat().st_uid == folder.stat().st_uid


def test_a_partial_file_grows_behind_what_is_kept_and_is_placed_whole(tmp_path: Path) -> None:
    partial, target = tmp_path / ".x.part", tmp_path / "x"
    with files.open_partial(partial) as stream:
        stream.write(b"first, then garbage")
    with files.open_partial(partial, 5) as stream:
        stream.write(b" and second")
    assert partial.stat().st_mode & 0o777 == 0o600
    files.place(partial, target)
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"first and second", 0o644)
    assert not partial.exists()


def test_a_partial_file_is_never_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to("secret")
    for call in (lambda: files.open_partial(tmp_path / "link"), lambda: files.place(tmp_path / "link", tmp_path / "x")):
        with pytest.raises(OSError, match="symbolic links"):
            call()
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_tree_is_removed_and_links_in_it_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/x").write_text("x")
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/link").symlink_to(tmp_path / "kept")
    files.remove_tree(tmp_path / "tree")
    files.remove_tree(tmp_path / "none")
    assert not (tmp_path / "tree").exists()
    assert (tmp_path / "kept/x").exists()


def test_what_is_not_there_is_nothing_for_those_who_need_no_reason(tmp_path: Path) -> None:
    """Texts, names in a folder, targets of links; also where a file is larger than allowed, or no link."""
    (tmp_path / "b").write_bytes(b"caf\xe9")
    (tmp_path / "a").symlink_to("somewhere/driver")
    assert files.list_names(tmp_path) == ["a", "b"]
    assert files.list_names(tmp_path / "b") == files.list_names(tmp_path / "absent") == []
    assert files.read_text_if_any(tmp_path / "b") == "caf\ufffd"
    assert files.read_text_if_any(tmp_path / "b", 3) == files.read_text_if_any(tmp_path / "absent") == ""
    assert files.link_name(tmp_path / "a") == "driver"
    assert files.link_name(tmp_path / "b") == files.link_name(tmp_path / "absent") == ""

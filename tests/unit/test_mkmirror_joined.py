"""Two trees that both have a folder: one list of sums for whoever asks for it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Optional

import pytest
from werkzeug.test import Client, TestResponse

from mkmirror import trust
from mkmirror.app import EXTENSIONS, SIGNATURE, SUMS, MirrorApp
from mkmirror.joined import read_sums

FOLDER = ("tinycorelinux", "sysext", "x86_64")


def put(root: Path, tree: str, files: dict[str, str], *, sums: Optional[dict[str, str]] = None) -> Path:
    folder = root.joinpath(tree, *FOLDER)
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    found = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    (folder / SUMS).write_text(trust.build_sums(found if sums is None else sums))
    (folder / SIGNATURE).write_bytes(b"signature")
    return root / tree


def ask(trees: tuple[Path, ...], name: str, method: str = "GET") -> TestResponse:
    client = Client(MirrorApp(trees, {"2157": EXTENSIONS}))
    environ = {"REMOTE_ADDR": "127.0.0.1", "SERVER_PORT": "2157"}
    return client.open("/" + "/".join([*FOLDER, name]), method=method, environ_overrides=environ)


def test_sums_of_both_trees_are_one_list(tmp_path: Path) -> None:
    """The first tree's sum counts for a file that both have, as its file does."""
    trees = (put(tmp_path, "admin", {"a.raw": "1", "b.raw": "2"}), put(tmp_path, "image", {"b.raw": "3", "c.raw": "4"}))
    answer = ask(trees, SUMS)
    assert answer.status_code == 200
    found = trust.parse_sums(answer.text)
    expected = {"a.raw": "1", "b.raw": "2", "c.raw": "4"}
    assert found == {name: hashlib.sha256(text.encode()).hexdigest() for name, text in expected.items()}
    assert all(ask(trees, name).text == text for name, text in expected.items())
    assert ask(trees, SUMS, "HEAD").headers["Content-Length"] == str(len(answer.data))


def test_signature_of_one_tree_is_none_of_both(tmp_path: Path) -> None:
    one, two = put(tmp_path, "admin", {"a.raw": "1"}), put(tmp_path, "image", {"c.raw": "4"})
    assert ask((one, two), SIGNATURE).status_code == 404
    assert ask((two,), SIGNATURE).data == b"signature"
    assert read_sums((two,), FOLDER) is None


def test_files_without_sums_beside_those_with_some(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are not offered; a line says so and what to do."""
    one, two = put(tmp_path, "admin", {"a.raw": "1"}), put(tmp_path, "image", {"c.raw": "4"})
    one.joinpath(*FOLDER, SUMS).unlink()
    assert list(trust.parse_sums(ask((one, two), SUMS).text)) == ["c.raw"]
    assert f"{one.joinpath(*FOLDER)} has no SHA256SUMS, so nothing of it is offered: mkmirror index" in caplog.text
    caplog.clear()
    assert ask((one,), SUMS).status_code == 404 and not caplog.text, "nobody has any: the files are what they are"
    assert ask((tmp_path / "none", two), SUMS).status_code == 200 and not caplog.text


def test_damaged_sums_are_one_line_that_names_them(tmp_path: Path) -> None:
    one, two = put(tmp_path, "admin", {"a.raw": "1"}), put(tmp_path, "image", {"c.raw": "4"})
    one.joinpath(*FOLDER, SUMS).write_text("nonsense\n")
    answer = ask((one, two), SUMS)
    assert answer.status_code == 500
    assert f"{one.joinpath(*FOLDER, SUMS)}:1" in answer.text and answer.text.count("\n") == 1


def test_what_is_handed_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree = put(tmp_path, "image", {"c.raw": "4"})
    with caplog.at_level(logging.INFO):
        ask((tree,), "c.raw")
        ask((tree,), SUMS)
    assert [record.getMessage() for record in caplog.records] == ["GET /tinycorelinux/sysext/x86_64/c.raw"]

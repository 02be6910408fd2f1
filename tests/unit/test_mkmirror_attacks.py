"""Attacks on the root's half: whoever controls a mirror, a push, or mk-fetch itself gains nothing by them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mkcore.errors import BadInput, ToolFailed
from mkmirror import merge
from mkmirror.installed import LIMIT_BYTES, Extension, Installed, Module, Refusal, read_installed, write_installed
from mkmirror.native import Sort, judge
from mkmirror.staged import By, Folder, Modules
from tests.unit.extension_node import OWN, OWN_TCZ, Node


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_module_lists_do_not_push_out_what_is_installed(node: Node) -> None:
    """One line for a list that is too long; what is installed stays, and can be read again."""
    node.want(node.item("a.raw"))
    lists = tuple(Modules(By.PUSH, tuple(f"m{at}x{n}" for n in range(900)), f"http://m/{at}") for at in range(9))
    node.stage(modules=lists)
    installed = node.run(stage=False)
    assert set(installed.extensions) == {"a.raw"} and len(installed.modules) == 900
    assert set(installed.refused) == {f"http://m/{at}" for at in range(1, 9)}
    assert set(node.run().extensions) == {"a.raw"} and node.merged() == ["a.raw"]


def test_no_record_that_cannot_be_read_again(tmp_path: Path) -> None:
    """What is only told is left out first; more than is read is not written."""
    path = tmp_path / "installed.json"
    extensions = {"a.raw": Extension("sysext", "push")}
    long = {f"{n}": Refusal("push", "x" * 100_000) for n in range(100)}
    modules = {"gone": Module("push", "skipped"), "there": Module("push", "loaded")}
    write_installed(path, Installed(extensions, refused=long, modules=modules, signed={"k": 7}))
    assert read_installed(path) == Installed(extensions, modules={"there": modules["there"]}, signed={"k": 7})
    with pytest.raises(BadInput, match="would be larger"):
        write_installed(path, Installed({"a.raw": Extension("sysext", "push", units=("x" * LIMIT_BYTES,))}))
    assert read_installed(path).signed == {"k": 7}
    units = {f"usr/lib/systemd/system/unit-{n}.service": Sort.FILE for n in range(1_000)}
    with pytest.raises(BadInput, match=r"a\.raw: has 1000 units"):
        judge("a.raw", units, lambda _: "")


def test_a_damaged_record_sweeps_nothing_away(node: Node) -> None:
    """What is shown is found out from the system, the times of signatures from what is left of the record."""
    node.want(node.item("a.raw"))
    node.want(node.item("b.tcz", folder=OWN_TCZ))
    before = node.run()
    node.paths.installed.write_text('{"version": 1, "extensions": {"a.raw": 3}, "signed": {"k": 7}}')
    after = node.run()
    assert {name: each.sha256 for name, each in after.extensions.items()} == {
        name: each.sha256 for name, each in before.extensions.items()
    }
    assert after.signed == {"k": 7} and node.merged() == ["a.raw"]
    node.ask(remove=["a", "b"])
    assert not node.run(stage=False).extensions


def with_attributes(image: Path) -> None:
    """Rewrite a squashfs image's head so that it says that it has extended attributes."""
    data = bytearray(image.read_bytes())
    data[56:64] = (len(data) - 8).to_bytes(8, "little")
    image.write_bytes(data)


@pytest.mark.parametrize(("name", "folder"), [("a.raw", OWN), ("a.tcz", OWN_TCZ)])
def test_attributes_that_hide_the_systems_folders(node: Node, name: str, folder: Folder) -> None:
    """trusted.overlay.opaque on usr/lib would hide the system's: such an image is not even mounted."""
    item = node.item(name, folder=folder)
    staged = node.staging(folder) / name
    with_attributes(staged)
    node.want(node.add(staged, folder, item.needs))
    installed = node.run()
    assert not installed.extensions and "has extended attributes, by which" in installed.refused[name].reason
    assert not [line for line in node.asked if line.startswith("mount")]


def test_attributes_that_hide_folders_where_the_head_does_not_tell(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of erofs each file is asked for, by PID 1."""
    monkeypatch.setenv("PATH", str(node.programs), prepend=":")
    tree = node.root / "tree"
    (tree / "usr/lib").mkdir(parents=True)
    merge.require_plain(tree, "a.raw")
    os.setxattr(tree / "usr/lib", "user.overlay.opaque", b"y")
    with pytest.raises(BadInput, match=r"a\.raw: has extended attributes"):
        merge.require_plain(tree, "a.raw")
    with pytest.raises(ToolFailed):
        merge.require_plain(tree / "absent", "a.raw")

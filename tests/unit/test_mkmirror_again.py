"""Extensions of Tiny Core a second time: one that was fetched before is installed, an installed one is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.extension_node import OWN_TCZ, Node


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_what_was_fetched_before_and_not_installed_is_installed(node: Node) -> None:
    """Its file lies there already, of a run that was killed in between; the originals left it at that."""
    item = node.item("a.tcz", folder=OWN_TCZ)
    images = node.paths.run_extensions / "images"
    images.mkdir(parents=True)
    (images / "a.tcz").write_bytes((node.staging(OWN_TCZ) / "a.tcz").read_bytes())
    node.want(item)
    assert set(node.run().extensions) == {"a.tcz"}
    assert any(line.startswith("mount --all") for line in node.asked)


def test_what_is_installed_is_neither_mounted_nor_started_again(node: Node) -> None:
    """The second list names it again, beside a new one that needs it."""
    first = node.item("a.tcz", folder=OWN_TCZ)
    node.want(first)
    before = node.run().extensions["a.tcz"]
    node.requests.clear()
    asked = len(node.asked)
    again = node.item("a.tcz", folder=OWN_TCZ)
    node.want(again, node.item("b.tcz", folder=OWN_TCZ, needs=["a.tcz"]))
    installed = node.run()
    assert installed.extensions["a.tcz"] == before
    assert installed.extensions["b.tcz"].needs == ("a.tcz",)
    assert not [line for line in node.asked[asked:] if "a.tcz" in line]

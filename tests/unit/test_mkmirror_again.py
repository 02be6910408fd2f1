"""Extensions of Tiny Core a second time: one that was fetched before is installed, an installed one is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.extension_node import OWN_TCZ, Content, Node


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


def test_what_cannot_be_taken_back_is_known(node: Node) -> None:
    """The overlay fails, and so does the refresh that would take the native one back: it is written down, not lost."""
    unit: Content = {"usr/lib/systemd/system/n.service": "[Service]\nExecStart=/usr/bin/n\n"}
    sysext = node.programs / "systemd-sysext"
    fine = sysext.read_text()
    once = f'#!/bin/bash\n[ "$1" != refresh ] || {{ [ ! -e {sysext}.done ] || exit 1; touch {sysext}.done; }}\n'
    sysext.write_text(once + fine.split("\n", 1)[1])
    mount = node.programs / "mount"
    bad = "#!/bin/bash\ncase \"$*\" in *'-t overlay'*) echo 'mount: no.' >&2; exit 32 ;; esac\n"
    mount.write_text(bad + mount.read_text().split("\n", 1)[1])
    node.want(node.item("t.tcz", folder=OWN_TCZ), node.item("n.raw", unit, needs=["t.tcz"]))
    installed = node.run(1)
    assert set(installed.extensions) == {"n.raw"} and node.merged() == ["n.raw"]
    assert installed.refused["n.raw"].reason.startswith("n.raw: the system could not be put back: systemd-sysext")
    sysext.write_text(fine)
    node.ask(remove=["n.raw"])
    assert not node.run(stage=False).extensions and node.merged() == []
    assert "systemctl stop -- n.service" in node.asked


SILENT = '#!/bin/bash\ncase "$*" in *{}*) exit 0 ;; esac\n'


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("--all", "a.tcz: cannot be mounted: mount reported no error, and yet it is not mounted"),
        ("--bind", "/usr/local: mount reported no error, and yet it is not mounted"),
        ("bind,private", "/original: mount reported no error, and yet it is not mounted"),
    ],
)
def test_mounts_that_are_not_there_cost_the_request(node: Node, asked: str, reason: str) -> None:
    """Whoever says nothing has not succeeded: what is mounted is asked for. The next try finds all in order."""
    mount = node.programs / "mount"
    fine = mount.read_text()
    mount.write_text(SILENT.format(asked) + fine.split("\n", 1)[1])
    node.want(node.item("a.tcz", folder=OWN_TCZ))
    installed = node.run()
    assert not installed.extensions
    assert installed.refused["a.tcz"].reason.endswith(reason)
    mount.write_text(fine)
    node.want(node.item("a.tcz", folder=OWN_TCZ))
    assert set(node.run().extensions) == {"a.tcz"}


def test_the_systems_own_folder_that_cannot_be_kept(node: Node) -> None:
    """A native extension would cover it for good: it is not merged."""
    mount = node.programs / "mount"
    fine = mount.read_text()
    mount.write_text(fine.replace("""note "$target" none; continue;""", "continue;"))
    node.want(node.item("a.raw"))
    installed = node.run()
    assert "/usr/local cannot be kept: mount reported no error" in installed.refused["a.raw"].reason
    assert not installed.extensions and node.merged() == []
    mount.write_text(fine)
    node.want(node.item("a.raw"))
    assert set(node.run().extensions) == {"a.raw"}

"""Python packages that are installed already: newer versions of them, what needs them, and what fails meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mkmirror.formats import wheel
from mkmirror.staged import By, Folder, Item, Kind
from tests.unit.extension_node import PROGRAMS, Node
from tests.unit.mirror_trees import make_wheel

WHEELS = Folder("http://localhost:2158/gem-mirror", wheel.FOLDER, True)
FAILING = """#!/bin/bash
case "$*" in *'-t overlay'*) if [ -e "$ASKED.fail" ]; then {then} echo 'mount: no.' >&2; exit 32; fi ;; esac
"""
GONE = 'sed -i "/local rw/d" "$ROOT/proc/self/mountinfo";'
"""What was shown until then is gone, too, and would have to be mounted again."""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def stage(node: Node, name: str, version: str, *needs: str, command: bool = False) -> Item:
    """Stage a wheel that the machine's own mirror has; with a command, /usr/local has to be made anew for it."""
    made = make_wheel(node.staging(WHEELS), name, version, *needs, commands={name: f"{name}:main"} if command else None)
    disk = node.paths.mirror_admin / "gem-mirror" / wheel.FOLDER
    disk.mkdir(parents=True, exist_ok=True)
    (disk / made.name).write_bytes(made.read_bytes())
    return Item(Kind.WHEEL, made.name, made.parent.name)


def want(node: Node, *items: Item) -> None:
    """Want the last one, by a push."""
    node.want(*items, by=By.PUSH, name=items[-1].name.split("-")[0])


def imported(node: Node, module: str) -> str:
    """Return what version of a module programs import."""
    environment = {**os.environ, "PYTHONPATH": str(node.paths.run_extensions / "python/lib")}
    command = [sys.executable, "-c", f"import {module}; print({module}.version)"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip()


@pytest.mark.parametrize(("then", "status"), [('rm "$ASKED.fail";', 0), ("", 0), (GONE, 1)])
def test_a_newer_version_that_cannot_be_shown(node: Node, then: str, status: int) -> None:
    """The older one stays, also where nothing can be mounted any longer; a later run installs as ever."""
    want(node, stage(node, "foo", "1.0", command=True))
    node.run()
    (node.programs / "mount").write_text(FAILING.format(then=then) + PROGRAMS["mount"])
    flag = node.asked_file.with_name("asked.fail")
    flag.write_text("")
    want(node, stage(node, "foo", "2.0", command=True))
    installed = node.run(status)
    assert installed.packages["foo"].version == "1.0" and "mount: no" in installed.refused["foo"].reason
    assert imported(node, "foo") == "1.0"
    flag.unlink(missing_ok=True)
    want(node, stage(node, "bar", "1.0", "foo<2"))
    assert set(node.run().packages) == {"foo", "bar"}
    unpacked = sorted(path.name for path in (node.paths.run_extensions / "python/packages").iterdir())
    assert unpacked == ["bar-1.0-py3-none-any.whl", "foo-1.0-py3-none-any.whl"]


def test_a_package_that_is_damaged_costs_itself_alone(node: Node) -> None:
    want(node, stage(node, "foo", "1.0"))
    node.run()
    shutil.rmtree(node.paths.run_extensions / "python/packages/foo-1.0-py3-none-any.whl")
    want(node, stage(node, "bar", "1.0"))
    assert set(node.run().packages) == {"foo", "bar"}
    assert imported(node, "bar") == "1.0"


def test_what_another_package_needs_is_not_removed(node: Node) -> None:
    """It goes with who needs it; that it stays is told once."""
    want(node, stage(node, "dep", "1.0"), stage(node, "foo", "1.0", "dep"))
    node.run()
    node.ask(remove=["dep"])
    for said in (1, 0):
        installed = node.run(stage=False)
        assert set(installed.packages) == {"dep", "foo"} and imported(node, "dep") == "1.0"
        assert installed.refused["dep"].reason == "dep: foo needs it, so it is not removed"
        assert node.said.count("so it is not removed") == said
    node.ask(remove=["dep", "foo"])
    assert not node.run(stage=False).packages


def test_what_is_broken_already_costs_no_other_package(node: Node) -> None:
    """Where something that is needed is gone for another reason, others come nevertheless; what they break does not."""
    want(node, stage(node, "dep", "1.0"), stage(node, "foo", "1.0", "dep<2"))
    node.run()
    shutil.rmtree(node.paths.run_extensions / "python/packages/dep-1.0-py3-none-any.whl")
    want(node, stage(node, "bar", "1.0"))
    assert set(node.run().packages) == {"dep", "foo", "bar"}
    want(node, stage(node, "dep", "1.0.1"))
    assert node.run().packages["dep"].version == "1.0.1"
    want(node, stage(node, "dep", "2.0"))
    assert "foo-1.0-py3-none-any.whl needs dep <2, there is 2.0" in node.run().refused["dep"].reason


def test_extras_of_a_package_that_is_there(node: Node) -> None:
    """Only what the extra needs is fetched; the package itself, installed or the system's, is a step on the way."""
    want(node, stage(node, "client", "2.0", "crypt>=1; extra == 'secure'"))
    node.run()
    want(node, stage(node, "crypt", "1.5"), stage(node, "user", "1.0", "client[secure]>=2"))
    assert set(node.run().packages) == {"client", "crypt", "user"}
    want(node, stage(node, "pysocks", "1.7.1"), stage(node, "other", "1.0", "requests[socks]"))
    assert {"pysocks", "other"} <= set(node.run().packages), "requests is the system's"
    want(node, stage(node, "evil", "1.0"), stage(node, "third", "1.0", "client[secure]", "requests"))
    assert "evil-1.0-py3-none-any.whl was fetched with it" in node.run().refused["third"].reason

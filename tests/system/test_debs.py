"""The Debian packages as files: lintian, what they say of themselves, and that a second build gives the same bytes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from mkcore.version import VERSION
from tests.machines import tree

PACKAGES = {"mk-core", "mkctl", "mkweb", "mkmirror", "mkserver", "mk-suite", "mk-host"}


def field(deb: Path, name: str) -> str:
    """Return a control field of a package."""
    return subprocess.run(
        ["dpkg-deb", "--field", str(deb), name], capture_output=True, text=True, check=True
    ).stdout.strip()


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each package in a folder."""
    return {deb.name: hashlib.sha256(deb.read_bytes()).hexdigest() for deb in folder.glob("*.deb")}


def test_set_is_complete() -> None:
    """Seven packages of one version, for every architecture."""
    debs = tree.read_debs()
    assert {field(deb, "Package") for deb in debs} == PACKAGES
    assert {(field(deb, "Version"), field(deb, "Architecture")) for deb in debs} == {(VERSION, "all")}


def test_node_does_not_pull_the_server() -> None:
    """mk-suite is what a node needs; the embedded server is never part of it."""
    depends = {field(deb, "Package"): tree.parse_depends(field(deb, "Depends")) for deb in tree.read_debs()}
    assert {"mkctl", "mkweb", "mkmirror"} <= set(depends["mk-suite"])
    for name in PACKAGES - {"mkserver"}:
        assert "mkserver" not in depends[name] and "python3-flask" not in depends[name], name


def test_lintian() -> None:
    """No error and no warning."""
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", *map(str, tree.read_debs())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_build_is_reproducible(tmp_path: Path) -> None:
    """The same sources in another folder, built again, are the same packages to the byte."""
    copy = tmp_path / "elsewhere" / "source"
    inputs = ("mkcore", "mkctl", "mkweb", "mkmirror", "mkserver", "units", "man", "packaging/debian")
    for name in inputs:
        shutil.copytree(tree.ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml", "packaging/install.mk"):
        shutil.copy(tree.ROOT / name, copy / name)
    for _ in range(2):
        built = digests(copy / "build/deb")
        (copy / "build/deb/.stamp").unlink(missing_ok=True)
        command = ["make", "--silent", "-f", "packaging/install.mk", "deb"]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert built and digests(copy / "build/deb") == built

"""Debian's packages and ours as a tree of files, by mkosi.

Source: mkosi(1).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from . import load_order, lock
from .left import find_left
from .places import BUILD, HERE, NETWORKS, ROOT, STATE, BuildError
from .settings import Settings
from .version import format_image_version

NAMES = {"amd64": "x86-64", "arm64": "arm64"}
"""What mkosi calls an architecture."""


def find_mkosi() -> list[str]:
    """Return the command of mkosi >= 25: the copy that packaging/setup unpacked, else the host's."""
    private = BUILD / "tools/mkosi/run"
    if private.exists():
        return [str(private)]
    if not shutil.which("mkosi"):
        raise BuildError("mkosi is missing: run packaging/setup image")
    return ["mkosi"]


def prepare_sandbox(recorded: Optional[Path]) -> Path:
    """Write the apt sources that mkosi uses: the host's mirrors, Debian 13, and a record's versions."""
    sandbox = STATE / "sandbox"
    sources = sandbox / "etc/apt/sources.list.d/mkosi.sources"
    sources.parent.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(
        [str(ROOT / "packaging/mirror"), "sources", "trixie", "--components", "main", "non-free-firmware"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if run.returncode:
        raise BuildError("this host's apt names no Debian mirror (see above)")
    sources.write_text(run.stdout, encoding="utf-8")
    preferences = sandbox / "etc/apt/preferences.d/mkosi.pref"
    preferences.parent.mkdir(parents=True, exist_ok=True)
    preferences.write_text(lock.build_preferences(lock.read(recorded).packages) if recorded else "", encoding="utf-8")
    return sandbox


def copy_plainly(source: Path, target: Path) -> Path:
    """Copy a folder, its rights as git knows them: whoever checks out keeps files from others, the image does not.

    The programs in ``lib`` and ``forms`` at its top stay behind, and byte code; a tree has a usr/lib of its own.
    """

    def ignored(folder: str, names: list[str]) -> set[str]:
        """Return which of these names in a folder stay behind."""
        return {name for name in names if name == "__pycache__" or (name in ("forms", "lib") and folder == str(source))}

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True, ignore=ignored)
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    return target


def build_command(staging: Path, debs: Path, epoch: int, version: str, settings: Settings, *, fresh: bool) -> list[str]:
    """Build mkosi's command line."""
    sandbox, recipe = prepare_sandbox(settings.lock), copy_plainly(HERE, STATE / "recipe")
    networks = copy_plainly(NETWORKS, STATE / "networks")
    return [
        *find_mkosi(),
        *("--directory", str(recipe), "--architecture", NAMES[settings.architecture]),
        *("--sandbox-tree", str(sandbox), "--output-directory", str(staging)),
        *("--cache-directory", str(STATE / "cache"), "--package-cache-directory", str(STATE / "pkgcache")),
        *("--workspace-directory", str(STATE / "workspace"), "--volatile-package-directory", str(debs)),
        *("--extra-tree", f"{networks}:/usr/lib/systemd/network", "--source-date-epoch", str(epoch)),
        *("--environment", f"MK_VERSION={version}", "--environment", f"MK_TAG={format_image_version(version)}"),
        *(word for profile in settings.mkosi_profiles for word in ("--profile", profile)),
        *("-ff" if fresh else "-f", "build"),
    ]


def run_mkosi(
    packages: list[Path], epoch: int, version: str, settings: Settings, *, fresh: bool, verbose: bool
) -> Path:
    """Run mkosi as the settings say; return its output's folder: root.tar, services.tar, root.manifest, vmlinuz,
    dpkg-status, packages-left.

    Its words go into a log.
    """
    staging, debs = STATE / "output", STATE / "packages"
    for folder in (staging, debs):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (staging, debs, STATE / "cache", STATE / "pkgcache", STATE / "workspace"):
        folder.mkdir(parents=True, exist_ok=True)
    for path in packages:
        shutil.copy(path, debs)
    command = build_command(staging, debs, epoch, version, settings, fresh=fresh or settings.lock is not None)
    log = STATE / "log"
    with log.open("wb") as out:
        status = subprocess.run(
            command, stdout=None if verbose else out, stderr=subprocess.STDOUT, check=False
        ).returncode
    if status:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:]
        raise BuildError("\n".join([*tail, f"mkosi failed with status {status}; its whole log: {log}"]))
    left = find_left(staging / "root", staging / "dpkg-lists")
    (staging / "packages-left").write_text("".join(f"{name}\n" for name in left), encoding="utf-8")
    first = load_order.read(staging / "load-order")
    pack_tree(staging / "root", staging / "root.tar", staging / "services.tar", epoch, first)
    return staging


def pack_tree(tree: Path, root: Path, services: Path, epoch: int, first: Sequence[str]) -> None:
    """Make two archives of the tree, then remove it: numbers for owners, one time, and an order of its own.

    mkosi's own archive has owners by their names, which whoever unpacks it would look up on the machine that builds.
    first: the files of the archive `services` (`load_order`), as paths from the tree's top; all else goes into `root`.
    """
    empty = ("dev", "proc", "run", "sys", "tmp", "var/tmp")
    options = ["--format=gnu", "--numeric-owner", f"--mtime=@{epoch}", "--no-recursion", "--null", "--files-from=-"]
    for target, members in zip((services, root), load_order.split_members(tree, first, empty)):
        command = ["tar", "--create", f"--file={target}", f"--directory={tree}", *options]
        subprocess.run(command, input=os.fsencode("".join(f"./{name}\0" for name in members)), check=True)
    shutil.rmtree(tree)

"""Layers: compressed file systems that the first process mounts over each other.

Source: mksquashfs(1).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Optional

from .places import BuildError

COMPRESSION = ("-comp", "xz", "-b", "1M", "-Xdict-size", "100%")
QUICK = ("-comp", "zstd", "-Xcompression-level", "22", "-b", "128K")
"""For what is read at each boot: a fifth larger, and unpacked in a tenth of the time."""
FOR_PROGRAMS = {"amd64": ("-Xbcj", "x86"), "arm64": ()}
"""A filter for the jumps of an architecture's programs: takes twice the time, and 1.3 MB off the system's layer."""


def _run(command: list[str], tar: Optional[Path] = None) -> None:
    with (tar or Path(os.devnull)).open("rb") as source:
        done = subprocess.run(
            command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    if done.returncode:
        raise BuildError(f"{command[0]} failed with status {done.returncode}: {done.stdout.strip()[-500:]}")


def pack_tar(tar: Path, target: Path, epoch: int, architecture: str = "amd64", *, quick: bool = False) -> None:
    """Make a layer of a system's archive with the owners, rights and times that stand in it; quick: `QUICK`."""
    target.unlink(missing_ok=True)
    how = QUICK if quick else (*COMPRESSION, *FOR_PROGRAMS[architecture])
    # Of the folder at the top mksquashfs takes neither rights nor time from the archive, and -root-time it ignores.
    times = ["-root-mode", "755", "-mkfs-time", str(epoch), "-all-time", str(epoch), "-no-progress", "-quiet"]
    _run(["mksquashfs", "-", str(target), "-tar", "-noappend", *how, *times], tar)


def pack_folder(folder: Path, place: str, work: Path, target: Path, epoch: int) -> None:
    """Make a layer that has a folder's content (but what is hidden) at ``place``, all of it root's and of one time."""
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(folder, tree / place, symlinks=True, ignore=shutil.ignore_patterns(".*"))
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    target.unlink(missing_ok=True)
    times = ["-mkfs-time", str(epoch), "-all-time", str(epoch), "-no-progress", "-quiet"]
    _run(["mksquashfs", str(tree), str(target), "-noappend", "-all-root", *COMPRESSION, *times])
    shutil.rmtree(tree)

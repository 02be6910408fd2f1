"""Archives that the kernel unpacks into its first file system, one behind the other.

Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ZSTD_LEVEL = 19


def archive(folder: Path, place: str, staging: Path, epoch: int) -> Path:
    """Make a compressed archive of a folder's content (but what is hidden) that the kernel unpacks to ``place``."""
    tree = staging / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(folder, tree / place, symlinks=True, ignore=shutil.ignore_patterns(".*"))
    paths = sorted(tree.rglob("*"))
    for path in reversed(paths):  # a folder's time changes with what is in it
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    target = staging / f"{place.replace('/', '-')}.cpio"
    listed = "".join(f"{path.relative_to(tree)}\n" for path in paths).encode()
    command = ["cpio", "--create", "--quiet", "--format=newc", "--owner=+0:+0", "--reproducible", "--file", str(target)]
    subprocess.run(command, input=listed, cwd=tree, check=True)
    return compress(target)


def compress(path: Path) -> Path:
    """Compress a file; return the other's path."""
    packed = path.with_name(f"{path.name}.zst")
    subprocess.run(["zstd", f"-{ZSTD_LEVEL}", "-T0", "--quiet", "--force", str(path), "-o", str(packed)], check=True)
    return packed


def join(parts: list[Path], target: Path) -> None:
    """Write archives one after the other, each at a multiple of four bytes."""
    with target.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, out)
            out.write(bytes(-out.tell() % 4))

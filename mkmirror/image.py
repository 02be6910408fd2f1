"""Making the squashfs image of an extension, the same bytes for the same input.

Whatever differs between two machines or two days is left out: owners (all root), times (all one), extended attributes,
the order of the folder. The compressor is the one that whoever reads it has: zstd for native extensions, gzip for Tiny
Core's, whose kernels may know no other.

Source: mksquashfs(1); reproducible-builds.org, "Archive metadata".
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from mkcore import files, proc
from mkcore.errors import BadInput, ToolFailed
from mkmirror.names import require_inside

MKSQUASHFS_TIMEOUT_S = 3600.0
COPY_TIMEOUT_S = 3600.0
MAX_TIME_S = 0xFFFFFFFF

_ODD = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


class Content(NamedTuple):
    """What a tree holds: paths of its files and links relative to it, sorted; their size in bytes."""

    paths: tuple[str, ...]
    size_bytes: int


def read_content(tree: Path) -> Content:
    """Return what is in a tree; raise BadInput for what has no place in an extension, OSError."""
    paths: list[str] = []
    size_bytes = 0

    def fail(error: OSError) -> None:
        """Raise what os.walk would pass over without a word."""
        raise error

    for folder, folders, names in os.walk(tree, onerror=fail):
        inside = Path(folder).relative_to(tree)
        for name in names + [each for each in folders if (Path(folder) / each).is_symlink()]:
            path = require_inside((inside / name).as_posix().encode("utf-8", "replace").decode(), str(tree))
            found = (Path(folder) / name).lstat()
            if stat.S_IFMT(found.st_mode) in _ODD:
                raise BadInput(f"{path} is {_ODD[stat.S_IFMT(found.st_mode)]}", str(tree))
            paths.append(path)
            size_bytes += found.st_size
    return Content(tuple(sorted(paths)), size_bytes)


def make_folders(path: Path) -> None:
    """Make the folder `path` and all above it that are not there, each with mode 0755, whatever the umask."""
    for folder in reversed([path, *path.parents]):
        files.make_dir(folder)


def copy_tree(source: Path, target: Path) -> None:
    """Copy what is in `source` into the folder `target`, over what is there: contents, modes, links.

    Raises ToolFailed naming the file that could not be copied.
    """
    command = ["cp", "--recursive", "--no-dereference", "--preserve=mode,links", "--no-target-directory"]
    proc.require(proc.run([*command, "--", str(source), str(target)], timeout_s=COPY_TIMEOUT_S))


def make_image(tree: Path, target: Path, *, compressor: str = "zstd", time_s: int = 0) -> None:
    """Make the squashfs image `target` from the folder `tree`; time_s: Unix time of all files and of the image.

    Raises ToolFailed when mksquashfs is missing or fails; no target is left then.
    """
    command = ["env", "--unset=SOURCE_DATE_EPOCH", "mksquashfs", str(tree), str(target), "-noappend", "-quiet"]
    command += ["-no-progress", "-comp", compressor, "-all-root", "-no-xattrs", "-root-mode", "0755"]
    command += ["-all-time", str(time_s), "-mkfs-time", str(time_s), "-exit-on-error"]
    finished = proc.run(command, timeout_s=MKSQUASHFS_TIMEOUT_S)
    if not finished.ok:
        files.remove(target)
        if finished.status == 127:  # env(1): the program was not found
            raise ToolFailed("mksquashfs cannot be started; it is in the package squashfs-tools")
        raise ToolFailed(finished.describe().replace("env ", "mksquashfs ", 1))

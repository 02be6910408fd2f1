"""Whether a folder of files is a mirror that nodes can install from: sums, signatures, dependencies.

Source: protocol 5.2, 5.3; sha256sum(1).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from mkcore import files
from mkcore.errors import BadInput
from mkmirror import trust
from mkmirror.formats import sysext, tce, wheel
from mkmirror.names import show
from mkmirror.progress import Progress, human
from mkmirror.resolve import parse_needs, resolve

IMAGES = (tce.SUFFIX, sysext.SUFFIX, wheel.SUFFIX)
MAX_DEPTH = 8
_ANY_KERNEL = "KERNEL"


@dataclass(frozen=True)
class Checks:
    """How a mirror is checked; work: a folder for keys. partial: files that the sums name may be missing."""

    mode: trust.Verify
    keys: Sequence[Path]
    work: Path
    partial: bool = False


def folders_of(root: Path) -> Iterator[Path]:
    """Yield the folders at and below `root` that hold extensions or packages, sorted; raise BadInput for no folder."""
    if not root.is_dir():
        raise BadInput("is not a folder", str(root))
    for folder, below, names in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        below[:] = sorted(name for name in below if not name.startswith(".") and depth < MAX_DEPTH)
        if any(name.endswith(IMAGES) and not name.startswith(".") for name in names):
            yield Path(folder)


def content_of(folder: Path) -> list[str]:
    """Return the names of what a folder offers, sorted; raise BadInput for a name that no list of sums can hold."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    names = [name for name in names if name not in (trust.SUMS, trust.SIGNATURE)]
    for name in names:
        if not trust.is_sum_name(name):
            raise BadInput(f"{show(name)} cannot be offered under this name", str(folder))
    return names


def digest_file(path: Path, progress: Progress, algorithm: str = "sha256") -> str:
    """Return the digest of a file and show how far it is read; raise OSError."""
    total, done = path.stat().st_size, 0

    def moved(more: int) -> None:
        """Take note that so many more bytes were read."""
        nonlocal done
        done += more
        progress.moved(path.name, done, total)

    return trust.digest_file(path, algorithm, moved)


def verify(root: Path, checks: Checks, progress: Progress) -> tuple[int, list[str]]:
    """Check all of a mirror; return how many files were checked and one line for each problem.

    Raises BadInput for no folder or nothing in it, ToolFailed when signatures cannot be checked, Untrusted when
    nothing that may be used vouches for a folder, OSError.
    """
    problems: list[str] = []
    count = 0
    for folder in folders_of(root):
        names = content_of(folder)
        sums, signed = trust.read_sums(folder, checks.mode, checks.keys, checks.work)
        found = [f"{name} is not in {trust.SUMS}" for name in names if name not in sums]
        missing = sorted(set(sums) - set(names)) if not checks.partial else []
        found += [f"{name} is in {trust.SUMS} and not there" for name in missing]
        for name in names:
            if name in sums:
                found += _file_problems(folder, name, sums, progress)
        found += dependency_problems(folder, names)
        if signed is not None and any(not f"{folder.absolute()}".endswith(f"/{each}") for each in signed.folders):
            found.append(f"{trust.SUMS} was signed for the folder {show(signed.folders[0])}")
        problems += [f"{folder}: {problem}" for problem in found]
        count += len(names)
        by = f"signed by {signed.user}" if signed else "signatures not checked"
        size_bytes = sum((folder / name).stat().st_size for name in names)
        progress.say(f"{folder}: {len(names)} files, {human(size_bytes)}, {by}, {len(found)} problems")
    if not count:
        raise BadInput("holds no extensions and no packages", str(root))
    return count, problems


def _file_problems(folder: Path, name: str, sums: Mapping[str, str], progress: Progress) -> Iterator[str]:
    path = folder / name
    if digest_file(path, progress) != sums[name]:
        yield f"{name} is not what {trust.SUMS} says"
    beside = folder / f"{name}.md5.txt"
    try:
        if name.endswith((tce.SUFFIX, sysext.SUFFIX)):
            if beside.is_file() and tce.parse_md5(files.read_text(beside), name, beside.name) != digest_file(
                path, progress, "md5"
            ):
                yield f"{name} is not what {beside.name} says"
            with path.open("rb") as stream:
                sysext.require_whole(stream.read(sysext.HEAD_BYTES), path.stat().st_size, name)
        elif name.endswith(wheel.SUFFIX):
            wheel.parse_wheel(name, name)
    except BadInput as error:
        yield str(error)


def read_needs(folder: Path, name: str, kernel: str) -> Optional[tuple[str, ...]]:
    """Return what an extension in a folder needs; None when it is not there. Raises BadInput for a broken `.dep`."""
    if not (folder / name).is_file():
        return None
    path = folder / f"{name}.dep"
    return parse_needs(name, files.read_text(path), kernel, path.name) if path.is_file() else ()


def dependency_problems(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """Yield one line for each dependency that the folder lacks, each cycle, each `.dep` that cannot be read.

    A name with -KERNEL fits the file for any kernel.
    """
    graph: dict[str, tuple[str, ...]] = {}
    for name in names:
        if not name.endswith((tce.SUFFIX, sysext.SUFFIX)):
            continue
        try:
            needs = read_needs(folder, name, _ANY_KERNEL) or ()
        except BadInput as error:
            yield str(error)
            needs = ()
        for need in needs:
            if not any(_fits(need, each) for each in names):
                yield f"{name} needs {need}, which is not there"
        graph[name] = tuple(each for need in needs for each in names if _fits(need, each))
    try:
        resolve(graph, graph.get)
    except BadInput as error:
        yield str(error)


def _fits(need: str, name: str) -> bool:
    if not need.endswith(f"{tce.KERNEL_MARK}{tce.SUFFIX}"):
        return need == name
    return name.startswith(need[: -len(f"{_ANY_KERNEL}{tce.SUFFIX}")]) and name.endswith(tce.SUFFIX)

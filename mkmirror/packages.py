"""Installed Python packages: unpacked wheels, and the one folder of modules that is made of all of them.

Installed without pip. Each wheel has a folder of its own; what programs see is a new folder of hard links to all of
them, which takes the place of the one before in one step. So an installation that fails changes nothing, a removal
leaves nothing behind, and both are the same thing. The folder is on nobody's path by itself: commands name it, and
mk-facts gives it to the programs of facts.d; a package can therefore never stand between the suite and its modules.

Source: protocol 5.5; binary distribution format (PEP 427); core metadata; rename(2), link(2).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata as importlib_metadata
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Optional

from packaging.markers import default_environment
from packaging.tags import Tag, sys_tags
from packaging.version import InvalidVersion, Version

from mkcore import files
from mkcore.errors import BadInput, MkError
from mkmirror.formats import wheel
from mkmirror.image import make_folders
from mkmirror.unpack import COMMANDS, LIBRARY, MAX_UNPACKED_BYTES, TEXT_LIMIT_BYTES, Content, read_wheel, unpack

FOLDER = "python"
PYTHON = "/usr/bin/python3"

_GENERATIONS = "made"
_UNPACKED = "packages"

log = logging.getLogger(__name__)


class Unpacked(NamedTuple):
    """An unpacked wheel: canonical name and version of its package, and what it says of itself."""

    name: str
    version: str
    metadata: wheel.Metadata


def library_of(run: Path) -> Path:
    """Return the folder of modules, for PYTHONPATH; it is not there while no package is installed."""
    return run / FOLDER / LIBRARY


def layer_of(run: Path) -> Optional[Path]:
    """Return the folder of what the packages have for /usr/local, None without any."""
    link = library_of(run)
    layer = link.resolve().parent / COMMANDS
    return layer if link.is_symlink() and layer.is_dir() else None


def prepare(run: Path, file: str, path: Path, tags: Optional[Sequence[Tag]] = None) -> Unpacked:
    """Unpack a verified wheel; nothing sees it yet. file: the name it was published under; tags: what runs here.

    Raises BadInput naming the file and the reason (also for one that is not for this Python or machine); then nothing
    is left of it. OSError.
    """
    target = _folder(run, file)
    content = read_wheel(path, file)
    _require_usable(content, sys_tags() if tags is None else tags)
    _require_room(run, content)
    unpacked = _describe(content.metadata)
    partial = target.with_name(f".{target.name}")
    files.remove_tree(partial)
    make_folders(partial)
    try:
        unpack(path, content, partial)
        _write_commands(content, partial, library_of(run))
        files.remove_tree(target)  # of a request that was refused afterwards; its content may have been another one
        files.place(partial, target, mode=0o755)
    except (MkError, OSError):
        files.remove_tree(partial)
        raise
    return unpacked


def unpacked(run: Path) -> list[str]:
    """Return the files' names of the wheels that are unpacked, all of which are seen once a run has swept."""
    return [name for name in files.list_names(run / FOLDER / _UNPACKED) if name.endswith(wheel.SUFFIX)]


def read_unpacked(run: Path, file: str) -> Unpacked:
    """Return what `prepare` returned for an unpacked wheel. Raises OSError when there is none, BadInput."""
    library = _folder(run, file) / LIBRARY
    info = next((name for name in files.list_names(library) if name.endswith(".dist-info")), "")
    return _describe(wheel.parse_metadata(files.read_text(library / info / "METADATA", TEXT_LIMIT_BYTES), file))


def read_all(run: Path, names: Iterable[str]) -> dict[str, Unpacked]:
    """Return those of the unpacked wheels that can be read, by file name; another one costs itself alone."""
    found = ((name, _read_if_any(run, name)) for name in names)
    return {name: each for name, each in found if each is not None}


def _read_if_any(run: Path, file: str) -> Optional[Unpacked]:
    try:
        return read_unpacked(run, file)
    except (MkError, OSError) as error:
        log.warning("%s: what this installed package needs is not known: %s", file, error)
        return None


def problem(
    run: Path,
    packages: Mapping[str, Unpacked],
    own: Callable[[str], str],
    before: Mapping[str, Unpacked] = MappingProxyType({}),
) -> str:
    """Return why these unpacked wheels cannot be installed together, in one line; "" when they can.

    packages: file name -> what `prepare` returned, all that shall be installed afterwards. own: tells the version of a
    package that the system itself has, "" for none (system_version). before: all that is installed now; what these lack
    already costs nobody else.
    """
    versions: dict[str, str] = {}
    for file, each in packages.items():
        if versions.setdefault(each.name, each.version) != each.version:
            return f"{file}: {each.name} {versions[each.name]} is installed"
    known = {(file, str(need)) for file, need, _ in _lacking(before, own)}
    for file, need, have in _lacking(packages, own):
        if (file, str(need)) not in known:
            return f"{file} needs {need}, {f'there is {have}' if have else 'which is missing'}"
    return _overlap(run, packages)


def needed_names(packages: Mapping[str, Unpacked], own: Callable[[str], str]) -> dict[str, frozenset[str]]:
    """Return which packages each of these needs that the system itself does not have in such a version.

    packages, own: as for `problem`. Returns canonical names by the package's own.
    """
    return {
        each.name: frozenset(
            need.name for need in _needs_of(each, packages.values()) if not _suits(need, own(need.name))
        )
        for each in packages.values()
    }


def _lacking(packages: Mapping[str, Unpacked], own: Callable[[str], str]) -> Iterator[tuple[str, wheel.Wanted, str]]:
    """Yield what these need and is not there: file, need, the version that is there instead or ""."""
    versions = {each.name: each.version for each in packages.values()}
    for file, each in packages.items():
        for need in _needs_of(each, packages.values()):
            have = versions.get(need.name) or own(need.name)
            if not _suits(need, have):
                yield file, need, have


def _suits(need: wheel.Wanted, version: str) -> bool:
    return bool(version) and need.versions.contains(version, prereleases=True)


def _needs_of(first: Unpacked, packages: Iterable[Unpacked]) -> list[wheel.Wanted]:
    """Return what a package needs, with what the extras need that it wants of the others."""
    environment = _environment()
    by_name = {each.name: each for each in packages}
    found: dict[str, wheel.Wanted] = {}
    pending = list(wheel.needs(first.metadata, environment))
    while pending:
        need = pending.pop()
        if str(need) not in found:
            found[str(need)] = need
            other = by_name.get(need.name) if need.extras else None
            pending += wheel.needs(other.metadata, environment, need.extras) if other else ()
    return list(found.values())


def _overlap(run: Path, names: Iterable[str]) -> str:
    """Say which two have the same file, or one a file where the other has a folder."""
    owners: dict[str, str] = {}
    folders: dict[str, str] = {}
    for file in names:
        for path in _content(_folder(run, file)):
            other = owners.setdefault(path, file)
            for parent in Path(path).parents:
                folders.setdefault(parent.as_posix(), file)
            if other != file:
                return f"{file} and {other} both have {path}"
    both = sorted(set(owners) & set(folders))
    return f"{owners[both[0]]} and {folders[both[0]]} both have {both[0]}" if both else ""


def commit(run: Path, names: Iterable[str]) -> None:
    """Have programs see exactly these unpacked wheels, by file name.

    What belongs to /usr/local is seen after the next merge (tce_install.merge). Nothing is deleted, so that there is a
    way back (`see`). Raises OSError; what was seen before is then seen still.
    """
    wanted = sorted(set(names))
    made = run / FOLDER / _GENERATIONS
    numbers = [int(name) for name in files.list_names(made) if name.isdecimal()]
    if wanted:
        new = made / str(max(numbers, default=0) + 1)
        make_folders(new / LIBRARY)
        try:
            for file in wanted:
                folder = _folder(run, file)
                for path in _content(folder):
                    make_folders((new / path).parent)
                    files.share(folder / path, new / path)
            files.point(library_of(run), new / LIBRARY)
        except (MkError, OSError):
            files.remove_tree(new)
            raise
    else:
        files.remove(library_of(run))


def seen(run: Path) -> Optional[Path]:
    """Return the folder of modules that programs see now, for `see`; None for none."""
    link = library_of(run)
    return link.readlink() if link.is_symlink() else None


def see(run: Path, before: Optional[Path]) -> None:
    """Have programs see again what `seen` returned, as long as `forget_old` was not called. Raises OSError."""
    if before is None:
        files.remove(library_of(run))
    else:
        files.point(library_of(run), before)


def sweep(run: Path, names: Iterable[str]) -> None:
    """Remove all unpacked wheels but these, which are what programs see. Raises OSError."""
    keep = frozenset(names)
    for name in files.list_names(run / FOLDER / _UNPACKED):
        if name not in keep:
            files.remove_tree(run / FOLDER / _UNPACKED / name)


def forget_old(run: Path) -> None:
    """Remove the folders of links that are seen no longer, once /usr/local does not show them, either."""
    current = library_of(run).resolve().parent.name if library_of(run).is_symlink() else ""
    for name in files.list_names(run / FOLDER / _GENERATIONS):
        if name != current:
            files.remove_tree(run / FOLDER / _GENERATIONS / name)


def system_version(name: str) -> str:
    """Return the version of a package that the system's Python has, "" for none."""
    try:
        return str(Version(importlib_metadata.version(name)))
    except (importlib_metadata.PackageNotFoundError, InvalidVersion):
        return ""


def system_metadata(name: str) -> Optional[wheel.Metadata]:
    """Return what a package that the system's Python has says of itself; None for none, or for one nobody can read."""
    try:
        found = importlib_metadata.distribution(name)
        # The text as it is: an email.message of an old description (certifi in Debian 12) cannot be written again.
        text = found.read_text("METADATA") or found.read_text("PKG-INFO")
        return wheel.parse_metadata(text, name) if text else None
    except (importlib_metadata.PackageNotFoundError, BadInput):
        return None


def build_command(library: Path, module: str, attribute: str) -> bytes:
    """Build the program of a console script: it sees the packages' modules before the system's, and nothing else."""
    top, _, rest = attribute.partition(".")
    call = f"{top}.{rest}" if rest else top
    lines = (f"#!{PYTHON} -I", "import sys", f"sys.path.insert(0, {str(library)!r})", f"from {module} import {top}")
    return "".join(f"{line}\n" for line in (*lines, f"sys.exit({call}())")).encode()


def _write_commands(content: Content, folder: Path, library: Path) -> None:
    for name, (module, attribute) in sorted(content.commands.items()):
        make_folders(folder / COMMANDS / "bin")
        place = folder / COMMANDS / "bin" / name
        try:
            files.write_new(place, [build_command(library, module, attribute)], mode=0o755)
        except FileExistsError:
            raise BadInput(f"has the command {name} twice", content.wheel.file) from None


def _describe(metadata: wheel.Metadata) -> Unpacked:
    wheel.needs(metadata, _environment(), metadata.extras)  # now, so that what nobody can tell costs this one alone
    return Unpacked(metadata.name, str(metadata.version), metadata)


def _environment() -> dict[str, str]:
    return {key: str(value) for key, value in default_environment().items()}


def _require_usable(content: Content, tags: Iterable[Tag]) -> None:
    file = content.wheel.file
    if not content.wheel.tags & frozenset(tags):
        raise BadInput("is not for this Python and machine", file)
    python = default_environment()["python_full_version"].rstrip("+")
    if not content.metadata.python.contains(python, prereleases=True):
        raise BadInput(f"is for Python {content.metadata.python}, not {python}", file)


def _require_room(run: Path, content: Content) -> None:
    """Raise BadInput when all unpacked wheels together would be more than one may be: they lie in memory."""
    there = sum(
        (Path(top) / name).lstat().st_size for top, _, names in os.walk(run / FOLDER / _UNPACKED) for name in names
    )
    total = there + sum(entry.size_bytes for entry in content.entries)
    if total > MAX_UNPACKED_BYTES:
        raise BadInput(f"all packages would take {total} bytes, more than {MAX_UNPACKED_BYTES}", content.wheel.file)


def _folder(run: Path, file: str) -> Path:
    return run / FOLDER / _UNPACKED / file


def _content(folder: Path) -> list[str]:
    found: list[str] = []
    for top, _, names in os.walk(folder):
        found += [(Path(top) / name).relative_to(folder).as_posix() for name in names]
    return sorted(found)

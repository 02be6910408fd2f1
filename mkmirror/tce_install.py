"""Tiny Core extensions on the running system: mount them, look through them, join them, start and stop them.

The images stay what they are: each is mounted read-only below /run/mk-extensions/tcz, and one overlay on /usr/local
(and one on /opt) shows them all. The originals linked each file into the system, which left broken links behind and
was done once per boot, for files that were not yet there (defect B27); here what is shown is what is installed.

An extension that has files elsewhere is refused: what lies over /etc or /lib of a running system would change it.

Source: protocol 5.2, 5.3 (tce-load); mount(8); ldconfig(8); systemd-run(1); systemd.unit(5) for the names of units.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mkcore import proc
from mkcore.errors import BadInput, MkError, ToolFailed
from mkmirror import host, overlay, reserved
from mkmirror.formats import sysext, tce
from mkmirror.image import make_folders
from mkmirror.names import require_inside, show
from mkmirror.packages import layer_of

MAX_INODES = 200_000
SCRIPT_TIMEOUT_S = 60.0
LDCONFIG_TIMEOUT_S = 120.0
FOLDER = "tcz"

_OPTIONS = ("loop", "ro", "nodev", "nosuid")
_UNIT_CHARACTER = re.compile(r"[A-Za-z0-9_.]")


class Found(NamedTuple):
    """What a mounted extension has: where it is mounted, which hierarchies it reaches, whether a start script."""

    place: Path
    hierarchies: tuple[str, ...]
    script: bool


def place_of(run: Path, name: str) -> Path:
    """Return where the extension `name`, e.g. `nano.tcz`, is mounted. run: `/run/mk-extensions`."""
    return run / FOLDER / name


def unit_of(name: str) -> str:
    """Return the unit of an extension's start script, e.g. `mk-tce-nano.service`, escaped as systemd.unit(5) has it."""
    stem = tce.application(name)
    return f"mk-tce-{''.join(c if _UNIT_CHARACTER.match(c) else f'{chr(92)}x{ord(c):02x}' for c in stem)}.service"


def prepare(run: Path, images: Mapping[str, Path], root: Path = Path("/")) -> tuple[dict[str, Found], dict[str, str]]:
    """Mount verified images and look through them. images: `nano.tcz` -> the file, which stays where it is.

    Returns what was found in the good ones, and for each other one why it cannot be used, in one line; those are not
    mounted. Nothing is shown in /usr/local yet. An image that is mounted already is looked through again.
    """
    refused: dict[str, str] = {}
    mounts: dict[str, host.Mount] = {}
    table = overlay.table_of(root)
    mounted = overlay.mounted(table)
    for name, image in images.items():
        place = place_of(run, name)
        try:
            require_image(image, name)
            make_folders(place)
            if place not in mounted:
                mounts[name] = host.Mount(str(image), place, "squashfs", _OPTIONS)
        except (MkError, OSError) as error:
            refused[name] = str(error)
    failed = host.mount_all(list(mounts.values()), run / "mounts", lambda: overlay.mounted(table))
    found: dict[str, Found] = {}
    for name in images:
        place = place_of(run, name)
        if place in failed:
            refused[name] = f"{name}: cannot be mounted: {failed[place]}"
        elif name not in refused:
            try:
                found[name] = look_through(place, name)
            except (BadInput, OSError) as error:
                refused[name] = str(error)
    discard(run, [name for name in mounts if name in refused], root)
    return found, refused


def require_image(image: Path, name: str) -> None:
    """Raise BadInput for what is no whole squashfs image of at most MAX_INODES files; OSError as open(2)."""
    with open(image, "rb") as stream:
        head = stream.read(sysext.HEAD_BYTES)
    found = sysext.require_whole(head, image.stat().st_size, name)
    if found.file_system != "squashfs":
        raise BadInput(f"is {found.file_system}, an extension of Tiny Core is squashfs", name)
    if found.inodes > MAX_INODES:
        raise BadInput(f"has {found.inodes} files, more than {MAX_INODES}", name)


def look_through(place: Path, name: str) -> Found:
    """Return what the extension has that is mounted at `place`; raise BadInput naming the path that has no place.

    Folders outside its hierarchies are allowed as long as they are empty. OSError for an image that cannot be read.
    """
    hierarchies = [each.inside for each in overlay.hierarchies(Path())]
    system = reserved.system_folders()
    for path, entry in _walk(place, name):
        require_inside(path, name)
        if entry.is_dir(follow_symlinks=False):
            continue
        if not any(path.startswith(each + "/") for each in hierarchies):
            raise BadInput(f"has {show(path)}, which is neither below usr/local nor below opt", name)
        if not entry.is_symlink() and not entry.is_file(follow_symlinks=False):
            raise BadInput(f"has {show(path)}, which is a device, pipe or socket", name)
        said = reserved.reason(path, system)
        if said:
            raise BadInput(f"has {show(path)}, which {said}", name)
    reached = tuple(each for each in hierarchies if (place / each).is_dir())
    return Found(place, reached, (place / tce.start_script(name)).is_file())


def _walk(place: Path, name: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield what is mounted at `place` with its path inside; raise BadInput after MAX_INODES, whatever it claims."""
    seen = 0
    todo = [""]
    while todo:
        folder = todo.pop()
        with os.scandir(place / folder) as entries:
            for entry in entries:
                seen += 1
                if seen > MAX_INODES:
                    raise BadInput(f"has more than {MAX_INODES} files", name)
                path = f"{folder}/{entry.name}".lstrip("/")
                if entry.is_dir(follow_symlinks=False):
                    todo.append(path)
                yield path, entry


def discard(run: Path, names: Iterable[str], root: Path = Path("/")) -> None:
    """Unmount extensions that are shown no longer, and remove their folders. Raises ToolFailed, OSError."""
    mounted = overlay.mounted(overlay.table_of(root))
    places = [place_of(run, name) for name in names]
    if places:
        overlay.forget_by_host([place for place in places if place in mounted], places)


def merge(run: Path, names: Sequence[str], root: Path = Path("/")) -> None:
    """Show exactly these mounted extensions, the newest one first, and the commands of the Python packages.

    Raises ToolFailed, BadInput, OSError; what was shown before is then shown still, where it was not replaced yet.
    """
    places = {name: place_of(run, name) for name in names}
    packages = layer_of(run)
    for hierarchy in overlay.hierarchies(run, root):
        layers = [place / hierarchy.inside for place in places.values() if (place / hierarchy.inside).is_dir()]
        marks: list[str] = []
        if hierarchy.inside == "usr/local":
            layers += [packages] if packages is not None else []
            marks = [tce.application(n) for n, place in places.items() if not (place / tce.start_script(n)).is_file()]
        overlay.apply(hierarchy, layers, marks)


def refresh_libraries(root: Path = Path("/")) -> None:
    """Make the libraries of what was merged known to the linker, behind the system's own. Raises ToolFailed.

    By its own order, /usr/local/lib would come first, and an extension's libz or libssl be loaded into every program of
    the system. What an extension has under the same name as the system is therefore not used.
    """
    folders = [*sorted((root / "usr/lib").glob("*-linux-gnu*")), root / "usr/lib64", root / "usr/lib"]
    command = ["ldconfig", *(str(each) for each in folders if each.is_dir())]
    proc.require(host.run_as_pid1(command, timeout_s=LDCONFIG_TIMEOUT_S))


def start(name: str) -> str:
    """Run the start script of a merged extension to its end; daemons that it starts stay, in the unit `unit_of`.

    Returns what went wrong in one line, "" for nothing: the originals did not look at it, and many scripts end with a
    test that fails without harm, so it is for the journal and costs nothing.
    """
    unit = unit_of(name)
    command = ["sh", f"/{tce.start_script(name)}"]
    description = f"Start Script of {tce.application(name)}"
    try:
        said = host.start_service(unit, command, timeout_s=SCRIPT_TIMEOUT_S, description=description)
    except ToolFailed as error:
        said = str(error)
    return f"{name}: its start script: {said}; see journalctl -u {unit}" if said else ""


def stop(names: Iterable[str]) -> None:
    """Stop what the start scripts of extensions started. Raises ToolFailed."""
    host.stop_units([unit_of(name) for name in names])

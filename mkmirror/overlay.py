"""/usr/local and /opt made of many layers: what extensions bring, above what the system has there.

Extensions of Tiny Core are mounted, never copied. One overlay joins them all, with a layer in memory on top, because
their start scripts write beside their programs. Each change makes a new overlay beside the one in use and then puts it
in its place, so one that cannot be mounted changes nothing. An overlay never becomes a layer of the next: the kernel
stacks two, and /usr may be one already (merged extensions). What was written meanwhile stays, as a layer of the next.

For a moment between two of them the system's own folder is seen, as with systemd-sysext.

Source: the kernel's Documentation/filesystems/overlayfs.rst; mount(8), "mount options for overlay"; proc(5), mountinfo;
mount_namespaces(7) for why the bind mount of the original is a private one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mkcore import files, proc
from mkcore.errors import BadInput, MkError, ToolFailed
from mkmirror import host

MOUNT_TIMEOUT_S = 60.0
MAX_LAYERS = 480
"""The kernel takes 500; some are left for what was written into earlier overlays."""
SOURCE = "mk-extensions"
MARKS = "tce.installed"
MOUNTINFO = Path("/proc/self/mountinfo")
MOUNTINFO_BYTES = 16 << 20

_ORIGINAL = "original"
_LAYERS = "layers"
# For the host's shell, as few runs as can be: $1 folder, $2 SOURCE, $3 place of the overlay, $4 links, $5 options.
_HIDE = (
    'while grep -F -- " $1 " /proc/self/mountinfo | grep -q " - overlay $2 "; do umount --lazy -- "$1" || exit; done'
)
_SHOW = (
    'cd -- "$4" && LIBMOUNT_FORCE_MOUNT2=always mount -t overlay -o "$5" -- "$2" "$3" && '
    f'cd / && {_HIDE} && mkdir -p -- "$1" && exec mount --bind -- "$3" "$1"'
)
# $1 how many of the others are to be unmounted; all others are to be removed.
_FORGET = (
    'n=$1; shift; while [ "$n" -gt 0 ]; do umount --lazy -- "$1" || exit; shift; n=$((n - 1)); done; '
    '[ $# = 0 ] || exec rm -r -f --one-file-system --preserve-root=all -- "$@"'
)
_OCTAL = re.compile(r"\\([0-7]{3})")


class Hierarchy(NamedTuple):
    """One folder that extensions reach: `/usr/local`, in an image `usr/local`; `state` is our folder for it.

    mountinfo: the kernel's table of what is mounted.
    """

    target: Path
    inside: str
    state: Path
    mountinfo: Path = MOUNTINFO

    def mounted(self) -> dict[Path, str]:
        """Return what is mounted, as `mounted` does."""
        return mounted(self.mountinfo)


def hierarchies(run: Path, root: Path = Path("/")) -> tuple[Hierarchy, ...]:
    """Return the folders that extensions reach. run: `/run/mk-extensions`."""
    table = table_of(root)
    return (
        Hierarchy(root / "usr/local", "usr/local", run / "local", table),
        Hierarchy(root / "opt", "opt", run / "opt", table),
    )


def table_of(root: Path) -> Path:
    """Return the table of what is mounted of a system below a folder."""
    return root / MOUNTINFO.relative_to("/")


def parse_mountinfo(text: str) -> tuple[tuple[Path, str], ...]:
    """Parse a mountinfo file: mount points and types of file system in the file's order, the covered ones too."""
    points: list[tuple[Path, str]] = []
    for line in text.splitlines():
        words, _, rest = line.partition(" - ")
        fields = words.split(" ")
        if len(fields) > 4 and rest:
            place = Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4]))
            points.append((place, rest.split(" ")[0]))
    return tuple(points)


def mounted(table: Path = MOUNTINFO) -> dict[Path, str]:
    """Return what is mounted, as this process sees it: place -> type of what is on top there.

    The host's mounts reach its namespace. Raises OSError.
    """
    return dict(parse_mountinfo(files.read_text(table, MOUNTINFO_BYTES)))


def build_options(layers: int, upper: Path, work: Path) -> str:
    """Return mount(8)'s options for an overlay whose layers are the links 0, 1, 2 … in the current folder, 0 topmost.

    Relative names, since mount(2) takes a page of options and the newer system call 256 bytes for each of them. Links
    inside the layers to other folders of the overlay are neither made nor followed, so that one generation's written
    files can be a layer of the next. Raises BadInput for more layers than an overlay has.
    """
    if layers > MAX_LAYERS:
        raise BadInput(f"{layers} layers are more than an overlay can have ({MAX_LAYERS})", "extensions")
    lower = ":".join(map(str, range(layers)))
    plain = "nodev,nosuid,index=off,metacopy=off,redirect_dir=nofollow"
    return f"lowerdir={lower},upperdir={upper},workdir={work},{plain}"


def keep_original(hierarchy: Hierarchy) -> None:
    """Make what the system itself has in the folder reachable, below whatever is mounted over it later.

    To be done before extensions are merged into /usr. The mount is private: else the overlay that is mounted over the
    folder would be mounted over this one, too. Raises ToolFailed, OSError.
    """
    for each in original_mounts((hierarchy,)):
        host.mount(each, hierarchy.mounted)


def original_mounts(found: Sequence[Hierarchy]) -> list[host.Mount]:
    """Return what keep_original would mount for these folders, for whoever mounts several things at once."""
    mounts: list[host.Mount] = []
    for each in found:
        place = each.state / _ORIGINAL
        files.make_dir(place)
        if each.target.is_dir() and place not in each.mounted():
            mounts.append(host.Mount(str(each.target), place, "none", ("bind", "private")))
    return mounts


def apply(hierarchy: Hierarchy, layers: Sequence[Path], marks: Sequence[str] = ()) -> None:
    """Have the folder show these layers, the first one on top, above the system's own; without any, that alone.

    marks: names that are to be found as empty files in its folder tce.installed, where no layer has them. Nothing is
    done where it shows them already. Raises ToolFailed, BadInput, OSError; what is in use then stays in use.
    """
    numbers = _generations(hierarchy.state)
    if not layers and not marks and not numbers:
        return
    keep_original(hierarchy)
    current = hierarchy.state / str(numbers[-1]) if numbers else None
    written = [upper for upper in (hierarchy.state / str(n) / "upper" for n in reversed(numbers)) if _has_any(upper)]
    bound = hierarchy.target in hierarchy.mounted()
    wanted = "".join(f"{each}\n" for each in (*layers, "", *sorted(marks)))
    if current is not None and bound and files.read_text_if_any(current / _LAYERS) == wanted:
        return
    if not layers and not marks and not written:
        if current is not None:
            _run(_HIDE, str(hierarchy.target), SOURCE)
        _forget(hierarchy, numbers, frozenset())
        return
    new = hierarchy.state / str((numbers[-1] if numbers else 0) + 1)
    try:
        options = _lay(hierarchy, new, [*written, *layers], marks)
        _run(_SHOW, str(hierarchy.target), SOURCE, str(new / "merged"), str(new / "l"), options)
        if hierarchy.mounted().get(hierarchy.target) != "overlay":
            raise ToolFailed(f"{hierarchy.target}: {host.NOT_MOUNTED}")
    except (MkError, OSError):
        _forget(hierarchy, [int(new.name)], frozenset())
        raise
    files.write_atomic(new / _LAYERS, wanted.encode())
    _forget(hierarchy, numbers, frozenset(written))


def _lay(hierarchy: Hierarchy, new: Path, above: Sequence[Path], marks: Sequence[str]) -> str:
    """Make the folders of a new overlay and links to its layers; return mount(8)'s options for it."""
    original = hierarchy.state / _ORIGINAL
    files.make_dir(new / "upper", original.stat().st_mode & 0o7777)
    for name in ("work", "merged", "l"):
        files.make_dir(new / name)
    lower = [*above]
    if marks:
        files.make_dir(new / "marks" / MARKS)
        for name in marks:
            files.write_atomic(new / "marks" / MARKS / name, b"")
        lower.append(new / "marks")
    lower.append(original)
    for number, layer in enumerate(lower):
        files.point(new / "l" / str(number), layer)
    return build_options(len(lower), new / "upper", new / "work")


def _forget(hierarchy: Hierarchy, numbers: Sequence[int], written: frozenset[Path]) -> None:
    """Unmount overlays that are no longer shown; remove all of them but what was written into them."""
    folders = [hierarchy.state / str(number) for number in numbers]
    there = hierarchy.mounted()
    places = [folder / "merged" for folder in folders if folder / "merged" in there]
    gone: list[Path] = []
    for folder in folders:
        kept = folder / "upper" in written
        gone += [folder / name for name in ("work", "l", "marks", _LAYERS)] if kept else [folder]
    if gone:
        forget_by_host(places, gone)


def _generations(state: Path) -> list[int]:
    return sorted(int(name) for name in files.list_names(state) if name.isascii() and name.isdecimal())


def _has_any(folder: Path) -> bool:
    return bool(files.list_names(folder))


def forget_by_host(mounted: Sequence[Path], paths: Sequence[Path]) -> None:
    """Unmount, and remove files and folders with all that is in them but is mounted there. Raises ToolFailed.

    Removed by the host, as the kernel makes folders for an overlay that only CAP_DAC_OVERRIDE can look into.
    """
    _run(_FORGET, str(len(mounted)), *map(str, (*mounted, *paths)))


def _run(script: str, *arguments: str) -> None:
    command = ["sh", "-c", script, "sh", *arguments]
    proc.require(host.run_as_pid1(command, timeout_s=MOUNT_TIMEOUT_S + len(arguments)))

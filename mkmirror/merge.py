"""Native extensions on the running system: look through them, merge them with one refresh, start and stop their units.

A refresh is not atomic, so there is one for all that is installed together. It fails as a whole for one image that has
no file system, and leaves one out without a word that it takes for another system's; so images are looked through
before, and what was really merged is asked for afterwards. An extension's units go on when it is unmerged; they are
stopped before, and kept from being started again by whatever pulls them in.

Source: systemd-sysext(8), systemctl(1), os-release(5); mount(8).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mkcore import files, proc
from mkcore.errors import BadInput, MkError, ToolFailed
from mkmirror import host, overlay, reserved
from mkmirror.formats import gpt, sysext
from mkmirror.formats.sysext import Kind
from mkmirror.names import show
from mkmirror.native import MAX_ENTRIES, Content, Sort, judge, kind_of, plain_name, require_mergeable

SETUP_TIMEOUT_S = 60.0
MUTABLE_SINCE = 256
"""Version of systemd from which a merged confext leaves /etc writable."""
IMAGES, LOOK = "images", "look"
OTHERS: Mapping[Kind, tuple[str, ...]] = {
    Kind.SYSEXT: ("run/extensions", "etc/extensions", "var/lib/extensions", "usr/lib/extensions"),
    Kind.CONFEXT: ("run/confexts", "var/lib/confexts", "usr/local/lib/confexts", "usr/lib/confexts"),
}
"""Where systemd looks for extensions."""
FOLDERS: Mapping[Kind, str] = {Kind.SYSEXT: "run/extensions", Kind.CONFEXT: "run/confexts"}

_OPTIONS = ("loop", "ro", "nodev", "nosuid", "noexec")
_SMALL_BYTES = 256 << 10
_PLAIN = """
import os, sys
def fail(error): raise error
for top, folders, names in os.walk(sys.argv[1], onerror=fail):
    for each in ("", *folders, *names):
        if os.listxattr(os.path.join(top, each), follow_symlinks=False):
            sys.exit(9)
"""
_NOT_PLAIN = 9


def link_of(name: str, root: Path = Path("/")) -> Path:
    """Return the path that has systemd merge the extension file `name`, e.g. `/run/extensions/a.raw`."""
    return root / FOLDERS[kind_of(name)] / f"{plain_name(name)}{sysext.SUFFIX}"


def prepare(run: Path, images: Mapping[str, Path], root: Path = Path("/")) -> tuple[dict[str, Content], dict[str, str]]:
    """Look through verified images; nothing is merged yet. run: `/run/mk-extensions`; images: `a.raw` -> the file.

    Returns what the good ones bring along, and for each other one why it cannot be merged, in one line.
    """
    refused: dict[str, str] = {}
    places: dict[str, Path] = {}
    mounts: list[host.Mount] = []
    unsure: set[str] = set()
    for name, image in images.items():
        place = run / LOOK / name
        try:
            _require_supported(name)
            require_free(name, run / IMAGES, root)
            kind, part = require_image(image, name)
            files.make_dir(place)
            places[name] = place
            mounts.append(host.Mount(str(image), place, kind, (*_OPTIONS, *part)))
            unsure.update({name} if kind != "squashfs" else ())
        except (MkError, OSError) as error:
            refused[name] = _line(name, error)
    # what lies below /usr now is kept reachable for later layers, before anything is merged into it
    originals = overlay.original_mounts(overlay.hierarchies(run, root)) if mounts else []
    table = overlay.table_of(root)
    failed = host.mount_all([*mounts, *originals], run / "mounts", lambda: overlay.mounted(table))
    lost = "".join(f"{old.source} cannot be kept: {failed[old.target]}" for old in originals if old.target in failed)
    found: dict[str, Content] = {}
    for name, place in places.items():
        if name in refused:
            continue
        try:
            if place in failed or lost:
                raise BadInput(f"cannot be mounted: {failed[place]}" if place in failed else lost, name)
            found[name] = look_through(place, name, root)
            if name in unsure:
                require_plain(place, name)
        except (MkError, OSError) as error:
            refused[name] = _line(name, error)
    there = overlay.mounted(table)
    host.unmount(*(place for place in places.values() if place in there))
    files.remove_tree(run / LOOK)
    return found, refused


def require_free(name: str, images: Path, root: Path = Path("/")) -> None:
    """Raise BadInput when somebody else has put an extension of this name where systemd finds it; OSError.

    images: the folder that our own links lead to.
    """
    plain = plain_name(name)
    for folder in OTHERS[kind_of(name)]:
        for path in (root / folder / f"{plain}{sysext.SUFFIX}", root / folder / plain):
            mine = path.is_symlink() and path.readlink().parent == images
            if os.path.lexists(path) and not mine:
                raise BadInput(f"this machine's administrator has an extension of that name, {path}", name)


def require_image(image: Path, name: str) -> tuple[str, tuple[str, ...]]:
    """Return an image's file system, and mount(8)'s options for the part of the image that it lies in.

    Raises BadInput for an image without one, a truncated one, or one of too many files; OSError.
    """
    size_bytes = image.stat().st_size
    options: tuple[str, ...] = ()
    with open(image, "rb") as stream:
        head = sysext.require_whole(stream.read(sysext.HEAD_BYTES), size_bytes, name)
        if head.file_system == "gpt":
            stream.seek(0)
            part = gpt.find_root(gpt.parse_partitions(stream.read(gpt.HEAD_BYTES), name), size_bytes, name)
            stream.seek(part.offset_bytes)
            head = sysext.require_whole(stream.read(sysext.HEAD_BYTES), part.size_bytes, name)
            options = (f"offset={part.offset_bytes}", f"sizelimit={part.size_bytes}")
    if head.inodes > MAX_ENTRIES:
        raise BadInput(f"has {head.inodes} files, more than {MAX_ENTRIES}", name)
    return head.file_system, options


def look_through(place: Path, name: str, root: Path = Path("/")) -> Content:
    """Return what an extension that can be seen at `place` brings along; raise BadInput when it may not be merged."""
    entries = scan(place, name)

    def base(path: str) -> str:
        """Return what the system itself has at `path`: "folder", "other", "" for nothing."""
        try:
            mode = (root / path).lstat().st_mode
        except OSError:
            return ""
        return "folder" if stat.S_ISDIR(mode) else "other"

    def read(path: str) -> str:
        """Return the text of a small file of the extension, "" for none."""
        return files.read_text_if_any(place / path, _SMALL_BYTES)

    require_mergeable(name, entries, base)
    folders = reserved.system_folders()
    for path in entries:
        said = reserved.reason(path, folders) if entries[path] is not Sort.FOLDER else ""
        if said:
            raise BadInput(f"{show(path)} {said}", name)
    kind = kind_of(name)
    inside = sysext.release_path(plain_name(name), kind)
    release = sysext.parse_release(read(inside), f"{name}: {inside}")
    mismatch = sysext.mismatch(release, read_system(root), os.uname().machine, kind)
    if mismatch:
        raise BadInput(mismatch, name)
    return judge(name, entries, read)


def require_plain(place: Path, name: str) -> None:
    """Raise BadInput when a file or folder of a mounted image has extended attributes, as overlayfs reads them.

    Asked of PID 1, since only who may administer the system sees those that are meant for overlayfs. Raises ToolFailed.
    """
    finished = _run(["/usr/bin/python3", "-I", "-c", _PLAIN, str(place)])
    if finished.status == _NOT_PLAIN:
        raise BadInput("has extended attributes, by which it could hide what the system has", name)
    proc.require(finished)


def scan(place: Path, name: str) -> dict[str, Sort]:
    """Return all paths below a folder and what they are; raise BadInput beyond MAX_ENTRIES, OSError."""
    entries: dict[str, Sort] = {}
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(place / folder) as found:
            for entry in found:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if len(entries) >= MAX_ENTRIES:
                    raise BadInput(f"has more than {MAX_ENTRIES} files", name)
                entries[path] = _sort(entry)
                if entries[path] is Sort.FOLDER:
                    pending.append(path)
    return entries


def read_system(root: Path = Path("/")) -> dict[str, str]:
    """Return the fields of os-release; raise BadInput for a damaged one, OSError for none."""
    path = root / "etc/os-release"
    return sysext.parse_release(files.read_text(path if path.exists() else root / "usr/lib/os-release"), str(path))


def commit(names: Sequence[str], images: Mapping[str, Path], root: Path = Path("/")) -> dict[str, str]:
    """Merge extensions that were looked through; return those that were not merged, with the reason.

    Several that fail together are tried one by one, so that one bad image costs itself alone. What was merged before
    stays merged.
    """
    refused: dict[str, str] = {}
    for kind in Kind:
        mine = [name for name in names if kind_of(name) is kind]
        failed = _merge(kind, mine, images, root) if mine else {}
        if len(mine) > 1 and len(failed) == len(mine):
            failed.clear()
            for name in mine:
                failed.update(_merge(kind, [name], images, root))
        refused.update(failed)
    return refused


def take_out(names: Sequence[str], root: Path = Path("/")) -> None:
    """Unmerge extensions with one refresh; their units are the caller's affair.

    Raises ToolFailed, BadInput, OSError; what is merged still has its link then, as before.
    """
    for kind in Kind:
        links = [link for name in names if kind_of(name) is kind and (link := link_of(name, root)).is_symlink()]
        images = {link: link.readlink() for link in links}
        for link in links:
            files.remove(link)
        try:
            if links:
                host.refresh(kind)
        except (MkError, OSError):
            for link, image in images.items():
                files.point(link, image)
            raise


def _merge(kind: Kind, names: Sequence[str], images: Mapping[str, Path], root: Path) -> dict[str, str]:
    """Try it; return those that are not merged, with the reason; nothing of them is left."""
    try:
        for name in names:
            files.make_dir(link_of(name, root).parent)
            files.point(link_of(name, root), images[name])
        merged = host.refresh(kind)
        failed = {
            name: f"{name}: systemd left it out; see journalctl" for name in names if plain_name(name) not in merged
        }
    except (MkError, OSError) as error:
        failed = {name: f"{name}: {error}" for name in names}
    for name in failed:
        files.remove(link_of(name, root))
    return failed


def bring_up(contents: Mapping[str, Content]) -> dict[str, str]:
    """Do what merged extensions need to work, and start their units; return what failed by extension, one line each.

    What fails here costs the extension nothing else: it stays merged.
    """
    failed: dict[str, str] = {}
    units = [unit for content in contents.values() for unit in content.units if "@" not in unit]
    try:
        if any(state["LoadState"] == "not-found" for state in host.unit_states(units).values()):
            host.reload_manager()
    except ToolFailed as error:
        failed.update(dict.fromkeys(contents, f"units: {error}"))
    for name, content in contents.items():
        problems = [each.describe() for each in map(_run, _setup(content)) if not each.ok]
        try:
            host.start_units(content.start)
        except ToolFailed as error:
            problems.append(f"{', '.join(content.start)}: {error}")
        if problems:
            failed[name] = f"{name}: {'; '.join(problems)}"
    if any(content.libraries for content in contents.values()):
        finished = _run(["ldconfig"])
        failed.update({} if finished.ok else dict.fromkeys(contents, finished.describe()))
    return failed


def stop(units: Iterable[str]) -> tuple[str, ...]:
    """Stop an extension's units; return those that `settle` has to look at once it is unmerged. Raises ToolFailed."""
    known = [unit for unit, state in host.unit_states(sorted(set(units))).items() if state["LoadState"] != "not-found"]
    host.stop_units(known)
    return tuple(known)


def settle(units: Sequence[str]) -> None:
    """Stop those units for good whose extension is gone: whatever upholds one starts it again until then.

    PID 1 reads all unit files anew only where the merge did not have it do so, since meanwhile it answers nobody.
    Raises ToolFailed.
    """
    if any(state["LoadState"] != "not-found" for state in host.unit_states(units).values()):
        host.reload_manager()
    host.stop_units(units)


def _setup(content: Content) -> list[list[str]]:
    """What a package's installation would have run, unless the extension has a unit that does."""
    steps: list[list[str]] = []
    if not content.setup:
        steps += [["systemd-sysusers", "--", *content.sysusers]] if content.sysusers else []
        steps += [["systemd-tmpfiles", "--create", "--", *content.tmpfiles]] if content.tmpfiles else []
        steps += [["udevadm", "control", "--reload"]] if content.udev else []
    return steps + ([["systemctl", "reload", "dbus.service"]] if content.bus else [])


def _run(argv: Sequence[str]) -> proc.Finished:
    return host.run_as_pid1(argv, timeout_s=SETUP_TIMEOUT_S)


def _require_supported(name: str) -> None:
    if kind_of(name) is Kind.CONFEXT and host.systemd_version() < MUTABLE_SINCE:
        raise BadInput(f"needs systemd {MUTABLE_SINCE}, without which /etc would be read-only", name)


def _sort(entry: os.DirEntry[str]) -> Sort:
    if entry.is_symlink():
        return Sort.LINK
    if entry.is_dir(follow_symlinks=False):
        return Sort.FOLDER
    return Sort.FILE if entry.is_file(follow_symlinks=False) else Sort.ODD


def _line(name: str, error: Exception) -> str:
    text = str(error) if isinstance(error, MkError) else f"cannot be read: {error}"
    return text if name in text else f"{name}: {text}"

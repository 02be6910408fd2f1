"""The one door to writing files, and bounded reading.

Every write is atomic: a temporary file in the same directory, fsync, rename, fsync of the directory, so that a reader
or a power cut sees the old content or the new, never half of it. Reads have a limit, because /run can hold whatever
the last crash left there. Source: rename(2), fsync(2).
"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Union

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, canonical, parse_object

StrPath = Union[str, Path]
DEFAULT_LIMIT_BYTES = 1 << 20


def write_atomic(path: StrPath, data: bytes, *, mode: int = 0o644, group: str = "") -> None:
    """Replace the content of `path` with `data`, as a file of `mode` and, where given, of `group`.

    Raises OSError when the directory is missing, full or not writable, and BadInput for an unknown group; the old
    file is then still there and no temporary file is left.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            if group:
                os.fchown(stream.fileno(), -1, _group_id(group))
            os.fchmod(stream.fileno(), mode)  # after fchown, which clears bits; and untouched by the umask
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)  # there only if something failed
    _sync_directory(target.parent)


def write_json(path: StrPath, value: object, *, mode: int = 0o644, group: str = "") -> None:
    """Write `value` in its canonical form with a final newline; as write_atomic.

    Not indented, so that what was measured in that form is as large in the file: a server that pushes deeply nested
    values could otherwise make files that their readers refuse.
    """
    write_atomic(path, canonical(value) + b"\n", mode=mode, group=group)


def read_bytes(path: StrPath, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> bytes:
    """Return the content of `path`; raise OSError as open(2) does, BadInput when it is larger than the limit."""
    with open(path, "rb") as stream:
        data = stream.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise BadInput(f"larger than {limit_bytes} bytes", str(path))
    return data


def read_text(path: StrPath, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> str:
    """Return the content of `path` as text; bytes that are not UTF-8 become U+FFFD. Raises as read_bytes."""
    return read_bytes(path, limit_bytes).decode("utf-8", "replace")


def read_text_if_any(path: StrPath, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> str:
    """Return the content of `path` as text, "" when it is absent, unreadable or too large."""
    try:
        return read_text(path, limit_bytes)
    except (OSError, BadInput):
        return ""


def list_names(path: StrPath) -> list[str]:
    """Return the sorted names in a directory; none when it is absent or unreadable."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def link_name(path: StrPath) -> str:
    """Return the last part of what a symbolic link leads to, whether that is there or not; "" for no link."""
    try:
        return os.readlink(path).rpartition("/")[2]
    except OSError:
        return ""


def read_line(path: StrPath) -> str:
    """Return the first line of a small kernel file, stripped; "" when it is absent, empty or unreadable."""
    return read_attribute(path).split(b"\n", 1)[0].decode("utf-8", "replace").strip("\0 \t\r")


def read_attribute(path: StrPath) -> bytes:
    """Return the content of a small kernel file, 4096 bytes at most; b"" when it is absent, empty or unreadable.

    For sysfs, where an attribute may exist and still answer EINVAL, EIO or EACCES. Without a stream object, because
    the probe reads thousands of such files.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def read_object(path: StrPath, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> dict[str, Json]:
    """Return the JSON object in `path`; raise OSError (FileNotFoundError when absent) or BadInput naming the file."""
    return parse_object(read_bytes(path, limit_bytes), str(path))


def remove(path: StrPath) -> None:
    """Remove the file `path` if it is there."""
    target = Path(path)
    target.unlink(missing_ok=True)
    if target.parent.is_dir():
        _sync_directory(target.parent)


def make_dir(path: StrPath, mode: int = 0o755) -> None:
    """Make the directory `path`, parents included, if it is not there; a new one gets exactly `mode`."""
    target = Path(path)
    try:
        target.mkdir(parents=True)
    except FileExistsError:
        if target.is_dir():
            return
        raise
    target.chmod(mode)


def give_to_owner_of(directory: StrPath, path: StrPath) -> None:
    """Have a file that root made belong to whoever owns `directory`, such as a service's user."""
    owner = Path(directory).stat()
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)  # the owner may have put a link there


def open_partial(path: StrPath, keep_bytes: int = 0) -> BinaryIO:
    """Open a file that grows over several attempts, at the end of its first `keep_bytes`; what is behind them is cut.

    A new one has mode 0600, and a symbolic link is never followed. Not atomic: `place` makes the whole file appear.
    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, keep_bytes)
        os.lseek(descriptor, keep_bytes, os.SEEK_SET)
        return os.fdopen(descriptor, "r+b")
    except BaseException:
        os.close(descriptor)
        raise


def place(partial: StrPath, target: StrPath, *, mode: int = 0o644) -> None:
    """Give a file that is complete its name, in one step and to stay; both lie in the same file system."""
    descriptor = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    Path(partial).replace(target)
    _sync_directory(Path(target).parent)


def point(link: StrPath, target: StrPath) -> None:
    """Have the symbolic link `link` lead to `target`, in one step where it is there already. Raises OSError."""
    path = Path(link)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        temporary.symlink_to(target)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # there only if something failed


def write_new(path: StrPath, chunks: Iterable[bytes], *, mode: int = 0o644) -> None:
    """Write a file that is not there yet, of exactly `mode`. Not atomic: for a folder that nobody looks into yet.

    Raises OSError (FileExistsError for whatever is there, links too) and what `chunks` raises.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
        stream.flush()
        os.fchmod(stream.fileno(), mode)


def share(source: StrPath, target: StrPath) -> None:
    """Give a file a second name, which is not there yet, in the same file system. Raises OSError."""
    os.link(source, target, follow_symlinks=False)


def open_below(root: StrPath, *parts: str) -> BinaryIO:
    """Open a regular file below a folder that somebody else writes; no symbolic link on the way is followed.

    Opened for reading, without waiting for whoever may be at a pipe's other end. Raises OSError as open(2) does (ELOOP,
    ENOTDIR for a link), BadInput for what is no regular file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(root, flags | os.O_DIRECTORY)
    try:
        for position, part in enumerate(parts, 1):
            last = position == len(parts)
            below = os.open(part, flags | (os.O_NONBLOCK if last else os.O_DIRECTORY), dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadInput("is not a regular file", "/".join((str(root), *parts)))
        return os.fdopen(descriptor, "rb")
    except (OSError, BadInput):
        os.close(descriptor)
        raise


def remove_below(root: StrPath, *parts: str) -> None:
    """Remove a file below a folder that somebody else writes, following no symbolic link. Raises OSError."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY
    descriptor = os.open(root, flags)
    try:
        for part in parts[:-1]:
            below = os.open(part, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        os.unlink(parts[-1], dir_fd=descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: StrPath) -> None:
    """Remove the directory `path` with all that is in it, if it is there; links are removed, not followed."""
    import shutil  # slow to import, and mk-facts has no use for it

    if Path(path).is_dir():
        shutil.rmtree(path)


def _group_id(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise BadInput(f"no group of the name {group!r}") from None


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

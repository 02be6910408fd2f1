"""The content of a wheel, checked before anything of it is written.

A wheel is a ZIP archive with a list (RECORD) of its files and their digests. Everything in it is a stranger's: names
that lead out, links, files that the list does not know or knows otherwise, and archives that are small but become
large. Whatever is written afterwards is what was checked, because it is checked again while it is written.

Source: binary distribution format (PEP 427), "The .dist-info directory" and "The .data directory"; recording installed
projects (PEP 376, PEP 627); entry points specification; APPNOTE.TXT 4.4 (ZIP).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mkcore import files
from mkcore.errors import BadInput
from mkmirror import reserved
from mkmirror.formats.wheel import Metadata, Wheel, parse_metadata, parse_wheel
from mkmirror.image import make_folders
from mkmirror.names import require_inside, show

MAX_FILES = 20_000
MAX_UNPACKED_BYTES = 512 << 20
MAX_RATIO = 200
TEXT_LIMIT_BYTES = 4 << 20
LIBRARY, COMMANDS = "lib", "local"
"""Folders of an unpacked wheel: modules, and what goes below /usr/local."""

_CHUNK_BYTES = 1 << 20
_END = struct.Struct("<4sHHHHIIH")  # end of central directory record
_LOCATOR_BYTES = 20  # of ZIP64, just before it
_MAX_DIRECTORY_BYTES = MAX_FILES * 200
_ENCRYPTED = 1
_DATA = {"purelib": LIBRARY, "platlib": LIBRARY, "scripts": f"{COMMANDS}/bin", "data": COMMANDS}
_DATA_TOPS = ("bin", "etc", "games", "include", "lib", "libexec", "sbin", "share", "src")
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
_DIGESTS = ("sha256", "sha384", "sha512")
_COMMAND = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")
_DOTTED = r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
_OBJECT = re.compile(rf"{_DOTTED}\s*:\s*{_DOTTED}\s*(?:\[.*\])?", re.ASCII)


class Entry(NamedTuple):
    """A file of a wheel. target: path below the folder it is unpacked into; digest: e.g. `sha256`, and its bytes."""

    source: str
    target: str
    size_bytes: int
    algorithm: str
    digest: bytes
    executable: bool


@dataclass(frozen=True)
class Content:
    """A checked wheel. commands: name of a command -> module and object, e.g. `foo` -> (`foo.cli`, `main`)."""

    wheel: Wheel
    metadata: Metadata
    entries: tuple[Entry, ...]
    commands: Mapping[str, tuple[str, str]]


def read_wheel(path: Path, file: str) -> Content:
    """Read a wheel and check all that can be checked without unpacking it.

    file: the name that it was published under, e.g. `foo-1.0-py3-none-any.whl`. Raises BadInput naming the file and
    what is wrong with it, OSError.
    """
    wheel = parse_wheel(file)
    size_bytes = path.stat().st_size
    _require_few(path, size_bytes, file)
    try:
        with zipfile.ZipFile(path) as archive:
            _require_small(archive, size_bytes, file)
            info = _info_folder(archive, wheel, file)
            _require_format(_text(archive, f"{info}/WHEEL", file), file)
            metadata = parse_metadata(_text(archive, f"{info}/METADATA", file), f"{file}: METADATA")
            if (metadata.name, metadata.version) != (wheel.name, wheel.version):
                raise BadInput(f"holds {metadata.name} {metadata.version}", file)
            listed = _text(archive, f"{info}/RECORD", file)
            record = parse_record(listed, f"{file}: RECORD")
            # It is unpacked, too: by it the files can be checked later.
            record[f"{info}/RECORD"] = ("sha256", hashlib.sha256(listed.encode()).digest(), -1)
            entries = tuple(_entries(archive, info, record, wheel))
            _require_distinct(entries, file)
            points = f"{info}/entry_points.txt"
            text = _text(archive, points, file) if points in archive.namelist() else ""
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"is no wheel that can be read: {error}", file) from None
    commands = parse_commands(text, f"{file}: entry_points.txt")
    for name in commands:
        _require_free(f"{COMMANDS}/bin/{name}", name, file)
    return Content(wheel, metadata, entries, commands)


def unpack(path: Path, content: Content, target: Path) -> None:
    """Write what was read from the wheel at `path` into the folder `target`, which is not there yet.

    Raises BadInput for a file that is not what RECORD says (the folder is then to be removed by the caller), OSError.
    """
    file = content.wheel.file
    make_folders(target / LIBRARY)
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in content.entries:
                place = target / entry.target
                make_folders(place.parent)
                mode = 0o755 if entry.executable else 0o644
                files.write_new(place, _checked(archive, entry, file), mode=mode)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"is damaged: {error}", file) from None


def parse_record(text: str, where: str) -> dict[str, tuple[str, bytes, int]]:
    """Parse a RECORD: path -> (digest's algorithm, digest, size in bytes); ("", b"", -1) for what has none.

    Raises BadInput naming the line: no path inside, a digest that is none or too weak, a path that comes twice.
    """
    found: dict[str, tuple[str, bytes, int]] = {}
    try:
        rows = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise BadInput(str(error), where) from None
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        place = f"{where}:{number}"
        if len(row) != 3:
            raise BadInput(f"not of the form PATH,DIGEST,SIZE: {show(','.join(row))}", place)
        name = require_inside(row[0], place)
        if name in found:
            raise BadInput(f"{show(name)} comes twice", place)
        if row[2] and not (row[2].isascii() and row[2].isdecimal() and len(row[2]) < 16):
            raise BadInput(f"{show(row[2])} is not a size", place)
        found[name] = (*_digest(row[1], place), int(row[2]) if row[2] else -1)
    return found


def parse_commands(text: str, where: str) -> dict[str, tuple[str, str]]:
    """Parse the console_scripts of an entry_points.txt: command -> (module, object); raise BadInput for other forms."""
    found: dict[str, tuple[str, str]] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif line and not line.startswith(("#", ";")) and section == "console_scripts":
            name, _, reference = (part.strip() for part in line.partition("="))
            match = _OBJECT.fullmatch(reference)
            if match is None or not _COMMAND.fullmatch(name):
                raise BadInput(f"not of the form NAME = MODULE:OBJECT: {show(line)}", f"{where}:{number}")
            found[name] = (match[1], match[2])
    return found


def _digest(text: str, where: str) -> tuple[str, bytes]:
    if not text:
        return "", b""
    algorithm, _, value = text.partition("=")
    try:
        digest = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except ValueError:
        digest = b""
    if algorithm not in _DIGESTS or len(digest) != hashlib.new(algorithm).digest_size:
        raise BadInput(f"{show(text)} is not a digest", where)
    return algorithm, digest


def _require_few(path: Path, size_bytes: int, file: str) -> None:
    """Raise BadInput for an archive whose directory is too large to be read, as zipfile reads whatever it is."""
    with open(path, "rb") as stream:
        stream.seek(max(0, size_bytes - _END.size - _LOCATOR_BYTES))
        tail = stream.read()
    end = tail[-_END.size :]
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        raise BadInput("is no ZIP archive, or has something behind its end", file)
    directory_bytes = _END.unpack(end)[5]
    if tail[: -_END.size].startswith(b"PK\6\7") or directory_bytes > _MAX_DIRECTORY_BYTES:
        raise BadInput(f"has more than {MAX_FILES} files", file)


def _require_small(archive: zipfile.ZipFile, size_bytes: int, file: str) -> None:
    members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if len(members) > MAX_FILES:
        raise BadInput(f"has {len(members)} files, more than {MAX_FILES}", file)
    if unpacked > MAX_UNPACKED_BYTES:
        raise BadInput(f"becomes {unpacked} bytes, more than {MAX_UNPACKED_BYTES}", file)
    if unpacked > MAX_RATIO * size_bytes:
        raise BadInput(f"becomes {unpacked} bytes, more than {MAX_RATIO} times its size", file)
    for member in members:  # of others, zipfile unpacks without a bound
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & _ENCRYPTED:
            raise BadInput(f"{show(member.filename)} is compressed or encrypted as no wheel is", file)
        if not 0 <= member.header_offset < size_bytes:
            raise BadInput("is damaged: a file lies outside the archive", file)


def _info_folder(archive: zipfile.ZipFile, wheel: Wheel, file: str) -> str:
    """Return the one `NAME-VERSION.dist-info`, however name and version are written."""
    found = {name.partition("/")[0] for name in archive.namelist()}
    folders = sorted(name for name in found if name.endswith(".dist-info"))
    if len(folders) != 1:
        raise BadInput(f"has {len(folders)} folders *.dist-info, one is wanted", file)
    name, _, version = folders[0][: -len(".dist-info")].rpartition("-")
    try:
        fits = canonicalize_name(name) == wheel.name and Version(version) == wheel.version
    except InvalidVersion:
        fits = False
    if not fits:
        raise BadInput(f"has {show(folders[0])}, which is another package's", file)
    return folders[0]


def _require_format(text: str, file: str) -> None:
    match = re.search(r"^Wheel-Version:[ \t]*([0-9]+)\.[0-9]+[ \t]*$", text, re.MULTILINE)
    if match is None or match[1] != "1":
        raise BadInput("is of a format that is not known, Wheel-Version 1 is", file)


def _text(archive: zipfile.ZipFile, name: str, file: str) -> str:
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise BadInput(f"has no {name}", file) from None
    with archive.open(member) as stream:
        data = stream.read(TEXT_LIMIT_BYTES + 1)
    if len(data) > TEXT_LIMIT_BYTES:
        raise BadInput(f"{name} is larger than {TEXT_LIMIT_BYTES} bytes", file)
    return data.decode("utf-8", "replace")


def _entries(
    archive: zipfile.ZipFile, info: str, record: Mapping[str, tuple[str, bytes, int]], wheel: Wheel
) -> Iterator[Entry]:
    """Yield each file with its digest and where it goes; every file must stand in RECORD, once, with a digest."""
    file = wheel.file
    data = f"{info[: -len('.dist-info')]}.data"
    seen: set[str] = set()
    for member in archive.infolist():
        name = member.filename
        if member.is_dir():
            require_inside(name.rstrip("/"), file)
            continue
        require_inside(name, file)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise BadInput(f"{show(name)} is no plain file", file)
        if name in seen:
            raise BadInput(f"{show(name)} is in it twice", file)
        seen.add(name)
        if name in (f"{info}/{each}" for each in _SIGNATURES):
            continue
        algorithm, digest, size_bytes = record.get(name, ("", b"", -1))
        if not algorithm:
            raise BadInput(f"RECORD has no digest of {show(name)}", file)
        if size_bytes not in (-1, member.file_size):
            raise BadInput(f"{show(name)} has {member.file_size} bytes, RECORD says {size_bytes}", file)
        target, executable = _target(name, data, wheel.name, file)
        _require_free(target, name, file)
        executable = executable or bool(member.external_attr >> 16 & 0o100)
        yield Entry(name, target, member.file_size, algorithm, digest, executable)
    missing = sorted(set(record) - seen)
    if missing:
        raise BadInput(f"lacks {show(missing[0])}, which RECORD has", file)


def _target(name: str, data: str, package: str, file: str) -> tuple[str, bool]:
    """Return where a file goes, and whether it is a command."""
    if not name.startswith(f"{data}/"):
        return f"{LIBRARY}/{name}", False
    _, _, rest = name.partition("/")
    scheme, _, inside = rest.partition("/")
    if scheme == "headers" and inside and package[:1].isalnum():
        return f"{COMMANDS}/include/{package}/{inside}", False
    if scheme not in _DATA or not inside or (scheme == "data" and inside.split("/")[0] not in _DATA_TOPS):
        raise BadInput(f"{show(name)} has no place here", file)
    return f"{_DATA[scheme]}/{inside}", scheme == "scripts"


def _require_free(target: str, shown: str, file: str) -> None:
    """Raise BadInput for what would lie in /usr/local where nothing may."""
    top, _, inside = target.partition("/")
    said = reserved.reason(f"usr/local/{inside}", reserved.system_folders()) if top == COMMANDS else ""
    if said:
        raise BadInput(f"{show(shown)} {said}", file)


def _require_distinct(entries: tuple[Entry, ...], file: str) -> None:
    """Two files may not become one, and none a folder of another."""
    folders = {parent.as_posix() for entry in entries for parent in Path(entry.target).parents}
    seen: set[str] = set()
    for entry in entries:
        if entry.target in folders or entry.target in seen:
            raise BadInput(f"{show(entry.target)} would be written twice", file)
        seen.add(entry.target)


def _checked(archive: zipfile.ZipFile, entry: Entry, file: str) -> Iterator[bytes]:
    """Yield a file's bytes; raise BadInput at their end when they are not those that RECORD lists."""
    state = hashlib.new(entry.algorithm)
    left = entry.size_bytes
    with archive.open(entry.source) as stream:
        while True:
            chunk = stream.read(_CHUNK_BYTES)
            left -= len(chunk)
            if left < 0:
                raise BadInput(f"{show(entry.source)} is larger than it says", file)
            if not chunk:
                break
            state.update(chunk)
            yield chunk
    if left or not hmac.compare_digest(state.digest(), entry.digest):
        raise BadInput(f"{show(entry.source)} is not what RECORD says", file)

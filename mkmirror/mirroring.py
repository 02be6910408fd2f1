"""Copying a part of a remote mirror: extensions and packages by name, with all that they need.

The copy has the layout of the original, so that nodes change over by one address. It can be broken off and started
again at any time: what is there with the right sum is not brought again, and half a file is continued. A remote
SHA256SUMS with its signature is copied as it is, and so the copy is as trustworthy as the original.

Source: protocol 5.2, 5.3, 5.5; 8.2 (the historic build resolved no dependencies of extensions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional
from urllib.parse import urljoin

from packaging.markers import default_environment
from packaging.tags import sys_tags

from mkcore import files
from mkcore.errors import BadInput, Untrusted
from mkmirror import remote, trust
from mkmirror.audit import content_of
from mkmirror.catalogue import PACKAGES, TINY_CORE, read_wheel_metadata
from mkmirror.formats import sysext, tce, wheel
from mkmirror.lists import decode
from mkmirror.names import show
from mkmirror.progress import Progress
from mkmirror.remote import Fetching, Sums, join
from mkmirror.resolve import parse_needs, resolve

TEXT_LIMIT_BYTES = 4 << 20


@dataclass(frozen=True)
class Origin:
    """A remote mirror, what of it is meant, and what must vouch for it.

    base: e.g. `http://mirror/tinycorelinux`. release, build: Tiny Core's, e.g. `15.x`, `x86_64`; build is also the
    machine that native extensions are for. kernel: what -KERNEL stands for.
    """

    base: str
    release: str
    build: str
    kernel: str
    mode: trust.Verify
    keys: Sequence[Path]
    work: Path

    def folder_of(self, name: str) -> str:
        """Return the folder of an extension's file below the base; raise BadInput for a name of another kind."""
        if name.endswith(tce.SUFFIX):
            return tce.folder(self.release, self.build)
        if name.endswith(sysext.SUFFIX):
            return native_folder(self.build)
        raise BadInput(f"{show(name)} ends neither in {tce.SUFFIX} nor in {sysext.SUFFIX}")


def native_folder(machine: str) -> str:
    """Return the folder of native extensions below a mirror's base, e.g. `sysext/x86_64`; raise BadInput."""
    if not tce.is_build(machine):
        raise BadInput(f"{show(machine)} is not of the form x86_64", "build")
    return f"sysext/{machine}"


@dataclass
class _Folder:
    """A remote folder as far as it is known."""

    uri: str
    target: Path
    sums: Mapping[str, str]
    signed: Optional[tuple[bytes, bytes]]
    texts: dict[str, Optional[bytes]] = field(default_factory=dict[str, Optional[bytes]])

    def text(self, name: str) -> Optional[bytes]:
        """Return a small file that accompanies an image, None when there is none. Raises Untrusted."""
        if name not in self.texts:
            known = not self.sums or name in self.sums
            data = remote.read_small(join(self.uri, name), TEXT_LIMIT_BYTES) if known else None
            if data is None and name in self.sums:
                raise Untrusted(f"{name}: is in {trust.SUMS} and not there")
            if data is not None and self.sums and trust.digest_bytes(data) != self.sums[name]:
                raise Untrusted(f"{name}: is not what {trust.SUMS} says")
            self.texts[name] = data
        return self.texts[name]


class Mirroring:
    """Copies from one origin into `root`."""

    def __init__(self, origin: Origin, root: Path, how: Fetching, progress: Progress) -> None:
        self._origin = origin
        self._root = root
        self._how = how
        self._progress = progress
        self._folders: dict[str, _Folder] = {}

    def extensions(self, names: Sequence[str]) -> list[str]:
        """Copy extensions and all that they need; return their file names, what is needed first.

        Nothing is copied unless the dependencies are all there. Raises MkError of every kind, OSError.
        """
        wanted = [self._file_name(name) for name in names]
        order = resolve(wanted, self._needs)
        for number, name in enumerate(order, 1):
            folder = self._folder(self._origin.folder_of(name))
            files.make_dir(folder.target)
            for ending in tce.BESIDE:
                text = folder.text(name + ending)
                if text is not None:
                    files.write_atomic(folder.target / (name + ending), text)
            self._fetch(folder, name, f"{number} of {len(order)}", self._sums_of(folder, name))
        self._keep_signatures()
        return order

    def _file_name(self, name: str) -> str:
        return name if name.endswith(sysext.SUFFIX) else tce.file_name(name, self._origin.kernel)

    def _folder(self, path: str, top: str = TINY_CORE) -> _Folder:
        if path not in self._folders:
            uri = join(self._origin.base, path)
            sums, signed = remote.read_folder_sums(uri, self._origin.mode, self._origin.keys, self._origin.work)
            self._folders[path] = _Folder(uri, self._root / top / path, sums, signed)
        return self._folders[path]

    def _needs(self, name: str) -> Optional[Sequence[str]]:
        """Return what an extension needs; None when there is none of that name, by the sums or by its MD5."""
        folder = self._folder(self._origin.folder_of(name))
        if name not in folder.sums and (folder.sums or folder.text(f"{name}.md5.txt") is None):
            return None
        text = folder.text(f"{name}.dep")
        where = f"{name}.dep"
        return parse_needs(name, decode(text, where), self._origin.kernel, where) if text else ()

    def _sums_of(self, folder: _Folder, name: str) -> Sums:
        if name in folder.sums:
            return Sums(sha256=folder.sums[name])
        text = folder.text(f"{name}.md5.txt") or b""
        return Sums(md5=tce.parse_md5(decode(text, name), name, f"{name}.md5.txt"))

    def _fetch(self, folder: _Folder, name: str, place: str, sums: Sums, uri: str = "") -> None:
        target = folder.target / name
        shown = f"{name} ({place})"
        brought = remote.fetch(
            uri or join(folder.uri, name),
            target,
            sums,
            self._how,
            lambda done, total: self._progress.moved(shown, done, total),
        )
        self._progress.say(f"{shown}: {'copied' if brought else 'is there'}")

    def _keep_signatures(self) -> None:
        """Copy the signed sums, unless the folder also offers what they do not know."""
        for folder in self._folders.values():
            if folder.signed is None or not folder.target.is_dir():
                continue
            if set(content_of(folder.target)) - set(folder.sums):
                self._progress.warn(f"{folder.target}: holds other files, too: sign it anew with mkmirror index")
                continue
            for name, data in zip((trust.SUMS, trust.SIGNATURE), folder.signed):
                if data:
                    files.write_atomic(folder.target / name, data)

    def packages(self, wanted: Sequence[wheel.Wanted]) -> list[str]:
        """Copy Python packages, of each the newest version that is wanted and runs here, and all that they need.

        Return the wheels' names. Raises BadInput naming who needs what is not there or not in that version.
        """
        environment = {key: str(value) for key, value in default_environment().items()}
        chosen: dict[str, wheel.Wheel] = {}
        pending = [(each, "") for each in wanted]
        seen: set[str] = set()
        while pending:
            each, by = pending.pop(0)
            if str(each) in seen:
                continue
            seen.add(str(each))
            found = chosen.get(each.name)
            if found is not None and not each.versions.contains(found.version, prereleases=True):
                raise BadInput(f"{each} is wanted{by}, but {found.file} was chosen before")
            found = found or self._copy_package(each, by)
            chosen[each.name] = found
            target = self._root / PACKAGES / wheel.FOLDER / found.file
            metadata = wheel.parse_metadata(read_wheel_metadata(target).decode("utf-8", "replace"), found.file)
            pending += [(need, f" by {found.file}") for need in wheel.needs(metadata, environment, each.extras)]
        self._keep_signatures()
        return sorted(each.file for each in chosen.values())

    def _copy_package(self, wanted: wheel.Wanted, by: str) -> wheel.Wheel:
        folder = self._folder(wheel.FOLDER, PACKAGES)
        offered = dict(self._offered_by_sums(folder) if folder.sums else self._offered_by_page(wanted.name))
        found = wheel.choose((wheel.parse_wheel(file) for file in offered), wanted, list(sys_tags()))
        if found is None:
            raise BadInput(f"{wanted} is wanted{by}, and the mirror has no such package")
        uri, sha256 = offered[found.file]
        files.make_dir(folder.target)
        self._fetch(folder, found.file, str(found.version), Sums(sha256=sha256), uri)
        metadata = f"{found.file}.metadata"
        if metadata in folder.sums:
            files.write_atomic(folder.target / metadata, folder.text(metadata) or b"")
        return found

    def _offered_by_sums(self, folder: _Folder) -> dict[str, tuple[str, str]]:
        names = (name for name in folder.sums if name.endswith(wheel.SUFFIX))
        return {name: (join(folder.uri, name), folder.sums[name]) for name in names}

    def _offered_by_page(self, name: str) -> dict[str, tuple[str, str]]:
        """Ask the simple API of any package index; only links with a sum count."""
        page = join(self._origin.base, wheel.SIMPLE, name) + "/"
        data = remote.read_small(page, TEXT_LIMIT_BYTES)
        links = wheel.parse_page(decode(data, page)) if data is not None else ()
        return {
            link.file: (urljoin(page, link.url), link.sha256)
            for link in links
            if link.file.endswith(wheel.SUFFIX) and link.sha256 and not link.yanked
        }

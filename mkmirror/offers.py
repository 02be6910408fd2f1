"""What a mirror offers: its folders, what vouches for them, and the small files beside the images.

A folder is read once: its sums, whose signature must be good before anything else of it counts, and then only what is
asked for. A mirror that does not answer is asked once; whatever else is wanted from it fails with the same words.

Source: protocol 5.2; RFC 9110 section 9.3.2 (HEAD).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from mkcore.errors import BadInput, MkError, ToolFailed, Unreachable, Untrusted
from mkmirror import remote, staged, trust
from mkmirror.formats import sysext, tce
from mkmirror.mirroring import native_folder
from mkmirror.names import show
from mkmirror.remote import FolderSums, Sums, join
from mkmirror.strict import DIRECT, Way

TEXT_LIMIT_BYTES = 256 << 10
TEXTS_LIMIT_BYTES = 64 << 20
"""All small files of one mirror together."""
PATIENCE_S = 300.0
"""So long in all a mirror may take for its small files; one that drips takes others' time."""


@dataclass(frozen=True)
class Trusting:
    """What must vouch for a mirror that is not this machine's own; work: a folder of this process.

    signed: trust.use_of a signature -> Unix time of the newest one of this use in this boot.
    """

    mode: trust.Verify
    keys: Sequence[Path]
    work: Path
    signed: Mapping[str, int] = field(default_factory=dict[str, int])
    patience_s: float = PATIENCE_S
    way: Way = DIRECT


@dataclass(frozen=True)
class Layout:
    """Which folders are for this machine: Tiny Core's release and build, the machine's architecture by uname(2)."""

    release: str
    build: str
    machine: str

    def folder_of(self, name: str) -> str:
        """Return the folder of an extension's file below a mirror's base; raise BadInput for another kind of file."""
        if name.endswith(sysext.SUFFIX):
            return native_folder(self.machine)
        if name.endswith(tce.SUFFIX):
            return tce.folder(self.release, self.build)
        raise BadInput(f"{show(name)} ends neither in {tce.SUFFIX} nor in {sysext.SUFFIX}")


def folder_id(mirror: str, path: str) -> str:
    """Return the name of a folder's place in staging: always the same, so that a download goes on where it ended."""
    return hashlib.sha256(f"{mirror}\n{path}".encode("utf-8", "replace")).hexdigest()[:12]


class Folder:
    """A folder of a mirror, as far as it is known."""

    def __init__(self, mirror: Mirror, path: str, found: FolderSums) -> None:
        self.mirror = mirror
        self.path = path
        self.uri = join(mirror.base, path)
        self.id = folder_id(mirror.base, path)
        self.sums = found.sums
        self.indexed: dict[str, str] = {}
        """Sums of files that come by an index of packages, where there are no other sums."""
        self._found = found
        self._texts: dict[str, Optional[bytes]] = {}

    @property
    def model(self) -> staged.Folder:
        """How the folder stands in the document for mk-extensions."""
        return staged.Folder(self.mirror.base, self.path, self.mirror.own)

    def address(self, name: str) -> str:
        """Return the address of a file in it."""
        return join(self.uri, name)

    def evidence(self) -> dict[str, bytes]:
        """Return what vouches for the folder, by the names of the files."""
        sums = self._found.data or trust.build_sums(self.indexed).encode()
        found = {trust.SUMS: sums, trust.SIGNATURE: self._found.signature}
        return {name: data for name, data in found.items() if data}

    def has(self, name: str) -> bool:
        """Tell whether the folder has the image `name`, by its sums or, without any, by what is beside it.

        Raises Untrusted when it is there and nothing vouches for it; Unreachable, ServerRefused, BadAnswer.
        """
        if self.sums:
            return name in self.sums
        if name.endswith(tce.SUFFIX) and self.text(f"{name}.md5.txt") is not None:
            return True
        there = self.mirror.ask(self.address(name))
        if there and not self.mirror.own:
            raise Untrusted(f"{self.address(name)}: no {trust.SUMS} and no other sum vouches for it")
        return there

    def text(self, name: str) -> Optional[bytes]:
        """Return a small file that accompanies an image, None when there is none.

        Raises Untrusted when it is not what the sums say; Unreachable, ServerRefused, BadAnswer, BadInput.
        """
        if name not in self._texts:
            known = not self.sums or name in self.sums
            data = self.mirror.read(self.address(name)) if known else None
            if data is None and name in self.sums:
                raise Untrusted(f"{self.address(name)}: is in {trust.SUMS} and not there")
            if data is not None and self.sums and trust.digest_bytes(data) != self.sums[name]:
                raise Untrusted(f"{self.address(name)}: is not what {trust.SUMS} says")
            self._texts[name] = data
        return self._texts[name]

    def sums_of(self, name: str) -> Sums:
        """Return what an image must be; raise BadInput for a damaged `.md5.txt`, and as text."""
        md5 = ""
        if name.endswith(tce.SUFFIX):
            beside = f"{name}.md5.txt"
            data = self.text(beside)
            md5 = tce.parse_md5(data.decode("utf-8", "replace"), name, beside) if data is not None else ""
        return Sums(self.sums.get(name, ""), md5)


class Mirror:
    """One mirror; own: this machine's own, which is believed here because mk-extensions compares it with the disk."""

    def __init__(self, base: str, own: bool, trusting: Trusting) -> None:
        self.base = base
        self.own = own
        self._trusting = trusting
        self._folders: dict[str, Folder] = {}
        self._refused: dict[str, MkError] = {}
        self._silent: Optional[Unreachable] = None
        self._read_bytes = 0
        self._spent_s = 0.0

    def __str__(self) -> str:
        return self.base

    @property
    def folders(self) -> tuple[Folder, ...]:
        """The folders that were read."""
        return tuple(self._folders.values())

    @property
    def way(self) -> Way:
        """How it is reached."""
        return self._trusting.way

    @property
    def mode(self) -> trust.Verify:
        """What must vouch for its content."""
        return trust.Verify.CHECKSUM if self.own else self._trusting.mode

    def folder(self, path: str) -> Folder:
        """Return a folder once its sums are vouched for; raises as remote.read_folder, always the same for a path."""
        if path in self._refused:
            raise self._refused[path]
        if path not in self._folders:
            try:
                self._folders[path] = self._read_folder(path)
            except MkError as error:
                self._refused[path] = error
                raise
        return self._folders[path]

    def _read_folder(self, path: str) -> Folder:
        uri = join(self.base, path)
        try:
            with self._asking():
                found = remote.read_folder(uri, self.mode, self._trusting.keys, self._trusting.work, way=self.way)
        except OSError as error:
            raise ToolFailed(f"{uri}: cannot be checked: {error.filename}: {error.strerror}") from None
        signed = found.signed
        if signed is not None:
            signed.require_for(path, uri)
        if signed is not None and signed.made_s < self._trusting.signed.get(trust.use_of(signed, path), 0):
            raise Untrusted(f"{uri}: {trust.SUMS} was signed before the one that is in use already: it is out of date")
        return Folder(self, path, found)

    def read(self, uri: str) -> Optional[bytes]:
        """Return a small file of this mirror, None when it has none; raises as remote.read_small, and BadInput beyond
        TEXTS_LIMIT_BYTES in all.
        """
        with self._asking():
            data = remote.read_small(uri, TEXT_LIMIT_BYTES, way=self.way)
        self._read_bytes += len(data or b"")
        if self._read_bytes > TEXTS_LIMIT_BYTES:
            raise BadInput(f"{self.base}: more than {TEXTS_LIMIT_BYTES} bytes of lists and sums")
        return data

    def ask(self, uri: str) -> bool:
        """Tell whether the mirror has a file, without bringing it; raises as remote.read_small."""
        with self._asking():
            return remote.ask("HEAD", uri, self.way).status == 200

    @contextmanager
    def _asking(self) -> Generator[None, None, None]:
        """Ask the mirror something; one that was silent, or took too long in all, is not asked again."""
        if self._silent is None and self._spent_s > self._trusting.patience_s:
            limit_s = self._trusting.patience_s
            self._silent = Unreachable(f"{self.base}: took more than {limit_s:g} s for lists and sums alone")
        if self._silent is not None:
            raise self._silent
        began = time.monotonic()
        try:
            yield
        except Unreachable as error:
            self._silent = error
            raise
        finally:
            self._spent_s += time.monotonic() - began

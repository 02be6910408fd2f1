"""Whether what mk-fetch staged may be installed: looked at once more, by root, from nothing that mk-fetch says.

A folder that is claimed to be the machine's own mirror counts only by what lies in that mirror on disk, so whoever
speaks on loopback in its place gains nothing. Any other folder needs sums that a trusted key signed, and not earlier
than those that were used for it before. A file is copied into root's own folder while its digest is made: what was
checked is what is installed, whoever changes the staged file meanwhile.

Source: protocol 5.2, 5.3; sha256sum(1), gpgv(1); path_resolution(7).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Optional

from mkcore import files
from mkcore.errors import BadInput, MkError, Untrusted
from mkmirror import trust
from mkmirror.formats import tce
from mkmirror.ground import Ground, address
from mkmirror.lists import decode
from mkmirror.needed import DEP, needs_of
from mkmirror.staged import FOLDER, Folder, Item, Kind
from mkmirror.when import SUFFIX as WHEN

_CHUNK_BYTES = 1 << 20
_SMALL_BYTES = 1 << 20
MAP = ".map"


@dataclass(frozen=True)
class Checked:
    """A file that may be installed: our copy of it, and what vouched for it.

    mirror: address of its folder. signed_by: fingerprint, "" for the built-in mirror and without signatures. map: our
    copy of the `.map` beside it, if any. when: text of the `.when` beside it, if any.
    """

    item: Item
    path: Path
    sha256: str
    size_bytes: int
    mirror: str
    signed_by: str
    map: Optional[Path] = None
    when: Optional[str] = None


@dataclass(frozen=True)
class _Vouched:
    """What vouches for a folder; built-in ones have no sums here but are looked up file by file."""

    sums: Mapping[str, str] = field(default_factory=dict[str, str])
    signed: Optional[trust.Signed] = None


class Verifier:
    """Checks the items of one staged document. `signed` grows: trust.use_of a signature -> its time."""

    def __init__(self, run_fetch: Path, ground: Ground, folders: Mapping[str, Folder], signed: Mapping[str, int]):
        self._staging = run_fetch / FOLDER
        self._ground = ground
        self._folders = folders
        self.signed = dict(signed)
        self._vouched: dict[str, _Vouched] = {}
        self._refused: dict[str, MkError] = {}
        self._checked: dict[tuple[str, str], Checked] = {}

    def check(self, item: Item) -> Checked:
        """Return the item as our own checked copy; several requests share one.

        Raises Untrusted when nothing vouches for it, BadInput for what is no file of that kind or not there, and
        OSError when it cannot be copied (ENOSPC).
        """
        found = self._checked.get((item.folder, item.name))
        if found is None:
            found = self._check(item)
            self._checked[item.folder, item.name] = found
        return found

    def _check(self, item: Item) -> Checked:
        folder = self._folders[item.folder]
        self._ground.require_place(item.kind, folder)
        vouched = None if folder.builtin else self._vouch(item.folder)
        target = self._ground.work / "incoming" / item.folder / item.name
        sha256, md5, size_bytes = self._copy(item.folder, item.name, target)
        signed_by = ""
        try:
            if vouched is None:
                self._require_builtin(folder, item.name, sha256)
            else:
                signed_by = vouched.signed.fingerprint if vouched.signed else ""
                self._require_vouched(item, vouched, sha256, md5)
            beside = self._copy_map(item, vouched)
            needs, when = item.needs, None
            if item.kind is not Kind.WHEEL:
                needs = needs_of(item, self._vouched_text(item, DEP, vouched))
                when = self._vouched_text(item, WHEN, vouched)
        except (MkError, OSError):
            files.remove(target)
            raise
        mirror = address(folder)
        return Checked(replace(item, needs=needs), target, sha256, size_bytes, mirror, signed_by, beside, when)

    def _copy(self, folder: str, name: str, target: Path) -> tuple[str, str, int]:
        """Copy a staged file; return its digests and size."""
        files.make_dir(target.parent, 0o700)
        sha256, md5, size_bytes = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        try:
            with _open(self._staging, folder, name) as source, files.open_partial(target) as copy:
                if os.fstat(source.fileno()).st_size > self._ground.limit_bytes:
                    raise BadInput(f"is larger than the {self._ground.limit_bytes} bytes that may be staged", name)
                while data := source.read(_CHUNK_BYTES):
                    sha256.update(data)
                    md5.update(data)
                    size_bytes += copy.write(data)
        except BadInput:
            files.remove(target)
            raise
        except OSError as error:
            files.remove(target)
            if error.errno == errno.ENOSPC:
                raise BadInput("there is no room for it in memory; see /run", name) from None
            raise
        return sha256.hexdigest(), md5.hexdigest(), size_bytes

    def _require_builtin(self, folder: Folder, name: str, sha256: str) -> None:
        """Compare with the mirror on disk: its sums where it has some, else the file itself."""
        known = self._on_disk(folder, name)
        if sha256 not in known:
            reason = "is not what the machine's own mirror has" if any(known) else "is not in the machine's own mirror"
            raise Untrusted(f"{name}: {reason}")

    def _on_disk(self, folder: Folder, name: str) -> list[str]:
        """Return the SHA-256 that each tree of the machine's own mirror has for a file, "" for none."""
        return [_sum_on_disk(each, name) for each in self._ground.on_disk(folder)]

    def _require_vouched(self, item: Item, vouched: _Vouched, sha256: str, md5: str) -> None:
        if item.name in vouched.sums:
            if vouched.sums[item.name] != sha256:
                raise Untrusted(
                    f"{item.name}: its SHA-256 is {sha256[:16]}…, {trust.SUMS} says {vouched.sums[item.name][:16]}…"
                )
        elif self._is_signed(item.folder):
            raise Untrusted(f"{item.name}: {trust.SUMS} has no sum for it")
        beside = f"{item.name}.md5.txt"
        text = self._small(item.folder, beside) if item.kind is Kind.TCZ else ""
        if text and tce.parse_md5(text, item.name, beside) != md5:
            raise Untrusted(f"{item.name}: is not what {beside} says")
        if not text and item.name not in vouched.sums:
            raise Untrusted(f"{item.name}: the mirror has no sum for it")

    def _is_signed(self, number: str) -> bool:
        """Whether a folder's files need a signature."""
        return self._ground.mode_of(self._folders[number]) is trust.Verify.SIGNATURE

    def _copy_map(self, item: Item, vouched: Optional[_Vouched]) -> Optional[Path]:
        """Copy the `.map` of a Tiny Core extension when it is there and what vouches for the rest vouches for it."""
        name = f"{item.name}{MAP}"
        if item.kind is not Kind.TCZ:
            return None
        target = self._ground.work / "incoming" / item.folder / name
        try:
            sha256, _, _ = self._copy(item.folder, name, target)
        except FileNotFoundError:
            return None
        except BadInput as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        if vouched is None:
            self._require_builtin(self._folders[item.folder], name, sha256)
        elif vouched.sums.get(name, "" if self._is_signed(item.folder) else sha256) != sha256:
            raise Untrusted(f"{name}: {trust.SUMS} does not vouch for it")
        return target

    def _vouched_text(self, item: Item, ending: str, vouched: Optional[_Vouched]) -> Optional[str]:
        """Return a small file beside an item, vouched for like the item, None when there is none; one that what
        vouches for it knows must be there.
        """
        name = item.name + ending
        folder = self._folders[item.folder]
        known = bool(vouched and name in vouched.sums) or (vouched is None and any(self._on_disk(folder, name)))
        try:
            with files.open_below(self._staging, item.folder, name) as source:
                data = source.read(_SMALL_BYTES + 1)
        except FileNotFoundError as error:
            if known:
                raise BadInput("was not staged", name) from error
            return None
        if len(data) > _SMALL_BYTES:
            raise BadInput(f"larger than {_SMALL_BYTES} bytes", name)
        sha256 = trust.digest_bytes(data)
        if vouched is None:
            self._require_builtin(folder, name, sha256)
        elif vouched.sums.get(name, "" if self._is_signed(item.folder) else sha256) != sha256:
            raise Untrusted(f"{name}: {trust.SUMS} does not vouch for it")
        return decode(data, name)

    def _small(self, folder: str, name: str) -> str:
        """Return the text of a small staged file, "" when there is none."""
        try:
            with files.open_below(self._staging, folder, name) as source:
                return source.read(_SMALL_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def _vouch(self, number: str) -> _Vouched:
        """Return what vouches for a folder that is not the machine's own; the outcome is the same for all its files."""
        if number in self._refused:
            raise self._refused[number]
        if number not in self._vouched:
            try:
                self._vouched[number] = self._read_sums(number)
            except MkError as error:
                self._refused[number] = error
                raise
        return self._vouched[number]

    def _read_sums(self, number: str) -> _Vouched:
        folder = address(self._folders[number])
        place = self._ground.work / "sums" / number
        files.make_dir(place, 0o700)
        try:
            for name, limit_bytes in (
                (trust.SUMS, trust.SUMS_LIMIT_BYTES),
                (trust.SIGNATURE, trust.SIGNATURE_LIMIT_BYTES),
            ):
                self._copy_small(number, name, place / name, limit_bytes)
            if not self._is_signed(number) and not (place / trust.SUMS).exists():
                return _Vouched()
            mode = self._ground.mode_of(self._folders[number])
            sums, signed = trust.read_sums(place, mode, self._ground.keys, self._ground.work)
        except (Untrusted, BadInput) as error:
            raise type(error)(str(error).replace(str(place), folder, 1)) from None
        finally:
            files.remove_tree(place)
        if signed is not None:
            signed.require_for(self._folders[number].path, folder)
            use = trust.use_of(signed, self._folders[number].path)
            if signed.made_s < self.signed.get(use, 0):
                raise Untrusted(
                    f"{folder}: its sums were signed earlier than those in use; somebody may replay old ones"
                )
            self.signed[use] = signed.made_s
        return _Vouched(sums, signed)

    def _copy_small(self, number: str, name: str, target: Path, limit_bytes: int) -> None:
        try:
            with files.open_below(self._staging, number, name) as source:
                data = source.read(limit_bytes + 1)
        except FileNotFoundError:
            return
        if len(data) > limit_bytes:
            raise BadInput(f"larger than {limit_bytes} bytes", f"{address(self._folders[number])}/{name}")
        files.write_atomic(target, data, mode=0o600)


def _open(staging: Path, folder: str, name: str) -> BinaryIO:
    """Open a staged file; raise BadInput in words for people when it is not there."""
    try:
        return files.open_below(staging, folder, name)
    except FileNotFoundError as error:
        raise BadInput("was not staged", name) from error


def _sum_on_disk(folder: Path, name: str) -> str:
    """Return the SHA-256 that a folder of the machine's own mirror gives a file, "" when it has no such file."""
    try:
        text = files.read_text(folder / trust.SUMS, trust.SUMS_LIMIT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        path = folder / name
        return trust.digest_file(path) if path.is_file() else ""
    return trust.parse_sums(text, str(folder / trust.SUMS)).get(name, "")

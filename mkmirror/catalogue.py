"""What makes a folder of files a mirror: lists, sums, signatures, and the index of Python packages.

The outcome is static files alone, so that any web server, object store or CDN can hold the mirror. Each folder with
extensions or packages gets its own SHA256SUMS, since that is what systemd-sysupdate and importd look for.

Source: protocol 5.1, 5.2, 5.5; PEP 503, PEP 658; sha256sum(1), gpg(1).
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from mkcore import files, proc
from mkcore.errors import BadInput
from mkcore.jsonfields import canonical
from mkmirror import trust
from mkmirror.audit import IMAGES, content_of, dependency_problems, digest_file, folders_of
from mkmirror.formats import tce, wheel
from mkmirror.index import LIST_LIMIT_BYTES, read_list
from mkmirror.lists import decode
from mkmirror.names import require_name_or_path
from mkmirror.progress import Progress

SIGN_TIMEOUT_S = 120.0
METADATA_LIMIT_BYTES = 1 << 20
TINY_CORE, PACKAGES = "tinycorelinux", "gem-mirror"
LISTS = {"extensions": "tce-install-list", "modules": "kmod-install-list"}


@dataclass(frozen=True)
class Signer:
    """Who signs: a key as gpg's --local-user has it; home: its GnuPG folder, "" for the user's own."""

    key: str
    home: str = ""

    def sign(self, path: Path, signature: Path, folder: str = "") -> None:
        """Make a detached signature, for sums of `folder` below a mirror's base alone unless that is "".

        Raises ToolFailed with gpg's own words.
        """
        command = ["gpg", "--batch", "--yes", "--quiet", *(["--homedir", self.home] if self.home else [])]
        command += ["--sig-notation", f"{trust.FOLDER_NOTATION}={folder}"] if folder else []
        command += ["--local-user", self.key, "--detach-sign", "--output", str(signature), "--", str(path)]
        proc.require(proc.run(command, timeout_s=SIGN_TIMEOUT_S))


def index(root: Path, signer: Optional[Signer], progress: Progress) -> int:
    """Complete a mirror: sums, signatures, the packages' pages, and the wire form of the lists; return how many files.

    Raises BadInput, ToolFailed, OSError. A signature that fits no longer and cannot be made anew is removed.
    """
    count = 0
    for folder in folders_of(root):
        names = content_of(folder)
        for name in names:
            if name.endswith(tce.SUFFIX):
                _write_md5(folder, name, progress)
            elif name.endswith(wheel.SUFFIX):
                _write_metadata(folder, name)
        names = content_of(folder)
        sums = {name: digest_file(folder / name, progress) for name in names}
        if any(name.endswith(wheel.SUFFIX) for name in names):
            _write_pages(folder, sums)
        signed = _write_sums(folder, sums, signer)
        for problem in dependency_problems(folder, names):
            progress.warn(f"{folder}: {problem}")
        images = sum(name.endswith(IMAGES) for name in names)
        progress.say(f"{folder}: {images} of {len(names)} files can be installed, {signed}")
        count += len(names)
    write_wire_lists(root)
    return count


def _write_md5(folder: Path, name: str, progress: Progress) -> None:
    """Write the sum that Tiny Core's own tools look for; an old one that is right stays as it is."""
    beside, digest = folder / f"{name}.md5.txt", trust.digest_file(folder / name, "md5")
    if beside.is_file():
        try:
            if tce.parse_md5(files.read_text(beside), name, str(beside)) == digest:
                return
        except BadInput as error:
            progress.warn(str(error))
        progress.say(f"{beside.name}: replaced, since {name} has changed")
    files.write_atomic(beside, tce.build_md5(digest, name).encode())


def read_wheel_metadata(path: Path) -> bytes:
    """Return the METADATA of a wheel; raise BadInput for what is none."""
    found = wheel.parse_wheel(path.name, str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            places = [each for each in archive.infolist() if each.filename.endswith(".dist-info/METADATA")]
            if len(places) != 1 or places[0].filename.count("/") != 1:
                raise BadInput("has no METADATA", str(path))
            if places[0].file_size > METADATA_LIMIT_BYTES:
                raise BadInput("has too large a METADATA", str(path))
            data = archive.read(places[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise BadInput(f"is no wheel: {error}", str(path)) from None
    metadata = wheel.parse_metadata(data.decode("utf-8", "replace"), str(path))
    if (metadata.name, metadata.version) != (found.name, found.version):
        raise BadInput(f"calls itself {metadata.name} {metadata.version} inside", str(path))
    return data


def _write_metadata(folder: Path, name: str) -> None:
    data = read_wheel_metadata(folder / name)
    target = folder / f"{name}.metadata"
    if not target.is_file() or target.stat().st_size > METADATA_LIMIT_BYTES or files.read_bytes(target) != data:
        files.write_atomic(target, data)


def _write_pages(folder: Path, sums: dict[str, str]) -> None:
    """Write the simple API beside a folder of the name wheels, or into any other one."""
    beside = folder.name == wheel.FOLDER
    simple = (folder.parent if beside else folder) / wheel.SIMPLE
    base = f"../../{wheel.FOLDER}/" if beside else "../../"
    pages: dict[str, dict[str, tuple[str, str]]] = {}
    for name in sums:
        if name.endswith(wheel.SUFFIX):
            page = pages.setdefault(wheel.parse_wheel(name).name, {})
            page[name] = (sums[name], sums.get(f"{name}.metadata", ""))
    if simple.is_dir():
        for old in simple.iterdir():
            if old.is_dir() and not old.is_symlink() and old.name not in pages:
                files.remove_tree(old)
    for name, wheels in pages.items():
        files.make_dir(simple / name)
        files.write_atomic(simple / name / "index.html", wheel.build_page(name, wheels, base).encode())
    files.write_atomic(simple / "index.html", wheel.build_root(pages).encode())


def _write_sums(folder: Path, sums: dict[str, str], signer: Optional[Signer]) -> str:
    """Write sums and signature, each in one step; return what became of the signature."""
    data = trust.build_sums(sums).encode()
    target, signature = folder / trust.SUMS, folder / trust.SIGNATURE
    same = target.is_file() and target.stat().st_size == len(data) and files.read_bytes(target, len(data)) == data
    if signer is None:
        if not same:
            files.remove(signature)
            files.write_atomic(target, data)
        return "signed before" if signature.is_file() else "not signed"
    new, new_signature = folder / f".{trust.SUMS}.new", folder / f".{trust.SIGNATURE}.new"
    try:
        files.write_atomic(new, data)
        signer.sign(new, new_signature, place_of(folder))
        files.place(new, target)
        files.place(new_signature, signature)
    finally:
        files.remove(new)
        files.remove(new_signature)
    return f"signed by {signer.key}"


def place_of(folder: Path) -> str:
    """Return where a folder of one of the usual places lies below its mirror's base, "" for another one."""
    parts = folder.absolute().parts
    for length, at, word in ((2, -2, "sysext"), (3, -1, "tcz"), (1, -1, wheel.FOLDER)):
        if len(parts) > length and parts[at] == word:
            return "/".join(parts[-length:])
    return ""


def write_list(root: Path, kind: str, names: Sequence[str]) -> Path:
    """Write a list of what nodes install, in its wire form: kind is `extensions` or `modules`; return its path.

    Raises BadInput for a name that is none, and when an administrator keeps that list by hand.
    """
    folder, name = root / TINY_CORE, LISTS[kind]
    for ending in (".yaml", ".yml", ".json"):
        if (folder / (name + ending)).exists():
            raise BadInput("is kept by hand: change that file", str(folder / (name + ending)))
    files.make_dir(folder)
    entries = [require_name_or_path(each, kind) for each in names]
    files.write_atomic(folder / name, canonical(entries) + b"\n")
    return folder / name


def write_package_list(root: Path, wanted: Sequence[str]) -> Path:
    """Write the list of Python packages that nodes install, `NAME [requirement]`; return its path. Raises BadInput."""
    for each in wanted:
        wheel.parse_wanted(each, "packages")
    target = root / PACKAGES / wheel.LIST
    files.make_dir(target.parent)
    files.write_atomic(target, "".join(f"{' '.join(each.split())}\n" for each in wanted).encode())
    return target


def write_wire_lists(root: Path) -> None:
    """Write lists that are kept by hand (YAML) as the JSON arrays that other web servers hand out. Raises BadInput."""
    folder = root / TINY_CORE
    for name in LISTS.values():
        if any((folder / (name + ending)).exists() for ending in (".yaml", ".yml", ".json")):
            files.write_atomic(folder / name, canonical(read_list((root,), TINY_CORE, name)) + b"\n")
    packages = root / PACKAGES / wheel.LIST
    if packages.is_file():
        where = str(packages)
        wheel.parse_wanted_list(decode(files.read_bytes(packages, LIST_LIMIT_BYTES), where), where)

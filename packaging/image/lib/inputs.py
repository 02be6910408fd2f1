"""What an image is made from, as one digest: building takes minutes, and is done when an input changed."""

from __future__ import annotations

import hashlib
import os
import re
from email.utils import parsedate_to_datetime
from pathlib import Path

from .places import EXTENSIONS, HERE, NETWORKS, ROOT, BuildError
from .settings import Settings
from .site import digest_names

# The metapackage's closure; the embedded server never gets into the image.
PACKAGES = ("mk-core", "mkctl", "mkweb", "mkmirror", "mk-suite")
# Each of these makes something of the image that is there, and knows its own inputs.
FORMS = HERE / "forms"


def find_packages(folder: Path) -> list[Path]:
    """Return our packages' files, in the order of PACKAGES.

    BuildError names the first that is missing or there twice.
    """
    found = []
    for name in PACKAGES:
        files = sorted(folder.glob(f"{name}_*.deb"))
        if len(files) != 1:
            raise BuildError(f"{len(files)} files {name}_*.deb in {folder}, expected one: run make deb")
        found.extend(files)
    return found


def list_files(*folders: Path) -> list[Path]:
    """Return all files and links below some folders, sorted, but hidden ones and byte code."""
    found = (path for folder in folders for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return sorted(path for path in found if not path.name.startswith(".") and path.suffix != ".pyc")


def digest_files(files: list[Path], base: Path) -> str:
    """Return the digest (hex) of some files' names below ``base``, right to be run, and content."""
    digest = hashlib.sha256()
    for path in files:
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        mode = path.lstat().st_mode & 0o111
        name = str(path.relative_to(base)) if path.is_relative_to(base) else path.name
        digest.update(f"{name}\0{mode:o}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def read_inputs(packages: list[Path], settings: Settings, version: str) -> str:
    """Return the digest (hex) of all that the image is made from:

    its version, profile and architecture, our packages, this directory but its forms, the network files, the recipes
    of extensions, mkosi's mirror, what a site asks for.
    """
    ours = [path for path in list_files(HERE, NETWORKS, EXTENSIONS) if FORMS not in path.parents]
    parts = [version, settings.profile, settings.architecture]
    parts += [digest_files([*packages, ROOT / "packaging/mirror", *ours], ROOT)]
    parts += [digest_files(list_files(settings.extensions), settings.extensions)] if settings.extensions else []
    parts += [digest_files([path], path.parent) for path in digest_names(settings)]
    parts += [digest_files([settings.lock], settings.lock.parent)] if settings.lock else []
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_epoch() -> int:
    """Return the time (seconds since 1970) that all files of the image get:

    SOURCE_DATE_EPOCH, else that of the changelog's head.
    """
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    changelog = (ROOT / "packaging/debian/changelog").read_text(encoding="utf-8")
    match = re.search(r"^ -- .*>  (.*)$", changelog, re.M)
    if not match:
        raise BuildError("packaging/debian/changelog has no signature line")
    return int(parsedate_to_datetime(match[1]).timestamp())

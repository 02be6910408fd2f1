"""The forms of the image that are there: files of one folder, as `make image` writes it with its manifest.

Only files that the manifest or the table below names count as forms: the folder is the kernel's, and who named a kernel
on the command line did not mean what else lies beside it. The disk is read each time, so that a rebuilt image needs no
restart.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path

from mkcore import files
from mkcore.errors import BadInput
from mkcore.jsonfields import Json, get_object

FIRST_STAGE = "first-stage"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_MANIFEST = "manifest.json"
_MANIFEST_BYTES = 4 << 20

TEXTS = {
    "vmlinuz": "kernel",
    "initrd": "whole system for iPXE, with vmlinuz",
    FIRST_STAGE: "small initrd that fetches the system's layers, with vmlinuz",
    "root.squashfs": "layer of the system that the first stage fetches",
    "services.squashfs": "layer of what the services load at boot, which the first stage fetches",
    "mirror.squashfs": "layer with the built-in extensions that the first stage fetches",
    "extensions.squashfs": "layer with the site's own extensions that the first stage fetches",
    "mk.efi": "unified kernel image: UEFI HTTP boot, or a file of an EFI partition",
    "mk.iso": "CD, virtual media or USB stick, BIOS and UEFI",
    "mk-oci.tar": "container image",
    "mk-docker.tar.xz": "the same for docker load and Hanlon 3 servers",
    "sbom.spdx.json": "every package of the image, with versions, licences and sources",
    "packages.lock": "packages and versions, to make the same image again",
    "SHA256SUMS": "sums of all files",
    "SHA256SUMS.gpg": "signature of the sums",
}
"""File -> what it is for, in the order in which people are shown them; others of the manifest follow."""


@dataclass(frozen=True)
class Form:
    """One file of the image; ``sha256`` is "" where no manifest of this very file tells it."""

    name: str
    text: str
    size_bytes: int
    sha256: str


def _read_entries(folder: Path) -> dict[str, dict[str, Json]]:
    """Return the manifest's entries of files by their names; none where it is missing or broken."""
    try:
        entries = get_object(files.read_object(folder / _MANIFEST, _MANIFEST_BYTES), "files")
    except (OSError, BadInput):
        return {}
    return {name: entry for name, entry in entries.items() if isinstance(entry, dict)}


def read_forms(folder: Path) -> list[Form]:
    """Return the forms that are there: those with a known name, and those that the manifest lists."""
    entries = _read_entries(folder)
    found: list[Form] = []
    for name in dict.fromkeys([*TEXTS, *entries]):
        try:
            looked = (folder / name).lstat() if _NAME.match(name) else None
        except OSError:
            continue
        if looked is None or not stat.S_ISREG(looked.st_mode):
            continue
        entry = entries.get(name, {})
        sha256 = entry.get("sha256") if entry.get("size_bytes") == looked.st_size else ""
        found.append(Form(name, TEXTS.get(name, ""), looked.st_size, sha256 if isinstance(sha256, str) else ""))
    return found


def read_layers(folder: Path) -> list[str]:
    """Return the names of the files that the folder's first stage fetches; none when it cannot be booted.

    A first stage without the layers that it was built with would ask for them for ever.
    """
    layers = _read_entries(folder).get(FIRST_STAGE, {}).get("layers")
    names = [str(name) for name in layers] if isinstance(layers, list) else []
    there = {form.name for form in read_forms(folder) if form.sha256}
    return names if {FIRST_STAGE, *names} <= there else []

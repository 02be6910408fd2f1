"""manifest.json beside the image: what it is, what it was made from, and each file's size and digest.

Several programs write forms of one image, some at the same time; each records its own through `record`, under a lock,
as one atomic replacement. A reader never sees half a manifest.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .places import BuildError

NAME = "manifest.json"


def sha256(path: Path) -> str:
    """Return a file's SHA-256, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def describe_file(path: Path) -> dict[str, Any]:
    """Build a file's entry: size_bytes, sha256."""
    return {"size_bytes": path.stat().st_size, "sha256": sha256(path)}


def read(folder: Path) -> dict[str, Any]:
    """Return the manifest of an image.

    BuildError when there is none or it is broken.
    """
    try:
        return dict(json.loads((folder / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BuildError(f"there is no image in {folder} ({error}): run make image") from error


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Put a manifest into place, whole."""
    temporary = folder / f"{NAME}.{os.getpid()}.new"
    temporary.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(folder / NAME)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the manifest's lock, which other builders of the same folder wait for."""
    with (folder / ".manifest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def record(folder: Path, name: str, inputs_sha256: str, **facts: Any) -> dict[str, Any]:
    """Enter a file that was made of this image, by its name in the folder; return its entry.

    ``facts`` are further members of the entry. BuildError when the folder holds no image.
    """
    entry = {**describe_file(folder / name), "inputs_sha256": inputs_sha256, **facts}
    with locked(folder):
        manifest = read(folder)
        manifest["files"][name] = entry
        write(folder, manifest)
    return entry


def is_recorded(folder: Path, name: str, inputs_sha256: str) -> bool:
    """Whether a file is there, whole by its size, and was made from these inputs."""
    try:
        entry = read(folder)["files"][name]
        size_bytes = (folder / name).stat().st_size
        return bool(entry["inputs_sha256"] == inputs_sha256 and entry["size_bytes"] == size_bytes)
    except (BuildError, OSError, KeyError):
        return False

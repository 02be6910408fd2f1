"""What each form of the image was booted with, up to its registration: build/image/booted.json, written by who saw it.

``{"SHA-256 of the form": ["ISO/BIOS", "ISO/UEFI"]}``. It is kept by digest, so that a rebuilt form has been booted with
nothing; digests that the manifest no longer has are dropped. `make image` prints it beside each form's size.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path

from .server import IMAGE, read_manifest

NAME = "booted.json"


def read_booted(folder: Path = IMAGE) -> dict[str, list[str]]:
    """Return what was booted, by digest; nothing where no test has written it."""
    try:
        loaded = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {str(digest): [str(how) for how in ways] for digest, ways in loaded.items()}


def record_booted(how: str, *names: str, folder: Path = IMAGE) -> None:
    """Enter that these files of the image registered a machine, by the way ``how`` ("USB/UEFI").

    Several tests may do so at the same time. AssertionError for a file that is not what the manifest says: what was
    booted has to be what is shipped.
    """
    files = read_manifest(folder)["files"]
    for name in names:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert digest == files[name]["sha256"], f"{folder / name} is not what its manifest says: run make image"
    with (folder / ".booted.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read_booted(folder)
        for name in names:
            ways = known.setdefault(files[name]["sha256"], [])
            ways += [] if how in ways else [how]
        shipped = {entry["sha256"] for entry in files.values()}
        kept = {digest: sorted(ways) for digest, ways in known.items() if digest in shipped}
        temporary = folder / f"{NAME}.{os.getpid()}.new"
        temporary.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(folder / NAME)

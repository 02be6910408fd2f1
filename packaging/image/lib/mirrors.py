"""The mirror of extensions that is built in, made of packages that the system lacks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .places import EXTENSIONS, STATE, BuildError

PLACE = "usr/share/mk/mirror"
SITE_PLACE = "var/lib/mk/mirror"


def make_mirror(status: Path, epoch: int, *, fresh: bool) -> Path:
    """Return the folder of the mirror that is built in, made for a system with that dpkg status."""
    folder = STATE / "mirror"
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    command = [str(EXTENSIONS / "build"), "--image", "--base", str(status), "--out", str(folder)]
    if subprocess.run([*command, "--epoch", str(epoch)], check=False).returncode:
        raise BuildError("the extensions that are built in could not be made (see above)")
    return folder


def check_mirror(folder: Path) -> None:
    """Raise BuildError unless a folder is a mirror."""
    if not (folder / "tinycorelinux").is_dir():
        raise BuildError(f"{folder} is no mirror: it has no folder tinycorelinux (see mkmirror(8))")

"""The mirror of extensions that is built in, made of packages that the system lacks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from . import lock
from .places import EXTENSIONS, STATE, BuildError
from .settings import Settings

PLACE = "usr/share/mk/mirror"
SITE_PLACE = "var/lib/mk/mirror"


def make_mirror(status: Path, epoch: int, settings: Settings, *, fresh: bool) -> Path:
    """Return the folder of the mirror that is built in, made for a system with that dpkg status.

    With a record of packages it is made of these. BuildError where one cannot be had.
    """
    folder = STATE / f"mirror-{settings.architecture}"
    command = [str(EXTENSIONS / "build"), "--image", "--base", str(status), "--out", str(folder)]
    command += ["--architecture", settings.architecture]
    if settings.lock:
        preferences = STATE / "mirror.pref"
        preferences.write_text(lock.build_preferences(lock.read(settings.lock).extensions), encoding="utf-8")
        command += ["--preferences", str(preferences)]
    if fresh or settings.lock:
        shutil.rmtree(folder, ignore_errors=True)
    if subprocess.run([*command, "--epoch", str(epoch)], check=False).returncode:
        raise BuildError("the extensions that are built in could not be made (see above)")
    return folder


def check_mirror(folder: Path) -> None:
    """Raise BuildError unless a folder is a mirror."""
    if not (folder / "tinycorelinux").is_dir():
        raise BuildError(f"{folder} is no mirror: it has no folder tinycorelinux (see mkmirror(8))")

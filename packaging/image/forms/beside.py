"""What is in the forms of an image beside the system's packages, and of which packages that came.

Boot loaders, the stub of the unified kernel image, the C library that is linked into the first process, the shell of
the first stage. Some come from the release of the image, unpacked by packaging/setup, some from the host that builds.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import common
from lib.places import BUILD, BuildError
from licences import Licences, read_copyright
from spdx import Package, parse_status

HOST = Path("/")
BOOT, BUSYBOX = BUILD / "tools/boot", BUILD / "tools/busybox"


class Beside(NamedTuple):
    """One package: the form that has something of it, its name, and where it lies, the host or a folder of tools."""

    form: str
    package: str
    place: Path
    architectures: tuple[str, ...] = ("amd64", "arm64")


BESIDE = (
    Beside("initrd", "musl-dev", HOST, ("amd64",)),
    Beside("initrd", "libc6-dev-arm64-cross", HOST, ("arm64",)),
    Beside("mk.iso", "isolinux", HOST),
    Beside("mk.iso", "syslinux-common", HOST),
    Beside("mk.iso", "shim-signed", BOOT),
    Beside("mk.iso", "grub-efi-amd64-signed", BOOT),
    Beside("mk.efi", "systemd-boot-efi", BOOT),
    Beside("first-stage", "busybox-static", BUSYBOX),
)


def choose(forms: Collection[str], architecture: str) -> list[Beside]:
    """Return what is in these forms."""
    return [each for each in BESIDE if each.form in forms and architecture in each.architectures]


def read_control(each: Beside) -> str:
    """Return a package's control file. BuildError says how to get it."""
    if each.place != HOST:
        path = each.place / "control" / each.package
        common.need(path)
        return path.read_text(encoding="utf-8")
    command = ["dpkg-query", "--status", each.package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{each.package}, which is in {each.form}, is not installed: run packaging/setup image")
    return done.stdout


def read(chosen: Collection[Beside]) -> tuple[list[Package], dict[str, Licences]]:
    """Return the packages, each with its form as part, and their licences."""
    packages: list[Package] = []
    licences: dict[str, Licences] = {}
    system = platform.freedesktop_os_release()
    host = f"{system['ID']}-{system.get('VERSION_ID', '')}"
    for each in chosen:
        release = host if each.place == HOST else ""
        packages += [Package(found.fields, each.form, release) for found in parse_status(read_control(each), each.form)]
        text = each.place / "usr/share/doc" / each.package / "copyright"
        common.need(text)
        licences[each.package] = read_copyright(each.package, text.read_text(encoding="utf-8", errors="replace"))
    return packages, licences

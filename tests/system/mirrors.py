"""Mirrors of somebody else for a test machine, one folder each: a good one, and each way in which one can be bad.

Images, wheels, sums and signatures are real ones. `site` is a key that the machine trusts, `old` one that it trusts and
that has expired, `stranger` one that nobody knows.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tests.unit.mirror_trees import make_squashfs, make_wheel, run_mkmirror, write_wheel
from tests.unit.pgp_keys import Gpg

EXTENSIONS, WHEELS = "tinycorelinux/15.x/x86_64/tcz", "gem-mirror/wheels"
OLD = "20200101T000000", "20200101T010000"
"""When the key that has expired was made, and when it signed."""
LARGE_BYTES = 3 << 20


@dataclass(frozen=True)
class Mirror:
    """One mirror. fill: lays its files; extensions, packages: its lists; key: who signs, "" for nobody.

    spoil: changes what was signed.
    """

    fill: Callable[[Path], object]
    extensions: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    key: str = "site"
    spoil: Optional[Callable[[Path], object]] = None


def make(folder: Path, mirror: Mirror, gpg: Gpg) -> None:
    """Make a mirror in `folder`."""
    mirror.fill(folder)
    run_mkmirror("index", folder, "--quiet")
    for sums in folder.rglob("SHA256SUMS") if mirror.key else ():
        gpg.sign(sums, mirror.key, at=OLD[1] if mirror.key == "old" else "")
    if mirror.spoil is not None:
        mirror.spoil(folder)
    (folder / "tinycorelinux").mkdir(exist_ok=True)
    (folder / "tinycorelinux/tce-install-list").write_text(json.dumps(mirror.extensions), encoding="utf-8")
    (folder / "gem-mirror/gems").mkdir(parents=True)
    (folder / "gem-mirror/gems/gem.list").write_text("".join(f"{each}\n" for each in mirror.packages), encoding="utf-8")


def make_keys(folder: Path) -> tuple[Gpg, str]:
    """Make the keys; return them, and the armored ones that the machine trusts."""
    gpg = Gpg(folder)
    gpg.make_key("site")
    gpg.make_key("stranger")
    gpg.make_key("old", made=OLD[0], expires="1d")
    return gpg, "".join(gpg.export(name, armor=True).decode() for name in ("site", "old"))


def tcz(name: str, *, needs: str = "", content: bytes = b"x") -> Callable[[Path], object]:
    """Return what lays an extension NAME.tcz with a start script that would leave its mark."""

    def fill(folder: Path) -> None:
        mark = f"#!/bin/sh\ntouch /usr/local/{name}-was-here /etc/{name}-was-here\n"
        files = {f"usr/local/share/{name}": content, f"usr/local/tce.installed/{name}*": mark}
        make_squashfs(folder / EXTENSIONS / f"{name}.tcz", files)
        if needs:
            (folder / EXTENSIONS / f"{name}.tcz.dep").write_text(needs, encoding="utf-8")

    return fill


def several(*fills: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what lays several things."""
    return lambda folder: [fill(folder) for fill in fills]


def wheel(name: str, *requires: str, version: str = "1.0") -> Callable[[Path], object]:
    """Return what lays the wheel NAME with a command of that name."""
    return lambda folder: make_wheel(folder / WHEELS, name, version, *requires, commands={name: f"{name}:main"})


def large_wheel(name: str) -> Callable[[Path], object]:
    """Return what lays a wheel of LARGE_BYTES."""
    info = f"{name}-1.0.dist-info"
    content = {
        f"{name}.py": f"noise = {os.urandom(LARGE_BYTES // 2).hex()!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return lambda folder: write_wheel(folder / WHEELS / f"{name}-1.0-py3-none-any.whl", info, content)


def wheel_with(name: str, path: str, content: bytes) -> Callable[[Path], object]:
    """Return what lays the wheel NAME 1.0 with one more file that its RECORD knows nothing of."""

    def fill(folder: Path) -> None:
        made = make_wheel(folder / WHEELS, name, "1.0")
        with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(path, content)

    return fill


def flip(path: str) -> Callable[[Path], object]:
    """Return what changes the last byte of a file."""

    def spoil(folder: Path) -> None:
        data = (folder / path).read_bytes()
        (folder / path).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    return spoil


def claim_files(name: str, count: int) -> Callable[[Path], object]:
    """Return what lays an extension whose superblock says that it has so many files."""

    def fill(folder: Path) -> None:
        tcz(name)(folder)
        path = folder / EXTENSIONS / f"{name}.tcz"
        data = bytearray(path.read_bytes())
        struct.pack_into("<I", data, 4, count)
        path.write_bytes(data)

    return fill


def write(path: str, text: str) -> Callable[[Path], object]:
    """Return what writes a file over one that is there."""
    return lambda folder: (folder / path).write_text(text, encoding="utf-8")

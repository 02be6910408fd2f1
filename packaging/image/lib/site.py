"""A mirror for one image of what its settings list: recipes, extensions' own files, drivers that they hold.

It is a site's mirror as any other (mkmirror(8)), with the lists of what each node installs, and becomes a layer of the
image. A driver gets into an extension of its own, ``image-drivers.raw``, as a module of the image's kernel: made for
another kernel it would never load, so that is found out here and not on a thousand machines.

Source: protocol 1.5 step 1a, 5.2 (`.map`), 8.1.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .places import EXTENSIONS, ROOT, STATE, BuildError
from .settings import Settings, read_list

TOP = "tinycorelinux"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's word for an architecture -> uname(2)'s, as which a mirror's folders are named."""
DRIVERS = "image-drivers"
_BESIDE = ("", ".md5.txt", ".dep", ".info", ".list", ".map", ".when")
_MODULE = re.compile(r"(?:[A-Za-z0-9_+~-][A-Za-z0-9._+~-]*/)*[A-Za-z0-9_+~-][A-Za-z0-9._+~-]*\.ko(?:\.gz|\.xz)?")
_LIMIT_BYTES = 64 << 20


class Driver(NamedTuple):
    """One line of the list: the file that has the module, its path in there, its path below the drivers."""

    file: Path
    module: str
    target: str


def native_folder(architecture: str) -> str:
    """Return where a mirror has the images for systemd-sysext of an architecture."""
    return f"{TOP}/sysext/{MACHINES[architecture]}"


def tiny_core_folder(architecture: str) -> str:
    """Return where a mirror has Tiny Core's extensions of an architecture."""
    return f"{TOP}/15.x/{MACHINES[architecture]}/tcz"


def parse_drivers(lines: Sequence[str], base: Path) -> list[Driver]:
    """Parse lines EXTENSION MODULE TARGET; files are relative to the list's folder. BuildError names the line."""
    found = []
    for line in lines:
        words = line.split()
        if len(words) != 3:
            raise BuildError(f"drivers: not of the form 'EXTENSION MODULE TARGET': {line}")
        driver = Driver(base / words[0], words[1].lstrip("/"), words[2].lstrip("/"))
        for path in (driver.module, driver.target):
            if not _MODULE.fullmatch(path):
                raise BuildError(f"drivers: {path} is no path of a module (.ko, .ko.gz, .ko.xz)")
        if not driver.file.is_file():
            raise BuildError(f"drivers: {driver.file} is not there")
        found.append(driver)
    return found


def read_module(driver: Driver) -> bytes:
    """Return a driver's module, uncompressed. BuildError when the file does not hold it."""
    command = ["unsquashfs", "-cat", str(driver.file), driver.module]
    if driver.file.suffix == ".deb":
        script = 'dpkg-deb --fsys-tarfile "$1" | tar --extract --to-stdout "./$2"'
        command = ["bash", "-o", "pipefail", "-c", script, "-", str(driver.file), driver.module]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it is empty"]
        raise BuildError(f"drivers: {driver.file.name} does not hold {driver.module}: {said[0]}")
    opener = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(Path(driver.module).suffix)
    try:
        return opener(done.stdout) if opener else done.stdout
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise BuildError(f"drivers: {driver.module} of {driver.file.name}: {error}") from error


def check_module(data: bytes, driver: Driver, kernel: str) -> None:
    """See that a module is one of this kernel. BuildError says of which it is."""
    found = re.search(rb"\0vermagic=([^ \0]*)", data)
    if not data.startswith(b"\x7fELF") or not found:
        raise BuildError(f"drivers: {driver.module} of {driver.file.name} is no kernel module")
    version = found[1].decode(errors="replace")
    if version != kernel:
        raise BuildError(
            f"drivers: {driver.module} of {driver.file.name} is of kernel {version}, the image's is {kernel}"
        )


def make_drivers(drivers: Sequence[Driver], kernel: str, folder: Path, epoch: int, machine: str) -> list[str]:
    """Make the extension with all drivers in a mirror's folder; return what the list of modules calls them."""
    work = STATE / "site.work"
    shutil.rmtree(work, ignore_errors=True)
    names = []
    for driver in drivers:
        data = read_module(driver)
        check_module(data, driver, kernel)
        target = f"updates/{re.sub(r'[.](?:gz|xz)$', '', driver.target)}"
        path = work / "usr/lib/modules" / kernel / target
        if path.exists():
            raise BuildError(f"drivers: {driver.target} is there twice")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        names.append(target)
    words = ["build", DRIVERS, "--format", "sysext", "--from", str(work), "--out", str(folder)]
    words += ["--architecture", machine]
    run_mkmirror([*words, "--description", "Drivers of the site", "--time", str(epoch)])
    shutil.rmtree(work)
    return names


def run_mkmirror(words: Sequence[str]) -> None:
    """Run a verb of mkmirror from the source tree. BuildError has its last words."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "mkmirror", *words, "--quiet"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"mkmirror {words[0]}: {' / '.join(done.stderr.strip().splitlines()[-3:])}")


def take_files(settings: Settings, folder: Path) -> list[str]:
    """Copy the extensions of the list of files, with what stands beside them; return their names."""
    names = []
    for line in read_list(settings.local_extensions) if settings.local_extensions else ():
        path = settings.local_extensions.parent / line if settings.local_extensions else Path(line)
        places = {".raw": native_folder(settings.architecture), ".tcz": tiny_core_folder(settings.architecture)}
        place = folder / places.get(path.suffix, "")
        if place == folder or not path.is_file():
            raise BuildError(f"local extensions: {line} is no file NAME.raw or NAME.tcz")
        place.mkdir(parents=True, exist_ok=True)
        for end in _BESIDE:
            if Path(f"{path}{end}").is_file():
                shutil.copyfile(f"{path}{end}", place / f"{path.name}{end}")
        names.append(path.name)
    return names


def make_recipes(settings: Settings, status: Path, folder: Path, epoch: int) -> list[str]:
    """Make the extensions of both lists of recipes; return the names of those that each node installs."""
    install = read_list(settings.builtin_list) if settings.builtin_list else []
    further = read_list(settings.mirror_list) if settings.mirror_list else []
    names = list(dict.fromkeys([*install, *further]))
    if names:
        command = [str(EXTENSIONS / "build"), "--base", str(status), "--out", str(folder), "--epoch", str(epoch)]
        command += ["--architecture", settings.architecture, *names]
        if subprocess.run(command, check=False).returncode:
            raise BuildError("the extensions of the lists could not be made (see above)")
    return [f"{name}.raw" for name in install]


def read_names(folder: Path, name: str) -> list[str]:
    """Return what a list of the mirror that a site gave names, in the form that `mkmirror index` writes."""
    path = folder / TOP / name
    try:
        return [str(entry) for entry in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
    except ValueError as error:
        raise BuildError(
            f"{path} is no list that mkmirror index wrote ({error}): run it for the mirror first"
        ) from error


def make_site(settings: Settings, status: Path, kernel: str, epoch: int) -> Path:
    """Return the folder of the mirror that all settings together ask for; call it when there is any."""
    if not settings.lists and settings.extensions:
        return settings.extensions
    folder = STATE / "site"
    shutil.rmtree(folder, ignore_errors=True)
    if settings.extensions:
        shutil.copytree(settings.extensions, folder, ignore=shutil.ignore_patterns(".*"))
    native = folder / native_folder(settings.architecture)
    native.mkdir(parents=True, exist_ok=True)
    install, modules = read_names(folder, "tce-install-list"), read_names(folder, "kmod-install-list")
    install += make_recipes(settings, status, folder, epoch) + take_files(settings, folder)
    if settings.drivers:
        drivers = parse_drivers(read_list(settings.drivers), settings.drivers.parent)
        modules += make_drivers(drivers, kernel, native, epoch, MACHINES[settings.architecture])
        install.append(f"{DRIVERS}.raw")
    lists = ["--install", *dict.fromkeys(install), "--modules", *dict.fromkeys(modules)]
    run_mkmirror(["index", str(folder), *lists])
    return folder


def digest_names(settings: Settings) -> list[Path]:
    """Return the files that a site's lists are and name: what an image is made from, beside recipes."""
    files = list(settings.lists)
    if settings.drivers:
        files += [each.file for each in parse_drivers(read_list(settings.drivers), settings.drivers.parent)]
    if settings.local_extensions:
        base = settings.local_extensions.parent
        files += [path for line in read_list(settings.local_extensions) for path in sorted(base.glob(f"{line}*"))]
    return files

"""Directory trees that test machines boot from: Debian 13 with the dependencies of our packages, and with these.

The tree below everything is made once and kept for as long as its list of packages stays the same; that list is
read from the control fields of the packages under test, so that a forgotten dependency shows as a package that
cannot be configured. Whoever boots a tree lays an overlay on it: no test writes into what the next one reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"
DEBS = BUILD / "deb"
RELEASE = os.environ.get("MK_SYSTEM_RELEASE", "trixie")
"""Debian release of the machines; the suite also promises to run on bookworm, with the oldest systemd that it wants."""
KEPT = 3
"""Layers with installed packages that are kept: another run may have booted from an older one."""
NEEDED_TO_BOOT = ("systemd-sysv", "udev", "iproute2", "procps")
"""What a machine needs beside the dependencies of our packages: an init, and what tests look at it with."""


def parse_depends(text: str) -> list[str]:
    """Return the package names of a Depends field, the first of each alternative: ``a (>= 1), b | c`` gives a and b."""
    names = [re.split(r"[\s|(:]", clause.strip(), maxsplit=1)[0] for clause in text.split(",")]
    return [name for name in names if name]


def read_depends(debs: list[Path]) -> list[str]:
    """Return what the packages depend on, without themselves, sorted."""
    own, wanted = set(), set()
    for deb in debs:
        fields = subprocess.run(
            ["dpkg-deb", "--show", "--showformat=${Package}\n${Depends}", str(deb)],
            capture_output=True,
            text=True,
            check=True,
        )
        name, _, depends = fields.stdout.partition("\n")
        own.add(name)
        wanted.update(parse_depends(depends))
    return sorted(wanted - own)


def read_debs() -> list[Path]:
    """Return the packages under test. Fails with the way to make them where there are none."""
    debs = sorted(DEBS.glob("*.deb"))
    assert debs, f"no packages in {DEBS}: run `make deb`"
    return debs


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock ``name`` of the build directory: two runs of the tests share the trees."""
    (BUILD / "tree").mkdir(parents=True, exist_ok=True)
    with (BUILD / "tree" / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_base() -> Path:
    """Return the tree with the dependencies alone; a minute when it has to be made, else no time."""
    packages = sorted({*read_depends(read_debs()), *NEEDED_TO_BOOT})
    key = hashlib.sha256("\n".join([RELEASE, *packages]).encode()).hexdigest()[:12]
    tree = BUILD / "tree" / f"base-{RELEASE}-{key}"
    with locked("base"):
        if tree.is_dir():
            return tree
        fresh = tree.with_suffix(".new")
        bootstrap(fresh, RELEASE, packages)
        for old in (BUILD / "tree").glob(f"base-{RELEASE}-*"):
            if old.is_dir() and old != fresh:
                shutil.rmtree(old)
        fresh.rename(tree)
    return tree


def bootstrap(tree: Path, release: str, packages: list[str]) -> None:
    """Make a tree of a Debian release with these packages and what they need, from the host's mirror, anew."""
    sources = subprocess.run(
        [str(ROOT / "packaging/mirror"), "sources", release], capture_output=True, text=True, check=True
    )
    shutil.rmtree(tree, ignore_errors=True)
    list_file = tree.with_name(f"{tree.name}.sources")
    list_file.write_text(sources.stdout, encoding="utf-8")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", f"--include={','.join(packages)}"]
    made = subprocess.run(
        [*command, release, str(tree), str(list_file)], capture_output=True, text=True, timeout=1200, check=False
    )
    list_file.unlink()
    assert made.returncode == 0, made.stderr


@contextlib.contextmanager
def overlay(lower: list[Path], place: Path) -> Iterator[Path]:
    """Mount an overlay on the trees ``lower`` (uppermost first) writable below ``place``; yield the mount point.

    What was written stays in ``place / "upper"`` until the next overlay there.
    """
    with locked(f"at-{place.name}"):
        if (place / "root").is_mount():  # of a run that was killed
            subprocess.run(["umount", "--lazy", str(place / "root")], check=True)
        shutil.rmtree(place, ignore_errors=True)
        for name in ("upper", "work", "root"):
            (place / name).mkdir(parents=True)
        options = f"lowerdir={':'.join(map(str, lower))},upperdir={place / 'upper'},workdir={place / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(place / "root")], check=True)
        try:
            yield place / "root"
        finally:
            subprocess.run(["umount", str(place / "root")], check=True)


def make_layer(name: str, packages: tuple[str, ...]) -> list[Path]:
    """Return the layers of a tree with further packages of Debian's, uppermost first; kept for that base."""
    base = make_base()
    key = hashlib.sha256("\n".join([base.name, *packages]).encode()).hexdigest()[:12]
    place = BUILD / "tree" / f"{name}-{RELEASE}-{key}"
    with locked(name):
        if not (place / "done").exists():
            for old in (BUILD / "tree").glob(f"{name}-{RELEASE}-*"):
                shutil.rmtree(old)
            with overlay([base], place) as root:
                shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
                install = "apt-get -qq update && apt-get -qq install --yes --no-install-recommends"
                command = ["chroot", str(root), "sh", "-c", f"{install} {' '.join(packages)} && apt-get -qq clean"]
                environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=600, check=False, env=environment
                )
                assert done.returncode == 0, done.stdout + done.stderr
            (place / "done").touch()
    return [place / "upper", base]


def make_installed() -> list[Path]:
    """Return the layers of a tree in which our packages are installed, uppermost first; made when one changed."""
    debs, base = read_debs(), make_base()
    state = "\n".join([base.name, *(f"{deb.name} {hashlib.sha256(deb.read_bytes()).hexdigest()}" for deb in debs)])
    place = BUILD / "tree" / f"installed-{hashlib.sha256(state.encode()).hexdigest()[:12]}"
    done = place / "done"
    with locked("installed"):
        if not done.exists():
            with overlay([base], place) as root:
                _install(debs, root)
            done.touch()
        finished = sorted((BUILD / "tree").glob("installed-*/done"), key=lambda path: path.stat().st_mtime)
        for old in finished[:-KEPT]:
            shutil.rmtree(old.parent)
    return [place / "upper", base]


def _install(debs: list[Path], root: Path) -> None:
    """Install packages into a tree that is not running; a dependency that is not there is a failure."""
    copies = root / "var/tmp/debs"
    copies.mkdir()
    for deb in debs:
        shutil.copy(deb, copies)
    command = ["chroot", str(root), "sh", "-c", "dpkg --install /var/tmp/debs/*.deb && rm -r /var/tmp/debs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

"""Packages of two releases in signed repositories, and what stands for other distributions' packages beneath them.

The older release is the one that `make deb rpm apk` built; the newer one is built here from a copy of the sources with
a higher version and one more file. Both are signed by the same throw-away keys, made for the tests.

A Debian that dnf installs into has what the suite needs from Debian, which rpm does not know; an Alpine of PyPI's has
no Python. In both a package without files says that it is there, under the names that EL, Fedora and Alpine use.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from mkcore.version import VERSION
from tests.machines.tree import BUILD, ROOT

SOURCES = ("mkcore", "mkctl", "mkweb", "mkmirror", "mkserver", "units", "man", "packaging")
FILES = ("LICENSE", "README.md", "pyproject.toml", "Makefile")
NEWER = "99.0.0"
RPM_NEEDS = (
    "bash",
    "dbus",
    "gnupg2",
    "kmod",
    "lshw",
    "polkit",
    "python3 = 3.13",
    "python3-dbus-next",
    "python3-flask",
    "python3-packaging",
    "python3-requests",
    "python3-sdnotify",
    "python3-sqlalchemy",
    "python3-waitress = 3.0.2",
    "python3-werkzeug = 3.1.3",
    "systemd = 257",
    "util-linux",
    "/bin/sh",
    "/usr/bin/gpgv",
    "/usr/bin/python3",
)
"""What Fedora and EL with EPEL call what the suite needs; nothing here was installed from them."""
APK_NEEDS = (
    "dbus",
    "gpgv",
    "lscpu",
    "lshw",
    "polkit",
    "py3-dbus-next",
    "py3-flask",
    "py3-packaging",
    "py3-requests",
    "py3-sqlalchemy",
    "py3-waitress",
    "py3-werkzeug",
    "python3=3.12.12-r0",
    "systemd=257.9-r0",
)
"""The same by Alpine's lists, and systemd's name in postmarketOS."""
STAND_IN = "stand-in"


def run(argv: list[str], cwd: Path, timeout_s: float = 300.0) -> str:
    """Run a command that must succeed; return what it wrote."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def nfpm() -> str:
    """Return nfpm's program; fail with the way to install it."""
    found = BUILD / "tools/nfpm/bin/nfpm"
    assert found.exists(), "no nfpm: run `packaging/setup apk`"
    return str(found)


def copy_source(place: Path) -> Path:
    """Copy what packages are built from to a new folder; return that folder."""
    for name in SOURCES:
        shutil.copytree(ROOT / name, place / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name in FILES:
        shutil.copy(ROOT / name, place / name)
    return place


def raise_version(source: Path, version: str = NEWER) -> None:
    """Make of a copy of the sources a later release, with one file more."""
    for name, pattern, text in (
        ("mkcore/version.py", r'^VERSION = ".*"$', f'VERSION = "{version}"'),
        ("packaging/debian/changelog", r"^mksuite \([^)]*\)", f"mksuite ({version})"),
        ("packaging/rpm/mksuite.spec", r"^(Version: +).*$", rf"\g<1>{version}"),
        ("packaging/rpm/mksuite.spec", r"- [0-9.]+-1$", f"- {version}-1"),
    ):
        path = source / name
        changed, count = re.subn(pattern, text, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
        assert count, f"{name}: nothing like {pattern}"
        path.write_text(changed, encoding="utf-8")
    (source / "mkctl/later.py").write_text('"""A module that only the later release has."""\n', encoding="utf-8")


def build(source: Path, *kinds: str) -> Path:
    """Build the packages of these kinds (deb, rpm, apk) in a copy of the sources; return its build folder."""
    for kind in kinds:
        run(["make", "--silent", f"build-{kind}", f"MK_NFPM={nfpm()}"], source)
    return source / "build"


def make_repo(out: Path, built: Path, keys: Path, url: str, kinds: tuple[str, ...]) -> Path:
    """Make signed repositories of the packages in a build folder, for machines that find them at ``url``.

    Whoever makes it keeps his files to himself, and still a web server can read all of it.
    """
    command = ["sh", "-c", 'umask 077; exec "$@"', "sh", str(ROOT / "packaging/repo"), *kinds, "--out", str(out)]
    command += ["--build", str(built), "--keys", str(keys)]
    run([*command, "--url", url], ROOT)
    closed = [path for path in (out, *out.rglob("*")) if not path.stat().st_mode & (0o001 if path.is_dir() else 0o004)]
    assert closed == []
    return out


def apk_name(package: str, version: str = VERSION) -> str:
    """Return the name of an apk package's file."""
    return f"{package}-{version}-r0.apk"


def build_rpm_stand_in(place: Path) -> Path:
    """Build an rpm without files that provides what the suite needs; return it."""
    place.mkdir(parents=True)
    provides = "".join(f"Provides: {name}\n" for name in RPM_NEEDS)
    head = f"Name: {STAND_IN}\nVersion: 1\nRelease: 1\nSummary: Stands for packages\nLicense: none\nBuildArch: noarch\n"
    spec = place / "stand-in.spec"
    spec.write_text(f"{head}{provides}\n%description\nNothing.\n\n%files\n", encoding="utf-8")
    run(["rpmbuild", "-bb", "--nodeps", "--define", f"_topdir {place}", str(spec)], place)
    return next((place / "RPMS").rglob("*.rpm"))


def build_apk_stand_in(place: Path) -> Path:
    """Build an apk without files that provides what the suite needs; return it. It is unsigned."""
    place.mkdir(parents=True)
    provides = "".join(f"  - {name}\n" for name in APK_NEEDS)
    head = (
        f"name: {STAND_IN}\narch: all\nversion: 1.0\nrelease: 0\nmaintainer: tests\ndescription: Stands for packages\n"
    )
    config = place / "stand-in.yaml"
    config.write_text(f"{head}provides:\n{provides}", encoding="utf-8")
    package = place / f"{STAND_IN}.apk"
    run([nfpm(), "package", "--packager", "apk", "--config", str(config), "--target", str(package)], place)
    return package

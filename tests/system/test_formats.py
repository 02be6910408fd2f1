"""Three formats, one suite: the same split, files and scripts in deb, rpm and apk; rpmlint; a second build's bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mkcore.version import VERSION
from tests.machines import packages, tree

sys.path.insert(0, str(tree.ROOT / "packaging/apk"))

import signing

NAMES = ("mk-core", "mkctl", "mkmirror", "mkserver", "mkweb", "mk-suite", "mk-host")
PRIVATE = "/usr/share/mk/python"
DEBIANS = "/usr/lib/python3/dist-packages"
OF_ONE_FORMAT = re.compile(
    r"/usr/share/(doc|licenses|lintian)/.*"  # each format has its own place for changelog and licence
    r"|/usr/lib/mk/run"  # finds the modules where they are private
    rf"|{PRIVATE}/sdnotify/.*"  # Alpine has no package of it
)
ACTIONS = ("stop", "try-restart")
GIVEN_BACK = ("chown root:root", "chmod 0400")


def one(pattern: str) -> Path:
    """Return the one package that matches; fail with the way to make it."""
    found = [path for path in tree.BUILD.glob(pattern) if not path.name.endswith(".src.rpm")]
    assert len(found) == 1, f"{pattern}: {found}; run `make {pattern[:3]}`"
    return found[0]


def output(*argv: str) -> str:
    """Return the standard output of a command that succeeds."""
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def apk_members(name: str, stream: int) -> tuple[list[tarfile.TarInfo], dict[str, str]]:
    """Return the members of a stream of an apk package, and the texts of its files: -2 is control, -1 is data."""
    data = gzip.decompress(signing.split_streams(one(f"apk/{name}-*.apk").read_bytes())[stream])
    with tarfile.open(fileobj=io.BytesIO(data + bytes(1024))) as archive:
        members = archive.getmembers()
        texts = {}
        for member in members:
            file = archive.extractfile(member)
            texts[member.name] = file.read().decode(errors="replace") if file else ""
    return members, texts


def normal(path: str, mode: int) -> tuple[str, str] | None:
    """Return path and mode as all formats would have them; None for a folder and what one format alone has."""
    path = f"/{path.strip('/').removeprefix('./')}".replace(DEBIANS, PRIVATE).removesuffix(".gz")
    return None if OF_ONE_FORMAT.fullmatch(path) else (path, f"{mode & 0o7777:o}")


def deb_files(name: str) -> set[tuple[str, str] | None]:
    """Return the files of a deb with their modes."""
    data = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(one(f"deb/{name}_*.deb"))], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(data.stdout)) as archive:
        return {normal(member.name, member.mode) for member in archive if not member.isdir()}


def rpm_files(name: str) -> set[tuple[str, str] | None]:
    """Return the files of an rpm with their modes."""
    form = "[%{FILENAMES}\\t%{FILEMODES:octal}\\n]"
    lines = output(
        "rpm", "-qp", "--nosignature", "--queryformat", form, str(one(f"rpm/{name}-[0-9]*.rpm"))
    ).splitlines()
    pairs = [line.split("\t") for line in lines if "\t" in line]
    return {normal(path, int(mode, 8)) for path, mode in pairs if not int(mode, 8) & 0o40000}


def apk_files(name: str) -> set[tuple[str, str] | None]:
    """Return the files of an apk with their modes."""
    return {normal(member.name, member.mode) for member in apk_members(name, -1)[0] if not member.isdir()}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_files(name: str) -> None:
    """Each package has the same files with the same modes in all formats."""
    wanted = deb_files(name) - {None}
    assert wanted or name == "mk-suite"
    assert rpm_files(name) - {None} == wanted
    assert apk_files(name) - {None} == wanted


def units(text: str, action: str) -> set[str]:
    """Return the units that scripts name behind `systemctl ACTION` or Debian's word for it."""
    found = re.findall(
        rf"(?:systemctl|deb-systemd-invoke)(?: --[a-z-]+)* {action} ([a-z. -]+?)(?: \|\|| >|;|$)", text, re.M
    )
    return {word for words in found for word in words.split()}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mk-suite"])
@pytest.mark.parametrize("action", ACTIONS)
def test_the_same_scripts(name: str, action: str, tmp_path: Path) -> None:
    """Each package's scripts stop and restart the same units in all formats, and none starts or enables one."""
    output("dpkg-deb", "--control", str(one(f"deb/{name}_*.deb")), str(tmp_path / "control"))
    deb = "\n".join(path.read_text(encoding="utf-8") for path in sorted((tmp_path / "control").iterdir()))
    rpm = output("rpm", "-qp", "--nosignature", "--scripts", str(one(f"rpm/{name}-[0-9]*.rpm")))
    apk = "\n".join(apk_members(name, -2)[1].values())
    assert units(deb, action) == units(rpm, action) == units(apk, action)
    assert len({"daemon-reload" in text for text in (deb, rpm, apk)}) == 1, "of new units systemd has to be told"
    for words in GIVEN_BACK:
        assert {words in text for text in (deb, rpm, apk)} == {name == "mkctl"}
    for text in (deb, rpm, apk):
        assert not units(text, "start") | units(text, "enable") | units(text, "restart") | units(text, "preset")


def test_one_version() -> None:
    """What mkcore says, in each format; nothing depends on another version of a sibling."""
    for name in NAMES:
        rpm = str(one(f"rpm/{name}-[0-9]*.rpm"))
        assert output("rpm", "-qp", "--nosignature", "--queryformat", "%{VERSION}", rpm) == VERSION
        info = signing.parse_info(one(f"apk/{name}-*.apk").read_bytes())
        assert info["pkgver"] == [f"{VERSION}-r0"] and info["arch"] == ["noarch"]


def test_rpmlint(tmp_path: Path) -> None:
    """No error in the packages as the repository has them; rpm knows the key of that repository alone."""
    repo = packages.make_repo(tmp_path / "repo", tree.BUILD, tmp_path / "keys", "file:///repo", kinds=("rpm",))
    (tmp_path / ".rpmmacros").write_text(f"%_dbpath {tmp_path}/rpmdb\n", encoding="utf-8")
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    subprocess.run(["rpm", "--import", str(repo / "mksuite.asc")], env=environment, check=True)
    settings = str(tree.ROOT / "packaging/rpm/rpmlint.toml")
    command = ["rpmlint", "--config", settings, *map(str, sorted((repo / "rpm").glob("*.rpm")))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    errors = [line for line in done.stdout.splitlines() if ": E: " in line]
    assert not errors and " 0 errors" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif("MK_FULL" not in os.environ, reason="built a second time in make test-full; deb is in make test")
def test_build_is_reproducible(tmp_path: Path) -> None:
    """The same sources in another folder, with another umask, are the same rpm and apk packages to the byte."""
    source = packages.copy_source(tmp_path / "elsewhere/source")
    mask = os.umask(0o077)
    try:
        built = packages.build(source, "rpm", "apk")
    finally:
        os.umask(mask)
    for kind, pattern in (("rpm", "*.noarch.rpm"), ("apk", "*.apk")):
        sums = [
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / kind).glob(pattern)}
            for folder in (tree.BUILD, built)
        ]
        assert sums[0] and sums[0] == sums[1]


@pytest.mark.skipif("MK_FULL" not in os.environ, reason="a second build of the rpm packages is in make test-full")
def test_bundle_for_el(tmp_path: Path) -> None:
    """With RPM_BUNDLE=1 nothing is asked for that EPEL lacks, and the modules that came along are the ones imported."""
    source = packages.copy_source(tmp_path / "source")
    packages.run(["make", "--silent", "build-rpm", "RPM_BUNDLE=1"], source)
    root = tmp_path / "root"
    root.mkdir()
    lacking = ("python3-dbus-next", "python3-sdnotify", "python3-waitress", "python3-werkzeug")
    for package in (source / "build/rpm").glob("*.noarch.rpm"):
        needs = output("rpm", "-qp", "--nosignature", "--requires", str(package))
        assert not [name for name in lacking if name in needs], package
        unpack = f"rpm2cpio {package} | cpio --extract --make-directories --quiet"
        subprocess.run(["sh", "-c", unpack], cwd=root, check=True)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import dbus_next.aio, sdnotify, waitress, werkzeug, mkcore.http"
    )
    shown = "print(*(sys.modules[name].__file__ for name in ('dbus_next', 'sdnotify', 'waitress', 'werkzeug')))"
    found = output("/usr/bin/python3", "-I", "-c", f"{code}; {shown}", f"{root}{PRIVATE}").split()
    assert len(found) == 4 and all(path.startswith(f"{root}{PRIVATE}/") for path in found), found
    for module in ("dbus_next", "sdnotify", "waitress", "werkzeug"):
        assert (root / f"usr/share/mk/python/{module}/copyright").is_file()

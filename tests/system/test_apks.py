"""The apk packages by a real apk of Alpine from a signed repository: installed, upgraded, removed, purged, in a chroot.

The Alpine has neither systemd nor Python: a package without files says that it had. So files, scripts, dependencies and
signatures are shown; running on an Alpine with systemd, such as postmarketOS, is not.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import packages, tree

ALPINE = tree.BUILD / "tools/alpine"
NAMES = ("mk-core", "mkctl", "mkmirror", "mkserver", "mkweb", "mk-suite", "mk-host")
PEOPLE = ("mkctl", "mkmirror", "mkserver", "mkweb")
OTHERS = (
    "lib/apk/",
    "usr/lib/apk/",
    "var/cache/apk/",
    "var/log/",
    "etc/apk/",
    "place",
    "etc/passwd",
    "etc/group",
    "etc/shadow",
)
"""apk's own records; the three files of users are looked at by their content."""


class Alpine:
    """An Alpine in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def apk(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run apk."""
        done = subprocess.run(
            ["chroot", str(self.root), "/sbin/apk", "--no-progress", *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def use(self, repository: str) -> None:
        """Have apk know one of the repositories, as README says; its key is trusted already."""
        text = (self.root / "place" / repository / "repositories").read_text(encoding="utf-8")
        (self.root / "etc/apk/repositories").write_text(text, encoding="utf-8")

    def trust(self, repository: str) -> None:
        """Have apk trust the key of a repository."""
        for key in (self.root / "place" / repository / "apk").glob("*.rsa.pub"):
            shutil.copy(key, self.root / "etc/apk/keys")

    def files(self) -> set[str]:
        """Return every path, less what apk keeps."""
        found = {path.relative_to(self.root).as_posix() for path in self.root.rglob("*")}
        return {path for path in found if not path.startswith(OTHERS)}

    def people(self) -> set[str]:
        """Return the names of the users and groups."""
        lines = [(self.root / name).read_text(encoding="utf-8") for name in ("etc/passwd", "etc/group")]
        return {line.split(":")[0] for line in "\n".join(lines).splitlines()}


@pytest.fixture(scope="module")
def alpine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alpine]:
    """An Alpine that a stand-in was added to, with the repositories `older`, `newer` and `foreign` in /place."""
    assert ALPINE.is_dir(), f"no {ALPINE}: run `packaging/setup test`"
    place = tmp_path_factory.mktemp("apks")
    source = packages.copy_source(place / "source")
    packages.raise_version(source)
    built = packages.build(source, "apk")
    with tree.overlay([ALPINE], tree.BUILD / "system" / "apks") as root:
        for name, at, keys in (("older", tree.BUILD, "a"), ("newer", built, "a"), ("foreign", tree.BUILD, "b")):
            packages.make_repo(root / "place" / name, at, place / keys, f"file:///place/{name}", kinds=("apk",))
        shutil.copy(packages.build_apk_stand_in(place / "stand-in"), root / "place")
        (root / "dev/null").unlink(missing_ok=True)
        os.mknod(root / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # which scripts write to
        found = Alpine(root)
        found.use("older")
        found.trust("older")
        found.apk("add", "--allow-untrusted", "/place/stand-in.apk")
        yield found


def test_another_key_is_refused(alpine: Alpine) -> None:
    """A repository that another key signed under the same name gives nothing, nor does a package of its."""
    alpine.use("foreign")
    done = alpine.apk("add", "mk-suite", check=False)
    assert done.returncode != 0 and "BAD signature" in done.stdout + done.stderr, done.stdout + done.stderr
    package = f"/place/foreign/apk/x86_64/{packages.apk_name('mk-core')}"
    assert alpine.apk("verify", package, check=False).returncode != 0
    assert not (alpine.root / "usr/lib/mk").exists()


def test_a_changed_package_is_refused(alpine: Alpine) -> None:
    """One changed byte in the data, behind the signature that covers its sum."""
    package = alpine.root / "place/older/apk/x86_64" / packages.apk_name("mkweb")
    data = bytearray(package.read_bytes())
    data[-100] ^= 1
    changed = alpine.root / "place" / package.name
    changed.write_bytes(data)
    assert alpine.apk("verify", f"/place/{package.name}", check=False).returncode != 0


def test_install_upgrade_remove_purge(alpine: Alpine) -> None:
    """The whole life of the packages on one machine."""
    before, people = alpine.files(), alpine.people()
    alpine.use("older")
    for name in NAMES:
        alpine.apk("verify", f"/place/older/apk/x86_64/{packages.apk_name(name)}")
    alpine.apk("add", "mk-suite", "mkserver", "mk-host")
    assert {*PEOPLE, "mk-host"} <= alpine.people()
    changed = alpine.apk("audit", "--packages", "--check-permissions").stdout.splitlines()
    assert not [package for package in changed if package.startswith(NAMES)], changed
    assert not [path for path in alpine.files() if path.startswith("etc/systemd/")]
    for command in PEOPLE:
        assert (alpine.root / "usr/bin" / command).stat().st_mode & 0o7777 == 0o755
    assert (alpine.root / "usr/share/mk/python/sdnotify/__init__.py").is_file()

    own = alpine.root / "etc/mk/mk.toml"
    own.write_text('[log]\nlevel = "info"\n', encoding="utf-8")
    alpine.use("newer")
    alpine.apk("upgrade")
    assert (alpine.root / "usr/share/mk/python/mkctl/later.py").is_file()
    assert f"mkctl-{packages.NEWER}" in alpine.apk("list", "--installed", "mkctl").stdout
    assert own.read_text(encoding="utf-8") == '[log]\nlevel = "info"\n'

    alpine.apk("del", "mk-suite", "mkserver", "mk-host")
    assert own.read_text(encoding="utf-8") == '[log]\nlevel = "info"\n'
    assert alpine.files() - before == {"etc/mk", "etc/mk/mk.toml"}
    alpine.apk("add", "mk-suite", "mkserver", "mk-host")
    alpine.apk("del", "--purge", "mk-suite", "mkserver", "mk-host")
    shutil.rmtree(alpine.root / "etc/mk", ignore_errors=True)
    assert alpine.files() == before
    for name in (*PEOPLE, "mk-host"):
        subprocess.run(["chroot", str(alpine.root), "/usr/sbin/deluser", name], check=True, capture_output=True)
    assert alpine.people() == people

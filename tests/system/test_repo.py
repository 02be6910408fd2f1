"""`make repo`: apt installs from it what the site's key signed and nothing else; a configuration survives; purge.

In a Debian that is not booted, since what starts and stops is seen in test_packages; rpm and apk have tests of their
own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import packages, tree

pytestmark = pytest.mark.skipif(
    "MK_FULL" not in os.environ, reason="apt's part of `make repo` is in make test-full: a minute"
)
NAMES = ("mk-core", "mkctl", "mkmirror", "mkserver", "mkweb", "mk-suite", "mk-host")
KEY = "etc/apt/keyrings/mksuite.asc"
SOURCES = "etc/apt/sources.list.d/mksuite.sources"


class Debian:
    """A Debian in a folder that knows our repository alone."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        command = ["chroot", str(self.root), "env", "-i", "PATH=/usr/sbin:/usr/bin", "DEBIAN_FRONTEND=noninteractive"]
        done = subprocess.run([*command, *argv], capture_output=True, text=True, timeout=300, check=False)
        assert not check or done.returncode == 0, f"{argv}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def use(self, repository: str, key: str = "") -> subprocess.CompletedProcess[str]:
        """Have apt know a repository, as README says, or claim another one's key for it."""
        place = self.root / "place"
        (self.root / KEY).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place / (key or repository) / "mksuite.asc", self.root / KEY)
        shutil.rmtree(self.root / "var/lib/apt/lists")
        shutil.copy(place / repository / "mksuite.sources", self.root / SOURCES)
        return self.run("apt-get", "update", check=False)

    def apt(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run apt-get without a question."""
        return self.run("apt-get", "--yes", "--no-install-recommends", *words, check=check)


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """A Debian with what the suite needs, and the repositories `older`, `newer` and `foreign` in /place."""
    place = tmp_path_factory.mktemp("debs")
    source = packages.copy_source(place / "source")
    packages.raise_version(source)
    built = packages.build(source, "deb")
    with tree.overlay([tree.make_base()], tree.BUILD / "system" / "repo") as root:
        for name, at, keys in (("older", tree.BUILD, "a"), ("newer", built, "a"), ("foreign", tree.BUILD, "b")):
            packages.make_repo(root / "place" / name, at, place / keys, f"file:///place/{name}", kinds=("deb",))
        for path in (root / "etc/apt").rglob("*sources*"):
            if path.is_file():
                path.unlink()
        yield Debian(root)


def test_another_key_is_refused(debian: Debian) -> None:
    """A repository that another key signed gives nothing, nor does one without a signature."""
    done = debian.use("foreign", key="older")
    assert "NO_PUBKEY" in done.stdout + done.stderr or "not signed" in done.stdout + done.stderr, done.stderr
    assert debian.apt("install", "mk-suite", check=False).returncode != 0
    debian.use("older")
    changed = debian.root / "place/older/deb/Packages"
    kept = changed.read_bytes()
    changed.write_bytes(kept.replace(b"Package: mkweb", b"Package: mkxyz"))
    changed.with_suffix(".gz").rename(changed.with_suffix(".away"))
    assert debian.use("older").returncode != 0
    changed.write_bytes(kept)
    changed.with_suffix(".away").rename(changed.with_suffix(".gz"))


def test_install_upgrade_remove_purge(debian: Debian) -> None:
    """The whole life of the packages on one machine."""
    done = debian.use("older")
    assert done.returncode == 0 and "W:" not in done.stderr, done.stderr
    debian.apt("install", "mk-suite", "mkserver", "mk-host")
    assert debian.run("dpkg", "--verify", *NAMES).stdout == ""
    assert debian.run("systemctl", "is-enabled", "mk.target", "mkserver.service", check=False).stdout.split() == [
        "disabled",
        "disabled",
    ]
    kept = {"etc/mk/mk.toml": '[log]\nlevel = "info"\n', "etc/systemd/system/mkctl.service.d/own.conf": "[Unit]\n"}
    for name, text in kept.items():
        (debian.root / name).parent.mkdir(parents=True, exist_ok=True)
        (debian.root / name).write_text(text, encoding="utf-8")

    debian.use("newer")
    debian.apt("upgrade")
    assert debian.run("mkctl", "version").stdout.split()[-1] == packages.NEWER
    assert debian.run("dpkg", "--verify", *NAMES).stdout == ""
    assert {name: (debian.root / name).read_text(encoding="utf-8") for name in kept} == kept

    debian.apt("remove", *NAMES)
    assert {name: (debian.root / name).read_text(encoding="utf-8") for name in kept} == kept
    assert not (debian.root / "usr/bin/mkctl").exists()
    debian.apt("purge", *NAMES)
    assert not (debian.root / "etc/mk").exists()
    assert not [
        line for line in (debian.root / "etc/passwd").read_text(encoding="utf-8").splitlines() if line[:2] == "mk"
    ]

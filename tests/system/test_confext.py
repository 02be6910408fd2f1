"""What is written to /etc while a configuration extension is merged is there after the next refresh, and without any.

The images are folders here, as a container has no loop devices; how one comes from a mirror is shown on the shipped
image (tests/image/test_extensions.py), whose root is an overlay as this container's is.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.machines import nspawn
from tests.machines.tree import RELEASE

pytestmark = pytest.mark.skipif(RELEASE != "trixie", reason="systemd leaves /etc writable since 256")

SHOW = """
from mkmirror import host
print(host.REFRESH[host.Kind.CONFEXT])
"""
REFRESH = """
import json
from mkmirror.host import Kind, refresh
print(json.dumps(sorted(refresh(Kind.CONFEXT))))
"""
DISK = "/mnt/disk"
MAKE_DISK = """
mkdir $1
mount -t tmpfs -o mode=755 disk $1
cp --archive /etc $1
rm -rf $1/etc/.systemd-confext
mkdir -p $1/var/lib $1/run
for each in usr proc sys dev; do mkdir $1/$each; mount --rbind /$each $1/$each; done
for each in bin sbin lib lib64; do ln -s usr/$each $1; done
mount -t tmpfs run $1/run
mkdir $1/run/confexts
"""


class Place:
    """A root with its /etc: the machine's own, or another one in it."""

    def __init__(self, machine: nspawn.Machine, root: str = "") -> None:
        self.machine = machine
        self.root = root

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program with that root."""
        return self.machine.run(*(("chroot", self.root) if self.root else ()), *argv, check=check)

    def read(self, path: str) -> str:
        """Return what is in a file."""
        return self.run("cat", path).stdout.strip()

    def is_there(self, path: str) -> bool:
        """Tell whether there is a file."""
        return self.run("test", "-e", path, check=False).returncode == 0

    def add(self, name: str) -> None:
        """Lay an extension with one file of its name where systemd looks."""
        top = f"{self.root}/run/confexts/{name}/etc"
        self.machine.run("mkdir", "-p", f"{top}/extension-release.d")
        self.machine.write(f"{top}/extension-release.d/extension-release.{name}", "ID=_any\n")
        self.machine.write(f"{top}/{name}.conf", "a=1\n")

    def refresh(self) -> set[str]:
        """Refresh as mk-extensions does; return what is merged then."""
        if not self.root:
            return set(json.loads(self.machine.output("/usr/bin/python3", "-I", "-c", REFRESH)))
        script = self.machine.output("/usr/bin/python3", "-I", "-c", SHOW)
        (row,) = json.loads(self.run("sh", "-c", script).stdout)
        return set(row["extensions"]) if row["extensions"] != "none" else set()


def check(place: Place) -> None:
    """Merge two extensions one after the other and take both away, writing meanwhile."""
    before = place.run("stat", "--format=%a %U", "/etc").stdout
    place.add("lab-one")
    assert "lab-one" in place.refresh()
    assert place.read("/etc/lab-one.conf") == "a=1"
    place.run("sh", "-c", "echo b=2 >/etc/lab-own.conf && rm /etc/issue")
    place.run("sed", "--in-place", "s/^127.0.0.1.*/& lab-edited/", "/etc/lab-hosts")
    place.add("lab-two")
    assert {"lab-one", "lab-two"} <= place.refresh()
    assert (place.read("/etc/lab-own.conf"), place.read("/etc/lab-two.conf")) == ("b=2", "a=1")
    for name in ("lab-one", "lab-two"):
        place.machine.run("rm", "-r", f"{place.root}/run/confexts/{name}")
        assert name not in place.refresh()
        assert not place.is_there(f"/etc/{name}.conf")
        assert place.read("/etc/lab-own.conf") == "b=2"
        assert "lab-edited" in place.read("/etc/lab-hosts")
        assert not place.is_there("/etc/issue")
    assert place.run("stat", "--format=%a %U", "/etc").stdout == before


def test_on_a_root_that_is_an_overlay(quiet: nspawn.Machine) -> None:
    """What was written stays beside /etc, in memory as all of it."""
    assert quiet.output("stat", "--file-system", "--format=%T", "/etc") == "overlayfs"
    quiet.run("cp", "/etc/hosts", "/etc/lab-hosts")
    check(Place(quiet))
    quiet.run("systemd-confext", "unmerge")
    quiet.run("rm", "-r", "/run/extensions.mutable", "/run/confexts")  # as after a boot of a system that keeps its /var
    place = Place(quiet)
    place.add("lab-one")
    assert "lab-one" in place.refresh()
    quiet.run("systemd-confext", "unmerge")


def test_on_any_other_root(quiet: nspawn.Machine) -> None:
    """It goes to /etc itself, where it is after the next boot, too."""
    quiet.run("sh", "-euc", MAKE_DISK, "sh", DISK)
    quiet.run("cp", "/etc/hosts", f"{DISK}/etc/lab-hosts")
    quiet.write(f"{DISK}/etc/issue", "Debian\n")
    place = Place(quiet, DISK)
    place.add("lab-before")
    place.run("systemd-confext", "refresh")  # by somebody else: this /etc is an overlay, too, for now
    place.refresh()
    quiet.run("rm", "-r", f"{DISK}/run/confexts/lab-before")
    check(place)
    assert json.loads(place.run("systemd-confext", "status", "--json=short").stdout)[0]["extensions"] == "none"
    assert place.run("findmnt", "--noheadings", "/etc", check=False).stdout == ""
    assert place.read("/etc/lab-own.conf") == "b=2"
    assert not place.is_there("/var/lib/extensions.mutable"), "the link is for the time of the merge"


def test_a_place_of_the_sites_own(quiet: nspawn.Machine) -> None:
    """What is written goes there and stays there."""
    place = Place(quiet, DISK)
    place.run("mkdir", "-p", "/var/lib/extensions.mutable/etc")
    place.add("lab-three")
    assert "lab-three" in place.refresh()
    place.run("sh", "-c", "echo c=3 >/etc/lab-site.conf")
    assert place.read("/var/lib/extensions.mutable/etc/lab-site.conf") == "c=3"
    quiet.run("rm", "-r", f"{DISK}/run/confexts/lab-three")
    place.refresh()
    place.run("rm", "-r", "/var/lib/extensions.mutable")


def test_where_no_place_can_be_made(quiet: nspawn.Machine) -> None:
    """It is merged all the same, and /etc can be written for as long."""
    place = Place(quiet, DISK)
    quiet.run("mount", "--bind", "-o", "ro", f"{DISK}/var", f"{DISK}/var")
    place.add("lab-four")
    assert "lab-four" in place.refresh()
    place.run("sh", "-c", "echo d=4 >/etc/lab-lost.conf")
    assert place.read("/etc/lab-lost.conf") == "d=4"
    quiet.run("rm", "-r", f"{DISK}/run/confexts/lab-four")
    place.refresh()
    quiet.run("umount", f"{DISK}/var")


def test_an_image_that_cannot_be_merged_leaves_nothing(quiet: nspawn.Machine) -> None:
    """It is no reason to put what is written elsewhere from now on."""
    place = Place(quiet, DISK)
    quiet.run("sh", "-c", f"head -c 1M /dev/urandom >{DISK}/run/confexts/lab-broken.raw")
    script = quiet.output("/usr/bin/python3", "-I", "-c", SHOW)
    assert place.run("sh", "-c", script, check=False).returncode != 0
    quiet.run("rm", f"{DISK}/run/confexts/lab-broken.raw")
    assert place.run("ls", "/run/confexts").stdout == ""
    assert place.refresh() == set()

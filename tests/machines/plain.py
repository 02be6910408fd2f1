"""A plain Debian 13 in a virtual machine: its own kernel and initramfs, a root on disk, one card that networkd runs.

What an administrator's server looks like before our packages come to it. Their dependencies are in it, since nothing is
downloaded by a machine under test; the packages themselves come on a disk beside it. The root's image is made once and
kept for as long as its list of packages and its own files stay the same; a machine's changes to it are thrown away.

Source: mmdebstrap(1), mke2fs(8) for -d, systemd.network(5).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from .accel import choose_accel
from .journal import CHANNELS, build_credentials
from .qemu import Disk, Machine, Nic
from .tree import BUILD, NEEDED_TO_BOOT, bootstrap, locked, read_debs, read_depends

RELEASE = "trixie"
FOLDER = BUILD / "plain"
PACKAGES = (*NEEDED_TO_BOOT, "linux-image-cloud-amd64", "initramfs-tools", "apt", "mount")
ROOT_BYTES = 3 << 30
"""Sparse: what is in it is a quarter."""
MAC = "52:54:00:50:4c:01"
PORTS = 6
DEBS = "/mnt"
"""Where the packages' disk is mounted."""
_FILES = {
    "etc/machine-id": "5d1f0c6b2a9e4c7f8b3a6d5e4f3c2b1a\n",  # installed some day: not a first boot
    "etc/hostname": "plain\n",
    "etc/fstab": f"LABEL=root / ext4 defaults 0 1\nLABEL=debs {DEBS} ext4 ro 0 0\n",
    # One card by its address: whatever else gets configured was not by this administrator.
    "etc/systemd/network/50-lan.network": f"[Match]\nPermanentMACAddress={MAC}\n[Network]\nDHCP=ipv4\n",
}
_CMDLINE = "root=LABEL=root rw console=ttyS0 systemd.mask=apt-daily.timer systemd.mask=apt-daily-upgrade.timer"
"""Without the jobs that would run apt at a random time, and hold its lock."""


def make_plain() -> Path:
    """Return the folder with vmlinuz, initrd and root.ext4; two minutes when it has to be made, else no time."""
    packages = sorted({*read_depends(read_debs()), *PACKAGES})
    key = hashlib.sha256(repr((RELEASE, packages, _FILES, ROOT_BYTES)).encode()).hexdigest()[:12]
    place = FOLDER / f"root-{key}"
    with locked("plain"):
        if place.is_dir():
            return place
        fresh, tree = place.with_suffix(".new"), FOLDER / "tree"
        for old in FOLDER.glob("root-*"):
            shutil.rmtree(old)
        fresh.mkdir(parents=True)
        bootstrap(tree, RELEASE, packages)
        _configure(tree)
        for name in ("vmlinuz", "initrd"):
            found = next((tree / "boot").glob(f"{name}*-cloud-amd64"))
            shutil.copy(found, fresh / name)
        _make_image(fresh / "root.ext4", "root", ROOT_BYTES, tree)
        shutil.rmtree(tree)
        fresh.rename(place)
    return place


def _configure(tree: Path) -> None:
    for name, text in _FILES.items():
        (tree / name).write_text(text, encoding="utf-8")
    enable = ["chroot", str(tree), "systemctl", "--quiet", "enable", "systemd-networkd.service"]
    subprocess.run(enable, capture_output=True, check=True)


def _make_image(path: Path, label: str, size_bytes: int, content: Path) -> None:
    """Make a file system with the content of a folder; the file is sparse."""
    path.unlink(missing_ok=True)
    argv = ["mke2fs", "-q", "-t", "ext4", "-L", label, "-d", str(content), str(path), f"{size_bytes >> 10}k"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def build_machine() -> Machine:
    """Describe the machine, with the packages under test on its second disk; makes what it is made of."""
    place, debs = make_plain(), FOLDER / "debs"
    shutil.rmtree(debs, ignore_errors=True)
    debs.mkdir()
    for deb in read_debs():
        shutil.copy(deb, debs)
    _make_image(FOLDER / "debs.ext4", "debs", 16 << 20, debs)
    return Machine(
        uuid="2b7e1516-28ae-4d2a-abf7-158809cf4f3c",
        nics=(Nic(MAC, "user,restrict=on,ipv6=off"),),
        disks=(
            Disk(place / "root.ext4", "ROOT", throw_away=True),
            Disk(FOLDER / "debs.ext4", "DEBS", throw_away=True),
        ),
        cpus=1,  # an emulated second one was seen to lose its timer, and the machine hung
        accel=choose_accel(),
        kernel=place / "vmlinuz",
        initrd=place / "initrd",
        cmdline=_CMDLINE,
        credentials=build_credentials(),
        channels=CHANNELS,
        ports=PORTS,
    )

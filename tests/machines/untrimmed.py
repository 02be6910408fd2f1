"""The system that the image is made of, before anything is left out of it: what its tools say is what ours must say.

mkosi keeps the tree with Debian's packages installed. It becomes a disk for a machine, which runs the tools in it, with
its own kernel and devices.

Source: mksquashfs(1); mkosi(1), Incremental=.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from .journal import Channel
from .server import ROOT

CACHE = ROOT / "build/mkosi/cache"
PLACE = "/run/untrimmed"
_LEFT_OUT = ("boot", "dev", "proc", "run", "sys", "tmp", "usr/lib/firmware", "usr/lib/modules", "usr/share/doc", "var")
_MOUNT = f"""\
set -e
for _ in $(seq 100); do [ -e "$1" ] && break; sleep 0.1; done
mkdir {PLACE} && mount -t tmpfs none {PLACE} && mkdir {PLACE}/disk {PLACE}/upper {PLACE}/work {PLACE}/root
mount -t squashfs -o ro "$1" {PLACE}/disk
mount -t overlay -o lowerdir={PLACE}/disk,upperdir={PLACE}/upper,workdir={PLACE}/work none {PLACE}/root
for name in dev proc run sys; do mkdir -p {PLACE}/root/$name; mount --rbind /$name {PLACE}/root/$name; done
"""


def make_disk(target: Path) -> None:
    """Make a disk's file of the tree.

    AssertionError when there is none: an image that was copied, and not built, has none beside it.
    """
    trees = [tree for tree in CACHE.glob("*x86-64*.cache") if (tree / "usr/bin/lshw").exists()]
    assert trees, f"{CACHE} holds no system: run packaging/image/build --fresh"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    command = ["mksquashfs", str(trees[0]), str(target), "-noappend", "-comp", "gzip", "-Xcompression-level", "1"]
    subprocess.run([*command, "-quiet", "-no-progress", "-e", *_LEFT_OUT], check=True, capture_output=True)


def mount_disk(channel: Channel, serial: str) -> None:
    """Mount the plugged disk in the machine, with the machine's own devices."""
    channel.run("sh", "-c", _MOUNT, "-", f"/dev/disk/by-id/virtio-{serial}", timeout_s=120)


def run_there(channel: Channel, *argv: str) -> str:
    """Run a tool of the untrimmed system; return what it says, whatever its status."""
    return channel.run("chroot", f"{PLACE}/root", *argv, timeout_s=300, check=False).stdout

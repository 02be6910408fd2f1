"""Run systemd-networkd on a cable of its own, send it LLDP frames, print what the probe makes of its answer.

Started by `unshare --mount --net`, so that neither its mounts nor its interfaces are seen outside. The first argument
is the root of the system whose networkd is run, "/" for this machine's. /sys is mounted read-only: then networkd waits
for no udev, as in a container.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import lldp_wire as wire

from mkctl.probe.lldp import collect_lldp

NETWORK = "[Match]\nName=ours\n[Network]\nLLDP=yes\nLinkLocalAddressing=no\n"


def prepare(root: Path) -> None:
    """Give the system an empty /run with the configuration, and this network a veth pair."""
    run(["mount", "-t", "sysfs", "-o", "ro", "sysfs", str(root / "sys")])
    run(["mount", "-t", "tmpfs", "tmpfs", str(root / "run")])
    if root != Path("/"):
        run(["mount", "-t", "sysfs", "-o", "ro", "sysfs", "/sys"])
        run(["mount", "--bind", "/proc", str(root / "proc")])
        run(["mount", "--bind", "/dev", str(root / "dev")])
    folder = root / "run/systemd/network"
    folder.mkdir(parents=True)
    (folder / "10-ours.network").write_text(NETWORK, encoding="ascii")
    user = next(
        line.split(":")
        for line in (root / "etc/passwd").read_text(encoding="utf-8").splitlines()
        if line.startswith("systemd-network:")
    )
    for name in (".", "links", "leases", "lldp"):
        (root / "run/systemd/netif" / name).mkdir(parents=True, exist_ok=True)
        os.chown(root / "run/systemd/netif" / name, int(user[2]), int(user[3]))
    wire.ip("link", "set", "lo", "up")
    wire.make_cable("ours", "theirs")


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def main(root: Path) -> None:
    prepare(root)
    networkd = subprocess.Popen(
        ["chroot", str(root), "/usr/lib/systemd/systemd-networkd"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with wire.sender("theirs", wire.SWITCH):
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                got = collect_lldp(root, Path("/sys"), lambda _: {})
                if got.facts:
                    break
                time.sleep(0.1)
    finally:
        networkd.terminate()
        networkd.wait(10)
    json.dump({"facts": got.facts, "inventory": got.inventory, "error": got.error}, sys.stdout)


main(Path(sys.argv[1]))

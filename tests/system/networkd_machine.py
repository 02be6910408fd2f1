"""A machine that is nothing but systemd-networkd on cables of its own, for tests of the image's network files.

Started by `unshare --mount --net`, so that neither its mounts nor its interfaces are seen outside. Arguments: the root
of the system whose networkd it is, the machine ID, the folder that becomes /run/systemd/network. It says "ready" when
cables may be plugged, starts networkd at the first line of its input, and ends at the second. /sys is mounted
read-only: then networkd waits for no udev, as in a container.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def prepare(root: Path, machine_id: str, networks: Path) -> None:
    """Give the system an empty /run with the configuration, and this machine ID."""
    run(["mount", "-t", "sysfs", "-o", "ro", "sysfs", str(root / "sys")])
    run(["mount", "-t", "tmpfs", "tmpfs", str(root / "run")])
    run(["mount", "--bind", "/proc", str(root / "proc")])
    run(["mount", "--bind", "/dev", str(root / "dev")])
    shutil.copytree(networks, root / "run/systemd/network")
    (root / "run/machine-id").write_text(f"{machine_id}\n", encoding="ascii")
    run(["mount", "--bind", str(root / "run/machine-id"), str(root / "etc/machine-id")])
    user = next(
        line.split(":")
        for line in (root / "etc/passwd").read_text(encoding="utf-8").splitlines()
        if line.startswith("systemd-network:")
    )
    for name in (".", "links", "leases", "lldp"):
        (root / "run/systemd/netif" / name).mkdir(parents=True, exist_ok=True)
        os.chown(root / "run/systemd/netif" / name, int(user[2]), int(user[3]))
    run(["ip", "link", "set", "lo", "up"])


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def main(root: Path, machine_id: str, networks: Path) -> None:
    prepare(root, machine_id, networks)
    print("ready", flush=True)
    sys.stdin.readline()
    networkd = subprocess.Popen(
        ["chroot", str(root), "/usr/lib/systemd/systemd-networkd"], stdout=subprocess.DEVNULL, stderr=sys.stderr
    )
    try:
        sys.stdin.readline()
    finally:
        networkd.terminate()
        networkd.wait(20)


main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))

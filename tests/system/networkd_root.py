"""What a systemd-networkd of a given system needs to run on cables of its own: mounts, its folders, its end.

For programs started by `unshare --mount --net`, so that neither mounts nor interfaces are seen outside. /sys is
mounted read-only: then networkd waits for no udev, as in a container.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Union


def run(command: list[str]) -> None:
    """Run a command; its words are only of interest when it fails, which ends the program."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def prepare_root(root: Path) -> Path:
    """Give the system at `root` an empty /run and, where it is not this machine's, the kernel's file systems.

    Returns the folder of networkd's configuration in that /run, empty.
    """
    run(["mount", "-t", "sysfs", "-o", "ro", "sysfs", str(root / "sys")])
    run(["mount", "-t", "tmpfs", "tmpfs", str(root / "run")])
    if root != Path("/"):
        run(["mount", "--bind", "/proc", str(root / "proc")])
        run(["mount", "--bind", "/dev", str(root / "dev")])
    accounts = (root / "etc/passwd").read_text(encoding="utf-8").splitlines()
    user = next(line.split(":") for line in accounts if line.startswith("systemd-network:"))
    for name in (".", "links", "leases", "lldp"):
        (root / "run/systemd/netif" / name).mkdir(parents=True, exist_ok=True)
        os.chown(root / "run/systemd/netif" / name, int(user[2]), int(user[3]))
    run(["ip", "link", "set", "lo", "up"])
    folder = root / "run/systemd/network"
    folder.mkdir(parents=True)
    return folder


@contextlib.contextmanager
def networkd(root: Path, errors: Union[int, IO[str]] = subprocess.DEVNULL) -> Iterator[None]:
    """Run the networkd of the system at `root` meanwhile; what it says goes to `errors`."""
    command = ["chroot", str(root), "/usr/lib/systemd/systemd-networkd"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)

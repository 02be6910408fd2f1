"""Mounted file systems: `mountpoints` of Facter 4, `filesystems` of both versions.

    mountpoints {"/": {"device": "/dev/vda1", "filesystem": "ext4", "options": ["rw", …], "size": "34.98 GiB",
                       "size_bytes", "available", "available_bytes", "used", "used_bytes", "capacity": "4.53%"}}
    filesystems "ext2,ext3,ext4,xfs": those that the kernel knows and that need a device

What lies below /proc and /sys is left out unless it is a tmpfs; of two mounts in one place the later one is seen. The
view is that of the process: in the sandbox of its unit, where file systems are read-only and some are covered, that is
the sandbox's. Asking a network file system whose server is gone can hang, so this is a collector of its own. Source:
proc_pid_mounts(5), statvfs(3), proc(5) filesystems; outputs of Facter 4.3.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from mkcore.jsonfields import Json
from mkctl.probe.facter_amounts import amounts, format_share
from mkctl.probe.texts import clean_text

MOUNTS_LIMIT_BYTES = 4 << 20


class Mount(NamedTuple):
    """A line of /proc/self/mounts; path is as the file system has it, with undecodable bytes as surrogates."""

    device: str
    path: str
    filesystem: str
    options: tuple[str, ...]


def parse_mounts(data: bytes) -> list[Mount]:
    """Parse /proc/self/mounts in its order; a line with fewer than four fields is left out."""
    fields = (line.split(b" ") for line in data.split(b"\n"))
    return [_mount(*words[:4]) for words in fields if len(words) >= 4]


def _mount(device: bytes, path: bytes, filesystem: bytes, options: bytes) -> Mount:
    return Mount(
        clean_text(_unescape(device)),
        os.fsdecode(_unescape(path)),
        clean_text(filesystem),
        tuple(clean_text(_unescape(option)) for option in options.split(b",")),
    )


def mounted_devices(mounts: Iterable[Mount]) -> dict[str, str]:
    """Return device -> the first place where it is mounted."""
    found: dict[str, str] = {}
    for mount in mounts:
        found.setdefault(mount.device, clean_text(mount.path))
    return found


def structured_mounts(mounts: Iterable[Mount], command_line: str = "", host: str = "") -> dict[str, Json]:
    """Make `mountpoints`, asking the kernel for the sizes. command_line: the kernel's, which names /dev/root.

    host: where the paths are seen, if they are those of a container's host.
    """
    facts: dict[str, Json] = {}
    for mount in mounts:
        hidden = mount.path.startswith(("/proc", "/sys")) and mount.filesystem != "tmpfs"
        if not hidden and mount.filesystem != "autofs":
            device = _root_device(command_line) if mount.device == "/dev/root" else mount.device
            facts[clean_text(mount.path)] = {
                "device": device or mount.device,
                "filesystem": mount.filesystem,
                "options": list[Json](mount.options),
                **_usage(host + mount.path),
            }
    return facts


def parse_filesystems(text: str) -> str:
    """Make `filesystems` of /proc/filesystems: the names without "nodev", sorted; fuseblk, a helper, is none."""
    words = (line.split() for line in text.splitlines())
    return ",".join(sorted(word[0] for word in words if len(word) == 1 and word[0] != "fuseblk"))


def _usage(path: str) -> dict[str, Json]:
    try:
        status = os.statvfs(path)
        size, available = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
        used = size - status.f_bfree * status.f_frsize
    except OSError:
        size = available = used = 0
    facts = {**amounts("size", size), **amounts("available", available), **amounts("used", used)}
    facts["capacity"] = "100%" if not available else "0%" if not used else format_share(used, used + available)
    return facts


def _root_device(command_line: str) -> str:
    return next((word[5:] for word in command_line.split() if word.startswith("root=")), "")


def _unescape(field: bytes) -> bytes:
    if b"\\" not in field:
        return field
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 0xFF]), field)

"""Whether hardware came or went: the kernel's uevent number, and when udev last changed its database.

The number alone says too much: it counts the loopback interface of every new network namespace too, and each start of a
service with PrivateNetwork= makes one. The database alone changes too when udev is late with what a collection has
seen already. So hardware has changed where both have. Disks, network interfaces and all else that has a number have an
entry there; what has none gets one from the suite's rules, if it comes once facts were collected (units/udev).

Sources: lib/kobject_uevent.c of the kernel; udev(7), sd-device for /run/udev/data.
"""

from __future__ import annotations

from pathlib import Path

from mkcore.files import read_line


def read_seqnum(sys_root: Path) -> int:
    """Return the kernel's uevent number; 0 where there is none."""
    text = read_line(sys_root / "kernel/uevent_seqnum")
    return int(text) if text.isascii() and text.isdigit() else 0


def read_learnt(udev: Path) -> int:
    """Return when an entry of udev's database came or went last, ns since the epoch; 0 where no udev runs (container).

    Each entry is a file that is renamed into its place, which changes the time of the folder.
    """
    try:
        return (udev / "data").stat().st_mtime_ns
    except OSError:
        return 0


def is_newer(before: tuple[int, int], now: tuple[int, int]) -> bool:
    """Tell whether hardware came or went between two views (uevent number, time of udev's database).

    Where either view is without a database the number alone decides.
    """
    if before[0] == now[0]:
        return False
    return not (before[1] and now[1]) or before[1] != now[1]

"""What each megabyte of the root is for: a table of kinds of files, with what they take in the image.

A compressed file system does not say what a file takes in it. So each kind is compressed alone, quickly, and the sizes
are scaled to the layers' own: shares, not promises, and of the suite a little too small, as its layer is packed to be
unpacked quickly.
"""

from __future__ import annotations

import itertools
import lzma
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

# The first pattern that a path matches says what it is for.
KINDS = (
    (r"usr/lib/firmware/", "firmware of network cards"),
    (r".*/kernel/drivers/net/", "modules: network cards"),
    (r".*/kernel/drivers/(scsi|message|target)/", "modules: SCSI, RAID, Fibre Channel"),
    (r".*/kernel/drivers/(ata|nvme|block|md|mmc|ufs|nvdimm|cdrom)/", "modules: SATA, NVMe, other disks"),
    (r".*/kernel/drivers/(usb|hid|input)/", "modules: USB and input"),
    (r".*/kernel/drivers/(char|edac|i2c|hwmon|watchdog|platform|mfd|acpi)/", "modules: management, sensors, EDAC, TPM"),
    (r"usr/lib/modules/[^/]+/kernel/", "modules: all else"),
    (r"usr/lib/modules/", "modules: index"),
    (r"usr/(lib/python3/dist-packages/mk|bin/mk|lib/mk/|share/mk/)", "the suite"),
    (r"usr/lib/python3/", "Python: libraries"),
    (r"usr/(lib/python3\.|bin/python3)", "Python: itself"),
    (
        r"usr/(lib/systemd|lib/[^/]*/systemd|lib/udev|lib/[^/]*/libsystemd|bin/(systemd|journalctl|udevadm|.*ctl$))",
        "systemd",
    ),
    (r"usr/(bin|sbin)/(lshw|lscpu|ipmi|dmidecode)|.*/libfreeipmi|usr/share/misc/", "inventory tools and tables"),
    (r"usr/lib/[^/]+/.*\.so", "libraries"),
    (r"usr/(bin|sbin)/", "commands"),
    (r"usr/share/doc/", "copyrights"),
)
ELSE = "all else"


def find_kind(path: str) -> str:
    """Return what a file is for, by its path without a leading slash."""
    return next((kind for pattern, kind in KINDS if re.match(pattern, path)), ELSE)


def weigh(archives: Sequence[Path], size_bytes: int) -> dict[str, dict[str, int]]:
    """Return kind -> {"raw_bytes", "image_bytes"} of the layers' archives (tar files), the heaviest first.

    ``size_bytes`` is the layers' size together, to which all image_bytes add up.
    """
    raw: dict[str, int] = {}
    packed: dict[str, int] = {}
    packers: dict[str, lzma.LZMACompressor] = {}
    for name, content in itertools.chain.from_iterable(map(_read_files, archives)):
        kind = find_kind(name)
        packer = packers.setdefault(kind, lzma.LZMACompressor(preset=1))
        raw[kind] = raw.get(kind, 0) + len(content)
        packed[kind] = packed.get(kind, 0) + len(packer.compress(content))
    for kind, packer in packers.items():
        packed[kind] += len(packer.flush())
    scale = size_bytes / max(sum(packed.values()), 1)
    heaviest = sorted(packed, key=lambda kind: -packed[kind])
    return {kind: {"raw_bytes": raw[kind], "image_bytes": round(packed[kind] * scale)} for kind in heaviest}


def _read_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if file is not None:
                yield member.name.removeprefix("./"), file.read()


def format_weights(weights: dict[str, dict[str, int]]) -> str:
    """Format a table for people, one line a kind, the heaviest first."""
    lines = [f"{'what it is for':<44} {'MB':>6} {'unpacked':>9}"]
    for kind, weight in sorted(weights.items(), key=lambda each: -each[1]["image_bytes"]):
        lines.append(f"{kind:<44} {weight['image_bytes'] / 1e6:6.2f} {weight['raw_bytes'] / 1e6:9.2f}")
    return "\n".join(lines)

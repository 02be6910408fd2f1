"""Which versions of the host's programs made an image: compressors, linkers and loaders shape its bytes as packages do.

They are recorded beside the packages (packages.lock). A second build cannot choose the host's versions, but it can say
which of them are others than they were.
"""

from __future__ import annotations

import shutil
import subprocess

from .places import BUILD

FOLDERS = ("mkosi", "boot", "busybox")
"""Below build/tools: what packaging/setup unpacks of Debian 13 beside the host's own."""
NAMES = (
    # the tree and its archive
    *("apt", "dpkg", "kmod", "mkosi", "python3", "tar"),
    # layers, archives and their compression; Python's own is liblzma5's
    *("gzip", "liblzma5", "libzstd1", "squashfs-tools", "squashfs-tools-ng", "xz-utils", "zstd"),
    # the first process
    *("binutils", "gcc", "musl-dev"),
    # the ISO with its loaders, the unified kernel image
    *("isolinux", "libisoburn1", "mtools", "osslsigncode", "python3-pefile", "syslinux-common", "xorriso"),
)
FOR_ARM64 = ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static")


def _query(names: tuple[str, ...]) -> dict[str, str]:
    """Return name -> version of those that are installed."""
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package} ${Version}\\n", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (line.split() for line in done.stdout.splitlines())
    return {words[1]: words[2] for words in lines if words[:1] == ["installed"] and len(words) == 3}


def read_tools(architecture: str = "amd64") -> dict[str, str]:
    """Return name -> version of the packages that hold the host's programs, the unpacked ones in place of its own."""
    names = NAMES if architecture == "amd64" else NAMES + FOR_ARM64
    if shutil.which("gcc"):
        done = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True, check=False)
        names += (f"gcc-{done.stdout.strip().partition('.')[0]}",)
    found = _query(names)
    for path in sorted(path for name in FOLDERS for path in (BUILD / "tools" / name / "control").glob("*")):
        version = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("Version: ")]
        found[path.name] = version[0].removeprefix("Version: ") if version else ""
    return found


def compare(recorded: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return a line for each program that is not of the recorded version; none where nothing was recorded."""
    return [
        f"{name}: recorded {version}, here {now.get(name, 'not installed')}"
        for name, version in sorted(recorded.items())
        if now.get(name) != version
    ]

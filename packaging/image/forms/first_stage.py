#!/usr/bin/env python3
"""Make first-stage: a small initrd that fetches the system's layers by HTTP, for the same kernel as the whole one.

It holds what the whole initrd starts with (the first process and its modules, taken out of it), busybox, the drivers of
all network cards with the firmware that they need, and for each layer of the initrd its name, size and SHA-256. The
layers themselves lie beside it as files of their own. Which drivers is said in first-stage/drivers, and what it does in
first-stage/init.

Source: the kernel's Documentation/admin-guide/initrd.rst; modules.dep(5); modprobe's man pages for modules.alias.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import FORMS, build_parser, finish, need, need_amd64, run_tool, staging
from lib import manifest
from lib.archives import Member, write_archive
from lib.inputs import digest_files, list_files
from lib.newc import read
from lib.places import BUILD, BuildError

NAME = "first-stage"
SOURCES = FORMS / "first-stage"
BUSYBOX = BUILD / "tools/busybox/usr/bin/busybox"
"""Debian 13's, linked statically, unpacked by packaging/setup."""
LIMIT_BYTES = 25_000_000
"""Of the kernel and this."""
COMPRESSION = ("-comp", "xz", "-b", "1M", "-Xdict-size", "100%")
LINK = stat.S_IFLNK | 0o777
PROGRAMS = (
    *("cat", "cut", "find", "grep", "head", "insmod", "ip", "kill", "ls", "mkdir", "modprobe", "mount", "mv", "reboot"),
    *("rm", "sed", "sh", "sha256sum", "sleep", "sort", "stat", "tail", "tr", "udhcpc", "umount", "wget", "xargs"),
)


@dataclass(frozen=True)
class Layer:
    """A layer of the initrd: its file in the image's folder, its name for the first process, size, SHA-256."""

    file: str
    name: str
    size_bytes: int
    sha256: str

    def line(self) -> str:
        """Write it for first-stage/init."""
        return f"{self.sha256} {self.size_bytes} {self.file} {self.name}\n"


def find_layers(members: list[Member], known: dict[str, Any]) -> list[Layer]:
    """Return the layers of an initrd with the files that hold the same.

    known: the manifest. BuildError for an initrd without layers, or one whose layer is no file of the image.
    """
    files = {entry["sha256"]: name for name, entry in known["files"].items()}
    found = []
    for member in members:
        if not member.name.startswith("layers/") or not isinstance(member.content, bytes):
            continue
        digest = hashlib.sha256(member.content).hexdigest()
        if digest not in files:
            raise BuildError(f"no file of the image is the initrd's {member.name}: run make image")
        found.append(Layer(files[digest], member.name.removeprefix("layers/"), len(member.content), digest))
    if not found:
        raise BuildError("the initrd holds no layers: run make image")
    return found


def read_patterns(text: str) -> list[re.Pattern[str]]:
    """Return the regular expressions of first-stage/drivers."""
    return [re.compile(line) for line in text.splitlines() if line and not line.startswith("#")]


def choose_modules(dependencies: str, patterns: list[re.Pattern[str]]) -> set[str]:
    """Return the modules wanted and all that they need, as modules.dep names them: kernel/drivers/net/veth.ko.

    BuildError for a pattern that no module has: a driver was renamed, or moved.
    """
    needs = {path: others.split() for path, _, others in (line.partition(":") for line in dependencies.splitlines())}
    chosen: set[str] = set()
    for pattern in patterns:
        found = {path for path in needs if pattern.search(path.removeprefix("kernel/"))}
        if not found:
            raise BuildError(f"first-stage/drivers: no module of this kernel is {pattern.pattern}")
        chosen |= found.union(*(needs[path] for path in found))
    return chosen


def filter_dependencies(text: str, chosen: set[str]) -> str:
    """Return modules.dep for these modules, whose files are not compressed."""
    kept = (line for line in text.splitlines() if line.partition(":")[0] in chosen)
    return "".join(f"{re.sub(r'[.]ko[.]xz', '.ko', line)}\n" for line in kept)


def unpack_module(member: Member) -> Member:
    """Return one of the first process's modules uncompressed, for an archive that is compressed as a whole."""
    content = member.content if isinstance(member.content, bytes) else member.content.read_bytes()
    if not member.name.endswith(".xz"):
        return Member(member.name, content)
    return Member(member.name.removesuffix(".xz"), lzma.decompress(content))


def module_name(path: str) -> str:
    """Return a module's name as aliases have it.

    >>> module_name("kernel/drivers/net/xen-netfront.ko.xz")
    'xen_netfront'
    """
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def filter_aliases(text: str, chosen: set[str]) -> str:
    """Return modules.alias for these modules."""
    names = {module_name(path) for path in chosen}
    return "".join(f"{line}\n" for line in text.splitlines() if line.split()[-1:] and line.split()[-1] in names)


def copy_modules(source: Path, target: Path) -> None:
    """Copy the modules of first-stage/drivers with what modprobe reads, uncompressed, so that squashfs packs them all
    together; ``source`` and ``target`` are folders of one kernel's modules.
    """
    dependencies = (source / "modules.dep").read_text(encoding="utf-8")
    chosen = choose_modules(dependencies, read_patterns((SOURCES / "drivers").read_text(encoding="utf-8")))
    for path in sorted(chosen):
        content = (source / path).read_bytes()
        place = target / path.removesuffix(".xz")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(lzma.decompress(content) if path.endswith(".xz") else content)
    (target / "modules.dep").write_text(filter_dependencies(dependencies, chosen), encoding="utf-8")
    aliases = filter_aliases((source / "modules.alias").read_text(encoding="utf-8"), chosen)
    (target / "modules.alias").write_text(aliases, encoding="utf-8")


def make_drivers(root: Path, work: Path, epoch: int) -> bytes:
    """Return a squashfs of lib/modules and lib/firmware, out of the root's own."""
    wanted = ("usr/lib/modules", "usr/lib/firmware")
    command = ["unsquashfs", "-no-progress", "-quiet", "-no-xattrs", "-force", "-dest", str(work / "root")]
    run_tool([*command, str(root), *wanted], epoch, work)
    kernels = sorted((work / "root/usr/lib/modules").glob("*/modules.dep"))
    if len(kernels) != 1:
        raise BuildError(f"{root} holds modules of {len(kernels)} kernels, expected one")
    tree = work / "drivers"
    copy_modules(kernels[0].parent, tree / "lib/modules" / kernels[0].parent.name)
    (tree / "lib/firmware").mkdir()
    firmware = work / "root/usr/lib/firmware"
    if firmware.is_dir():
        firmware.rename(tree / "lib/firmware")
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    target = work / "drivers.squashfs"
    options = ["-noappend", "-all-root", *COMPRESSION, "-no-progress", "-quiet"]
    run_tool(["mksquashfs", str(tree), str(target), *options], epoch, work)
    return target.read_bytes()


def compress(archive: bytes) -> bytes:
    """Compress the archive as the kernel can unpack it: no other check sum, a dictionary that small machines have."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 4 << 20}]
    made = lzma.compress(archive, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)
    return made + bytes(-len(made) % 4)


def build_members(members: list[Member], layers: list[Layer], drivers: bytes, busybox: bytes) -> list[Member]:
    """Lay out the archive; ``members`` are the whole initrd's."""
    start = [member for member in members if member.name == "init"]
    modules = [unpack_module(each) for each in members if re.match(r"modules/.*\.ko(\.xz)?$", each.name)]
    if not start or not modules:
        raise BuildError("the initrd holds no first process with modules: run make image")
    return [
        Member("init", (SOURCES / "init").read_bytes(), 0o755),
        Member("start", start[0].content, 0o755),
        Member("layers.list", "".join(layer.line() for layer in layers).encode()),
        Member("bin/busybox", busybox, 0o755),
        Member("bin/dhcp", (SOURCES / "dhcp").read_bytes(), 0o755),
        *(Member(f"bin/{name}", b"busybox", LINK) for name in PROGRAMS),
        Member("sbin/modprobe", b"/bin/busybox", LINK),
        Member("lib/modules", b"/drivers/lib/modules", LINK),
        Member("lib/firmware", b"/drivers/lib/firmware", LINK),
        Member("etc/resolv.conf", b""),
        *modules,
        Member("drivers.squashfs", drivers),
    ]


def make(image: Path) -> str:
    """Make it when an input changed; return what was made, "" for nothing."""
    need_amd64(image, NAME)
    known = manifest.read(image)
    need(BUSYBOX, image / "root.squashfs")
    made_of = [*list_files(SOURCES), FORMS / "first_stage.py", FORMS.parent / "lib/archives.py", BUSYBOX]
    parts = [digest_files(made_of, FORMS.parent)]
    parts += [f"{name} {known['files'][name]['sha256']}" for name in ("vmlinuz", "initrd")]
    inputs = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    if manifest.is_recorded(image, NAME, inputs):
        return ""
    epoch = int(known["source_date_epoch"])
    members = list(read(image / "initrd"))
    layers = find_layers(members, known)
    with staging(image, NAME) as work:
        made = work / NAME
        drivers = make_drivers(image / "root.squashfs", work, epoch)
        write_archive(build_members(members, layers, drivers, BUSYBOX.read_bytes()), work / "archive", epoch)
        made.write_bytes(compress((work / "archive").read_bytes()))
        total = made.stat().st_size + known["files"]["vmlinuz"]["size_bytes"]
        if total > LIMIT_BYTES:
            raise BuildError(f"first stage with kernel: {total} bytes are more than the {LIMIT_BYTES} allowed")
        made.chmod(0o644)
        made.replace(image / NAME)
    manifest.record(image, NAME, inputs, layers=[layer.file for layer in layers])
    return f"{NAME}, {total / 1e6:.1f} MB with the kernel, for {', '.join(layer.file for layer in layers)}"


def main() -> int:
    """Make it; status 1 with the reason when that fails."""
    asked = build_parser(__doc__.splitlines()[0]).parse_args()
    return finish("first_stage.py", lambda: make(asked.image))


if __name__ == "__main__":
    sys.exit(main())

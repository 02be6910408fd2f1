#!/usr/bin/env python3
"""Make mk.iso: one image for CD, virtual media and USB stick, BIOS and UEFI, with one kernel and one initrd.

BIOS starts isolinux (as a CD, or by the code in the first sector as a disk). UEFI starts, from a small partition that
is a file of the ISO as well, the first loader that Microsoft signed and GRUB that Debian signed; this one reads kernel
and initrd from the ISO, and the kernel has Debian's signature: so it boots under Secure Boot on a machine as it was
sold. Names and metadata are those that a Razor server takes an image by.

A site's words (``mk.ip=ADDRESS``) are typed at the prompt, built in (``--cmdline``), or written into the finished ISO:
both loaders' files have a place for them (``--site WORDS --out FILE``), which the manifest names.

Source: protocol 8.5; xorrisofs(1); SYSLINUX's isolinux.txt; El Torito; GRUB's manual; shim's README.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import common
from common import BOOT_TOOLS, FORMS
from lib import manifest
from lib.inputs import digest_files, list_files
from lib.places import ROOT, BuildError

NAME = "mk.iso"
FILES = FORMS / "iso-files"
EFI = "boot/efi.img"
CONFIGS = ("boot/isolinux/isolinux.cfg", "boot/grub/grub.cfg")
ISOLINUX = (
    Path("/usr/lib/ISOLINUX/isolinux.bin"),
    Path("/usr/lib/syslinux/modules/bios/ldlinux.c32"),
)
HYBRID = Path("/usr/lib/ISOLINUX/isohdpfx.bin")
SHIM = BOOT_TOOLS / "usr/lib/shim/shimx64.efi.signed"
GRUB = BOOT_TOOLS / "usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed"
"""The build of GRUB that looks for its files on a CD."""
PREPARER = "mksuite: discovers bare-metal machines"
APPLICATION = "Razor Microkernel"
PVD = 16 * 2048
"""Where the volume is described: its sector 16 (ECMA-119, 8.4)."""
PLACE_BYTES = 512
"""Of a site's words in each loader's file, blank and line end around them included."""
EMPTY_PLACE = b"\n" + b"#" * (PLACE_BYTES - 1)
LIMIT_BYTES = 67_000_000
"""Of the production image without a site's extensions."""
SERIAL = "4d4b0001"
"""Of the EFI partition's file system; fixed, so that two builds are alike."""


def build_metadata(known: dict[str, Any]) -> str:
    """Write iso-metadata.yaml: the keys, their order and their form are those of protocol 8.5."""
    files, built = known["files"], datetime.fromtimestamp(known["source_date_epoch"], timezone.utc)
    return (
        f"iso_version: {known['version']}\n"
        "kernel: boot/vmlinuz\n"
        "initrd: boot/core.gz\n"
        'hash_description: {type: "Digest::SHA2", bitlen: 256}\n'
        f"kernel_hash: {files['vmlinuz']['sha256']}\n"
        f"initrd_hash: {files['initrd']['sha256']}\n"
        f"iso_build_time: {built:%Y-%m-%d %H:%M:%S} Z\n"
    )


def write_tree(image: Path, tree: Path, known: dict[str, Any], line: str) -> None:
    """Lay out all that the ISO holds but its EFI partition."""
    for folder in (".disk", "boot/isolinux", "boot/grub"):
        (tree / folder).mkdir(parents=True)
    # copies: the shipped files keep their times, by which a server tells builds apart
    shutil.copyfile(image / "vmlinuz", tree / "boot/vmlinuz")
    shutil.copyfile(image / "initrd", tree / "boot/core.gz")
    for path in ISOLINUX:
        shutil.copyfile(path, tree / "boot/isolinux" / path.name)
    values = {"@KERNEL_LINE@": line, "@SITE@": EMPTY_PLACE.decode(), "@VERSION@": str(known["version"])}
    targets = {"isolinux.cfg": CONFIGS[0], "grub.cfg": CONFIGS[1], "boot.msg": "boot/isolinux/boot.msg"}
    for name, target in {**targets, "COPYING": "COPYING"}.items():
        text = (FILES / name).read_text(encoding="ascii")
        for word, value in values.items():
            text = text.replace(word, value)
        (tree / target).write_text(text, encoding="ascii")
    shutil.copyfile(ROOT / "LICENSE", tree / "LICENSE")
    (tree / ".disk/info").write_text(f"mksuite microkernel {known['version']}\n", encoding="ascii")
    (tree / "iso-metadata.yaml").write_text(build_metadata(known), encoding="ascii")


def make_efi(target: Path, epoch: int) -> None:
    """Make the EFI partition: the two loaders, where firmware looks on a removable medium."""
    folder = target.parent / ".efi"
    (folder / "EFI/BOOT").mkdir(parents=True)
    shutil.copyfile(SHIM, folder / "EFI/BOOT/BOOTX64.EFI")
    shutil.copyfile(GRUB, folder / "EFI/BOOT/grubx64.efi")
    _flatten(folder, epoch)
    need_bytes = sum(path.stat().st_size for path in folder.rglob("*.*"))
    kib = (need_bytes // 1024 + 64 + 31) // 32 * 32
    argv = ["mformat", "-C", "-i", str(target), "-v", "MK-EFI", "-N", SERIAL, "-T", str(kib * 2), "-h", "2", "-s", "32"]
    common.run_tool([*argv, "::"], epoch, folder)
    common.run_tool(["mcopy", "-i", str(target), "-s", "-m", "EFI", "::"], epoch, folder)
    shutil.rmtree(folder)


def _flatten(tree: Path, epoch: int) -> None:
    """Give all files one time and the rights of what everybody may read: whose build it was is not to be seen."""
    for path in [*sorted(tree.rglob("*"), reverse=True), tree]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (epoch, epoch))


def build_argv(tree: Path, target: Path, version: str) -> list[str]:
    """Build the command of xorriso: what is said of the volume is protocol 8.5, how it boots is El Torito."""
    argv = ["xorriso", "-as", "mkisofs", "-quiet", "-l", "-J", "-R", "-o", str(target)]
    argv += [
        "-V",
        f"Razor MK {version[:22]}",
        "-A",
        APPLICATION,
        "-sysid",
        "LINUX",
        "-p",
        PREPARER[:128],
        "-copyright",
        "LICENSE",
    ]
    argv += ["-isohybrid-mbr", str(HYBRID), "-c", "boot/isolinux/boot.cat", "-b", "boot/isolinux/isolinux.bin"]
    argv += ["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
    argv += ["-uid", "0", "-gid", "0", "-dir-mode", "0755", "-file-mode", "0644"]  # not the builder's
    return [*argv, "-eltorito-alt-boot", "-e", EFI, "-no-emul-boot", "-isohybrid-gpt-basdat", str(tree)]


def spell(iso: Path) -> None:
    """Write what is said of the volume as it was given: xorriso makes capitals of it."""
    with iso.open("r+b") as file:
        for offset, text in ((PVD + 446, PREPARER[:128]), (PVD + 574, APPLICATION)):
            file.seek(offset)
            file.write(text.encode("ascii").ljust(128))


def find_places(iso: Path) -> list[dict[str, int]]:
    """Return where in the finished ISO a site's words go: offset and length of each loader's place.

    BuildError when they are not as many as the loaders.
    """
    content = iso.read_bytes()
    found, at = [], content.find(EMPTY_PLACE)
    while at >= 0:
        found.append({"offset": at, "length": PLACE_BYTES})
        at = content.find(EMPTY_PLACE, at + PLACE_BYTES)
    if len(found) != len(CONFIGS):
        raise BuildError(f"{iso.name} has {len(found)} places for a site's words, expected {len(CONFIGS)}")
    return found


def fill_place(words: str) -> bytes:
    """Return what is written at a place: the words end the kernel line, the rest of it stays a comment.

    BuildError for words that do not fit.
    """
    filled = f" {words}\n".encode()
    if not words.isprintable() or not words.isascii() or len(filled) >= PLACE_BYTES:
        raise BuildError(f"--site {words[:80]!r}: at most {PLACE_BYTES - 3} printable ASCII characters on one line")
    return filled + EMPTY_PLACE[len(filled) :].replace(b"\n", b"#")


def address(image: Path, words: str, target: Path) -> str:
    """Write a copy of the finished ISO with a site's words on its kernel line; return what to tell."""
    filled = fill_place(words)
    with common.staging(target.resolve().parent, target.name) as folder:
        shutil.copyfile(image / NAME, folder / "iso")
        with (folder / "iso").open("r+b") as file:
            for place in manifest.read(image)["files"][NAME]["places"]:
                file.seek(place["offset"])
                file.write(filled)
        (folder / "iso").replace(target)
    return f"{target}, with '{words}' on its kernel line"


def make(image: Path, line: str) -> str:
    """Make the form when it is not there yet; return what to tell, "" when nothing was to be done."""
    common.need_amd64(image, NAME)
    sources = [*ISOLINUX, HYBRID, SHIM, GRUB]
    common.need(*sources)
    known = manifest.read(image)
    epoch, version = known["source_date_epoch"], str(known["version"])
    parts = [build_metadata(known), line, digest_files([Path(__file__), *list_files(FILES), *sources], FORMS)]
    inputs = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    if manifest.is_recorded(image, NAME, inputs):
        return ""
    with common.staging(image, NAME) as folder:
        tree = folder / "tree"
        write_tree(image, tree, known, line)
        make_efi(tree / EFI, epoch)
        _flatten(tree, epoch)
        common.run_tool(build_argv(tree, folder / NAME, version), epoch, folder)
        spell(folder / NAME)
        if known.get("profile", "production") == "production" and "extensions.squashfs" not in known["files"]:
            common.check_size(folder / NAME, LIMIT_BYTES)
        places = find_places(folder / NAME)
        (folder / NAME).chmod(0o644)
        (folder / NAME).replace(image / NAME)
    entry = manifest.record(image, NAME, inputs, places=places, kernel_line=line)
    return f"{NAME}, {entry['size_bytes'] / 1e6:.1f} MB"


def main() -> int:
    """Make the form; status 1 with one line when that is impossible."""
    parser = common.build_parser(str(__doc__).splitlines()[0])
    parser.add_argument("--site", metavar="WORDS", help="write these words into a copy of the finished ISO")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where that copy goes")
    asked = parser.parse_args()
    if bool(asked.site) != bool(asked.out):
        parser.error("--site and --out go together")
    image = asked.image

    def work() -> str:
        """Make the ISO, or a copy with a site's words; return the line for people."""
        if asked.site and not asked.cmdline and NAME in manifest.read(image)["files"]:
            return address(image, asked.site, asked.out)  # the one that there is, with its kernel line
        said = make(image, common.build_kernel_line(asked.cmdline))
        return address(image, asked.site, asked.out) if asked.site else said

    return common.finish("iso.py", work)


if __name__ == "__main__":
    sys.exit(main())

"""Mirrors that test machines install from: real images and packages, made and signed by the tools that people use.

Three trees. `local` is what a site puts into the image beside ours, `remote` is signed and whole, `hostile` is what a
stranger offers in its place. Any web server can hand them out.

Source: protocol 5.2 (files of an extension); mkmirror(8); gpg(1).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.machines import verity
from tests.unit.mirror_trees import make_squashfs, run_mkmirror, write_tree
from tests.unit.pgp_keys import Gpg

SYSEXT = "tinycorelinux/sysext/x86_64"
TCZ = "tinycorelinux/15.x/x86_64/tcz"
WHEELS = "gem-mirror/wheels"
CHAIN = ("top.tcz", "middle.tcz", "bottom.tcz", "drivers-{kernel}.tcz")
"""Each needs the next one; the last is named with -KERNEL."""
SINGLES = tuple(f"tool{number:02}.tcz" for number in range(1, 17))
"""With the chain they are twenty."""
TRICKS = ("../../../../etc/shadow", "/etc/passwd", "a\0b.raw", "x" * 4000)
"""What a stranger writes into a list."""
MODULE = "mtip32xx"
"""A kernel module that is in the image, and that no test machine has hardware for."""


@dataclass(frozen=True)
class Mirrors:
    """The trees, the public key that `remote` is signed with, and the certificate of its image with dm-verity data."""

    local: Path
    remote: Path
    hostile: Path
    key: bytes
    certificate: bytes


def make_mirrors(folder: Path, kernel: str) -> Mirrors:
    """Make all trees anew; ``kernel`` is the release of the machine's kernel."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    gpg = Gpg(folder)
    try:
        gpg.make_key("lab")
        gpg.make_key("stranger")
        local, remote, hostile = (folder / name for name in ("local", "remote", "hostile"))
        _make_local(local)
        _make_remote(remote, kernel)
        certificate = _make_sealed(remote, folder)
        _index(remote, gpg, "lab", ["remote.raw", "top.tcz", *SINGLES], modules=[f"drivers/block/{MODULE}/{MODULE}.ko"])
        (remote / "tinycorelinux/second-list").write_text('["second.raw"]\n', encoding="utf-8")
        shutil.copytree(remote, hostile)
        _make_hostile(hostile, gpg)
        return Mirrors(local, remote, hostile, gpg.export("lab"), certificate)
    finally:
        gpg.close()


def make_sysext(out: Path, name: str, content: Mapping[str, str], *units: str, needs: Sequence[str] = ()) -> None:
    """Make NAME.raw of some files in the folder ``out``; a path that ends in * is executable."""
    tree = write_tree(out / f".{name}.tree", dict(content))
    options = [word for unit in units for word in ("--unit", unit)]
    options += [word for need in needs for word in ("--dep", need)]
    run_mkmirror("build", name, "--format", "sysext", "--from", tree, "--out", out, "--quiet", *options)
    shutil.rmtree(tree)


def make_confext(out: Path, name: str, content: Mapping[str, str]) -> None:
    """Make NAME.confext.raw, which extends /etc, of some files."""
    release = f"etc/extension-release.d/extension-release.{name}"
    make_squashfs(out / f"{name}.confext.raw", {**content, release: "ID=_any\n"})


def make_erofs(out: Path, name: str, hides: str = "") -> None:
    """Make NAME.raw, an erofs with a program; ``hides``: a folder of it that would hide the system's in an overlay."""
    release = f"usr/lib/extension-release.d/extension-release.{name}"
    tree = write_tree(out / f".{name}.tree", {f"usr/bin/lab-{name}*": program(name), release: "ID=_any\n"})
    if hides:
        os.setxattr(tree / hides, "trusted.overlay.opaque", b"y")
    subprocess.run(["mkfs.erofs", "--quiet", str(out / f"{name}.raw"), str(tree)], check=True, capture_output=True)
    shutil.rmtree(tree)


def build_unit(name: str) -> str:
    """Build a unit that stays until it is stopped."""
    return f"[Unit]\nDescription={name}\n[Service]\nExecStart=/usr/bin/sleep infinity\n"


def program(text: str) -> str:
    """Build a program that prints a text."""
    return f"#!/bin/sh\necho {text}\n"


def _make_local(root: Path) -> None:
    content = {
        "usr/lib/systemd/system/lab-local.service": build_unit("lab-local"),
        "usr/lib/mk/facts.d/lab-local*": program("lab_place=rack12"),
        "usr/bin/lab-local*": program("local"),
    }
    make_sysext(root / SYSEXT, "lab-local", content, "lab-local.service")
    make_sysext(root / SYSEXT, "lab-xen", {"usr/bin/lab-xen*": program("xen")})
    (root / SYSEXT / "lab-xen.raw.when").write_text("virtualization xen\n", encoding="utf-8")
    make_command(root / WHEELS, "lablocal", "1.5")
    make_command(root / WHEELS, "lablocal", "1.10")
    names = ["lab-local.raw", "lab-xen.raw"]  # beside those of the image's own list
    run_mkmirror("index", root, "--install", *names, "--packages", "lablocal ~> 1.2", "--quiet")


def _make_remote(root: Path, kernel: str) -> None:
    for name in ("remote", "second", "by-hand"):
        make_sysext(root / SYSEXT, name, {f"usr/bin/lab-{name}*": program(name)})
    make_confext(root / SYSEXT, "lab-etc", {"etc/lab-etc.conf": "a=1\n"})
    make_erofs(root / SYSEXT, "plain")
    make_erofs(root / SYSEXT, "opaque", hides="usr/lib")
    chain = [name.format(kernel=kernel) for name in CHAIN]
    for name in [*chain, *SINGLES]:
        make_tcz(root / TCZ, name)
    for name, need in zip(chain, [*chain[1:-1], "drivers-KERNEL.tcz"]):
        (root / TCZ / f"{name}.dep").write_text(f"{need}\n", encoding="utf-8")
    make_command(root / WHEELS, "labtool", "1.0")
    make_command(root / WHEELS, "labtool", "2.0")
    (root / "gem-mirror/gems").mkdir(parents=True)
    (root / "gem-mirror/gems/gem.list").write_text("# the lab's own\n\nlabtool >= 1.0\n", encoding="ascii")


def _make_sealed(root: Path, work: Path) -> bytes:
    """Make two images with dm-verity data, one of them damaged afterwards; return the certificate."""
    key, certificate = verity.make_certificate(work, "lab")
    for name in ("sealed", "broken"):
        make_sysext(root / SYSEXT, name, {f"usr/bin/lab-{name}*": program(name), "usr/share/filler": "x" * 300_000})
        image = root / SYSEXT / f"{name}.raw"
        verity.sign_image(image, image, key, certificate)
    with (root / SYSEXT / "broken.raw").open("r+b") as broken:
        broken.seek(verity.START * verity.SECTOR + 100)
        broken.write(b"damaged")
    return certificate.read_bytes()


def make_tcz(folder: Path, name: str) -> None:
    """Make a Tiny Core extension with a program of its name, and a start script that writes beside it."""
    plain = name[: -len(".tcz")]
    share = f"usr/local/share/{plain}"
    content = {
        f"usr/local/bin/{plain}*": program(plain),
        f"{share}/{plain}.conf.sample": "a=1\n",
        f"usr/local/tce.installed/{plain}*": f"#!/bin/sh\ncp /{share}/{plain}.conf.sample /{share}/{plain}.conf\n",
    }
    make_squashfs(folder / name, dict(content))


def make_command(folder: Path, name: str, version: str) -> Path:
    """Make a wheel with a module and a command of the same name, which prints its version; sums of all in RECORD."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    content = {
        f"{name}.py": f"def main():\n    print({f'{name} {version}'!r})\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    lines = []
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        lines.append(f"{path},sha256={digest},{len(text.encode())}\n")
    content[f"{info}/RECORD"] = "".join([*lines, f"{info}/RECORD,,\n"])
    made = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
    return made


def _index(root: Path, gpg: Gpg, signer: str, names: Sequence[str], *, modules: Sequence[str] = ()) -> None:
    lists = ["--install", *names, *(["--modules", *modules] if modules else [])]
    sign = ["--sign", f"{signer}@mk.example", "--homedir", str(gpg.home)]
    run_mkmirror("index", root, *lists, *sign, "--quiet")


def _make_hostile(root: Path, gpg: Gpg) -> None:
    """A whole mirror with a trojan in it, signed by a key that nobody trusts; names that lead elsewhere in its list."""
    make_sysext(root / SYSEXT, "trojan", {"usr/bin/lab-trojan*": program("trojan")}, needs=())
    _index(root, gpg, "stranger", ["trojan.raw"])
    (root / "tinycorelinux/tce-install-list").write_text(json.dumps(["trojan.raw", *TRICKS]), encoding="utf-8")
    with (root / SYSEXT / "second.raw").open("ab") as image:
        image.write(b"more")


def append_mirror(initrd: Path, root: Path, place: str, target: Path, credentials: Mapping[str, bytes]) -> None:
    """Write an initrd with a mirror's tree added at ``place``, as a site does: a second archive after the first.

    ``credentials`` lie in it as systemd-stub(7) puts them there, which found them beside a unified kernel image.
    """
    tree = target.with_name(target.name + ".tree")
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(root, tree / "site" / place)
    beside = tree / ".extra/credentials"
    beside.mkdir(parents=True)
    for name, value in credentials.items():
        (beside / f"{name}.cred").write_bytes(value)
    shutil.copyfile(initrd, target)
    command = "find site .extra | cpio --create --quiet --format=newc --owner=+0:+0 | zstd --quiet"
    packed = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=tree, stdout=subprocess.PIPE, check=True)
    with target.open("ab") as out:
        out.write(packed.stdout)
    shutil.rmtree(tree)

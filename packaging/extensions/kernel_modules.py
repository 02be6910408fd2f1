"""Drivers as a Debian package for an extension: modules of the very kernel that the image has, and what loads them.

The image keeps the drivers that its size permits; a recipe names others by their paths in the kernel's own package,
whose version the image's list of packages tells. They keep Debian's signature, so a locked-down kernel takes them, and
lie where mkmirror looks for the modules of extensions, so a list can name them too.

Source: deb(5), deb-control(5); systemd.service(5); the kernel's Documentation/kbuild/modules.rst for ``updates``.
"""

from __future__ import annotations

import io
import lzma
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
LOADER = HERE / "load-drivers"
_MODULE = re.compile(r"\./usr/lib/modules/[^/]+/kernel/(.+\.ko)(?:\.xz)?")


class ModulesError(Exception):
    """The drivers cannot be packed: one line for the person who asked for the extension."""


class Kernel(NamedTuple):
    """The package of a kernel: its name, "linux-image-6.12.117+deb13-amd64", and its version, "6.12.117-1"."""

    package: str
    version: str

    @property
    def release(self) -> str:
        """What uname -r says where it runs."""
        return self.package.removeprefix("linux-image-")


def find_kernel(status: str) -> Kernel:
    """Return the kernel of a dpkg status. ModulesError unless there is one."""
    found = [
        Kernel(name, version)
        for name, version in re.findall(r"^Package: (linux-image-\d\S*)$(?:\n.+)*?\nVersion: (.*)$", status, re.M)
    ]
    if len(found) != 1:
        raise ModulesError(f"the image's list of packages has {len(found)} kernels, expected one: run make image")
    return found[0]


def build_unit(name: str, after: Sequence[str]) -> str:
    """Build the unit that loads an extension's drivers; ``after``: modules that no device asks for."""
    words = [f"/usr/lib/modules/%v/updates/{name}", *after]
    return (
        f"[Unit]\nDescription=Drivers of the Extension {name}\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart=/usr/lib/mk/extensions/{name}/load-drivers {' '.join(words)}\n"
    )


def build_control(name: str, kernel: Kernel, architecture: str) -> str:
    """Build the package's control file, by which the image's document of packages knows its source."""
    return (
        f"Package: {name}-drivers\nVersion: {kernel.version}\nArchitecture: {architecture}\n"
        f"Source: linux ({kernel.version})\nMaintainer: none\nDescription: drivers of Debian's kernel\n"
    )


def unpack(deb: Path, patterns: Sequence[str], target: Path) -> str:
    """Unpack the modules whose path below the kernel's folder a pattern matches, uncompressed, into one folder.

    Returns the text of the package's copyright file. ModulesError for a pattern that nothing matches.
    """
    left, text = set(patterns), ""
    process = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE, check=False)
    if process.returncode:
        raise ModulesError(f"{deb} cannot be read as the package of a kernel: fetch it anew")
    with tarfile.open(fileobj=io.BytesIO(process.stdout)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            match = _MODULE.fullmatch(member.name)
            matching = {each for each in patterns if match and re.search(each, match[1])}
            if file and member.name.endswith("/copyright"):
                text = file.read().decode("utf-8", "replace")
            elif file and match and matching:
                left -= matching
                content = file.read()
                content = lzma.decompress(content) if member.name.endswith(".xz") else content
                (target / match[1].rpartition("/")[2]).write_bytes(content)
    if left:
        raise ModulesError(f"no module of {deb.name} is {min(left)}: renamed, or built into the kernel")
    return text


def make_tree(
    name: str, recipe: Mapping[str, Any], kernel: Kernel, deb: Path, architecture: str, tree: Path
) -> Path:  # fmt: skip
    """Lay out the package of an extension's drivers below ``tree``, and return it."""
    modules = tree / "usr/lib/modules" / kernel.release / "updates" / name
    texts = {
        "DEBIAN/control": build_control(name, kernel, architecture),
        f"usr/lib/systemd/system/{name}-drivers.service": build_unit(name, recipe.get("load", [])),
    }
    modules.mkdir(parents=True)
    texts[f"usr/share/doc/{name}-drivers/copyright"] = unpack(deb, recipe["modules"], modules)
    for place, text in texts.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).write_text(text, encoding="utf-8")
    loader = tree / f"usr/lib/mk/extensions/{name}/load-drivers"
    loader.parent.mkdir(parents=True)
    shutil.copyfile(LOADER, loader)
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path == loader else 0o644)
    return tree

#!/usr/bin/env python3
"""Tell which file of an installed tree belongs to which package, by what packaging/debian says.

One split for all formats: `debian/PACKAGE.install` and `PACKAGE.manpages` name files and folders, as debhelper reads
them. Where another format keeps Python's modules elsewhere, that folder takes the place of Debian's. A file that no
package takes, or that two take, is a mistake, as is a line that finds nothing.

Source: dh_install(1), dh_installman(1); the folders that a package owns are those that nobody else would make.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

DEBIAN = Path(__file__).resolve().parent / "debian"
DEBIANS_SITELIB = "usr/lib/python3/dist-packages"
OWN = ("usr/lib/mk", "usr/share/mk", "etc/mk", "usr/share/containers")
"""Folders that belong to the suite, with all that is below them; a folder of modules does as well."""
CORE = "mk-core"
"""Takes the folders that lie above the parts of several packages."""


class Mismatch(Exception):
    """The tree and the lists of packaging/debian do not agree."""


def read_packages(debian: Path = DEBIAN) -> list[str]:
    """Return the names of the packages in the order of debian/control, e.g. `mk-core`."""
    lines = (debian / "control").read_text(encoding="utf-8").splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Package:")]


def read_wanted(debian: Path, package: str, sitelib: str) -> list[str]:
    """Return the paths that a package names, without a leading slash, where this format has them."""
    wanted = []
    for suffix in ("install", "manpages"):
        path = debian / f"{package}.{suffix}"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        wanted += [line.split()[0].strip("/") for line in text.splitlines() if line.strip() and line[0] != "#"]
    return [path.replace(DEBIANS_SITELIB, sitelib.strip("/"), 1) for path in wanted]


def read_tree(root: Path) -> dict[str, bool]:
    """Return every path below ``root`` and whether it is a folder."""
    return {path.relative_to(root).as_posix(): path.is_dir() and not path.is_symlink() for path in root.rglob("*")}


def is_own(path: str, sitelib: str) -> bool:
    """Tell whether a folder is one that only the suite has."""
    return any(path == own or path.startswith(f"{own}/") for own in (*OWN, sitelib.strip("/")))


def split(tree: dict[str, bool], wanted: dict[str, list[str]], sitelib: str) -> dict[str, list[str]]:
    """Return the paths of each package, sorted: its files and the folders that it owns. Raises Mismatch."""
    owner: dict[str, str] = {}
    for package, entries in wanted.items():
        for entry in entries:
            found = [path for path in tree if path in (entry, f"{entry}.gz") or path.startswith(f"{entry}/")]
            if not found:
                raise Mismatch(f"{package}: nothing is at {entry}")
            for path in found:
                # A folder of one package may hold one of another: the longer line is the nearer one.
                if tree[path] or owner.setdefault(path, package) == package:
                    continue
                raise Mismatch(f"{path}: both {owner[path]} and {package} take it")
    left = sorted(path for path, is_folder in tree.items() if not is_folder and path not in owner)
    if left:
        raise Mismatch(f"no package takes {', '.join(left)}")
    for path in (path for path, is_folder in tree.items() if is_folder and is_own(path, sitelib)):
        below = {package for file, package in owner.items() if file.startswith(f"{path}/")}
        owner[path] = below.pop() if len(below) == 1 else CORE
    return {package: sorted(path for path, taker in owner.items() if taker == package) for package in wanted}


def read_folders(debian: Path, package: str, sitelib: str) -> list[str]:
    """Return the folders that a package shares, by `PACKAGE.dirs`, with those above that are the suite's own."""
    path = debian / f"{package}.dirs"
    lines = path.read_text(encoding="utf-8").split() if path.exists() else []
    folders = {line.strip("/") for line in lines}
    folders |= {str(above) for line in folders for above in PurePosixPath(line).parents if is_own(str(above), sitelib)}
    return sorted(folders)


def split_tree(root: Path, sitelib: str, debian: Path = DEBIAN) -> dict[str, list[str]]:
    """Return the paths below ``root`` that each package has. Raises Mismatch."""
    tree = read_tree(root)
    wanted = {package: read_wanted(debian, package, sitelib) for package in read_packages(debian)}
    found = split(tree, wanted, sitelib)
    for package, paths in found.items():
        shared = read_folders(debian, package, sitelib)
        missing = [path for path in shared if not tree.get(path)]
        if missing:
            raise Mismatch(f"{package}: there is no folder {missing[0]}")
        paths[:] = sorted({*paths, *shared})
    return found


def rpm_lines(root: Path, paths: list[str]) -> Iterator[str]:
    """Yield the lines of an rpm's list of files; rpm itself compresses manual pages after this."""
    for path in paths:
        if (root / path).is_dir():
            yield f"%dir /{path}"
        else:
            yield f"/{path}*" if path.startswith("usr/share/man/") else f"/{path}"


def main() -> int:
    """Write PACKAGE.files for rpm; 1 and one line when tree and lists do not agree."""
    parser = argparse.ArgumentParser(description="Write the list of files of each package, as rpm reads it.")
    parser.add_argument("tree", type=Path, help="what `make install DESTDIR=` filled")
    parser.add_argument("out", type=Path, help="the folder for PACKAGE.files")
    parser.add_argument("--sitelib", required=True, help="where the modules lie, e.g. /usr/share/mk/python")
    asked = parser.parse_args()
    try:
        packages = split_tree(asked.tree, asked.sitelib)
    except Mismatch as error:
        print(f"packaging/split.py: {error}; see packaging/debian/*.install", file=sys.stderr)
        return 1
    for package, paths in packages.items():
        text = "".join(f"{line}\n" for line in rpm_lines(asked.tree, paths))
        (asked.out / f"{package}.files").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

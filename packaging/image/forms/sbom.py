#!/usr/bin/env python3
"""Write sbom.spdx.json and packages.lock beside an image: every package in it, in its forms and in extensions built in.

What is described is read from the image itself: the root and the mirror are looked into for copyright files and for
the lists of packages, and what dpkg knew stands beside them. Runs again only when one of these changed. The first file
is for who must know what a machine runs, and has no package of which nothing is left in the image; the second is for
who builds the same image again.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import beside
import common
from lib import lock, manifest
from lib.inputs import digest_files
from lib.places import HERE, BuildError
from licences import Licences, read_copyright
from spdx import Package, build_document, parse_status

NAME = "sbom.spdx.json"
ROOT_FILE, MIRROR_FILE, STATUS = "root.squashfs", "mirror.squashfs", "dpkg-status"
DESCRIBED = ("vmlinuz", "initrd", ROOT_FILE, "services.squashfs", MIRROR_FILE, "first-stage", "mk.iso", "mk.efi")
MAKERS = [*(HERE / f"forms/{name}.py" for name in ("beside", "sbom", "licences", "spdx")), HERE / "lib/lock.py"]


def unpack(image: Path, folders: list[str], target: Path) -> None:
    """Unpack some folders of a squashfs; those that it lacks are left out. BuildError has the tool's last words."""
    command = ["unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-dest", str(target), str(image), *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{image} cannot be looked into: {done.stderr.strip().splitlines()[-1:]}")


def read_licences(folder: Path) -> dict[str, Licences]:
    """Return package -> licences for a folder with PACKAGE/copyright, some of which are links to a neighbour's."""
    found = {}
    for path in sorted(folder.glob("*/copyright")):
        if path.resolve().is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            found[path.parent.name] = read_copyright(path.resolve().parent.name, text)
    return found


def read_system(folder: Path, work: Path) -> tuple[list[Package], dict[str, Licences], str]:
    """Return the system's packages, their licences, and its release for a purl, for example "debian-13"."""
    unpack(folder / ROOT_FILE, ["usr/share/doc", "usr/lib/os-release"], work)
    release = (work / "usr/lib/os-release").read_text(encoding="utf-8")
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', release, re.MULTILINE))
    packages = parse_status((folder / STATUS).read_text(encoding="utf-8"), "system")
    return (
        packages,
        read_licences(work / "usr/share/doc"),
        f"{fields.get('ID', 'debian')}-{fields.get('VERSION_ID', '')}",
    )


def read_extensions(folder: Path, work: Path) -> tuple[list[Package], dict[str, Licences]]:
    """Return packages and licences of the extensions in the mirror that is built in; part is the extension's name."""
    packages: list[Package] = []
    licences: dict[str, Licences] = {}
    if not (folder / MIRROR_FILE).is_file():
        return packages, licences
    unpack(folder / MIRROR_FILE, [], work / "mirror")
    for image in sorted((work / "mirror").rglob("*.raw")):
        inside = work / image.stem
        unpack(image, ["usr/share/licenses", "usr/lib/mk/extensions"], inside)
        listed = inside / f"usr/lib/mk/extensions/{image.stem}/Packages"
        if not listed.is_file():
            raise BuildError(f"{image.name}, which is built in, has no list of its packages: make it anew")
        packages += parse_status(listed.read_text(encoding="utf-8"), image.stem)
        licences |= read_licences(inside / "usr/share/licenses")
    return packages, licences


def build_lock(epoch: int, packages: list[Package], extensions: list[Package], tools: dict[str, str]) -> str:
    """Build the text of packages.lock."""
    architectures = {package.fields.get("Architecture", "all") for package in packages} - {"all"}
    return lock.build_text(
        lock.Lock(
            epoch,
            min(architectures, default="all"),
            {package.name: package.version for package in packages},
            {package.name: package.version for package in extensions},
            tools,
        )
    )


def make(folder: Path) -> str:
    """Write both for the image in a folder; return what to tell, "" when nothing was to be done."""
    known = manifest.read(folder)
    described = {name: known["files"][name]["sha256"] for name in DESCRIBED if name in known["files"]}
    sources = [folder / name for name in (*described, STATUS)]
    missing = [path for path in sources if not path.exists()]
    if missing or ROOT_FILE not in described or "packages_left" not in known:
        raise BuildError(f"{(missing or [folder / ROOT_FILE])[0]} is missing or of an older recipe: run make image")
    more = beside.choose(described.keys(), known.get("architecture", "amd64"))
    controls = "\n".join(map(beside.read_control, more))
    parts = [digest_files([*sources, *MAKERS], folder), json.dumps(known.get("tools", {}), sort_keys=True), controls]
    inputs = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    if all(manifest.is_recorded(folder, name, inputs) for name in (NAME, lock.NAME)):
        return ""
    epoch = known["source_date_epoch"]
    with common.staging(folder, NAME) as work:
        packages, licences, release = read_system(folder, work / "system")
        extensions, theirs = read_extensions(folder, work)
        loaders, of_loaders = beside.read(more)
        left = [package for package in packages if package.name in known["packages_left"]] + extensions + loaders
        every = {**of_loaders, **theirs, **licences}
        document = build_document(known["version"], epoch, described, left, every, release)
        (work / NAME).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (work / lock.NAME).write_text(build_lock(epoch, packages, extensions, known.get("tools", {})), encoding="utf-8")
        for name in (NAME, lock.NAME):
            (work / name).chmod(0o644)
            (work / name).replace(folder / name)
            manifest.record(folder, name, inputs)
    texts = len(document["hasExtractedLicensingInfos"])
    return f"{NAME}, {len(left)} packages, {texts} texts of licences that have no name in SPDX"


def main() -> int:
    """Write the document when an input changed; status 1 with one line when that is impossible."""
    asked = common.build_parser(str(__doc__).splitlines()[0]).parse_args()
    return common.finish("sbom.py", lambda: make(asked.image))


if __name__ == "__main__":
    sys.exit(main())

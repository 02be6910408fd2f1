"""Making an extension: the image, and the files beside it that a mirror needs (`.dep`, `.md5.txt`, `.info`, `.list`).

All that an image gets is laid into one folder first (copied, or unpacked from Debian packages), then checked, then made
into an image; only when all of it is there do the files get their names in the output folder.

Source: protocol 5.2, 8.3 (the historic builder made neither sums nor dependencies, defect B59); systemd-sysext(8).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mkcore import files
from mkcore.errors import BadInput
from mkmirror import debs, trust
from mkmirror.formats import sysext, tce
from mkmirror.image import Content, copy_tree, make_folders, make_image, read_content
from mkmirror.names import is_name, show
from mkmirror.progress import Progress, human

FORMATS = ("sysext", "tcz")
Fill = Callable[[Path], None]
"""Lays an extension's content into a folder."""


@dataclass(frozen=True)
class Recipe:
    """What an extension is made of beside its content.

    needs: names of extensions for `.dep`. system: the os-release that a sysext is for, {} for any; machine: uname(2)'s
    word for the architecture, "" for any. units: are started when it is merged. time_s: Unix time of all files.
    """

    name: str
    format: str
    needs: tuple[str, ...] = ()
    description: str = ""
    version: str = ""
    system: Mapping[str, str] = field(default_factory=dict[str, str])
    machine: str = ""
    units: tuple[str, ...] = ()
    time_s: int = 0

    @property
    def file(self) -> str:
        """Name of the image's file."""
        return self.name + (sysext.SUFFIX if self.format == "sysext" else tce.SUFFIX)


def build(recipe: Recipe, fill: Fill, out: Path, progress: Progress) -> tuple[Path, ...]:
    """Make the extension in the folder `out`; return the paths of its files, the image first.

    Raises BadInput for a name or a content that cannot be merged, ToolFailed for a tool, OSError for a folder.
    """
    require_recipe(recipe)
    files.make_dir(out)
    work = out / f".{recipe.name}.{os.urandom(4).hex()}"
    try:
        stage = work / "content"
        files.make_dir(stage)
        fill(stage)
        _complete(recipe, stage)
        content = read_content(stage)
        _require_mergeable(recipe, content, stage)
        _warn_of_elsewhere(recipe, content, progress)
        progress.say(f"{recipe.file}: packing {len(content.paths)} files, {human(content.size_bytes)}")
        image = work / recipe.file
        make_image(stage, image, compressor="zstd" if recipe.format == "sysext" else "gzip", time_s=recipe.time_s)
        made = (image, *_write_beside(recipe, content, image))
        for path in reversed(made):  # the image last: who sees it finds its sum
            files.place(path, out / path.name)
    finally:
        files.remove_tree(work)
    target = out / recipe.file
    progress.say(f"{recipe.file}: {human(target.stat().st_size)}, SHA-256 {trust.digest_file(target)}")
    return tuple(out / path.name for path in made)


def require_recipe(recipe: Recipe) -> None:
    """Raise BadInput for a name, dependency or unit that is none."""
    if not is_name(recipe.file) or recipe.name.endswith((sysext.SUFFIX, tce.SUFFIX)):
        raise BadInput(f"{show(recipe.name)} is not the name of an extension (without an ending)")
    for need in recipe.needs:
        if not is_name(need) or not need.endswith((sysext.SUFFIX, tce.SUFFIX)):
            raise BadInput(f"{show(need)} is not the file name of an extension", "dependency")
    for unit in recipe.units:
        if not debs.is_unit(unit):
            raise BadInput(f"{show(unit)} is not the name of a unit", "units")


def fill_from_folder(source: Path) -> Fill:
    """Return what lays a copy of `source` into a folder; raise BadInput when it is none."""
    if not source.is_dir():
        raise BadInput("is not a folder", str(source))
    read_content(source)  # before anything is copied: a copy of a named pipe waits for a writer
    return lambda stage: copy_tree(source, stage)


def _complete(recipe: Recipe, stage: Path) -> None:
    """Add what makes a folder an extension: the release file, and the start of its units."""
    if recipe.format == "sysext":
        release = stage / sysext.release_path(recipe.name)
        if release.is_file() and not release.is_symlink():
            sysext.parse_release(files.read_text(release), sysext.release_path(recipe.name))
        else:
            make_folders(release.parent)
            files.write_atomic(release, sysext.build_release(recipe.system, recipe.machine).encode())
    if recipe.units:
        debs.write_wants(stage, recipe.name, recipe.units)


def _require_mergeable(recipe: Recipe, content: Content, stage: Path) -> None:
    if recipe.format != "sysext":
        if not content.paths:
            raise BadInput("there is nothing in it", recipe.file)
        return
    releases = stage / sysext.Kind.SYSEXT.release_folder
    foreign = sorted(path.name for path in releases.iterdir() if path.name != f"extension-release.{recipe.name}")
    if foreign:
        raise BadInput(f"it has the release file of another extension, {show(foreign[0])}", recipe.file)
    if len(content.paths) == 1:
        raise BadInput("there is nothing in it", recipe.file)
    for path in content.paths:
        if path.split("/", 1)[0] not in sysext.Kind.SYSEXT.tops or "/" not in path:
            raise BadInput(f"{show(path)} is outside usr and opt, and would not be merged", recipe.file)
    for name in ("usr/lib/os-release", "etc/os-release"):
        if name in content.paths:
            raise BadInput(f"has {name}, with which systemd refuses it", recipe.file)


def _warn_of_elsewhere(recipe: Recipe, content: Content, progress: Progress) -> None:
    """Say when Tiny Core itself can use what is made, but mk-extensions cannot, as it lies over the whole system."""
    elsewhere = [path for path in content.paths if not path.startswith(("usr/local/", "opt/"))]
    if recipe.format == "tcz" and elsewhere:
        where = f"{show(elsewhere[0])} is neither below usr/local nor below opt"
        progress.warn(f"{recipe.file}: {where}: mk-extensions refuses it; --format sysext is for that")


def _write_beside(recipe: Recipe, content: Content, image: Path) -> list[Path]:
    size_bytes = image.stat().st_size
    texts = {
        ".md5.txt": tce.build_md5(trust.digest_file(image, "md5"), recipe.file),
        ".info": tce.build_info(recipe.file, recipe.description, recipe.version, size_bytes),
        ".list": tce.build_lines(content.paths),
    }
    if recipe.needs:
        texts[".dep"] = tce.build_lines(recipe.needs)
    made: list[Path] = []
    for ending, text in texts.items():
        made.append(image.with_name(recipe.file + ending))
        files.write_atomic(made[-1], text.encode())
    return made

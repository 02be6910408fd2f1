"""Tiny Core extensions: the files beside an image, and where they lie.

An existing Tiny Core mirror is read as it is, so whatever is found in real ones is understood: blank lines and
trailing blanks in `.dep`, names without their ending, Windows line ends. Nothing that is read here can lead out of the
folder of the extension.

Source: protocol 5.2 and 5.3; Tiny Core's tce-load and tc-functions for the order and the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mkcore.errors import BadInput
from mkmirror.lists import lines_of
from mkmirror.names import require_inside, require_name, require_name_or_path, show

SUFFIX = ".tcz"
KERNEL_MARK = "-KERNEL"
BESIDE = (".md5.txt", ".dep", ".info", ".list", ".map", ".when")
"""Endings of the files that accompany an image."""
ONBOOT = "onboot.lst"

_RELEASE = re.compile(r"[0-9]{1,3}\.x")
_BUILD = re.compile(r"[a-z0-9_]{1,32}")
_MD5 = re.compile(r"([0-9A-Fa-f]{32})(?:[ \t]+[*]?(\S+))?")


class MapEntry(NamedTuple):
    """One driver of a `.map`: `module`, its file inside the extension; `target`, its path below kernel/drivers."""

    module: str
    target: str


def file_name(name: str, kernel: str, where: str = "extension") -> str:
    """Return the file name of an extension that is named with or without `.tcz`; `-KERNEL` becomes `-{kernel}`.

    kernel: release of the running kernel, e.g. `6.6.8-tinycore64`. `alsa-modules-KERNEL.tcz` names
    `alsa-modules-6.6.8-tinycore64.tcz`. Raises BadInput for what can be no name.
    """
    stem = name[: -len(SUFFIX)] if name.endswith(SUFFIX) else name
    if stem.endswith(KERNEL_MARK):
        stem = stem[: -len(KERNEL_MARK)] + "-" + kernel
    if not stem:
        raise BadInput(f"{show(name)} is not the name of an extension", where)
    return require_name(stem + SUFFIX, where)


def application(name: str) -> str:
    """Return the name of an extension without its ending, e.g. `nano` for `nano.tcz`."""
    return name[: -len(SUFFIX)] if name.endswith(SUFFIX) else name


def folder(release: str, build: str) -> str:
    """Return the path of the images below a mirror's base, e.g. `15.x/x86_64/tcz`; raise BadInput for other words."""
    if not is_release(release):
        raise BadInput(f"{show(release)} is not of the form 15.x", "release")
    if not is_build(build):
        raise BadInput(f"{show(build)} is not of the form x86_64", "build")
    return f"{release}/{build}/tcz"


def is_release(text: str) -> bool:
    """Tell whether `text` is a release's part of the path, e.g. `15.x`."""
    return bool(_RELEASE.fullmatch(text))


def is_build(text: str) -> bool:
    """Tell whether `text` is a build's part of the path, e.g. `x86_64`."""
    return bool(_BUILD.fullmatch(text))


def start_script(name: str) -> str:
    """Return the path of an extension's start script inside its image."""
    return f"usr/local/tce.installed/{application(name)}"


def parse_dep(text: str, kernel: str, where: str) -> tuple[str, ...]:
    """Parse a `.dep`: the file names of the extensions that one needs, each once, in the order of the file.

    Raises BadInput naming `where` and the line.
    """
    return tuple(dict.fromkeys(file_name(line, kernel, place) for line, place in lines_of(text, where)))


def parse_onboot(text: str, kernel: str, where: str = ONBOOT) -> tuple[str, ...]:
    """Parse an `onboot.lst`: the file names of the extensions that are loaded at boot. As parse_dep."""
    return parse_dep(text, kernel, where)


def parse_md5(text: str, name: str, where: str) -> str:
    """Parse a `.md5.txt`, the output of md5sum for the file `name`; return the 32 digits in lower case.

    A sum that stands alone counts too, one for a file of another name does not. Raises BadInput naming `where`.
    """
    for line, place in lines_of(text, where):
        match = _MD5.fullmatch(line)
        if match is None:
            raise BadInput(f"not of the form 'MD5  NAME': {show(line)}", place)
        if match[2] is None or match[2].rsplit("/", 1)[-1] == name:
            return match[1].lower()
    raise BadInput(f"has no sum of {name}", where)


def parse_content(text: str, where: str) -> tuple[str, ...]:
    """Parse a `.list`: the paths of the files inside an extension, relative to /. Raises BadInput naming the line."""
    found: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        path = re.sub(r"\A(?:\./|/)", "", line.strip("\r")).rstrip("/")
        if path and path != ".":
            found.append(require_inside(path, f"{where}:{number}"))
    return tuple(found)


def parse_map(text: str, where: str) -> tuple[MapEntry, ...]:
    """Parse a `.map`: lines of a module's file inside the extension and its path below kernel/drivers.

    Raises BadInput naming the line: not two words, a path that leads out, a target that is no module.
    """
    found: list[MapEntry] = []
    for line, place in lines_of(text, where):
        words = line.split()
        if len(words) != 2:
            raise BadInput(f"not of the form 'MODULE TARGET': {show(line)}", place)
        target = require_name_or_path(words[1].lstrip("/"), place, "a module below kernel/drivers")
        found.append(MapEntry(require_inside(words[0].lstrip("/"), place), target))
    return tuple(found)


def build_md5(md5: str, name: str) -> str:
    """Build a `.md5.txt`."""
    return f"{md5}  {name}\n"


def build_lines(names: Iterable[str]) -> str:
    """Build a `.dep`, `.list` or `onboot.lst`."""
    return "".join(f"{name}\n" for name in names)


def build_info(name: str, description: str, version: str, size_bytes: int) -> str:
    """Build an `.info` with the fields that a builder knows; sizes in KiB, rounded up."""
    fields = (
        ("Title", name),
        ("Description", description),
        ("Version", version),
        ("Size", f"{-(-size_bytes // 1024)}K"),
    )
    return "".join(f"{key + ':':<16}{' '.join(value.split())}".rstrip() + "\n" for key, value in fields)

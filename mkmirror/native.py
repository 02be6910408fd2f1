"""What a native extension may hold, and what it brings along: pure, from the list of its files.

systemd-sysext merges whatever it is given over /usr. A layer can hide a folder of the system behind a file, delete by a
whiteout (a character device 0:0), or replace the very program that would take it away again. So the content is read
before it is merged, and an extension that touches what the suite or the system's Python consists of is refused.

Source: systemd-sysext(8), systemd.unit(5) on drop-ins and folders of links; the kernel's overlayfs documentation on
whiteouts; Python's `site` module on what runs at each start.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES

from mkcore.errors import BadInput
from mkmirror.formats.sysext import SUFFIX, Kind, release_path
from mkmirror.names import require_inside, show

CONFEXT_SUFFIX = ".confext.raw"
MAX_ENTRIES = 200_000
"""Files, folders and links of one extension; a few bytes of squashfs can claim millions."""
MAX_UNITS_TEXT = 4_096
"""Characters of all names of units of one extension, which are written down."""
UNITS = ("usr/lib/systemd/system", "usr/local/lib/systemd/system", "etc/systemd/system")


class Sort(enum.Enum):
    """What a path inside an extension is."""

    FOLDER = "a folder"
    FILE = "a file"
    LINK = "a symbolic link"
    ODD = "a device, pipe or socket"


@dataclass(frozen=True)
class Content:
    """What an extension brings that something has to be done for.

    units: all of its units; start: those of them that are to run. setup: it does by a unit of its own what sysusers,
    tmpfiles and udev would be asked for. sysusers, tmpfiles: names of its files.
    """

    units: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    sysusers: tuple[str, ...] = ()
    tmpfiles: tuple[str, ...] = ()
    setup: bool = False
    udev: bool = False
    bus: bool = False
    libraries: bool = False


_UNIT_FOLDERS = r".*/systemd/system(?:\.control|\.attached)?"
_SUITE = "mkcore|mkctl|mkweb|mkmirror|mkserver"
_RESERVED = tuple(
    (re.compile(pattern, re.DOTALL), reason)
    for pattern, reason in (
        (r"usr/lib/mk(?:/(?!(?:facts\.d|extensions)(?:/|\Z)).*)?", "belongs to the suite"),
        (r"(?:usr/share|etc|run|var/lib)/mk(?:/.*)?", "belongs to the suite"),
        (r"usr/(?:local/|bin/|local/bin/)?pyvenv\.cfg", "changes where the suite looks for its modules"),
        (r"usr/lib/python3[^/]*\.zip(?:/.*)?", "would be imported by the programs of the suite"),
        (
            r"usr/(?:lib/python3[^/]*/(?!(?:dist|site)-packages(?:/|\Z)).+|local/lib/python3[^/]*/dist-packages(?:/.*)?)",
            "would be imported by the programs of the suite",
        ),
        (rf"usr/(?:local/)?lib/python3[^/]*/.*-packages/(?:{_SUITE})(?:[-./].*)?", "belongs to the suite"),
        (rf"usr/(?:local/)?s?bin/(?:{_SUITE}|mk-facts)", "belongs to the suite"),
        (r"usr/(?:local/)?lib/python3.*/(?:sitecustomize|usercustomize)\b.*", "would run in each program of the suite"),
        (r"usr/(?:local/)?lib/python3.*\.pth", "would run in each program of the suite"),
        (
            rf"{_UNIT_FOLDERS}/mk(?:ctl|web|mirror|server|-[a-z-]*)?(?:-packages)?\.[a-z]+(?:\.[a-z]+)?(?:/.*)?",
            "changes a unit of the suite",
        ),
        (
            rf"{_UNIT_FOLDERS}/dbus(?:-broker)?\.(?:service|socket)(?:\.d)?(?:/.*)?",
            "changes a unit that the suite needs",
        ),
        (rf"{_UNIT_FOLDERS}/(?:service|socket|target|slice|timer)\.d(?:/.*)?", "changes all units"),
        (r"usr/lib/(?:sysusers|tmpfiles)\.d/mk(?:ctl|web|mirror|server)?\.conf", "belongs to the suite"),
        (r"etc/polkit-1/rules\.d/.*", "changes who may do what"),
        (r"(?:usr/(?:local/)?share|etc)/(?:polkit-1|dbus-1)/.*(?:mksuite|/[0-9]*-?mk[-.]).*", "belongs to the suite"),
        (r"(?:usr/lib|etc)/os-release", "is the system's own, with which systemd refuses it"),
        (r"etc/(?:passwd|shadow|group|gshadow|machine-id|hostname)", "is the system's own"),
    )
)
_LIBRARIES = (
    r"ld-linux[^/]*|lib(?:c|m|dl|rt|pthread|resolv|nss_[a-z]+|python3[^/]*|systemd[^/]*|udev|mount|blkid|selinux|cap|"
    r"seccomp|acl|crypto|ssl|gcrypt|gpg-error|dbus-1|expat|ffi|z|kmod|squashfs[^/]*)"
)
_KEPT = re.compile(
    r"usr/(?:s?bin/(?:python3[^/]*|sh|dash|bash|env|gpgv|systemctl|systemd-[^/]*|busctl|mount|umount|ldconfig|insmod|rmmod|"
    r"modinfo|kmod|udevadm|dbus-daemon|dbus-broker[^/]*)|lib/python3[^/]*/.+|lib/systemd/(?!system/).+|"
    rf"lib(?:32|64)?/(?:[^/]+-linux-gnu[^/]*/)?(?:{_LIBRARIES})\.so[.0-9]*)",
    re.DOTALL,
)
"""May be added to, not replaced: the suite's interpreter, what it runs, the libraries of both, and systemd."""
_MODULE_OF_PYTHON = re.compile(r"(usr/lib/python3[^/]*/.*?)([^/.]+)(\.[^/]*)?", re.DOTALL)
_UNIT = re.compile(r"[A-Za-z0-9:_.\\-]+@?\.(?:service|socket|timer|path|target|mount|automount|swap|slice)")
_WANTING = re.compile(r"[^/]+\.target\.(?:wants|upholds|requires)/([^/]+)")
_DROP_IN = re.compile(r"[^/]+\.target\.d/[^/]+\.conf")
_PULL = re.compile(r"^(?:Upholds|Wants|Requires|BindsTo)=(.*)$", re.MULTILINE)


def is_confext(file: str) -> bool:
    """Tell whether an image of this name extends /etc, e.g. `site.confext.raw`."""
    return file.endswith(CONFEXT_SUFFIX)


def kind_of(file: str) -> Kind:
    """Return what an image of this name extends."""
    return Kind.CONFEXT if is_confext(file) else Kind.SYSEXT


def plain_name(file: str) -> str:
    """Return the name that systemd knows an extension by: `a` for `a.raw` and for `a.confext.raw`."""
    return file[: -len(CONFEXT_SUFFIX if is_confext(file) else SUFFIX)]


def require_mergeable(file: str, entries: Mapping[str, Sort], base: Callable[[str], str]) -> None:
    """Raise BadInput naming the path when an extension holds what cannot or must not be merged.

    entries: each path inside, e.g. `usr/bin/x`. base: what the system has at such a path now: `folder`, `other` for
    all else, "" for nothing.
    """
    kind = kind_of(file)
    release = release_path(plain_name(file), kind)
    if entries.get(release) is not Sort.FILE:
        raise BadInput(f"has no {release}", file)
    for path, sort in entries.items():
        require_inside(path, file)
        if sort is Sort.ODD:
            raise BadInput(f"{show(path)} is a device, a pipe or a socket", file)
        if path.split("/", 1)[0] not in kind.tops and sort is not Sort.FOLDER:
            raise BadInput(f"{show(path)} is outside {' and '.join(sorted(kind.tops))}, and would not be merged", file)
        if path.startswith(f"{kind.release_folder}/") and path != release:
            raise BadInput(f"it has the release file of another extension, {show(path)}", file)
        _require_free(file, path, sort, base)


def _require_free(file: str, path: str, sort: Sort, base: Callable[[str], str]) -> None:
    reason = reserved(path)
    if reason and (sort is not Sort.FOLDER or "changes" in reason):
        raise BadInput(f"{show(path)} {reason}", file)
    there = base(path)
    if there == "folder" and sort is not Sort.FOLDER:
        raise BadInput(f"{show(path)} is {sort.value} and would hide a folder of the system", file)
    if there == "other" and sort is Sort.FOLDER:
        raise BadInput(f"{show(path)} is a folder and would hide a file or link of the system", file)
    if there == "other" and _KEPT.fullmatch(path):
        raise BadInput(f"{show(path)} would replace a file that the suite runs with", file)
    if not there and _is_imported_before(path, sort, base):
        raise BadInput(f"{show(path)} would be imported instead of a module that the system has", file)


def _is_imported_before(path: str, sort: Sort, base: Callable[[str], str]) -> bool:
    """Whether Python would find this rather than the system's module: a package goes first, then compiled modules."""
    match = _MODULE_OF_PYTHON.fullmatch(path)
    if match is None or (sort is not Sort.FOLDER and not (match[3] or "").endswith((".so", ".py", ".pyc"))):
        return False
    top = match[1].replace("__pycache__/", "")
    compiled = EXTENSION_SUFFIXES[EXTENSION_SUFFIXES.index(match[3]) + 1 :] if match[3] in EXTENSION_SUFFIXES else []
    others = EXTENSION_SUFFIXES if sort is Sort.FOLDER else ["", *compiled]
    endings = (*others, ".py", ".pyc")  # a system may have byte code alone
    return any(base(f"{top}{match[2]}{ending}") for ending in endings)


def reserved(path: str) -> str:
    """Return why an extension may not have a file at this path, "" when it may."""
    return next((reason for pattern, reason in _RESERVED if pattern.fullmatch(path)), "")


def judge(file: str, entries: Mapping[str, Sort], read: Callable[[str], str]) -> Content:
    """Return what has to be done for an extension; raise BadInput for one with more units than can be written down.

    read: returns the text of a small file inside it.
    """
    units: dict[str, None] = {}
    start: dict[str, None] = {}
    for path in sorted(entries):
        folder = next((each for each in UNITS if path.startswith(f"{each}/")), "")
        inside = path[len(folder) + 1 :] if folder else ""
        wanted = _WANTING.fullmatch(inside)
        if wanted:
            start.setdefault(wanted[1])
        elif _DROP_IN.fullmatch(inside) and entries[path] is Sort.FILE:
            start.update(dict.fromkeys(" ".join(_PULL.findall(read(path))).split()))
        elif _UNIT.fullmatch(inside) and entries[path] is not Sort.FOLDER:
            units.setdefault(inside)
    instances = {unit for unit in start if _UNIT.fullmatch(re.sub(r"@[^.]+\.", "@.", unit))}
    own = [unit for unit in start if unit in instances and (unit in units or re.sub(r"@.+\.", "@.", unit) in units)]
    if not own:
        own = [unit for unit in units if "@" not in unit and _is_installable(entries, unit, read)]
    all_units = tuple(unit for unit in dict.fromkeys([*units, *own]) if not re.search(r"@\.", unit))
    if sum(len(unit) + 3 for unit in all_units) > MAX_UNITS_TEXT:
        raise BadInput(f"has {len(all_units)} units, too many to be written down", file)
    return Content(
        units=all_units,
        start=tuple(own),
        sysusers=_configuration(entries, "usr/lib/sysusers.d/"),
        tmpfiles=_configuration(entries, "usr/lib/tmpfiles.d/"),
        setup=f"{plain_name(file)}-setup.service" in units,
        udev=any(path.startswith("usr/lib/udev/") for path in entries),
        bus=any(path.startswith(("usr/share/dbus-1/system", "etc/dbus-1/system")) for path in entries),
        libraries=any(re.search(r"\.so(?:\.[0-9.]+)?\Z", path) for path in entries),
    )


def _is_installable(entries: Mapping[str, Sort], unit: str, read: Callable[[str], str]) -> bool:
    """Whether a unit says that it is to be enabled; who merges an extension has nobody else to enable it."""
    paths = (f"{folder}/{unit}" for folder in UNITS)
    return any(
        re.search(r"^\[Install\]\s*$", read(path), re.MULTILINE) for path in paths if entries.get(path) is Sort.FILE
    )


def _configuration(entries: Iterable[str], folder: str) -> tuple[str, ...]:
    found = (path[len(folder) :] for path in sorted(entries) if path.startswith(folder) and path.endswith(".conf"))
    return tuple(name for name in found if "/" not in name)

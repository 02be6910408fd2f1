"""What mk-fetch hands to mk-extensions: the one document that stands between the network and root.

mk-fetch writes it last, beside the folder with the files it speaks of; mk-extensions reads it as a stranger's. So
whatever stands in it is checked here: every name, every reference, every bound. That a file is what a sum says is not
the matter of this document; sums in it only tell early what came damaged.

Source: protocol 5.2, 5.3, 5.4.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from mkcore.errors import BadInput, one_line
from mkcore.jsonfields import Json, get_bool, get_int, get_list, get_object, get_str, get_strings, parse_object, show
from mkmirror.formats import sysext, tce, wheel
from mkmirror.names import is_name, require_name_or_path

VERSION = 1
FILE = "staged.json"
FOLDER = "staging"
"""Beside FILE: one folder per Folder, named by its id, with the files of its items and what vouches for them."""
LIMIT_BYTES = 4 << 20
MAX_FOLDERS = 64
MAX_REQUESTS = 10_000
MAX_ITEMS = 5_000
MAX_MODULES = 1_000
"""Entries of all lists of modules together: what is told of each of them is kept in memory."""
TEXT_LIMIT = 300
"""Characters of a reason or of a refused name."""

_ID = re.compile(r"[0-9a-z]{1,16}")
_ADDRESS = re.compile(r"https?://[^\s\x00-\x1f\x7f]{1,2048}")
_DIGITS = {"sha256": re.compile(r"(?:[0-9a-f]{64})?"), "md5": re.compile(r"(?:[0-9a-f]{32})?")}
_T = TypeVar("_T")
_E = TypeVar("_E", bound=enum.Enum)


class By(enum.Enum):
    """Who asks for something: a server's push, the site's configuration, an administrator, or the built-in lists."""

    PUSH = "push"
    SITE = "site"
    ADMIN = "admin"
    BUILTIN = "builtin"


class Kind(enum.Enum):
    """What a file is, by its ending."""

    SYSEXT = "sysext"
    TCZ = "tcz"
    WHEEL = "wheel"

    @property
    def suffix(self) -> str:
        """The ending of its files."""
        return {Kind.SYSEXT: sysext.SUFFIX, Kind.TCZ: tce.SUFFIX, Kind.WHEEL: wheel.SUFFIX}[self]


@dataclass(frozen=True)
class Folder:
    """A folder of a mirror: e.g. `http://m/tinycorelinux` and `15.x/x86_64/tcz`; whether it is the built-in mirror."""

    mirror: str
    path: str
    builtin: bool


@dataclass(frozen=True)
class Item:
    """One file: `name` in the staged folder `folder`; "" for a sum that is not known; `needs` are names of files."""

    kind: Kind
    name: str
    folder: str
    sha256: str = ""
    md5: str = ""
    size_bytes: int = 0
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """What is wanted and all that it needs and is not there yet, the deepest dependency first, the wanted one last.

    name: a file's (`a.tcz`), or for Python packages the canonical name (`json-pure`). A request is installed as a
    whole or not at all; what several need stands in each of them.
    """

    name: str
    by: By
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Modules:
    """Kernel modules to load: names or paths as protocol 5.4 has them; `list` is where they stood."""

    by: By
    entries: tuple[str, ...]
    list: str = ""


@dataclass(frozen=True)
class Refused:
    """What is not installed, and why, in one line. `name` is whatever somebody wrote, for showing alone."""

    name: str
    by: By
    reason: str


@dataclass(frozen=True)
class Staged:
    """The whole document. Refused is what was not refused before."""

    folders: Mapping[str, Folder] = field(default_factory=dict[str, Folder])
    requests: tuple[Request, ...] = ()
    modules: tuple[Modules, ...] = ()
    refused: tuple[Refused, ...] = ()
    cleared: tuple[str, ...] = ()
    """Names that were refused before, and that nobody wants any more or nothing is wrong with."""

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to do and nothing to tell."""
        return not (self.requests or self.modules or self.refused or self.cleared)


def parse_staged(data: bytes, where: str = FILE) -> Staged:
    """Parse the document; raise BadInput naming the place for anything that mk-fetch would not have written."""
    found = parse_object(data, where)
    if get_int(found, "version", where=where) != VERSION:
        raise BadInput(f"has the version {found['version']}, {VERSION} is understood", where)
    folders: dict[str, Folder] = {}
    for name, value in get_object(found, "folders", default={}, where=where).items():
        folders[_require(_ID, name, f"{where}.folders")] = _folder(_object(value, f"{where}.folders.{name}"), where)
    _bound(len(folders), MAX_FOLDERS, "folders", where)
    requests = _each(found, "requests", where, lambda value, place: _request(value, folders, place))
    if len({each.name for each in requests}) != len(requests):
        raise BadInput("the same name comes twice", f"{where}.requests")
    cleared = get_strings(found, "cleared", default=(), where=where)
    _bound(len(cleared), MAX_REQUESTS, "cleared", where)
    modules = _each(found, "modules", where, _modules)
    _bound(sum(len(each.entries) for each in modules), MAX_MODULES, "modules", where)
    return Staged(folders, requests, modules, _each(found, "refused", where, _refused), tuple(map(_shorten, cleared)))


def build_staged(staged: Staged) -> dict[str, Json]:
    """Build the document, which parse_staged reads again."""
    folders: dict[str, Json] = {
        name: {"mirror": each.mirror, "path": each.path, "builtin": each.builtin}
        for name, each in staged.folders.items()
    }
    return {
        "version": VERSION,
        "folders": folders,
        "requests": [
            {"name": each.name, "by": each.by.value, "items": [_build_item(item) for item in each.items]}
            for each in staged.requests
        ],
        "modules": [
            {"by": each.by.value, "entries": list[Json](each.entries), "list": _shorten(each.list)}
            for each in staged.modules
        ],
        "refused": [
            {"name": _shorten(each.name), "by": each.by.value, "reason": _shorten(each.reason)}
            for each in staged.refused
        ],
        "cleared": list[Json](map(_shorten, staged.cleared)),
    }


def _build_item(item: Item) -> Json:
    return {
        "kind": item.kind.value,
        "name": item.name,
        "folder": item.folder,
        "sha256": item.sha256,
        "md5": item.md5,
        "size_bytes": item.size_bytes,
        "needs": list[Json](item.needs),
    }


def _folder(value: Mapping[str, Json], where: str) -> Folder:
    path = require_name_or_path(get_str(value, "path", where=where), f"{where}.path", "a folder of a mirror")
    mirror = _require(_ADDRESS, get_str(value, "mirror", where=where), f"{where}.mirror")
    try:
        urlsplit(mirror)
    except ValueError:
        raise BadInput(f"{show(mirror)} is no address", f"{where}.mirror") from None
    return Folder(mirror, path, get_bool(value, "builtin", where=where))


def _request(value: Mapping[str, Json], folders: Mapping[str, Folder], where: str) -> Request:
    name = get_str(value, "name", where=where)
    items = _each(value, "items", where, lambda item, place: _item(item, folders, place), MAX_ITEMS)
    if not items or len({item.name for item in items}) != len(items):
        raise BadInput("must have items, each name once", f"{where}.items")
    last = items[-1]
    if name != (wheel.parse_wheel(last.name, where).name if last.kind is Kind.WHEEL else last.name):
        raise BadInput(f"{show(name)} is not the last of its items", f"{where}.name")
    return Request(name, _by(value, where), items)


def _item(value: Mapping[str, Json], folders: Mapping[str, Folder], where: str) -> Item:
    kind = _word(Kind, get_str(value, "kind", where=where), f"{where}.kind")
    folder = get_str(value, "folder", where=where)
    if folder not in folders:
        raise BadInput(f"{show(folder)} is not one of the folders", f"{where}.folder")
    if kind is Kind.WHEEL:
        wheel.parse_wheel(get_str(value, "name", where=where), f"{where}.name")
    needs = get_strings(value, "needs", default=(), where=where)
    _bound(len(needs), MAX_ITEMS, "needs", where)
    return Item(
        kind,
        _file(get_str(value, "name", where=where), (kind.suffix,), f"{where}.name"),
        folder,
        _require(_DIGITS["sha256"], get_str(value, "sha256", default="", where=where), f"{where}.sha256"),
        _require(_DIGITS["md5"], get_str(value, "md5", default="", where=where), f"{where}.md5"),
        get_int(value, "size_bytes", low=0, where=where),
        tuple(_file(need, tuple(each.suffix for each in Kind), f"{where}.needs") for need in needs),
    )


def _file(name: str, endings: tuple[str, ...], where: str) -> str:
    """Return the name of a file that can be installed; a wheel's may have the epoch of its version, `1!2.0`."""
    plain = name.replace("!", "") if name.endswith(wheel.SUFFIX) else name
    if not is_name(plain) or not name.endswith(endings) or name.startswith("."):
        raise BadInput(f"{show(name)} is not the name of such a file", where)
    return name


def _modules(value: Mapping[str, Json], where: str) -> Modules:
    entries = get_strings(value, "entries", where=where)
    _bound(len(entries), MAX_REQUESTS, "entries", where)
    checked = tuple(require_name_or_path(each, f"{where}.entries", "a module") for each in entries)
    return Modules(_by(value, where), checked, _shorten(get_str(value, "list", default="", where=where)))


def _refused(value: Mapping[str, Json], where: str) -> Refused:
    name, reason = get_str(value, "name", where=where), get_str(value, "reason", where=where)
    return Refused(_shorten(name), _by(value, where), _shorten(reason))


def _by(value: Mapping[str, Json], where: str) -> By:
    return _word(By, get_str(value, "by", where=where), f"{where}.by")


def _word(kind: type[_E], text: str, where: str) -> _E:
    try:
        return kind(text)
    except ValueError:
        raise BadInput(f"{show(text)} is not one of {', '.join(str(each.value) for each in kind)}", where) from None


def _each(
    value: Mapping[str, Json],
    key: str,
    where: str,
    parse: Callable[[Mapping[str, Json], str], _T],
    limit: int = MAX_REQUESTS,
) -> tuple[_T, ...]:
    found = get_list(value, key, default=[], where=where)
    _bound(len(found), limit, key, where)
    return tuple(parse(_object(each, f"{where}.{key}[{at}]"), f"{where}.{key}[{at}]") for at, each in enumerate(found))


def _object(value: Json, where: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise BadInput(f"must be an object, not {show(value)}", where)
    return value


def _require(pattern: re.Pattern[str], text: str, where: str) -> str:
    if not pattern.fullmatch(text):
        raise BadInput(f"{show(text)} does not fit here", where)
    return text


def _bound(count: int, limit: int, what: str, where: str) -> None:
    if count > limit:
        raise BadInput(f"more than {limit}", f"{where}.{what}")


def _shorten(text: str) -> str:
    plain = one_line(text)
    return plain if len(plain) <= TEXT_LIMIT else plain[: TEXT_LIMIT - 1] + "…"

"""What an administrator asks for on the node itself: a file that the command writes and the two services read.

A request is never a unit's instance name nor a word on a command line; it is data, read by both services anew. What
was removed stays away until it is asked for again, whatever lists say.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mkcore import files
from mkcore.errors import BadInput
from mkcore.jsonfields import Json, get_int, get_strings, parse_object
from mkmirror.formats import sysext, tce, wheel
from mkmirror.names import require_name

VERSION = 1
LIMIT_BYTES = 1 << 20
MAX_NAMES = 1_000


@dataclass(frozen=True)
class Requests:
    """Names of extensions (`debug-tools.raw`, `debug-tools`), packages (`foo >=1`), and what is not to be installed.

    remove: names of extensions' files, or canonical names of packages.
    """

    install: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def is_removed(self, name: str) -> bool:
        """Tell whether the administrator took away what is called `name`, with or without an ending."""
        return stem(name) in {stem(each) for each in self.remove}


def stem(name: str) -> str:
    """Return the name of an extension's file without its ending: `nano` for `nano.tcz` and `nano.raw`."""
    return next((name[: -len(ending)] for ending in (sysext.SUFFIX, tce.SUFFIX) if name.endswith(ending)), name)


def parse_requests(data: bytes, where: str) -> Requests:
    """Parse the file; raise BadInput naming the place for anything that is not a name."""
    found = parse_object(data, where)
    if get_int(found, "version", where=where) != VERSION:
        raise BadInput(f"has another version than {VERSION}", where)
    install, packages, remove = (
        get_strings(found, key, default=(), where=where) for key in ("install", "packages", "remove")
    )
    if max(len(install), len(packages), len(remove)) > MAX_NAMES:
        raise BadInput(f"more than {MAX_NAMES} names", where)
    for name in (*install, *remove):
        require_name(name, where)
    for each in packages:
        wheel.parse_wanted(each, where)
    return Requests(tuple(install), tuple(packages), tuple(remove))


def read_requests(path: Path) -> Requests:
    """Read the file; nothing is asked for where there is none. Raises BadInput, OSError."""
    try:
        return parse_requests(files.read_bytes(path, LIMIT_BYTES), str(path))
    except FileNotFoundError:
        return Requests()


def build_requests(requests: Requests) -> dict[str, Json]:
    """Build the file's document, which parse_requests reads again."""
    return {
        "version": VERSION,
        "install": list[Json](requests.install),
        "packages": list[Json](requests.packages),
        "remove": list[Json](requests.remove),
    }

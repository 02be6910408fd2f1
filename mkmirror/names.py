"""Names that strangers wrote: of extensions, packages, modules and files inside them, checked once and for all.

A name becomes a part of an address, of a path and of a line in the journal. So what is accepted here can do no harm in
any of the three: no empty part, no `.` or `..`, nothing absolute, no control characters, no options, bounded length.

Source: protocol 5.2 (what the originals' names look like), path_resolution(7), NAME_MAX in limits.h.
"""

from __future__ import annotations

import re

from mkcore.errors import BadInput

MAX_NAME = 200
"""Characters of a file's name; what stands beside it adds its own ending (`.md5.txt`) and must fit into 255 bytes."""
MAX_PATH = 1024

_NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+~-]*")


def show(text: str) -> str:
    """Return a stranger's text for a message: quoted, escaped, 60 characters at most."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def is_name(text: str) -> bool:
    """Tell whether `text` can be the name of a file that is offered, e.g. `libstdc++6.tcz`."""
    return len(text) <= MAX_NAME and bool(_NAME.fullmatch(text))


def require_name(text: str, where: str, what: str = "an extension") -> str:
    """Return `text` when it can be the name of `what`; raise BadInput naming `where` otherwise."""
    if not is_name(text):
        raise BadInput(f"{show(text)} is not the name of {what}", where)
    return text


def require_name_or_path(text: str, where: str, what: str = "an extension or module") -> str:
    """Return `text` when it is a name or names with / between them, e.g. `drivers/misc/vmci.ko`; raise BadInput."""
    if len(text) > MAX_PATH or not all(map(is_name, text.split("/"))):
        raise BadInput(f"{show(text)} is not the name of {what}", where)
    return text


def require_inside(text: str, where: str) -> str:
    """Return the path of a file inside an image or archive, e.g. `usr/local/bin/x y`; raise BadInput naming `where`.

    Any printable characters, since such names are the packager's affair; never a way out of the image.
    """
    parts = text.split("/")
    if len(text) > MAX_PATH * 4 or not text.isprintable() or any(part in ("", ".", "..") for part in parts):
        raise BadInput(f"{show(text)} is not the path of a file inside", where)
    return text

"""A mirror of extensions and packages from a folder: the tree of static files that `mkmirror index` completes.

Nodes have no password, so the mirror is for everybody who reaches this server, as boot images are; what it hands out
must be signed to be installed anyway. Only regular files inside the folder are handed out, and no listings. An index of
packages is HTML that may have been copied from anywhere: it gets no rights on this server's origin.
Source: protocol 5.2; RFC 9110 sections 13 and 14; Content Security Policy, "sandbox".
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO, Optional

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from .image import send_tagged
from .services import services

PREFIX = "/mirror/"
PATH_CHARS = 2048
_TEXT = (".txt", ".dep", ".info", ".list", ".lst", ".map", "SHA256SUMS", ".metadata")


def open_inside(tree: Path, path: str) -> Optional[BinaryIO]:
    """Open a regular file below `tree`, e.g. `tinycorelinux/15.x/x86_64/tcz/a.tcz`; None when there is none.

    `folder/` is its index.html. Hidden names, what is no regular file and what leads out of the tree are not there.
    """
    parts = path.split("/")
    if path.endswith("/"):
        parts[-1] = "index.html"
    if len(path) > PATH_CHARS or any(part in ("", ".", "..") or part[0] == "." or "\0" in part for part in parts):
        return None
    try:
        top = tree.resolve(strict=True)
        real = top.joinpath(*parts).resolve(strict=True)
        if real.is_relative_to(top) and stat.S_ISREG(real.stat().st_mode):
            return real.open("rb")
    except (OSError, RuntimeError):  # a loop of links is a RuntimeError up to Python 3.12
        pass
    return None


def media_type(name: str) -> str:
    """The media type by the end of a file's name; a file without an ending is one of the lists."""
    if name.endswith((".html", "/")):
        return "text/html"
    if name.endswith(_TEXT):
        return "text/plain"
    return "application/json" if name.rpartition("/")[2].endswith("-list") else "application/octet-stream"


def send_file(path: str) -> Response:
    """GET and HEAD /mirror/PATH. Raises NotFound."""
    tree = services().settings.mirror
    opened = open_inside(tree, path) if tree is not None else None
    if opened is None:
        raise NotFound(description="this mirror has nothing of that name")
    response = send_tagged(opened, media_type(path))
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def build_blueprint() -> Blueprint:
    """The mirror's routes."""
    routes = Blueprint("mirror", __name__, url_prefix=PREFIX.rstrip("/"))
    routes.add_url_rule("/<path:path>", "file", send_file)
    return routes

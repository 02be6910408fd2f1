"""The mirror as a WSGI application: on each socket its own paths, and nothing else reachable.

Which paths a request may name depends on the socket that it came in by: the extensions' or the packages'. Everything
is read-only, so the methods are GET and HEAD.

Source: protocol 5.1 (extensions, port 2157), 5.5 (packages, port 2158); RFC 9110 sections 13 and 14 (conditions,
ranges).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from werkzeug.wrappers import Request, Response

from mkcore import events
from mkcore.errors import BadInput
from mkcore.journal import log_event
from mkcore.loopback import is_loopback
from mkmirror.formats import tce
from mkmirror.index import Absent, open_file, read_list
from mkmirror.partial import answer_file

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

EXTENSIONS = "extensions"
PACKAGES = "packages"
MAX_PATH = 4096

IMAGES = (".tcz", ".raw", ".whl")
"""Endings of what is installed; each that is handed out is said in the journal."""
SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.gpg"

_LISTS = ("tce-install-list", "kmod-install-list")

log = logging.getLogger(__name__)


class MirrorApp:
    """The WSGI application. `trees` in order of precedence; `kinds` maps a listening port to EXTENSIONS or
    PACKAGES.
    """

    def __init__(self, trees: Sequence[Path], kinds: Mapping[str, str]) -> None:
        self._trees = tuple(trees)
        self._kinds = dict(kinds)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        response = self._answer(request)
        log.debug("%s %s: %d", request.method, request.path, response.status_code)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if not is_loopback(request.remote_addr or ""):
            return refuse(403, "this mirror serves its own machine alone")
        if request.method not in ("GET", "HEAD"):
            response = refuse(405, "GET or HEAD")
            response.headers["Allow"] = "GET, HEAD"
            return response
        kind = self._kinds.get(str(request.environ.get("SERVER_PORT", "")), "")
        parts = tuple(request.path.split("/")[1:]) if len(request.path) <= MAX_PATH else ()
        if kind == EXTENSIONS and len(parts) == 2 and parts[0] == "tinycorelinux" and parts[1] in _LISTS:
            return self._answer_list(request, parts[1])
        return self._answer_file(request, file_of(kind, parts))

    def _answer_list(self, request: Request, name: str) -> Response:
        try:
            names = read_list(self._trees, "tinycorelinux", name)
        except (BadInput, OSError) as error:
            message = f"list {name} cannot be read: {error}"
            log_event(log, events.LIST_UNREADABLE, f"{message}; nothing is installed from it until it can", list=name)
            return refuse(500, message)
        response = Response(json.dumps(names, ensure_ascii=False), mimetype="application/json")
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        return response.make_conditional(request.environ)

    def _answer_file(self, request: Request, parts: Optional[tuple[str, ...]]) -> Response:
        if parts is None:
            return refuse(404, "this mirror has nothing of that name")
        try:
            if parts[-1] in (SUMS, SIGNATURE):
                from mkmirror.joined import read_sums  # with what reads sums, which serving files does without

                sums = read_sums(self._trees, parts[:-1])
                if sums is not None:
                    return self._answer_sums(request, parts[-1], sums)
            served = open_file(self._trees, parts)
        except Absent as absent:
            if str(absent):
                log.warning("not served: %s", absent)
            return refuse(404, "this mirror has nothing of that name")
        except BadInput as error:
            log.warning("not served: %s", error)
            return refuse(500, str(error))
        except PermissionError as error:
            log.warning("%s cannot be read by mkmirror", error.filename)
            return refuse(403, "this file cannot be read by mkmirror")
        except OSError as error:
            log.error("%s cannot be read: %s", error.filename, error.strerror)
            return refuse(500, f"this file cannot be read: {error.strerror}")
        if parts[-1].endswith(IMAGES):
            log.info("%s %s", request.method, request.path)
        return answer_file(request.environ, served)

    def _answer_sums(self, request: Request, name: str, sums: bytes) -> Response:
        if name != SUMS:
            return refuse(404, "these sums are of two trees, and signed by nobody")
        response = Response(sums, mimetype="text/plain")
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        return response.make_conditional(request.environ)


def file_of(kind: str, parts: tuple[str, ...]) -> Optional[tuple[str, ...]]:
    """Return the parts below a tree that a request path names on a socket of `kind`, or None when it may name
    nothing there.

    Extensions: `tinycorelinux/RELEASE/BUILD/tcz/FILE` and `tinycorelinux/sysext/ARCHITECTURE/FILE`. Packages:
    `gem-mirror/...`, and `packages/...` as its neutral alias; a folder's address there means its index.html.
    """
    if kind == EXTENSIONS and parts[:1] == ("tinycorelinux",):
        tiny_core = len(parts) == 5 and parts[3] == "tcz" and tce.is_release(parts[1])
        native = len(parts) == 4 and parts[1] == "sysext"
        return parts if (tiny_core or native) and tce.is_build(parts[2]) else None
    if kind == PACKAGES and len(parts) >= 2 and parts[0] in ("gem-mirror", "packages"):
        return ("gem-mirror", *parts[1:-1], parts[-1] or "index.html")
    return None


def refuse(status: int, message: str) -> Response:
    """Return an answer without content: one line of text."""
    text = " ".join(f"{HTTPStatus(status).phrase}: {message}".split())
    return Response(text + "\n", status=status, mimetype="text/plain")

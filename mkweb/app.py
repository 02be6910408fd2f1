"""The requests that mkweb answers.

POST /setMkConfig, as both original clients send it, and below it a handful of JSON routes. Answers carry what the
originals meant to answer and never did (B26). Only this machine may ask: the socket is on loopback, and a peer, Host
or Origin from elsewhere is refused, so that no page in a browser on this machine can push a configuration.

Source: protocol 4 (PORT paragraph); RFC 9110 sections 7.4, 15.5.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Optional

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from mkcore import events, journal
from mkcore.config import Site, effective
from mkcore.errors import BadInput, MkError
from mkcore.journal import log_event
from mkcore.jsonfields import Json, digest, get_str, parse_object
from mkcore.loopback import is_loopback
from mkcore.version import VERSION
from mkweb.apply import Report, describe_apply
from mkweb.bodies import parse_body
from mkweb.judge import judge_push, protected_keys
from mkweb.worker import Refused, Worker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LIMIT_BYTES = 256 << 10
SAVED = "New configuration saved, Microkernel Controller restarted"
UNCHANGED = "Configuration unchanged; no update"
MAX_REASON = 500

_LOCAL_HOST = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_LOCAL_ORIGIN = re.compile(r"https?://" + _LOCAL_HOST.pattern, re.IGNORECASE)

log = logging.getLogger(__name__)
Handler = Callable[[Request], Response]


class ConfigApp:
    """The WSGI application over one worker; `read_site` gives the site's configuration as it is now,
    `try_pattern` tries a Ruby pattern.
    """

    def __init__(self, worker: Worker, read_site: Callable[[], Site], try_pattern: Callable[[str], object]) -> None:
        self._worker = worker
        self._read_site = read_site
        self._try_pattern = try_pattern
        self._judging = threading.Lock()
        self._routes: Mapping[str, tuple[str, Handler]] = {
            "/setMkConfig": ("POST", self._push),
            "/restart": ("POST", self._restart),
            "/confirm": ("POST", self._confirm),
            "/refuse": ("POST", self._refuse),
            "/config": ("GET", self._show),
            "/health": ("GET", self._health),
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        try:
            response = check_origin(request) or self._dispatch(request)
        except Refused as refused:
            response = refuse(refused.status, str(refused))
            if refused.retry_after_s > 0:
                response.headers["Retry-After"] = str(int(refused.retry_after_s) + 1)
        except HTTPException as error:  # Werkzeug's own: body too large, client gone
            response = refuse(error.code or 500, error.description or error.name)
        except BadInput as error:
            response = refuse(400, str(error))
        except (MkError, OSError) as error:
            log.error("%s %s failed: %s", request.method, request.path, error)
            response = refuse(503, f"not done, nothing changed: {error}")
        log.debug("%s %s: %d", request.method, request.path, response.status_code)
        return response(environ, start_response)

    def _dispatch(self, request: Request) -> Response:
        path = "/setMkConfig" if request.path.startswith("/setMkConfig/") else request.path
        if path not in self._routes:
            return refuse(404, f"there is no {request.path[:80]}")
        method, handler = self._routes[path]
        allowed = ("GET", "HEAD") if method == "GET" else (method,)
        if request.method in allowed:
            return handler(request)
        response = Response(status=200) if request.method == "OPTIONS" else refuse(405, f"{path} takes {method} alone")
        response.headers["Allow"] = ", ".join((*allowed, "OPTIONS"))
        return response

    def _push(self, request: Request) -> Response:
        sent = parse_body(read_body(request))
        log.debug("configuration received: %s", sent)
        if not self._judging.acquire(blocking=False):
            raise Refused(409, "another configuration is being judged", 1.0)
        try:
            return self._judge(sent)
        finally:
            self._judging.release()

    def _judge(self, sent: dict[str, Json]) -> Response:
        site, stored = self._read_site(), self._worker.state()[0]
        try:
            judged = judge_push(sent, stored, site)
            if not judged.changed and not self._worker.applying():
                return answer({"json_received": sent, "message": UNCHANGED})
            self._worker.check(digest(judged.merged))  # what costs nothing comes before the trial
            if judged.pattern:
                self._try_pattern(judged.pattern)
        except BadInput as error:
            log_event(
                log, events.CONFIG_REFUSED, f"pushed configuration refused: {error}; nothing changed", reason=str(error)
            )
            return refuse(422, str(error))
        if judged.protected:
            log.info("stored without effect, since the site protects them: %s", ", ".join(judged.protected))
        self._worker.push(judged.merged)
        self.use_log_level()
        response = Response(SAVED, content_type="text/plain")
        response.call_on_close(self._worker.answered)
        return response

    def use_log_level(self) -> None:
        """Log at the level that the stored configuration says."""
        stored = self._worker.state()[0]
        journal.set_level(effective(self._read_site(), stored, {}).config.log_level)

    def _restart(self, request: Request) -> Response:
        read_body(request)
        self._worker.order_restart()
        response = answer({"message": "Microkernel Controller restarted"})
        response.call_on_close(self._worker.answered)
        return response

    def _confirm(self, request: Request) -> Response:
        body = parse_object(read_body(request), "body")
        about = get_str(body, "digest")
        return answer({"digest": about, "phase": self._worker.report(about, Report.CONFIRMED)})

    def _refuse(self, request: Request) -> Response:
        body = parse_object(read_body(request), "body")
        about, reason = get_str(body, "digest"), get_str(body, "reason", default="")
        reason = " ".join(reason.split())[:MAX_REASON]
        return answer({"digest": about, "phase": self._worker.report(about, Report.REFUSED, reason)})

    def _show(self, request: Request) -> Response:
        config, previous, apply = self._worker.state()
        shown: dict[str, Json] = {
            "config": config,
            "digest": digest(config),
            "previous_digest": digest(previous),
            "apply": {} if apply is None else describe_apply(apply),
            "protected": list(protected_keys(config, self._read_site())),
        }
        return answer(shown)

    def _health(self, request: Request) -> Response:
        return answer({"status": "ok", "version": VERSION, "detail": self._worker.status()})


def check_origin(request: Request) -> Optional[Response]:
    """Return a refusal for a request from another machine or on behalf of another site; None for this machine's own."""
    if not is_loopback(request.remote_addr or ""):
        return refuse(403, "this server serves its own machine alone")
    if not _LOCAL_HOST.fullmatch(request.headers.get("Host", "")):
        return refuse(421, "Host is not this machine's loopback")
    origin = request.headers.get("Origin")
    if origin is not None and not _LOCAL_ORIGIN.fullmatch(origin):
        return refuse(403, "Origin is not this machine's loopback")
    return None


def read_body(request: Request) -> bytes:
    """Return the body of a request of any content type; raise Refused when it is coded (415) or too large (413)."""
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise Refused(415, f"Content-Encoding {coding[:40]} is not understood")
    body = request.stream.read(LIMIT_BYTES + 1)
    if len(body) > LIMIT_BYTES:
        raise Refused(413, f"the body has more than {LIMIT_BYTES} bytes")
    return body


def answer(body: Mapping[str, Json]) -> Response:
    """Return 200 with a JSON object."""
    return Response(json.dumps(body, ensure_ascii=False, separators=(",", ":")), content_type="application/json")


def refuse(status: int, message: str) -> Response:
    """Return an error: a JSON object with one line."""
    text = " ".join(message.split())
    return Response(
        json.dumps({"error": text}, ensure_ascii=False) + "\n", status=status, content_type="application/json"
    )

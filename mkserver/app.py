"""The WSGI application: both dialects, the API and the page over one registry."""

from __future__ import annotations

import logging
import time
from typing import Any, Callable

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, NotFound

from mkcore.errors import MkError
from mkcore.rate import RateLimit

from . import api, download, mirror, page
from .auth import Gate
from .boot import build_bootstrap
from .desk import Desk
from .dialects import hanlon, razor
from .guard import add_security_headers, guard
from .pushed import DEFAULTS
from .registry import Registry
from .schema import Database
from .services import Services, request_base
from .settings import Settings

_LOG = logging.getLogger(__name__)


def build_services(settings: Settings, clock: Callable[[], float] = time.time) -> Services:
    """Open the database and make the parts of a server. Raises BadConfig, NotReady."""
    registry = Registry(Database(settings.url_of_database()), clock, settings.limits)
    rate = RateLimit(settings.limits.requests_per_s, settings.limits.requests_burst, time.monotonic)
    return Services(settings, registry, Desk(registry), Gate(settings.data), rate)


def _render_http_error(error: HTTPException) -> Any:
    """Answer what the router or the guard refused in the manner of the path's owner."""
    if error.response is not None:
        return error.response
    code = error.code or 500
    is_files = request.path.startswith((mirror.PREFIX, download.PREFIX))
    is_known = code != 404 or is_files
    text = (error.description or error.name) if is_known else "no such route"
    if code < 400:
        return error
    if request.path.startswith("/hanlon/"):
        response = hanlon.render_http_error(code, text)
    elif request.path.startswith("/razor/"):
        response = razor.render_http_error(code, text)
    elif is_files:
        response = Response(f"{text}\n", code, content_type="text/plain; charset=utf-8")
    elif request.path.startswith("/api/") or not request.accept_mimetypes.accept_html:
        response = api.error_response(code, text)
    else:
        response = Response(*page.render_problem(code, text))
    for name, value in error.get_headers():
        if name in ("Retry-After", "Allow", "Content-Range"):
            response.headers[name] = value
    return response


def _render_error(error: MkError) -> Response:
    """Errors of ours outside the blueprints, such as the guard's."""
    _LOG.debug("%s: %s", request.path, error)
    return api.render_error(error)


def _bootstrap(dialect: str) -> Response:
    """GET /ipxe/{dialect}: the bootstrap script, at an address that both dialects have."""
    if dialect not in DEFAULTS:
        raise NotFound()
    return Response(build_bootstrap(dialect, request_base()), content_type="text/plain; charset=utf-8")


def build_app(parts: Services) -> Flask:
    """Make the application; it may be served by any number of threads."""
    app = Flask("mkserver", static_folder="static", template_folder="templates")
    app.extensions["mkserver"] = parts
    app.config["MAX_CONTENT_LENGTH"] = parts.settings.limits.body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = parts.settings.limits.body_bytes
    app.url_map.strict_slashes = False
    app.before_request(guard)
    app.after_request(add_security_headers)
    app.register_error_handler(HTTPException, _render_http_error)
    app.register_error_handler(MkError, _render_error)
    app.add_url_rule("/ipxe/<dialect>", "bootstrap", _bootstrap)
    app.register_blueprint(hanlon.build_blueprint())
    app.register_blueprint(razor.build_blueprint())
    app.register_blueprint(mirror.build_blueprint())
    app.register_blueprint(download.build_blueprint())
    app.register_blueprint(api.build_blueprint())
    app.register_blueprint(page.build_blueprint())
    return app

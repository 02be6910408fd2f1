"""The JSON API for people and their programs, under /api; the command line is its first client.

Errors are {"error": "one line"} with a fitting status. Changes want `application/json`.
"""

from __future__ import annotations

from typing import Any, Callable

from flask import Blueprint, Response, jsonify, request

from mkcore.errors import BadInput, MkError
from mkcore.jsonfields import Json, get_bool, get_object, get_str, get_strings, parse_object
from mkcore.version import VERSION

from .desk import NoSuchNode, NotPossible, node_json
from .services import query_pairs, services

_STATUS: list[tuple[type, int]] = [(NoSuchNode, 404), (NotPossible, 409), (BadInput, 400)]


def status_of(error: MkError) -> int:
    """HTTP status for an error of ours."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return 503 if error.retryable else 500


def error_response(status: int, text: str) -> Response:
    """The API's one form of an error."""
    response = jsonify({"error": text})
    response.status_code = status
    if status == 503:
        response.headers["Retry-After"] = "5"
    return response


def render_error(error: MkError) -> Response:
    """Put an error of ours into the API's form."""
    return error_response(status_of(error), str(error))


def _body() -> dict[str, Json]:
    data = request.get_data()
    return parse_object(data, "body") if data else {}


def version() -> Response:
    """GET /api/version."""
    return jsonify({"name": "mkserver", "version": VERSION})


def _number(text: str, name: str, high: int) -> int:
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 9 or int(text) > high:
        raise BadInput(f"{name}: must be a whole number from 0 to {high}")
    return int(text)


def list_nodes() -> Response:
    """GET /api/nodes[?q=text&state=active&start=0&limit=100]."""
    values = query_pairs()
    start = _number(values.get("start", ""), "start", 10_000_000)
    most = _number(values.get("limit", ""), "limit", 100_000)
    listing = services().desk.listing(query=values.get("q", ""), state=values.get("state", ""), start=start, most=most)
    made = [node_json(node, state) for node, state in listing.nodes]
    now_ms = services().registry.now_ms()
    return jsonify({"nodes": made, "matching": listing.matching, "counts": listing.counts, "now_ms": now_ms})


def show_node(name: str) -> Response:
    """GET /api/nodes/NODE."""
    return jsonify({**services().desk.show(name), "now_ms": services().registry.now_ms()})


def forget_node(name: str) -> Response:
    """DELETE /api/nodes/NODE."""
    return jsonify(services().desk.forget(name))


def order(name: str) -> tuple[Response, int]:
    """POST /api/nodes/NODE/orders {"order": "reboot"}."""
    return jsonify(services().desk.order(name, get_str(_body(), "order"))), 202


def withdraw(name: str) -> Response:
    """DELETE /api/nodes/NODE/orders."""
    return jsonify(services().desk.withdraw(name))


def bind(name: str) -> Response:
    """PUT /api/nodes/NODE/binding {"binding": "local"}."""
    return jsonify(services().desk.bind(name, get_str(_body(), "binding")))


def show_config() -> Response:
    """GET /api/config[?node=NODE]."""
    return jsonify(services().desk.config(query_pairs().get("node", "")))


def change_config() -> Response:
    """PATCH /api/config {"node": "", "set": {key: value}, "unset": [key], "force": false}."""
    body = _body()
    name, force = get_str(body, "node", default=""), get_bool(body, "force", default=False)
    values, unset = get_object(body, "set", default={}), get_strings(body, "unset", default=[])
    return jsonify(services().desk.change_config(name, values, unset, force=force))


_ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("GET", "/version", version),
    ("GET", "/nodes", list_nodes),
    ("GET", "/nodes/<name>", show_node),
    ("DELETE", "/nodes/<name>", forget_node),
    ("POST", "/nodes/<name>/orders", order),
    ("DELETE", "/nodes/<name>/orders", withdraw),
    ("PUT", "/nodes/<name>/binding", bind),
    ("GET", "/config", show_config),
    ("PATCH", "/config", change_config),
]


def build_blueprint() -> Blueprint:
    """All routes of the API."""
    blueprint = Blueprint("api", __name__, url_prefix="/api")
    for method, rule, view in _ROUTES:
        blueprint.add_url_rule(rule, view.__name__, view, methods=[method])
    blueprint.register_error_handler(MkError, render_error)
    return blueprint

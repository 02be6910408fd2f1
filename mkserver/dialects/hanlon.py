"""Hanlon's routes under /hanlon/api/v1 (protocol 3.2 to 3.9, 9.2), answering as a real server did, byte for structure.

The original's framework turns a missing parameter into status 500 with its own error type; clients have learnt that
(`…/node/checkin` without parameters is how a dialect is told), so it is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Callable, NoReturn

from flask import Blueprint, Response, request

from mkcore.errors import BadInput, MkError
from mkcore.jsonfields import Json, parse_json

from ..auth import is_loopback
from ..boot import build_bootstrap
from ..identity import Identity, parse_hanlon
from ..image import read_image, send_image
from ..nodes import Node, find_node, read_facts, read_node
from ..policy import State
from ..pushed import DEFAULTS, SERVER_DEFAULTS
from ..registry import Answer, RegistryFull, read_values, wire_nodes, wire_state
from ..services import caller, peer_address, query_pairs, request_base, services
from ..tags import build_tags
from .script import build_script

PREFIX = "/hanlon/api/v1"
_SLICE = "ProjectHanlon::Error::Slice::"
_VALIDATION = "Grape::Exceptions::ValidationErrors"
_NO_IDENTITY = "At least one of the optional arguments (uuid or mac_id) must be specified"
_NOT_JSON = (
    "\nProblem:\n  message body does not match declared format\nResolution:\n  when specifying application/json as "
    "content-type, you must pass valid application/json in the request's 'body' "
)


class HanlonError(Exception):
    """An answer in Hanlon's error envelope."""

    def __init__(self, code: int, kind: str, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.kind = kind
        self.description = description


def error_response(code: int, kind: str, description: str) -> Response:
    """Hanlon's error envelope, pretty-printed as its framework prints it."""
    body = {"response": {"result": {"code": code, "type": kind, "description": description}}}
    return Response(json.dumps(body, indent=2, ensure_ascii=False), status=code, content_type="application/json")


def _fail(code: int, kind: str, description: str) -> NoReturn:
    raise HanlonError(code, _SLICE + kind, description)


def render_error(error: Exception) -> Response:
    """Put what went wrong inside a Hanlon route into its envelope."""
    if isinstance(error, HanlonError):
        return error_response(error.code, error.kind, error.description)
    if isinstance(error, RegistryFull):
        return error_response(404, _SLICE + "CouldNotRegisterNode", str(error))
    if isinstance(error, BadInput):
        return error_response(400, _SLICE + "InputError", str(error))
    status = 503 if isinstance(error, MkError) and error.retryable else 500
    return error_response(status, _SLICE + "InternalError", str(error))


def render_http_error(code: int, text: str) -> Response:
    """What the framework refuses before a route is reached: unknown route, wrong method, too big, too often."""
    if code == 404:
        return Response("404 Not Found", status=404, headers={"X-Cascade": "pass"}, content_type="text/plain")
    if code == 405:
        return error_response(500, "Grape::Exceptions::MethodNotAllowed", "405 Not Allowed")
    return error_response(code, _SLICE + ("InputError" if code < 429 else "CommandFailed"), text)


def envelope(command: str, response: Any, *, status: int = 200, slice_name: str = "Node", **more: Any) -> Response:
    """Hanlon's success envelope; `http_err_code` says 200 even where the status is 201."""
    body: dict[str, Any] = {
        "resource": f"ProjectHanlon::Slice::{slice_name}",
        "command": command,
        "result": "Ok",
        "http_err_code": 200,
        "errcode": 0,
        "response": response,
        **more,
    }
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return Response(text, status=status, content_type="application/json")


def node_object(node: Node, facts: Mapping[str, Json], state: State) -> dict[str, Any]:
    """A node as Hanlon serialises it: attributes with an @, tags and status computed."""
    return {
        "@uuid": node.id,
        "@version": node.version,
        "@classname": "ProjectHanlon::Node",
        "@is_template": False,
        "@noun": "node",
        "@dhcp_mac": node.dhcp_mac,
        "@hw_id": list(node.hw_ids),
        "@attributes_hash": facts,
        "@tags": build_tags(node.hw_ids, facts, ids_are_tags=True),
        "@status": state.value,
        "@timestamp": node.contact_ms // 1000,
        "@last_state": node.last_state,
    }


def _require(values: Mapping[str, Any], *names: str) -> None:
    missing = [f"{name} is missing" for name in names if name not in values]
    if missing:
        raise HanlonError(500, _VALIDATION, ", ".join(missing))


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise HanlonError(500, _VALIDATION, f"{name} is invalid")
    return value


def _identity(values: Mapping[str, Any]) -> Identity:
    uuid, mac_id, hw_id = (_text(values, name) for name in ("uuid", "mac_id", "hw_id"))
    if mac_id and hw_id:
        text = "The hw_id parameter is only allowed for backwards compatibility; use with the mac_id parameter"
        _fail(400, "InvalidCommand", text + " is not allowed")
    identity = parse_hanlon(uuid, mac_id or hw_id, most=services().registry.limits.hardware_ids)
    if not identity:
        _fail(400, "MissingArgument", _NO_IDENTITY)
    return identity


def _last_state(values: Mapping[str, Any]) -> str:
    last_state = _text(values, "last_state")
    if not last_state:
        _fail(400, "MissingArgument", "Must Provide Last State[last_state]")
    if len(last_state) > 64 or not last_state.isprintable():
        raise BadInput("last_state: more than 64 characters, or not printable")
    return last_state


def checkin() -> Response:
    """GET node/checkin."""
    values = query_pairs()
    _require(values, "last_state")
    identity, last_state = _identity(values), _last_state(values)
    first_checkin = values.get("first_checkin", "") not in ("", "false")
    answer = services().registry.checkin(caller("hanlon"), identity, last_state, first_checkin=first_checkin)
    told: dict[str, Any] = {"command_name": answer.command.value, "command_param": {}}
    return envelope("checkin_node", told, client_config=answer.client_config)


def _body() -> dict[str, Json]:
    """The JSON body; Hanlon's framework ignores a document that is no object, and the parameters are then missing."""
    try:
        body = parse_json(request.get_data(), "body")
    except BadInput as error:
        raise HanlonError(500, "Grape::Exceptions::InvalidMessageBody", _NOT_JSON) from error
    return body if isinstance(body, dict) else {}


def register() -> Response:
    """POST node/register."""
    values: dict[str, Json] = {**query_pairs(), **_body()}
    _require(values, "last_state", "attributes_hash")
    identity, last_state = _identity(values), _last_state(values)
    facts = values["attributes_hash"]
    if facts is not None and not isinstance(facts, dict):
        raise HanlonError(500, _VALIDATION, "attributes_hash is invalid")
    if not facts:
        _fail(400, "MissingArgument", "Must Provide Attributes Hash[attributes_hash]")
    return _registered(services().registry.register(caller("hanlon"), identity, last_state, facts))


def _registered(answer: Answer) -> Response:
    if answer.node is None:
        _fail(404, "CouldNotRegisterNode", "Could not register Node")
    state = State.BOUND if answer.node.binding else State.ACTIVE
    made = node_object(answer.node, answer.facts or {}, state)
    return envelope("register_node", made, status=201, client_config=answer.client_config)


def list_nodes() -> Response:
    """GET node: all, or the one with a hardware id given as uuid, mac_id or hw_id."""
    values = query_pairs()
    registry = services().registry
    now_ms = registry.now_ms()
    with registry.database.read() as connection:
        if not any(values.get(name) for name in ("uuid", "mac_id", "hw_id")):
            uri = f"http://{request_base()}{PREFIX}/node/"
            return envelope("get_all_nodes", [_reference(node, uri) for node in wire_nodes(connection, now_ms)])
        identity = _identity(values)
        node = find_node(connection, identity)
        state = wire_state(connection, node, now_ms)
        if node is None or state is None:
            shown = identity.uuid or "_".join(identity.macs)
            _fail(400, "InvalidUUID", f"Cannot Find Node with Hardware ID: [{shown}]")
        return envelope("get_all_nodes", node_object(node, read_facts(connection, node.id), state))


def _reference(node: Node, uri: str) -> dict[str, str]:
    return {"@uuid": node.id, "@classname": "ProjectHanlon::Node", "@noun": "node", "@uri": uri + node.id}


def _wire_node(node_id: str) -> tuple[Node, dict[str, Json], State]:
    registry = services().registry
    with registry.database.read() as connection:
        node = read_node(connection, node_id)
        state = wire_state(connection, node, registry.now_ms())
        if node is None or state is None:
            _fail(400, "InvalidUUID", f"Cannot Find Node with UUID: [{node_id[:64]}]")
        return node, read_facts(connection, node.id), state


def show_node(node_id: str) -> Response:
    """GET node/{uuid}, with ?field=attributes or ?field=hardware_ids."""
    node, facts, state = _wire_node(node_id)
    field = query_pairs().get("field", "")
    if field == "attributes":
        return envelope("get_node_attributes", {name: facts[name] for name in sorted(facts)})
    if field in ("hardware_ids", "hardware"):
        return envelope("get_node_hardware_ids", {"hw_id": list(node.hw_ids)})
    if field:
        _fail(400, "InputError", f"unrecognized fieldname '{field[:64]}'")
    return envelope("get_node_by_uuid", node_object(node, facts, state))


def power(node_id: str) -> Response:
    """GET node/{uuid}/power: this server drives no BMC, whatever the facts say."""
    node, _facts, _state = _wire_node(node_id)
    text = f"BMC for node with UUID [{node.id}] does not exist; power state cannot be determined"
    _fail(500, "CommandFailed", text)


def config() -> Response:
    """GET config: the server's settings, for its own machine alone."""
    if not is_loopback(peer_address()):
        _fail(403, "MethodNotAllowed", "access to config from this address is not allowed")
    with services().registry.database.read() as connection:
        values = {**SERVER_DEFAULTS, **read_values(connection, "")}
    pushed = {**DEFAULTS["hanlon"], **{key: value for key, value in values.items() if key.startswith("mk_")}}
    pushed.pop("mk_fact_excl_pattern", None)
    host, _, port = request_base().rpartition(":")
    made: dict[str, Any] = {
        "@api_port": int(port) if port.isdigit() else 80,
        "@api_version": "v1",
        "@base_path": "/hanlon/api",
        "@hanlon_server": host or port,
        "@hnl_mk_boot_debug_level": values["boot_debug_level"] or "Logger::ERROR",
        "@hnl_mk_boot_kernel_args": values["boot_kernel_args"],
        "@node_expire_timeout": values["node_expire_timeout"],
        "@register_timeout": values["register_timeout"],
        **{f"@{key}": value for key, value in pushed.items()},
    }
    return envelope("get_config", {name: made[name] for name in sorted(made)}, slice_name="Config")


def ipxe() -> Response:
    """GET config/ipxe: the bootstrap script."""
    return Response(build_bootstrap("hanlon", request_base()), content_type="text/plain; charset=utf-8")


def boot() -> Response:
    """GET boot: what one machine boots."""
    values = query_pairs()
    _require(values, "dhcp_mac")
    return build_script(caller("hanlon"), _identity(values), values["dhcp_mac"])


def image_file(image_id: str, name: str) -> Response:
    """GET image/mk/{uuid}/{file}."""
    settings = services().settings
    return send_image(read_image(settings.kernel, settings.initrd), image_id, name)


_ROUTES: list[tuple[str, str, Callable[..., Response]]] = [
    ("GET", "/config", config),
    ("GET", "/config/ipxe", ipxe),
    ("GET", "/boot", boot),
    ("GET", "/node/checkin", checkin),
    ("POST", "/node/register", register),
    ("GET", "/node", list_nodes),
    ("GET", "/node/<node_id>", show_node),
    ("GET", "/node/<node_id>/power", power),
    ("GET", "/image/mk/<image_id>/<name>", image_file),
]


def build_blueprint() -> Blueprint:
    """All routes of this dialect."""
    blueprint = Blueprint("hanlon", __name__, url_prefix=PREFIX)
    for method, rule, view in _ROUTES:
        blueprint.add_url_rule(rule, view.__name__, view, methods=[method])
    for kind in (HanlonError, MkError):
        blueprint.register_error_handler(kind, render_error)
    return blueprint

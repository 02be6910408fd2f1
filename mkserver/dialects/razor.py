"""Razor's routes under /razor/api (protocol 3.2 to 3.9, 9.1): form registration, numbered errors, MACs as identity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Callable, NoReturn

from flask import Blueprint, Response, request

from mkcore.errors import BadInput, MkError
from mkcore.jsonfields import Json, get_object, parse_object

from ..identity import Identity, parse_razor
from ..image import read_image, send_image
from ..nodes import Node, read_facts, read_node
from ..policy import State
from ..registry import RegistryFull, wire_nodes, wire_state
from ..services import caller, form_pairs, query_pairs, request_base, services
from ..tags import build_tags
from .script import build_script

PREFIX = "/razor/api"
_COMMANDS = {
    PREFIX + "/boot": "boot_called",
    PREFIX + "/node/checkin": "checkin_node",
    PREFIX + "/node/register": "register_node",
}
_NUMBERS = {
    "InputError": (111, 400),
    "MissingArgument": (114, 400),
    "InvalidUUID": (116, 400),
    "CommandFailed": (120, 400),
    "SliceCommandParsingFailed": (122, 400),
    "NotFound": (123, 404),
    "CouldNotRegisterNode": (124, 404),
    "MethodNotAllowed": (128, 405),
    "InternalError": (131, 500),
}


class RazorError(Exception):
    """An answer in Razor's error envelope; `kind` is a name of `_NUMBERS`."""

    def __init__(self, kind: str, result: str, *, status: int = 0) -> None:
        super().__init__(result)
        self.kind = kind
        self.result = result
        self.status = status


def error_response(kind: str, result: str, *, status: int = 0) -> Response:
    """Razor's error envelope with the number of `kind`; `status` replaces the one that belongs to the number."""
    number, usual = _NUMBERS[kind]
    command = _COMMANDS.get(request.path, "get_all_nodes")
    body = {
        "std_err_code": number,
        "err_class": f"ProjectRazor::Error::Slice::{kind}",
        "result": result,
        "http_err_code": status or usual,
        "slice": "ProjectRazor::Slice::" + ("Boot" if command == "boot_called" else "Node"),
        "command": command,
    }
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return Response(text, status=status or usual, content_type="application/json")


def _fail(kind: str, result: str) -> NoReturn:
    raise RazorError(kind, result)


def render_error(error: Exception) -> Response:
    """Put what went wrong inside a Razor route into its envelope."""
    if isinstance(error, RazorError):
        return error_response(error.kind, error.result, status=error.status)
    if isinstance(error, RegistryFull):
        return error_response("CouldNotRegisterNode", str(error))
    if isinstance(error, BadInput):
        return error_response("InputError", str(error))
    retryable = isinstance(error, MkError) and error.retryable
    return error_response("InternalError", str(error), status=503 if retryable else 0)


def render_http_error(code: int, text: str) -> Response:
    """What is refused before a route is reached."""
    kinds = {404: "NotFound", 405: "MethodNotAllowed", 429: "CommandFailed"}
    return error_response(kinds.get(code, "InputError" if code < 500 else "InternalError"), text, status=code)


def envelope(command: str, response: Any, **more: Any) -> Response:
    """Razor's success envelope."""
    body: dict[str, Any] = {
        "resource": "ProjectRazor::Slice::Node",
        "command": command,
        "result": "Ok",
        "http_err_code": 200,
        "errcode": 0,
        "response": response,
        **more,
    }
    return Response(json.dumps(body, separators=(",", ":"), ensure_ascii=False), content_type="application/json")


def node_object(node: Node, facts: Mapping[str, Json], state: State) -> dict[str, Any]:
    """A node as Razor serialises it; its hardware ids are no tags here."""
    return {
        "@uuid": node.id,
        "@version": node.version,
        "@classname": "ProjectRazor::Node",
        "@is_template": False,
        "@noun": "node",
        "@dhcp_mac": node.dhcp_mac,
        "@hw_id": list(node.hw_ids),
        "@attributes_hash": facts,
        "@timestamp": node.contact_ms // 1000,
        "@last_state": node.last_state,
        "@tags": build_tags(node.hw_ids, facts, ids_are_tags=False),
        "@status": state.value,
    }


def _get(values: Mapping[str, Any], name: str) -> Any:
    """A value by its name, with or without the @ that Razor's own attributes carry."""
    return values.get("@" + name, values.get(name))


def _text(values: Mapping[str, Any], name: str, shown: str) -> str:
    """A text that must be there; one like `{...}` counts as blank (protocol 3.8)."""
    value = _get(values, name)
    if value is not None and not isinstance(value, str):
        raise BadInput(f"{name}: must be a text")
    text = (value or "").strip()
    if not text or (text.startswith("{") and text.endswith("}")):
        _fail("MissingArgument", f"Must Provide {shown}[{name}]")
    return text


def _identity(values: Mapping[str, Any], *, boot: bool = False) -> Identity:
    """Hardware ids; very old clients send them as `uuid`, and boot requests as `mac`."""
    old = _get(values, "uuid") or (_get(values, "mac") if boot else None)
    text = _text({"hw_id": old} if old else values, "hw_id", "Hardware IDs")
    identity = parse_razor(text, most=services().registry.limits.hardware_ids, boot=boot)
    if not identity:
        _fail("MissingArgument", "Must Provide Hardware IDs[hw_id]")
    return identity


def _last_state(values: Mapping[str, Any]) -> str:
    last_state = _text(values, "last_state", "Last State")
    if len(last_state) > 64 or not last_state.isprintable():
        raise BadInput("last_state: more than 64 characters, or not printable")
    return last_state


def checkin() -> Response:
    """GET node/checkin."""
    values = query_pairs()
    identity, last_state = _identity(values), _last_state(values)
    first_checkin = bool(_get(values, "first_checkin"))
    answer = services().registry.checkin(caller("razor"), identity, last_state, first_checkin=first_checkin)
    told: dict[str, Any] = {"command_name": answer.command.value, "command_param": {}}
    return envelope("checkin_node", told, client_config=answer.client_config)


def register() -> Response:
    """POST node/register: form field `json_hash` holding JSON whose keys may have an @."""
    document = form_pairs(request.get_data()).get("json_hash", "")
    if not document.strip():
        _fail("MissingArgument", "Must Provide JSON Hash[json_hash]")
    values = parse_object(document, "json_hash")
    identity, last_state = _identity(values), _last_state(values)
    name = "@attributes_hash" if "@attributes_hash" in values else "attributes_hash"
    facts = {} if values.get(name) is None else get_object(values, name, where="json_hash")
    if not facts:
        _fail("MissingArgument", "Must Provide Attributes Hash[attributes_hash]")
    answer = services().registry.register(caller("razor"), identity, last_state, facts)
    if answer.node is None:
        _fail("CouldNotRegisterNode", "Could not register Node")
    state = State.BOUND if answer.node.binding else State.ACTIVE
    return envelope("register_node", node_object(answer.node, facts, state), client_config=answer.client_config)


def list_nodes() -> Response:
    """GET node: references to all nodes."""
    registry = services().registry
    with registry.database.read() as connection:
        found = wire_nodes(connection, registry.now_ms())
    uri = f"http://{request_base()}{PREFIX}/node/"
    made = [{"@uuid": n.id, "@classname": "ProjectRazor::Node", "@noun": "node", "@uri": uri + n.id} for n in found]
    return envelope("get_all_nodes", made)


def show_node(node_id: str) -> Response:
    """GET node/{uuid}."""
    registry = services().registry
    with registry.database.read() as connection:
        node = read_node(connection, node_id)
        state = wire_state(connection, node, registry.now_ms())
        if node is None or state is None:
            _fail("InvalidUUID", f"Cannot Find Node with UUID: [{node_id[:64]}]")
        made = node_object(node, read_facts(connection, node.id), state)
    return envelope("get_node_by_uuid", made)


def boot() -> Response:
    """GET boot: what one machine boots."""
    values = query_pairs()
    return build_script(caller("razor"), _identity(values, boot=True), values.get("dhcp_mac", ""))


def image_file(image_id: str, name: str) -> Response:
    """GET /razor/image/mk/{uuid}/{file}; the original had it on a port of its own."""
    settings = services().settings
    return send_image(read_image(settings.kernel, settings.initrd), image_id, name)


_ROUTES: list[tuple[str, str, Callable[..., Response]]] = [
    ("GET", PREFIX + "/boot", boot),
    ("GET", PREFIX + "/node/checkin", checkin),
    ("POST", PREFIX + "/node/register", register),
    ("GET", PREFIX + "/node", list_nodes),
    ("GET", PREFIX + "/node/<node_id>", show_node),
    ("GET", "/razor/image/mk/<image_id>/<name>", image_file),
]


def build_blueprint() -> Blueprint:
    """All routes of this dialect."""
    blueprint = Blueprint("razor", __name__)
    for method, rule, view in _ROUTES:
        blueprint.add_url_rule(rule, view.__name__, view, methods=[method])
    for kind in (RazorError, MkError):
        blueprint.register_error_handler(kind, render_error)
    return blueprint

"""The page: server-rendered, escaped, live by polling fragments of itself; no cookies, no other host.

Everything works without scripts: an order is a link to a page that asks once more, a form sends it. With scripts that
question opens as a dialog and the parts marked live renew themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Callable, Optional, Union
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from mkcore.errors import BadInput, MkError
from mkcore.jsonfields import Json, digest
from mkcore.version import VERSION

from . import view
from .api import status_of
from .auth import is_loopback_host
from .forms import read_forms
from .guard import authorization
from .image import read_image
from .policy import Binding, State
from .pushed import parse_value
from .services import form_pairs, query_pairs, request_base, services

Page = Union[str, AnyResponse, tuple[str, int]]
_ROWS = 50

QUESTIONS: dict[str, dict[str, str]] = {
    "register": {
        "title": "Have this node register again?",
        "text": "It collects its facts and sends them with its next checkin. Nothing else happens on it.",
        "button": "Register again",
        "done": "The node will be told to register at its next checkin.",
    },
    "reboot": {
        "title": "Reboot this node?",
        "text": "It reboots at its next checkin, if its configuration allows power orders. What is in its memory is "
        "lost.",
        "button": "Reboot",
        "done": "The node will be told to reboot at its next checkin.",
    },
    "poweroff": {
        "title": "Power this node off?",
        "text": "It powers itself off at its next checkin, if its configuration allows power orders. Somebody, or its "
        "BMC, has to switch it on again.",
        "button": "Power off",
        "done": "The node will be told to power off at its next checkin.",
    },
    "withdraw": {
        "title": "Withdraw the order?",
        "text": "The node will not be told at its next checkin.",
        "button": "Withdraw",
        "done": "The order is withdrawn.",
    },
    "local": {
        "title": "Boot this node from its local disk?",
        "text": "It is told to reboot, and from then on its boot script sends it to its first disk.",
        "button": "Boot local disk",
        "done": "The node is bound to its local disk.",
    },
    "release": {
        "title": "Boot this node into the microkernel?",
        "text": "Its next network boot leads to the microkernel again.",
        "button": "Boot microkernel",
        "done": "The node is released: its next network boot leads to the microkernel.",
    },
    "forget": {
        "title": "Forget this node?",
        "text": "Its facts, settings and history are deleted. If it is still running it registers again as a new node.",
        "button": "Forget",
        "done": "The node is forgotten.",
    },
}


def _render(template: str, **values: Any) -> str:
    return render_template(
        template,
        version=VERSION,
        token=services().gate.form_token(authorization()),
        done=QUESTIONS.get(query_pairs().get("done", ""), {}).get("done", ""),
        saved="saved" in query_pairs(),
        **values,
    )


def _live(template: str, **values: Any) -> AnyResponse:
    """A fragment that answers 304 while nothing in it changed."""
    response = Response(_render(template, **values), content_type="text/html; charset=utf-8")
    response.set_etag(values["etag"])
    response.headers["Cache-Control"] = "no-cache"
    return response.make_conditional(request.environ)


def _nodes_context() -> dict[str, Any]:
    values = query_pairs()
    query, state = values.get("q", "")[:200], values.get("state", "")
    number = int(values["page"]) if values.get("page", "").isdecimal() and len(values["page"]) < 7 else 1
    state = state if state in [each.value for each in State] else ""
    start = max(0, number - 1) * _ROWS
    listing = services().desk.listing(query=query, state=state, start=start, most=_ROWS)
    pages = max(1, -(-listing.matching // _ROWS))
    rows = [view.node_row(node, each) for node, each in listing.nodes]
    shown = [(row["id"], row["version"], row["state"]) for row in rows]
    return {
        "rows": rows,
        "etag": digest([shown, listing.counts, listing.matching, number])[:32],
        "counts": listing.counts,
        "total": sum(listing.counts.values()),
        "matching": listing.matching,
        "query": query,
        "state": state,
        "states": [each.value for each in State],
        "number": number,
        "pages": pages,
        "page_url": partial(_list_url, query, state),
        "state_url": partial(_list_url, query),
        "now_ms": services().registry.now_ms(),
        "guide": _guide() if not sum(listing.counts.values()) else None,
    }


def _list_url(query: str, state: str, page: int = 1) -> str:
    """Address of the list with this search, state and page."""
    values = {"q": query, "state": state, "page": str(page) if page > 1 else ""}
    chosen = {key: value for key, value in values.items() if value}
    return "/?" + urlencode(chosen) if chosen else "/"


def _guide() -> dict[str, Any]:
    """What the empty page says about booting the first node."""
    settings = services().settings
    image = read_image(settings.kernel, settings.initrd)
    size = image.kernel.stat().st_size + image.initrd.stat().st_size if image else 0
    base = request_base()
    return {
        "base": base,
        "loopback": is_loopback_host(base),
        "image": f"{image.kernel_name} and {image.initrd_name}, {size / 1e6:.0f} MB" if image else "",
        "image_folder": str(settings.kernel.parent) if settings.kernel else str(settings.data / "image"),
        "port": settings.port,
    }


def nodes() -> Page:
    """GET /."""
    return _render("nodes.html", title="Nodes", **_nodes_context())


def nodes_fragment() -> AnyResponse:
    """GET /fragment/nodes: the live part of the list."""
    return _live("_nodes.html", **_nodes_context())


def _node_context(name: str) -> dict[str, Any]:
    node = services().desk.show(name)
    shown = view.node_sheet(node)
    history = node["history"][:1] if isinstance(node["history"], list) else []
    etags = {
        "head": digest([shown["id"], shown["version"], shown["state"]])[:32],
        "history": digest([shown["id"], history])[:32],
        "facts": digest([shown["id"], shown["facts_digest"], shown["registered_ms"]])[:32],
        "hardware": digest([shown["id"], shown["facts_digest"]])[:32],
    }
    return {"node": shown, "title": shown["name"], "now_ms": services().registry.now_ms(), "etags": etags}


def node_page(name: str) -> Page:
    """GET /nodes/NODE."""
    context = _node_context(name)
    form = view.config_form(services().desk.config(name), None)
    return _render("node.html", form=form, problem="", **context)


_PARTS = {"head": "_node.html", "history": "_history.html", "facts": "_facts.html", "hardware": "_hardware.html"}


def node_fragment(name: str, part: str) -> AnyResponse:
    """GET /fragment/nodes/NODE/PART: a live part of one node's page."""
    if part not in _PARTS:
        raise BadInput(f"{part[:40]}: no such part")
    context = _node_context(name)
    return _live(_PARTS[part], etag=context["etags"][part], **context)


def _perform(name: str, what: str) -> str:
    """Do what a question asked about; returns where to go then."""
    desk = services().desk
    if what in ("local", "release"):
        desk.bind(name, Binding.LOCAL.value if what == "local" else Binding.NONE.value)
    elif what == "withdraw":
        desk.withdraw(name)
    elif what == "forget":
        desk.forget(name)
        return "/?done=forget"
    else:
        desk.order(name, what)
    return f"{view.node_url(name)}?done={what}"


def ask(name: str, what: str) -> Page:
    """GET and POST /nodes/NODE/ask/WHAT: the question before an order, then the order."""
    if what not in QUESTIONS:
        raise BadInput(f"{what[:40]}: no such order")
    if request.method == "POST":
        return redirect(_perform(name, what), 303)
    node = view.node_sheet(services().desk.show(name))
    template = "_ask.html" if request.headers.get("X-Fragment") else "ask.html"
    return _render(template, node=node, what=what, question=QUESTIONS[what], title=QUESTIONS[what]["title"])


def _changes(fields: Mapping[str, str], before: Mapping[str, Json]) -> tuple[dict[str, Json], list[str]]:
    """What a configuration form asks for: values to set, keys to unset. Raises BadInput."""
    wanted: dict[str, Json] = {}
    for key in view.FORM_KEYS:
        text = fields.get(key, "").strip()
        if text:
            wanted[key] = parse_value(key, text)
    for line in fields.get("other", "").splitlines():
        name, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals:
            raise BadInput(f"{line.strip()[:60]}: write KEY=VALUE")
        wanted[name.strip()] = view.parse_other(name.strip(), value.strip())
    shown = [key for key in before if key not in wanted]
    return wanted, shown


def _save(name: str, back: str) -> tuple[Optional[AnyResponse], str, dict[str, str]]:
    """Store a submitted form: a redirect, or the problem and the fields to show again."""
    fields = form_pairs(request.get_data())
    try:
        known = services().desk.config(name)["set"]
        wanted, unset = _changes(fields, known if isinstance(known, dict) else {})
        services().desk.change_config(name, wanted, unset)
    except BadInput as error:
        return None, str(error), fields
    return redirect(f"{back}?saved", 303), "", fields


def node_config(name: str) -> Page:
    """POST /nodes/NODE/config."""
    done, problem, fields = _save(name, view.node_url(name))
    if done is not None:
        return done
    form = view.config_form(services().desk.config(name), fields)
    return _render("node.html", form=form, problem=problem, **_node_context(name)), 400


def config() -> Page:
    """GET and POST /config: settings for all nodes."""
    problem, fields = "", None
    if request.method == "POST":
        done, problem, fields = _save("", "/config")
        if done is not None:
            return done
    form = view.config_form(services().desk.config(), fields)
    return _render("config.html", title="Configuration", form=form, problem=problem), 400 if problem else 200


def forms() -> Page:
    """GET /forms: what there is of the image, and how a machine boots each of it."""
    settings = services().settings
    folder = settings.kernel.parent if settings.kernel else settings.data / "image"
    found = read_forms(folder)
    names = {form.name for form in found}
    base = request_base()
    return _render("forms.html", title="Image", forms=found, names=names, base=base, folder=str(folder))


def favicon() -> AnyResponse:
    """GET /favicon.ico: browsers ask for it by this name whatever the page says."""
    return redirect("/static/icon.svg", 308)


def render_problem(status: int, text: str) -> tuple[str, int]:
    """A page that says what went wrong, for people's browsers."""
    return render_template("problem.html", version=VERSION, title="That did not work", text=text, status=status), status


def _on_error(error: MkError) -> tuple[str, int]:
    return render_problem(status_of(error), str(error))


_ROUTES: list[tuple[str, list[str], Callable[..., Any]]] = [
    ("/", ["GET"], nodes),
    ("/fragment/nodes", ["GET"], nodes_fragment),
    ("/nodes/<name>", ["GET"], node_page),
    ("/fragment/nodes/<name>/<part>", ["GET"], node_fragment),
    ("/nodes/<name>/ask/<what>", ["GET", "POST"], ask),
    ("/nodes/<name>/config", ["POST"], node_config),
    ("/config", ["GET", "POST"], config),
    ("/forms", ["GET"], forms),
    ("/favicon.ico", ["GET"], favicon),
]


def build_blueprint() -> Blueprint:
    """All routes of the page, and what its templates call."""
    blueprint = Blueprint("page", __name__)
    for rule, methods, route in _ROUTES:
        blueprint.add_url_rule(rule, route.__name__, route, methods=methods)
    blueprint.register_error_handler(MkError, _on_error)
    blueprint.add_app_template_filter(view.ago, "ago")
    blueprint.add_app_template_filter(view.stamp, "stamp")
    blueprint.add_app_template_filter(view.node_url, "node_url")
    blueprint.add_app_template_filter(view.diff_line, "diff_line")
    blueprint.add_app_template_filter(view.capitalize_first, "capitalize_first")
    return blueprint

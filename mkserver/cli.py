"""Command line: `run` is the server; the other verbs talk to a running one through its JSON API, so that one process
alone writes the database. `password` and `version` need no server."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from mkcore import files
from mkcore.errors import BadInput
from mkcore.jsonfields import Json, parse_json
from mkcore.version import VERSION

from . import auth, report
from .boot import build_bootstrap
from .client import Client, node_path
from .policy import ORDERS
from .pushed import parse_value
from .settings import DEFAULT_CMDLINE, DEFAULT_DATA, DEFAULT_HOST, DEFAULT_PORT, Settings

_USAGE_STATUS = 64


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and end with EX_USAGE."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_STATUS, f"mkserver: {message} (see {self.prog} --help)\n")


def _client(options: argparse.Namespace) -> Client:
    return Client(options.server, options.data, options.password_file)


def _show(options: argparse.Namespace, made: Mapping[str, Any], text: str) -> None:
    print(json.dumps(made, indent=2, sort_keys=True) if options.json else text)


def _run(options: argparse.Namespace) -> None:
    from . import serve  # the other verbs start without the server's libraries

    host, port = serve.parse_listen(options.listen)
    serve.run(
        Settings(
            data=options.data,
            host=host,
            port=port,
            kernel=options.kernel,
            initrd=options.initrd,
            mirror=options.mirror,
            cmdline=options.cmdline,
            database_url=options.database,
        )
    )


def _nodes(options: argparse.Namespace) -> None:
    query = {"q": options.search, "state": options.state}
    made = _client(options).get("/api/nodes", {key: value for key, value in query.items() if value})
    _show(options, made, report.nodes_text(made))


def _show_node(options: argparse.Namespace) -> None:
    made = _client(options).get(node_path(options.node))
    _show(options, made, report.node_text(made, all_facts=options.facts))


def _order(options: argparse.Namespace) -> None:
    path = node_path(options.node) + "/orders"
    if options.order == "withdraw":
        made = _client(options).send("DELETE", path)
        _show(options, made, f"{made['node']}: no order waits now")
        return
    made = _client(options).send("POST", path, {"order": options.order})
    _show(options, made, f"{made['node']}: {made['order']} at its next checkin")


def _bind(options: argparse.Namespace) -> None:
    binding = "" if options.binding == "none" else options.binding
    made = _client(options).send("PUT", node_path(options.node) + "/binding", {"binding": binding})
    _show(options, made, f"{made['node']}: bound to {made['binding'] or 'nothing'}")


def _forget(options: argparse.Namespace) -> None:
    made = _client(options).send("DELETE", node_path(options.node))
    _show(options, made, f"{made['node']}: forgotten")


def parse_assignment(text: str) -> dict[str, Json]:
    """Read KEY=VALUE (number or text as the key wants it) or KEY:=JSON. Raises BadInput."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadInput(f"{text}: KEY=VALUE is needed")
    if name.endswith(":"):
        return {name[:-1]: parse_json(value, name[:-1])}
    return {name: parse_value(name, value)}


def _config(options: argparse.Namespace) -> None:
    client = _client(options)
    if options.action in ("get", None):
        made = client.get("/api/config", {"node": options.node} if options.node else None)
        if options.items:
            _show(options, made, "\n".join(_one_setting(made, key) for key in options.items))
            return
    else:
        body: dict[str, Json] = {"node": options.node}
        if options.action == "set":
            body["force"] = options.force
            body["set"] = {key: value for item in options.items for key, value in parse_assignment(item).items()}
        else:
            body["unset"] = list(options.items)
        made = client.send("PATCH", "/api/config", body)
    _show(options, made, report.config_text(made))


def _one_setting(config: Mapping[str, Any], key: str) -> str:
    """The value of one setting as nodes get it, or as the server uses it."""
    for values in (config["server"], *config["client_config"].values()):
        if key in values:
            return report.clean(values[key])
    raise BadInput(f"{key}: not set, and no default of it is known")


def _ipxe(options: argparse.Namespace) -> None:
    sys.stdout.write(build_bootstrap(options.dialect, options.address))


def _password(options: argparse.Namespace) -> None:
    files.make_dir(options.data, 0o750)
    if options.remove:
        auth.remove_password(options.data)
        print("Password removed: the server lets in this machine alone.")
        return
    if options.stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("New password: ")
        if getpass.getpass("Again: ") != password:
            raise BadInput("the two passwords differ, nothing was changed")
    auth.set_password(options.data, password)
    print("Password set. It guards page, API and command line at once, without a restart.")


def _version(options: argparse.Namespace) -> None:
    _show(options, {"name": "mkserver", "version": VERSION}, f"mkserver {VERSION}")


def _talks(parser: argparse.ArgumentParser, *, inner: bool = False) -> None:
    """Options of all verbs that talk to a running server; `inner` leaves the defaults to the parser around it."""

    def default(value: Any) -> Any:
        return argparse.SUPPRESS if inner else value

    parser.add_argument("--json", action="store_true", default=default(False), help="print JSON")
    group = parser.add_argument_group("server")
    url = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}"
    group.add_argument("--server", default=default(url), metavar="URL", help=f"where it runs ({url})")
    text = "file that holds the server's password"
    group.add_argument("--password-file", type=Path, default=default(None), metavar="FILE", help=text)
    _data(group, default(DEFAULT_DATA))


def _data(parser: Any, default: Any = DEFAULT_DATA) -> None:
    text = f"data directory ({DEFAULT_DATA})"
    parser.add_argument("--data", type=Path, default=default, metavar="DIR", help=text)


def _add_run(verbs: Any) -> None:
    parser = verbs.add_parser(
        "run",
        help="run the server",
        description="Serve nodes, page and API on one port. Nothing needs to be set up; without a password only this "
        "machine is served.",
    )
    default = f"{DEFAULT_HOST}:{DEFAULT_PORT}"
    parser.add_argument("--listen", default=default, metavar="HOST:PORT", help=f"address ({default})")
    _data(parser)
    parser.add_argument("--kernel", type=Path, metavar="FILE", help="kernel that nodes boot (DIR/image/vmlinuz)")
    parser.add_argument("--initrd", type=Path, metavar="FILE", help="its initrd (DIR/image/initrd)")
    parser.add_argument(
        "--mirror",
        type=Path,
        metavar="FOLDER",
        help="mirror of extensions that is served below /mirror/, as `mkmirror index` makes it (DIR/mirror)",
    )
    parser.add_argument(
        "--cmdline",
        default=DEFAULT_CMDLINE,
        metavar="ARGS",
        help="kernel arguments for every boot; {base} ({host}:{port}), {uuid} and {dialect} become the address at "
        f"which a node reaches this server, its UUID and its dialect ({DEFAULT_CMDLINE})",
    )
    parser.add_argument("--database", default="", metavar="URL", help="SQLAlchemy URL (SQLite in the data directory)")
    parser.add_argument("--log-level", default="info", metavar="LEVEL", help="error, warn, info or debug (info)")
    parser.set_defaults(verb=_run)


def _add_node_verbs(verbs: Any) -> None:
    parser = verbs.add_parser("nodes", help="list the nodes")
    parser.add_argument("--search", default="", metavar="TEXT", help="only nodes named so or with such serials")
    states = ("new", "active", "inactive", "bound", "expired")
    parser.add_argument("--state", default="", choices=states, help="only nodes in this state")
    parser.set_defaults(verb=_nodes)
    _talks(parser)
    named = "NODE is the server's id, a UUID, a MAC or a host name."
    parser = verbs.add_parser("show", help="show one node", description=named)
    parser.add_argument("node", metavar="NODE")
    parser.add_argument("--facts", action="store_true", help="all facts and the whole history")
    parser.set_defaults(verb=_show_node)
    _talks(parser)
    parser = verbs.add_parser("order", help="order one node to register, reboot or power off", description=named)
    parser.add_argument("node", metavar="NODE")
    text = "given at the node's next checkin; withdraw takes a waiting one back"
    parser.add_argument("order", choices=[*ORDERS, "withdraw"], help=text)
    parser.set_defaults(verb=_order)
    _talks(parser)
    parser = verbs.add_parser("bind", help="bind one node to its local disk or to being off", description=named)
    parser.add_argument("node", metavar="NODE")
    parser.add_argument("binding", choices=["local", "poweroff", "none"])
    parser.set_defaults(verb=_bind)
    _talks(parser)
    parser = verbs.add_parser("forget", help="forget one node and its history", description=named)
    parser.add_argument("node", metavar="NODE")
    parser.set_defaults(verb=_forget)
    _talks(parser)


def _add_config(verbs: Any) -> None:
    parser = verbs.add_parser(
        "config",
        help="show or change what nodes are told",
        description="Settings whose names begin with mk_ are pushed to nodes at their next checkin; boot_kernel_args, "
        "boot_debug_level and boot_form (initrd, first-stage or auto) go into boot scripts; register_timeout and "
        "node_expire_timeout are the server's own.",
    )
    alone = "for this node alone"
    parser.add_argument("--node", default="", metavar="NODE", help=alone)
    parser.set_defaults(verb=_config, items=[])
    _talks(parser)
    actions = parser.add_subparsers(metavar="get|set|unset", dest="action")
    texts = {
        "get": ("show all settings, or the values of some", "*", "KEY"),
        "set": ("change settings; KEY:=JSON sets a value of any type", "+", "KEY=VALUE"),
        "unset": ("go back to the default", "+", "KEY"),
    }
    for name, (text, count, shown) in texts.items():
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("items", nargs=count, metavar=shown)
        action.add_argument("--node", default=argparse.SUPPRESS, metavar="NODE", help=alone)
        if name == "set":
            action.add_argument("--force", action="store_true", help="push a value that nodes will refuse")
        _talks(action, inner=True)


def build_parser() -> _Parser:
    """The whole command line."""
    parser = _Parser(
        prog="mkserver", description="Embedded provisioning server for discovery microkernels of both dialects."
    )
    parser.add_argument("--version", action="version", version=f"mkserver {VERSION}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    _add_run(verbs)
    _add_node_verbs(verbs)
    _add_config(verbs)
    ipxe = verbs.add_parser(
        "ipxe",
        help="print the iPXE script that a DHCP or TFTP server hands out",
        description="Give this script to machines: as TFTP file for iPXE, or have DHCP name http://HOST:PORT/ipxe/hanlon.",
    )
    ipxe.add_argument("address", metavar="HOST:PORT", help="this server as the machines reach it")
    ipxe.add_argument("--dialect", choices=["hanlon", "razor"], default="hanlon")
    ipxe.set_defaults(verb=_ipxe)
    password = verbs.add_parser("password", help="set the password for page, API and command line")
    password.add_argument("--stdin", action="store_true", help="read it from standard input")
    password.add_argument("--remove", action="store_true", help="remove it; then only this machine is served")
    _data(password)
    password.set_defaults(verb=_password)
    version = verbs.add_parser("version", help="print the version")
    version.add_argument("--json", action="store_true", help="print JSON")
    version.set_defaults(verb=_version)
    return parser

"""What people do with the server: look at nodes, give orders, bind, forget, change the configuration.

The JSON API and the page are two faces of this; both hand out what `as_json` methods and functions here make.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mkcore.errors import BadInput, MkError
from mkcore.jsonfields import Json

from . import history
from .history import Detail
from .nodes import Node, find_by_hw_ids, read_facts, read_node, read_nodes, remove_node, select_nodes, update_node
from .policy import ORDERS, Binding, State, Timeouts
from .pushed import DEFAULTS, GLOBAL_ONLY, SERVER_DEFAULTS, build_client_config, check_value
from .registry import Registry, read_timeouts, read_values, state_of
from .schema import config_values, nodes
from .tags import build_tags


class NoSuchNode(MkError):
    """Nothing that is kept has this name."""

    exit_status = 69
    bus_name = "NoSuchNode"


class NotPossible(MkError):
    """The node's state does not allow what was asked."""

    exit_status = 75
    bus_name = "NotPossible"


@dataclass(frozen=True)
class Listing:
    """A page of nodes with their states, how many match, and how many there are of each state."""

    nodes: list[tuple[Node, State]]
    matching: int
    counts: dict[str, int]


def node_json(node: Node, state: State) -> dict[str, Json]:
    """One node as the API lists it; times in milliseconds since the epoch."""
    return {
        "id": node.id,
        "version": node.version,
        "state": state.value,
        "dialect": node.dialect,
        "hw_ids": list(node.hw_ids),
        "address": node.address,
        "last_state": node.last_state,
        "first_seen_ms": node.first_seen_ms,
        "last_seen_ms": node.seen_ms,
        "last_contact_ms": node.contact_ms,
        "registered_ms": node.registered_ms,
        "checkins": node.checkins,
        "registrations": node.registrations,
        "boots": node.boots,
        "order": node.order_name or None,
        "binding": node.binding or None,
        "facts_digest": node.facts_digest,
        "inventory": node.inventory,
    }


def _condition(state: str, now_ms: int, timeouts: Timeouts) -> Any:
    """SQL condition that selects nodes of one state, as `policy.node_state` names them."""
    registered = nodes.c.registered_ms.isnot(None)
    unbound = sa.and_(registered, nodes.c.binding == "")
    quiet, gone = now_ms - timeouts.register_s * 1000, now_ms - timeouts.expire_s * 1000
    table = {
        State.NEW.value: nodes.c.registered_ms.is_(None),
        State.BOUND.value: sa.and_(registered, nodes.c.binding != ""),
        State.ACTIVE.value: sa.and_(unbound, nodes.c.contact_ms >= gone, nodes.c.contact_ms >= quiet),
        State.INACTIVE.value: sa.and_(unbound, nodes.c.contact_ms >= gone, nodes.c.contact_ms < quiet),
        State.EXPIRED.value: sa.and_(unbound, nodes.c.contact_ms < gone),
    }
    if state not in table:
        raise BadInput(f"state: {state!r} is none of {', '.join(table)}")
    return table[state]


class Desk:
    """People's side of the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._database = registry.database

    def listing(self, *, query: str = "", state: str = "", start: int = 0, most: int = 0) -> Listing:
        """Nodes, newest contact first, whose names, serials or addresses hold all words of `query`; `most` 0 is all."""
        now_ms = self._registry.now_ms()
        with self._database.read() as connection:
            timeouts = read_timeouts(read_values(connection, ""))
            statement = select_nodes().order_by(None).order_by(nodes.c.seen_ms.desc(), nodes.c.id)
            counting = sa.select(sa.func.count()).select_from(nodes)
            conditions = [_condition(state, now_ms, timeouts)] if state else []
            conditions += [nodes.c.search.contains(word, autoescape=True) for word in query.lower().split()[:8]]
            for condition in conditions:
                statement, counting = statement.where(condition), counting.where(condition)
            counts = {
                each.value: int(
                    connection.execute(
                        sa.select(sa.func.count()).select_from(nodes).where(_condition(each.value, now_ms, timeouts))
                    ).scalar()
                    or 0
                )
                for each in State
            }
            if most:
                statement = statement.limit(most).offset(start)
            found = [(node, state_of(node, now_ms, timeouts)) for node in read_nodes(connection, statement)]
            return Listing(found, int(connection.execute(counting).scalar() or 0), counts)

    def find(self, connection: Connection, name: str) -> Node:
        """The node that a person means: id, hardware id (UUID or MAC, any case), the MAC of a card that it registered
        or booted from (all that is known of one which never registered), or a host name that one node has.

        Raises NoSuchNode.
        """
        node = read_node(connection, name)
        plain = name.replace(":", "")
        node = node or find_by_hw_ids(connection, {name, name.upper(), plain, plain.upper()})
        node = node or _find_by_card(connection, name)
        if node is None and name:
            close = select_nodes().where(nodes.c.search.contains(name.lower(), autoescape=True)).limit(200)
            named = [n for n in read_nodes(connection, close) if _is_called(n, name)]
            if len(named) > 1:
                raise NoSuchNode(f"{name}: {len(named)} nodes are called so; use an id")
            node = named[0] if named else None
        if node is None:
            raise NoSuchNode(f"{name[:80]}: no such node")
        return node

    def show(self, name: str) -> dict[str, Json]:
        """One node with facts, tags, settings and history. Raises NoSuchNode."""
        now_ms = self._registry.now_ms()
        with self._database.read() as connection:
            node = self.find(connection, name)
            values = read_values(connection, "")
            own = read_values(connection, node.id)
            facts = read_facts(connection, node.id)
            made = node_json(node, state_of(node, now_ms, read_timeouts(values)))
            made["facts"] = facts
            made["tags"] = list(build_tags(node.hw_ids, facts, ids_are_tags=node.dialect == "hanlon"))
            made["config"] = own
            made["client_config"] = build_client_config(node.dialect, "HOST:PORT", {**values, **own})
            made["sent_config"] = json.loads(node.sent_config) if node.sent_config else None
            made["history"] = [
                {"at_ms": e.at_ms, "kind": e.kind, "text": e.text, "detail": e.detail, "times": e.times}
                for e in history.read_history(connection, node.id)
            ]
            return made

    def order(self, name: str, order: str) -> dict[str, Json]:
        """Have the node's next checkin answered with `order`; it replaces one that still waits.

        Raises BadInput, NoSuchNode, NotPossible (the node has expired or never registered).
        """
        if order not in ORDERS:
            raise BadInput(f"order: must be one of {', '.join(ORDERS)}")
        with self._database.write() as connection:
            node, state, now_ms = self._found(connection, name)
            if state in (State.EXPIRED, State.NEW):
                raise NotPossible(f"{node.id} is {state.value}: it registers when it comes back, order it then")
            update_node(connection, node, {"order_name": order, "order_ms": now_ms})
            self._note(connection, node, now_ms, history.ORDERED, f"{order} ordered for the next checkin")
            return {"node": node.id, "order": order, "waiting": True}

    def withdraw(self, name: str) -> dict[str, Json]:
        """Take back an order that waits. Raises NoSuchNode, NotPossible."""
        with self._database.write() as connection:
            node, _state, now_ms = self._found(connection, name)
            if not node.order_name:
                raise NotPossible(f"{node.id}: no order waits")
            update_node(connection, node, {"order_name": ""})
            self._note(connection, node, now_ms, history.ORDERED, f"{node.order_name} withdrawn")
            return {"node": node.id, "order": None, "waiting": False}

    def bind(self, name: str, binding: str) -> dict[str, Json]:
        """Bind a node to its local disk ("local"), to being off ("poweroff"), or to nothing (""). Raises as `order`."""
        if binding not in [each.value for each in Binding]:
            raise BadInput("binding: must be local, poweroff or empty")
        with self._database.write() as connection:
            node, state, now_ms = self._found(connection, name)
            if state is State.NEW:
                raise NotPossible(f"{node.id} has not registered yet")
            changes = {"binding": binding, "binding_reached": False, "contact_ms": now_ms}
            changes["shown_state"] = State.BOUND.value if binding else State.ACTIVE.value
            update_node(connection, node, changes)
            words = {"": "released", "local": "bound to its local disk", "poweroff": "bound to stay powered off"}
            self._note(connection, node, now_ms, history.STATE, words[binding])
            return {"node": node.id, "binding": binding or None}

    def forget(self, name: str) -> dict[str, Json]:
        """Remove a node with its history and settings. Raises NoSuchNode."""
        with self._database.write() as connection:
            node, _state, _now_ms = self._found(connection, name)
            remove_node(connection, node.id)
            return {"node": node.id, "forgotten": True}

    def config(self, name: str = "") -> dict[str, Json]:
        """Settings for all nodes, or for one: what people set, and what comes out of it. Raises NoSuchNode."""
        with self._database.read() as connection:
            everywhere = read_values(connection, "")
            node = self.find(connection, name) if name else None
            own = read_values(connection, node.id) if node else {}
            merged = {**SERVER_DEFAULTS, **everywhere, **own}
            return {
                "node": node.id if node else None,
                "set": own if node else everywhere,
                "inherited": everywhere if node else {},
                "server": {key: merged[key] for key in SERVER_DEFAULTS},
                "client_config": {
                    dialect: build_client_config(dialect, "HOST:PORT", merged)
                    for dialect in ([node.dialect] if node else DEFAULTS)
                },
            }

    def change_config(
        self, name: str, values: Mapping[str, Json], unset: Sequence[str], *, force: bool = False
    ) -> dict[str, Json]:
        """Set and unset settings, all of them or none; returns as `config`. Raises BadInput, NoSuchNode."""
        checked = {key: check_value(key, value, force=force) for key, value in values.items()}
        with self._database.write() as connection:
            node = self.find(connection, name) if name else None
            for key in [*checked, *unset]:
                if node and key in GLOBAL_ONLY:
                    raise BadInput(f"{key}: holds for all nodes, not for one")
            before = read_values(connection, node.id if node else "")
            scope = node.id if node else ""
            for key in {*checked, *unset}:
                here = sa.and_(config_values.c.scope == scope, config_values.c.key == key)
                connection.execute(sa.delete(config_values).where(here))
            for key, value in checked.items():
                row = {"scope": scope, "key": key, "value": json.dumps(value)}
                connection.execute(sa.insert(config_values).values(row))
            after = read_values(connection, scope)
            if node and before != after:
                detail = history.build_diff(before, after)
                self._note(connection, node, self._registry.now_ms(), history.CONFIG, "configuration changed", detail)
        return self.config(name)

    def _found(self, connection: Connection, name: str) -> tuple[Node, State, int]:
        now_ms = self._registry.now_ms()
        node = self.find(connection, name)
        return node, state_of(node, now_ms, read_timeouts(read_values(connection, ""))), now_ms

    def _note(
        self, connection: Connection, node: Node, now_ms: int, kind: str, text: str, detail: Detail = history.NONE
    ) -> None:
        history.record(connection, node.id, now_ms, kind, text, detail, limits=self._registry.limits)


def _find_by_card(connection: Connection, name: str) -> Optional[Node]:
    """The node that booted from this card, else the one that has it; the address has colons, dashes or neither.

    The USB cards of BMCs have one address in many machines: raises NoSuchNode where several nodes could be meant.
    """
    mac = re.sub("[:-]", "", name).lower()
    if not re.fullmatch("[0-9a-f]{12}", mac):
        return None
    booted = f"01-{'-'.join(re.findall('..', mac))}"  # as iPXE says it
    may_be = sa.or_(sa.func.lower(nodes.c.dhcp_mac) == booted, nodes.c.search.contains(mac, autoescape=True))
    found = read_nodes(connection, select_nodes().where(may_be).limit(200))
    meant = [n for n in found if (n.dhcp_mac or "").lower() == booted] or [n for n in found if _has_card(n, mac)]
    if len(meant) > 1:
        raise NoSuchNode(f"{name}: {len(meant)} nodes have this card; use an id")
    return meant[0] if meant else None


def _has_card(node: Node, mac: str) -> bool:
    cards = node.inventory.get("nics")
    known = [each.get("mac") for each in cards if isinstance(each, dict)] if isinstance(cards, list) else []
    return mac in [each.replace(":", "").lower() for each in known if isinstance(each, str)]


def _is_called(node: Node, name: str) -> bool:
    hostname: Optional[Json] = node.inventory.get("hostname")
    return isinstance(hostname, str) and hostname.lower() == name.lower()

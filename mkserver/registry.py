"""What the server does for nodes: checkin, registration, boot; each in one transaction, decided by `policy`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mkcore.errors import MkError
from mkcore.jsonfields import Json, canonical

from . import history
from .facts import check_facts
from .hardware import spread_documents
from .history import Detail
from .identity import Identity
from .inventory import build_inventory, search_text
from .nodes import (
    Node,
    add_node,
    claim_ids,
    count_nodes,
    find_node,
    ids_after_registration,
    read_facts,
    read_node,
    read_nodes,
    remove_node,
    select_nodes,
    sum_facts_bytes,
    update_node,
    write_facts,
)
from .policy import Binding, Command, Decision, Situation, State, Timeouts, decide, node_state
from .pushed import SERVER_DEFAULTS, build_client_config
from .schema import Database, config_values, nodes
from .settings import Limits


class RegistryFull(MkError):
    """As many machines are kept as may be, and none of them has expired."""

    exit_status = 75
    retryable = True
    bus_name = "RegistryFull"


@dataclass(frozen=True)
class Caller:
    """Who asks: dialect, HOST:PORT as the request addressed this server, and the peer's address."""

    dialect: str
    base: str
    address: str


@dataclass(frozen=True)
class Answer:
    """What a node is told; `node` and `facts` are those after a registration, else None and empty."""

    command: Command
    client_config: dict[str, Json]
    node: Optional[Node] = None
    facts: Optional[dict[str, Json]] = None


@dataclass(frozen=True)
class BootChoice:
    """What a machine boots: its local disk (`local` holds the node's id) or the microkernel with these settings.

    failed: it asked before, and was not heard of since.
    """

    settings: dict[str, Json]
    client_config: dict[str, Json]
    local: str = ""
    failed: bool = False


class Registry:
    """All transactions that a node's requests cause. `clock` returns seconds since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], float], limits: Limits) -> None:
        self.database = database
        self.limits = limits
        self._clock = clock

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self._clock() * 1000)

    def checkin(self, caller: Caller, identity: Identity, last_state: str, *, first_checkin: bool) -> Answer:
        """Answer one checkin (protocol 3.7). A machine not known yet is remembered as seen, and told to register."""
        with self.database.write() as connection:
            now_ms = self.now_ms()
            values = read_values(connection, "")
            timeouts = read_timeouts(values)
            node = find_node(connection, identity)
            state = state_of(node, now_ms, timeouts) if node else State.NEW
            known = node is not None and state not in (State.NEW, State.EXPIRED)
            silence_s = (now_ms - node.contact_ms) / 1000 if node else 0.0
            order = node.order_name if node else ""
            situation = Situation(known, first_checkin, order, silence_s)
            if node is not None:
                values.update(read_values(connection, node.id))
                situation = replace(situation, binding=node.binding, binding_reached=node.binding_reached)
            client_config = build_client_config(caller.dialect, caller.base, values)
            decision = decide(situation, timeouts)
            node = node or self._add(connection, identity, caller, now_ms)
            if node is not None:
                changes: dict[str, Any] = {"checkins": node.checkins + 1, "last_state": last_state}
                if decision.is_contact:
                    changes["contact_ms"] = now_ms
                if decision.takes_order or (order and state is State.EXPIRED):
                    changes["order_name"] = ""
                self._note_decision(connection, node, now_ms, decision, lost_order=order if not known else "")
                self._touch(connection, node, caller, now_ms, client_config, changes, timeouts)
            return Answer(decision.command, client_config)

    def register(self, caller: Caller, identity: Identity, last_state: str, facts: dict[str, Json]) -> Answer:
        """Keep a node's facts in place of its former ones, which go to its history as a difference.

        Raises BadInput (facts out of bounds) and RegistryFull; then nothing is kept.
        """
        form = check_facts(facts, self.limits)
        digest = hashlib.sha256(form).hexdigest()
        with self.database.write() as connection:
            now_ms = self.now_ms()
            node = find_node(connection, identity) or self._add(connection, identity, caller, now_ms)
            if node is None:
                raise RegistryFull("as many machines are kept as may be, and none of them has expired")
            if sum_facts_bytes(connection) - node.facts_bytes + len(form) > self.limits.all_facts_bytes:
                raise RegistryFull("the facts of all machines fill the room that there is for them")
            old = read_facts(connection, node.id)
            ids = ids_after_registration(node.hw_ids, identity)[: self.limits.hardware_ids]
            if ids != node.hw_ids:
                claim_ids(connection, node.id, ids)
            self._note_registration(connection, node, now_ms, old, facts, changed=digest != node.facts_digest)
            if digest != node.facts_digest:
                write_facts(connection, node.id, facts)
            values = {**read_values(connection, ""), **read_values(connection, node.id)}
            client_config = build_client_config(caller.dialect, caller.base, values)
            changes = {**_registered_columns(node, facts, ids, now_ms), "last_state": last_state}
            changes.update(dialect=caller.dialect, facts_digest=digest, facts_bytes=len(form))
            self._touch(connection, node, caller, now_ms, client_config, changes, read_timeouts(values))
            return Answer(Command.ACKNOWLEDGE, client_config, read_node(connection, node.id), facts)

    def boot(self, caller: Caller, identity: Identity, dhcp_mac: str) -> BootChoice:
        """Say what a machine boots, and remember that it did. Never fails for want of room."""
        with self.database.write() as connection:
            now_ms = self.now_ms()
            settings = {**SERVER_DEFAULTS, **read_values(connection, "")}
            node = find_node(connection, identity) or self._add(connection, identity, caller, now_ms)
            if node is None:
                return BootChoice(settings, build_client_config(caller.dialect, caller.base, settings))
            own = read_values(connection, node.id)
            args = [str(values.get("boot_kernel_args", "")) for values in (settings, own)]
            settings = {**settings, **own, "boot_kernel_args": " ".join(filter(None, args))}
            local = node.binding == Binding.LOCAL.value
            changes: dict[str, Any] = {"boots": node.boots + 1, "dhcp_mac": dhcp_mac or None}
            if local:
                changes["binding_reached"] = True
            self._note(connection, node, now_ms, history.BOOT, "sent to its local disk" if local else "boots")
            update_node(connection, node, {**changes, "seen_ms": now_ms, "address": caller.address})
            client_config = build_client_config(caller.dialect, caller.base, settings)
            heard = node.checkins or node.registrations
            failed = node.boots > 0 and (not heard or node.seen_ms > node.contact_ms)
            return BootChoice(settings, client_config, node.id if local else "", failed)

    def sweep(self) -> int:
        """Write state changes that time alone brought into the histories; forget machines that never registered, unless
        a person set something for them.

        Returns how many nodes changed state. Called every few seconds by `mkserver run`.
        """
        changed = 0
        with self.database.write() as connection:
            now_ms = self.now_ms()
            timeouts = read_timeouts(read_values(connection, ""))
            gone = now_ms - timeouts.expire_s * 1000
            untouched = sa.and_(nodes.c.id.notin_(sa.select(config_values.c.scope)), nodes.c.binding == "")
            never = sa.and_(nodes.c.registered_ms.is_(None), nodes.c.seen_ms < gone, untouched)
            connection.execute(sa.delete(nodes).where(never))
            quiet = now_ms - timeouts.register_s * 1000
            shown = nodes.c.shown_state.notin_([State.EXPIRED.value, State.BOUND.value])
            statement = select_nodes().where(nodes.c.contact_ms < quiet, nodes.c.registered_ms.isnot(None), shown)
            for node in read_nodes(connection, statement):
                changed += self._show_state(connection, node, state_of(node, now_ms, timeouts), now_ms)
        return changed

    def _show_state(self, connection: Connection, node: Node, state: State, now_ms: int) -> int:
        if node.shown_state == state.value:
            return 0
        self._note(connection, node, now_ms, history.STATE, f"{node.shown_state} → {state.value}")
        connection.execute(sa.update(nodes).where(nodes.c.id == node.id).values(shown_state=state.value))
        return 1

    def _touch(
        self,
        connection: Connection,
        node: Node,
        caller: Caller,
        now_ms: int,
        client_config: dict[str, Json],
        changes: Mapping[str, Any],
        timeouts: Timeouts,
    ) -> None:
        """Write a contact's changes, with the state it leads to and a note when another configuration goes out."""
        sent = {key: value for key, value in client_config.items() if key != "mk_uri" or caller.base not in str(value)}
        form = canonical(sent).decode()
        if node.sent_config and node.sent_config != form and node.dialect == caller.dialect:
            detail = history.build_diff(json.loads(node.sent_config), sent)
            self._note(connection, node, now_ms, history.CONFIG, "another configuration sent", detail)
        values = {**changes, "sent_config": form, "seen_ms": now_ms, "address": caller.address}
        update_node(connection, node, values)
        timed = {key: value for key, value in changes.items() if key in ("contact_ms", "registered_ms")}
        self._show_state(connection, node, state_of(replace(node, **timed), now_ms, timeouts), now_ms)

    def _note_decision(
        self, connection: Connection, node: Node, now_ms: int, decision: Decision, *, lost_order: str
    ) -> None:
        if lost_order:
            self._note(connection, node, now_ms, history.ORDERED, f"{lost_order} withdrawn: the node had expired")
        if decision.command is not Command.ACKNOWLEDGE:
            text = f"told to {decision.command.value}: {decision.reason}"
            self._note(connection, node, now_ms, history.COMMAND, text)

    def _note_registration(
        self,
        connection: Connection,
        node: Node,
        now_ms: int,
        old: dict[str, Json],
        facts: dict[str, Json],
        *,
        changed: bool,
    ) -> None:
        self._note(connection, node, now_ms, history.REGISTERED, f"registered {len(facts)} facts")
        if changed and old:
            detail = history.build_diff(*spread_documents(old, facts))
            self._note(connection, node, now_ms, history.FACTS_CHANGED, "facts changed", detail)

    def _note(
        self, connection: Connection, node: Node, now_ms: int, kind: str, text: str, detail: Detail = history.NONE
    ) -> None:
        history.record(connection, node.id, now_ms, kind, text, detail, limits=self.limits)

    def _add(self, connection: Connection, identity: Identity, caller: Caller, now_ms: int) -> Optional[Node]:
        """Add a machine; when there is no room, in place of the one that was silent longest, if it has expired."""
        if count_nodes(connection, caller.address) >= self.limits.nodes_of_one_address:
            return None
        if count_nodes(connection) >= self.limits.nodes:
            timeouts = read_timeouts(read_values(connection, ""))
            stale = nodes.c.seen_ms < now_ms - timeouts.expire_s * 1000
            statement = sa.select(nodes.c.id).where(stale, nodes.c.binding == "").order_by(nodes.c.seen_ms).limit(1)
            oldest = connection.execute(statement).scalar()
            if oldest is None:
                return None
            remove_node(connection, oldest)
        node = add_node(connection, identity, caller.dialect, now_ms, caller.address)
        self._note(connection, node, now_ms, history.FIRST_SEEN, f"first seen from {caller.address}")
        return node


def _registered_columns(node: Node, facts: dict[str, Json], ids: tuple[str, ...], now_ms: int) -> dict[str, Any]:
    inventory = build_inventory(facts)
    changes: dict[str, Any] = {
        "contact_ms": now_ms,
        "registered_ms": now_ms,
        "registrations": node.registrations + 1,
        "summary": json.dumps(inventory.as_json(), separators=(",", ":")),
        "search": search_text(inventory, ids),
    }
    if node.registered_ms is None:
        changes["dhcp_mac"] = None  # as the originals: kept from the first boot after the registration on
    return changes


def state_of(node: Node, now_ms: int, timeouts: Timeouts) -> State:
    """State of a node now."""
    return node_state(
        registered=node.registered_ms is not None,
        binding=node.binding,
        silence_s=(now_ms - node.contact_ms) / 1000,
        timeouts=timeouts,
    )


def read_values(connection: Connection, scope: str) -> dict[str, Json]:
    """Settings that people made: for all nodes (scope "") or for one (its id)."""
    statement = sa.select(config_values).where(config_values.c.scope == scope).order_by(config_values.c.key)
    return {row.key: json.loads(row.value) for row in connection.execute(statement)}


def read_timeouts(values: Mapping[str, Json]) -> Timeouts:
    """The two time-outs among the settings for all nodes."""
    merged = {**SERVER_DEFAULTS, **values}
    return Timeouts(int(str(merged["register_timeout"])), int(str(merged["node_expire_timeout"])))


def wire_nodes(connection: Connection, now_ms: int) -> list[Node]:
    """Nodes that the wire's node list shows: registered and not expired."""
    timeouts = read_timeouts(read_values(connection, ""))
    found = read_nodes(connection, select_nodes().where(nodes.c.registered_ms.isnot(None)))
    return [node for node in found if state_of(node, now_ms, timeouts) is not State.EXPIRED]


def wire_state(connection: Connection, node: Optional[Node], now_ms: int) -> Optional[State]:
    """State of a node as the wire knows it; None for one that it does not know (any more)."""
    state = state_of(node, now_ms, read_timeouts(read_values(connection, ""))) if node else State.NEW
    return None if state in (State.NEW, State.EXPIRED) else state

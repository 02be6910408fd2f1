"""Node records: what the database holds of a machine, and the statements that read and write it.

Identity follows protocol 3.8: a hardware id belongs to one node; a registration with a UUID keeps the UUID alone, one
with MACs adds to those kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mkcore.jsonfields import Json

from .identity import Identity
from .names import new_id
from .schema import config_values, hardware_ids, node_facts, nodes


@dataclass(frozen=True)
class Node:
    """One machine; times in milliseconds since the epoch.

    `contact_ms` is the wire's time stamp (moved by checkins and registrations), `seen_ms` moves with every request.
    `registered_ms` is None for a machine that was only seen booting or checking in.
    """

    id: str
    dialect: str
    version: int
    first_seen_ms: int
    seen_ms: int
    contact_ms: int
    registered_ms: Optional[int]
    last_state: str
    shown_state: str
    dhcp_mac: Optional[str]
    address: str
    order_name: str
    order_ms: int
    binding: str
    binding_reached: bool
    checkins: int
    registrations: int
    boots: int
    sent_config: str
    facts_digest: str
    facts_bytes: int
    summary: str
    hw_ids: tuple[str, ...] = field(default=())

    @property
    def inventory(self) -> dict[str, Json]:
        """The inventory as JSON object, as `inventory.Inventory.as_json` made it."""
        made: dict[str, Json] = json.loads(self.summary)
        return made


_COLUMNS = [column for column in nodes.c if column.name != "search"]


def _to_node(row: Any, hw_ids: Sequence[str]) -> Node:
    return Node(**{column.name: row._mapping[column] for column in _COLUMNS}, hw_ids=tuple(hw_ids))


def _hw_ids_of(connection: Connection, node_ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {node_id: [] for node_id in node_ids}
    for start in range(0, len(node_ids), 500):
        some = node_ids[start : start + 500]
        statement = sa.select(hardware_ids).where(hardware_ids.c.node_id.in_(some)).order_by(hardware_ids.c.position)
        for row in connection.execute(statement):
            found[row.node_id].append(row.hw_id)
    return found


def read_nodes(connection: Connection, statement: Any = None) -> list[Node]:
    """All nodes in the order in which they were first seen, or those of a statement made by `select_nodes`."""
    result: Any = connection.execute(select_nodes() if statement is None else statement)
    rows: list[Any] = list(result)
    ids = _hw_ids_of(connection, [row.id for row in rows])
    return [_to_node(row, ids[row.id]) for row in rows]


def select_nodes() -> Any:
    """Statement that selects whole nodes, oldest first; callers add conditions, order and limits."""
    columns: list[Any] = list(_COLUMNS)
    return sa.select(*columns).order_by(nodes.c.first_seen_ms, nodes.c.id)


def read_node(connection: Connection, node_id: str) -> Optional[Node]:
    """One node by the server's id."""
    found = read_nodes(connection, select_nodes().where(nodes.c.id == node_id))
    return found[0] if found else None


def find_by_hw_ids(connection: Connection, ids: Iterable[str]) -> Optional[Node]:
    """The oldest (smallest time stamp) of the nodes that own one of these hardware ids."""
    wanted = list(ids)
    if not wanted:
        return None
    owners = sa.select(hardware_ids.c.node_id).where(hardware_ids.c.hw_id.in_(wanted))
    statement = select_nodes().where(nodes.c.id.in_(owners)).order_by(None)
    statement = statement.order_by(nodes.c.contact_ms, nodes.c.id).limit(1)
    found = read_nodes(connection, statement)
    return found[0] if found else None


def find_node(connection: Connection, identity: Identity) -> Optional[Node]:
    """The node with this identity: by its UUID, else by any of its MACs."""
    found = find_by_hw_ids(connection, [identity.uuid]) if identity.uuid else None
    return found or find_by_hw_ids(connection, identity.macs)


def add_node(connection: Connection, identity: Identity, dialect: str, now_ms: int, address: str) -> Node:
    """Add a machine that has not registered yet, and give it its hardware ids."""
    node = Node(
        id=new_id(),
        dialect=dialect,
        version=0,
        first_seen_ms=now_ms,
        seen_ms=now_ms,
        contact_ms=now_ms,
        registered_ms=None,
        last_state="",
        shown_state="new",
        dhcp_mac=None,
        address=address,
        order_name="",
        order_ms=0,
        binding="",
        binding_reached=False,
        checkins=0,
        registrations=0,
        boots=0,
        sent_config="",
        facts_digest="",
        facts_bytes=0,
        summary="{}",
        hw_ids=identity.stored,
    )
    row = {column.name: getattr(node, column.name) for column in _COLUMNS}
    connection.execute(sa.insert(nodes).values(**row, search="\n".join(identity.stored).lower()))
    claim_ids(connection, node.id, identity.stored)
    return node


def claim_ids(connection: Connection, node_id: str, ids: Sequence[str]) -> None:
    """Make these the node's hardware ids, in this order, and take them from whoever had them."""
    mine = hardware_ids.c.node_id == node_id
    connection.execute(sa.delete(hardware_ids).where(sa.or_(mine, hardware_ids.c.hw_id.in_(list(ids)))))
    if ids:
        rows = [{"hw_id": hw_id, "node_id": node_id, "position": place} for place, hw_id in enumerate(ids)]
        connection.execute(sa.insert(hardware_ids), rows)


def ids_after_registration(known: Sequence[str], identity: Identity) -> tuple[str, ...]:
    """Hardware ids a node has once it registered with this identity: its UUID alone, else all its MACs."""
    if identity.uuid:
        return (identity.uuid,)
    return tuple(dict.fromkeys([*known, *identity.macs]))


def update_node(connection: Connection, node: Node, changes: Mapping[str, Any]) -> None:
    """Write columns of one node; the wire's version number goes up by one."""
    values = {**changes, "version": node.version + 1}
    connection.execute(sa.update(nodes).where(nodes.c.id == node.id).values(values))


def read_facts(connection: Connection, node_id: str) -> dict[str, Json]:
    """The facts of the last registration, in the order sent; empty for a node that never registered."""
    text = connection.execute(sa.select(node_facts.c.facts).where(node_facts.c.node_id == node_id)).scalar()
    facts: dict[str, Json] = json.loads(text) if text else {}
    return facts


def write_facts(connection: Connection, node_id: str, facts: Mapping[str, Json]) -> None:
    """Replace the facts of a node."""
    connection.execute(sa.delete(node_facts).where(node_facts.c.node_id == node_id))
    text = json.dumps(facts, separators=(",", ":"))
    connection.execute(sa.insert(node_facts).values(node_id=node_id, facts=text))


def remove_node(connection: Connection, node_id: str) -> None:
    """Forget a machine with all that is kept of it, the settings that people made for it included."""
    connection.execute(sa.delete(config_values).where(config_values.c.scope == node_id))
    connection.execute(sa.delete(nodes).where(nodes.c.id == node_id))


def count_nodes(connection: Connection, address: str = "") -> int:
    """How many machines are kept, whatever their state; with an address, those last heard of from there."""
    statement = sa.select(sa.func.count()).select_from(nodes)
    if address:
        statement = statement.where(nodes.c.address == address)
    return int(connection.execute(statement).scalar() or 0)


def sum_facts_bytes(connection: Connection) -> int:
    """Size of the facts of all machines together."""
    return int(connection.execute(sa.select(sa.func.sum(nodes.c.facts_bytes))).scalar() or 0)

"""Facts and inventory of LLDP neighbours, and how what two receivers know of one neighbour becomes one.

The facts have the names that third parties match (protocol 6.9) and the values that the neighbour sent (B49, B50).
Nothing in them runs with time, so that a neighbour who says the same again causes no registration. Where one cable has
several neighbours (a switch, and the firmware of a card or a virtual machine behind it), the facts are those of the
first in an order that does not depend on who was heard first: bridges before others, then by chassis and port.

systemd-networkd hears all the time but hands out the names alone; the listener hears a whole frame, but only now and
then. So networkd says who is there, and what the listener heard of the same neighbour is remembered until its next run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Optional

from mkcore.interfaces import fact_suffix
from mkcore.jsonfields import Json, get_int, get_list, get_object, get_str, get_strings
from mkctl.probe.lldp_frames import Neighbor

NETWORKD = "networkd"
LISTENER = "listener"
SECTION = "lldp_neighbors"
LIMIT_PER_NIC = 16
_TEXTS = (
    "chassis_id", "chassis_id_type", "port_id", "port_id_type", "port_description", "system_name",
    "system_description", "source",
)  # fmt: skip
_LISTS = ("capabilities", "enabled_capabilities", "management_addresses")
_NUMBERS = ("vlan_id", "max_frame_bytes", "ttl_s")

Neighbors = Mapping[str, Sequence[Neighbor]]
"""Neighbours by the name of the interface that received them."""


def lldp_facts(neighbors: Neighbors) -> dict[str, Json]:
    """Make the facts lldp_neighbor_{item}_{interface}; what a neighbour did not send has no fact.

    All are text but pvid, an integer, as third parties have it: {"lldp_neighbor_pvid_eno1": 100}.
    """
    facts: dict[str, Json] = {}
    for name in sorted(neighbors):
        first = _sorted(neighbors[name])[:1]
        for item, value in (pair for neighbor in first for pair in _facts_of(neighbor).items()):
            if value:
                facts[f"lldp_neighbor_{item}_{fact_suffix(name)}"] = value
    return facts


def _facts_of(neighbor: Neighbor) -> dict[str, Json]:
    addresses = neighbor.management_addresses
    return {
        "chassisid": neighbor.chassis_id,
        "portid": neighbor.port_id,
        "sysname": neighbor.system_name,
        "mngaddr_ipv4": next((each for each in addresses if "." in each and ":" not in each), ""),
        "mngaddr_ipv6": next((each for each in addresses if ":" in each and not _is_mac(each)), ""),
        "pvid": neighbor.vlan_id,
        "mtu": str(neighbor.max_frame_bytes or ""),
    }


def _is_mac(address: str) -> bool:
    return len(address) == 17 and address.count(":") == 5 and "::" not in address


def build_neighbors(neighbors: Neighbors) -> dict[str, Json]:
    """Make the inventory's section {"eno1": [{"chassis_id": ...}]}; interfaces without neighbours are left out."""
    return {name: [_build(each) for each in _sorted(found)] for name, found in sorted(neighbors.items()) if found}


def _build(neighbor: Neighbor) -> Json:
    made: dict[str, Json] = {key: getattr(neighbor, key) for key in (*_TEXTS, *_NUMBERS)}
    made.update({key: list(getattr(neighbor, key)) for key in _LISTS})
    return {key: value for key, value in made.items() if value}


def parse_neighbors(section: Mapping[str, Json], where: str = SECTION) -> dict[str, list[Neighbor]]:
    """Parse the inventory's section, the inverse of build_neighbors. Raises BadInput naming the key."""
    return {
        name: [
            _parse(get_object({"item": item}, "item", where=f"{where}.{name}"), f"{where}.{name}")
            for item in get_list(section, name, where=where)
        ]
        for name in section
    }


def _parse(item: Mapping[str, Json], where: str) -> Neighbor:
    texts = {key: get_str(item, key, default="", where=where) for key in _TEXTS}
    lists = {key: tuple(get_strings(item, key, default=[], where=where)) for key in _LISTS}
    numbers = {key: get_int(item, key, default=0, where=where, low=0, high=0xFFFF) for key in _NUMBERS}
    return Neighbor(
        chassis_id=texts["chassis_id"],
        port_id=texts["port_id"],
        chassis_id_type=texts["chassis_id_type"],
        port_id_type=texts["port_id_type"],
        ttl_s=numbers["ttl_s"],
        port_description=texts["port_description"],
        system_name=texts["system_name"],
        system_description=texts["system_description"],
        capabilities=lists["capabilities"],
        enabled_capabilities=lists["enabled_capabilities"],
        management_addresses=lists["management_addresses"],
        vlan_id=numbers["vlan_id"],
        max_frame_bytes=numbers["max_frame_bytes"],
        source=texts["source"],
    )


def join_neighbors(
    present: Neighbors, before: Neighbors, linked: Collection[str], heard: Optional[Neighbors] = None
) -> dict[str, list[Neighbor]]:
    """Join what networkd has now (`present`), the result of the run before, and what the listener just heard.

    linked: the interfaces with carrier. heard: None in a run that did not listen. Then a neighbour that the listener
    heard earlier stays as long as there is a link and networkd names no other in its place.
    """
    joined: dict[str, list[Neighbor]] = {}
    names: set[str] = {*present, *before, *(heard or {})}
    for name in sorted(names):
        details = {each.key: each for each in before.get(name, ()) if each.source == LISTENER}
        found = {each.key: details.get(each.key, each) for each in present.get(name, ())}
        if heard is None and not found and name in linked:
            found = details
        found.update({each.key: each for each in heard.get(name, ())} if heard else {})
        if found:
            joined[name] = _sorted(found.values())[:LIMIT_PER_NIC]
    return joined


def _sorted(neighbors: Iterable[Neighbor]) -> list[Neighbor]:
    return sorted(neighbors, key=lambda each: ("bridge" not in each.enabled_capabilities, each.key))

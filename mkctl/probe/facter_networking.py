"""`networking` of Facter 4: names, interfaces with all their addresses, and the primary interface's beside them.

    {"hostname", "domain", "fqdn", "primary": "eth0", "ip", "ip6", "mac", "mtu", "netmask", "network", "scope6", …,
     "interfaces": {"eth0": {"bindings": [{"address", "netmask", "network"}],
                             "bindings6": [{"address", "netmask", "network", "scope6", "flags": ["permanent"]}],
                             "ip", "ip6", "mac", "mtu", "netmask", "netmask6", "network", "network6", "scope6",
                             "dhcp"}}}

As Facter has it: an address with a label is a binding of an interface of that name ("eth0:1") without MAC and MTU; the
source address of a route is a binding without netmask of the interface it leads to, if that has no such address; a
bond's slave shows its permanent MAC; the flag IFA_F_NODAD is spelt "noad". The interface's own ip is its first address
that is not loopback, link-local or unique local, else its first. Primary is the interface of the first IPv4 default
route, else the first one with such an address. Source: outputs of Facter 4.3.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Optional, cast

from mkcore.interfaces import Interface
from mkcore.jsonfields import Json
from mkctl.probe.facter_addresses import Address, Assigned, Route
from mkctl.probe.facter_names import Names

_FLAGS = ("temporary", "noad", "optimistic", "dadfailed", "homeaddress", "deprecated", "tentative", "permanent")
_IGNORED = ("127.", "169.254.", "fe80:", "fc", "fd")
_COPIED = ("dhcp", "ip", "ip6", "mac", "mtu", "netmask", "netmask6", "network", "network6", "scope6")


class Network(NamedTuple):
    """What the kernel and the DHCP clients know. servers: interface -> address of its DHCP server."""

    addresses: Sequence[Assigned] = ()
    routes: Sequence[Route] = ()
    servers: Mapping[str, str] = {}


def structured_networking(interfaces: Iterable[Interface], network: Network, names: Names) -> dict[str, Json]:
    """Make `networking`."""
    by_index = {each.index: each for each in interfaces}
    bound: dict[str, dict[str, list[Json]]] = {}
    for assigned in network.addresses:
        if assigned.index in by_index:
            name = assigned.label or by_index[assigned.index].name
            key = "bindings" if assigned.address.version == 4 else "bindings6"
            bound.setdefault(name, {}).setdefault(key, []).append(_binding(assigned))
    for route in network.routes:
        if route.source is not None and route.index in by_index:
            _add_source(bound.setdefault(by_index[route.index].name, {}), route.source)
    described = {name: _describe(bindings) for name, bindings in bound.items()}
    for each in by_index.values():
        described[each.name] = {**described.get(each.name, {}), **_hardware(each, network.servers)}
    facts = names.structured()
    facts["interfaces"] = dict[str, Json](described)
    primary = _primary(by_index, network.routes, described)
    if primary:
        facts["primary"] = primary
        facts.update({key: value for key, value in described[primary].items() if key in _COPIED})
    return facts


def _binding(assigned: Assigned) -> dict[str, Json]:
    whole = ipaddress.ip_interface((assigned.address, assigned.prefix))
    binding: dict[str, Json] = {
        "address": str(assigned.address),
        "netmask": str(whole.netmask),
        "network": str(whole.network.network_address),
    }
    if isinstance(assigned.address, ipaddress.IPv6Address):
        binding["scope6"] = _scope(assigned.address)
        binding["flags"] = [name for bit, name in enumerate(_FLAGS) if assigned.flags >> bit & 1]
    return binding


def _add_source(bindings: dict[str, list[Json]], source: Address) -> None:
    known = bindings.setdefault("bindings" if source.version == 4 else "bindings6", [])
    if str(source) not in (cast("dict[str, Json]", binding)["address"] for binding in known):
        known.append({"address": str(source)})


def _scope(address: ipaddress.IPv6Address) -> str:
    if address.is_loopback:
        return "host"
    return "link" if address.is_link_local else "site" if address.is_site_local else "global"


def _describe(bindings: Mapping[str, list[Json]]) -> dict[str, Json]:
    facts: dict[str, Json] = dict[str, Json](bindings)
    for key, names in (
        ("bindings", (("ip", "address"), ("netmask", "netmask"), ("network", "network"))),
        ("bindings6", (("ip6", "address"), ("netmask6", "netmask"), ("network6", "network"), ("scope6", "scope6"))),
    ):
        known = cast("list[dict[str, Json]]", bindings.get(key, []))
        if known:
            best = next((binding for binding in known if _counts(binding)), known[0])
            facts.update({fact: best[name] for fact, name in names if name in best})
    return facts


def _counts(binding: Mapping[str, Json]) -> bool:
    address = str(binding["address"])
    return address != "::1" and not address.startswith(_IGNORED)


def _hardware(each: Interface, servers: Mapping[str, str]) -> dict[str, Json]:
    mac = each.permanent_mac if each.bond_master else each.mac
    parts: dict[str, Json] = {"mac": mac, "mtu": each.mtu, "dhcp": servers.get(each.name, "")}
    return {key: value for key, value in parts.items() if value}


def _primary(
    by_index: Mapping[int, Interface], routes: Iterable[Route], described: Mapping[str, Mapping[str, Json]]
) -> str:
    ways: Optional[int] = next((route.index for route in routes if route.version == 4 and route.default), None)
    if ways in by_index:
        return by_index[cast("int", ways)].name
    for index in sorted(by_index):
        name = by_index[index].name
        if any(_counts({"address": described[name][key]}) for key in ("ip", "ip6") if key in described[name]):
            return name
    return ""

"""Which facts a registration sends, and the digest that tells whether they changed.

The probe's facts lie in a file that may be minutes old; addresses change faster, so they come fresh from the kernel.
Which sets of facts are sent is configuration; a structured fact stands in place of a flat one of its name, and what
the site itself gives in place of both. The exclusion pattern holds for every name, the flat hardware facts included
(B35). What changes without meaning anything (clock rates, sizes that follow them) is sent but left out of the digest,
so that it causes no registration (B37, B48): whole facts and values in structured ones by configuration, values in the
inventory by its schema.
Where no eth0 exists, the boot NIC's facts are also sent as `*_eth0`, because servers' rules and people know that name.
Source: protocol 6.2, 6.3, 6.7, 6.8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from re import Pattern
from types import MappingProxyType
from typing import Optional

from mkcore import jsonfields
from mkcore.errors import BadInput
from mkcore.interfaces import Interface, choose_boot_nic, fact_suffix
from mkcore.jsonfields import Json
from mkctl.cmdline import Token, last_value
from mkctl.probe.model import FactsFile

UNCLEAN = re.compile(r"[!@#$%^&*()=+\[\]{}]")
ADDRESS_FACT = re.compile(r"(ipaddress6?|netmask6?|network6?|macaddress|mtu)(_.+)?|interfaces")
NIC_FACT = re.compile(
    r"ipaddress6?|netmask6?|network6?|macaddress|mtu"
    r"|lldp_neighbor_(?:chassisid|portid|sysname|mngaddr_ipv4|mngaddr_ipv6|pvid|mtu)"
)


INVENTORY = "mk_inventory"
SETS_BY_PREFIX = (("mk_hw_", "hardware"), ("mk_ipmi_", "ipmi"), ("lldp_neighbor_", "lldp"), ("mk_extensions", "custom"))
SERVER_SOURCE = "mk_server_source"


@dataclass(frozen=True)
class Chosen:
    """The facts of the chosen sets: flat ones, and those that stand in place of others of their name."""

    flat: Mapping[str, Json]
    on_top: Mapping[str, Json]


def choose_facts(content: FactsFile, sets: Collection[str], host_name: str = "", server_source: str = "") -> Chosen:
    """Return what facts.json has of the sets (names of `mkcore.keys.FACT_SETS`).

    host_name: the name that this machine was given meanwhile, "" for none; what the site itself gives counts more.
    server_source: what named the server, a hardware fact, "" for none.
    """
    custom = content.custom_names
    flat = {name: value for name, value in content.facts.items() if name not in custom and set_of(name) in sets}
    flat.update(rename(flat, host_name))
    if server_source and "hardware" in sets:
        flat[SERVER_SOURCE] = server_source
    on_top: dict[str, Json] = dict(content.structured) if "structured" in sets else {}
    networking = on_top.get("networking")
    if isinstance(networking, dict):
        on_top["networking"] = {**networking, **rename(networking, host_name)}
    if "inventory" in sets:
        on_top[INVENTORY] = jsonfields.canonical(content.inventory).decode()
    if "custom" in sets:
        on_top.update({name: content.facts[name] for name in custom if name in content.facts})
    return Chosen(flat, on_top)


def rename(facts: Mapping[str, Json], host_name: str) -> dict[str, Json]:
    """Return the facts that carry the machine's name, hostname and fqdn, as they are with another one; {} for "".

    The collection that runs beside the start of mkctl may have seen the name before; the domain stays as it saw it.
    """
    before, fqdn = facts.get("hostname"), facts.get("fqdn")
    if not host_name or not isinstance(before, str):
        return {}
    found: dict[str, Json] = {"hostname": host_name}
    if isinstance(fqdn, str) and (fqdn == before or fqdn.startswith(f"{before}.")):
        found["fqdn"] = host_name + fqdn[len(before) :]
    return found


def set_of(name: str) -> str:
    """Return the set of a flat fact that is not the site's own: "mk_hw_nic_count" -> "hardware"."""
    for prefix, found in SETS_BY_PREFIX:
        if name.startswith(prefix):
            return "json" if found == "hardware" and name.endswith("_json_str") else found
    return "facter"


def build_facts(
    collected: Mapping[str, Json],
    addresses: Mapping[str, Json],
    exclude: Optional[Pattern[str]],
    eth0: str = "",
    on_top: Mapping[str, Json] = MappingProxyType({}),
) -> dict[str, Json]:
    """Return the facts to send, sorted by name, in their own types.

    `collected`: flat facts of facts.json. `addresses`: fresh address facts, which replace all collected ones; empty
    keeps those. `exclude`: compiled exclusion pattern, searched in each name. `eth0`: the interface to be sent as eth0
    too (`choose_eth0`), "" for none. `on_top`: facts that replace others of their name.
    """
    facts = {name: value for name, value in collected.items() if not (addresses and ADDRESS_FACT.fullmatch(name))}
    facts.update(addresses)
    if eth0:
        facts.update(alias_facts(facts, eth0))
    facts.update(on_top)
    cleaned = {clean_name(name): value for name, value in facts.items()}
    return {name: cleaned[name] for name in sorted(cleaned) if name and not (exclude and exclude.search(name))}


def clean_name(name: str) -> str:
    """Delete the characters that no fact name may hold: `mk_hw_lscpu_CPU(s)` -> `mk_hw_lscpu_CPUs` (protocol 6.3)."""
    return UNCLEAN.sub("", name)


def alias_facts(facts: Mapping[str, Json], interface: str) -> dict[str, Json]:
    """Return the `*_eth0` copies of one interface's facts; facts that exist under that name already are left alone."""
    found: dict[str, Json] = {}
    suffix = f"_{fact_suffix(interface)}"
    for name, value in facts.items():
        item = name[: -len(suffix)] if name.endswith(suffix) else ""
        if NIC_FACT.fullmatch(item) and f"{item}_eth0" not in facts:
            found[f"{item}_eth0"] = value
    return found


def choose_eth0(interfaces: Iterable[Interface], addresses: Mapping[str, Json], tokens: Sequence[Token]) -> str:
    """Return the name of the boot NIC, "" where an eth0 exists or there is no physical Ethernet.

    The kernel line's BOOTIF= names it by address; what holds without one: `choose_boot_nic`.
    """
    nics = [each for each in interfaces if each.ethernet]
    if any(each.name == "eth0" for each in nics):
        return ""
    return choose_boot_nic(nics, addresses, last_value(tokens, "BOOTIF"))


class Steady:
    """Leaves out of facts what may change without a meaning.

    is_volatile: tells by name, or for a value in a structured fact by its path (`memory.system.used`). steady_inventory
    gets the inventory document and returns it without its volatile values.
    """

    def __init__(
        self,
        is_volatile: Callable[[str], bool],
        steady_inventory: Callable[[dict[str, Json]], Json] = lambda document: document,
    ) -> None:
        self._is_volatile = is_volatile
        self._steady_inventory = steady_inventory
        self._seen: tuple[str, Json] = ("", None)

    def facts(self, facts: Mapping[str, Json]) -> dict[str, Json]:
        """Return the facts whose change means something, with what means something in them."""
        return {name: self._value(name, value) for name, value in facts.items() if not self._is_volatile(name)}

    def digest(self, facts: Mapping[str, Json]) -> str:
        """Return the SHA-256 of their canonical JSON, 64 hex digits."""
        return jsonfields.digest(self.facts(facts))

    def changed_names(self, before: Mapping[str, Json], after: Mapping[str, Json]) -> list[str]:
        """Return the sorted names of facts that were added, removed or changed in what means something."""
        old, new = self.facts(before), self.facts(after)
        return sorted(name for name in {*old, *new} if name not in old or name not in new or old[name] != new[name])

    def _value(self, name: str, value: Json) -> Json:
        if isinstance(value, dict):
            inside = {key: (f"{name}.{key}", item) for key, item in value.items()}
            return {key: self._value(*pair) for key, pair in inside.items() if not self._is_volatile(pair[0])}
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return [self._value(f"{name}.{number}", item) for number, item in enumerate(value)]
        return self._inventory(value) if name == INVENTORY and isinstance(value, str) else value

    def _inventory(self, text: str) -> Json:
        if self._seen[0] != text:  # parsed once for each change, not at each look
            try:
                self._seen = text, self._steady_inventory(jsonfields.parse_object(text, INVENTORY))
            except BadInput:  # a fact of this name that the site made
                self._seen = text, text
        return self._seen[1]

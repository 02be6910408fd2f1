"""Which facts a registration sends, and the digest that tells whether they changed.

The probe's facts lie in a file that may be minutes old; addresses change faster, so they come fresh from the kernel.
The exclusion pattern holds for every name, the flat hardware facts included (B35). What changes without meaning
anything (clock rates, sizes that follow them) is sent but left out of the digest, so that it causes no registration
(B37, B48).
Where no eth0 exists, the boot NIC's facts are also sent as `*_eth0`, because servers' rules and people know that name.
Source: protocol 6.2, 6.3, 6.7, 6.8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from re import Pattern
from typing import Optional

from mkcore import jsonfields
from mkcore.interfaces import Interface, fact_suffix
from mkcore.jsonfields import Json
from mkctl.cmdline import Token, last_value

UNCLEAN = re.compile(r"[!@#$%^&*()=+\[\]{}]")
ADDRESS_FACT = re.compile(r"(ipaddress6?|netmask6?|network6?|macaddress|mtu)(_.+)?|interfaces")
NIC_FACT = re.compile(r"(ipaddress6?|netmask6?|network6?|macaddress|mtu|lldp_neighbor_[a-z0-9_]+?)_(.+)")
BOOTIF = re.compile(r"(?:01-)?([0-9a-f]{2}([-:])[0-9a-f]{2}(?:\2[0-9a-f]{2}){4})", re.IGNORECASE)


def build_facts(
    collected: Mapping[str, Json], addresses: Mapping[str, Json], exclude: Optional[Pattern[str]], eth0: str = ""
) -> dict[str, Json]:
    """Return the facts to send, sorted by name, in their own types.

    `collected`: the facts of facts.json. `addresses`: fresh address facts, which replace all collected ones; empty
    keeps those. `exclude`: compiled exclusion pattern, searched in each name. `eth0`: the interface to be sent as eth0
    too (`choose_eth0`), "" for none.
    """
    facts = {name: value for name, value in collected.items() if not (addresses and ADDRESS_FACT.fullmatch(name))}
    facts.update(addresses)
    if eth0:
        facts.update(alias_facts(facts, eth0))
    cleaned = {clean_name(name): value for name, value in facts.items()}
    return {name: cleaned[name] for name in sorted(cleaned) if name and not (exclude and exclude.search(name))}


def clean_name(name: str) -> str:
    """Delete the characters that no fact name may hold: `mk_hw_lscpu_CPU(s)` -> `mk_hw_lscpu_CPUs` (protocol 6.3)."""
    return UNCLEAN.sub("", name)


def alias_facts(facts: Mapping[str, Json], interface: str) -> dict[str, Json]:
    """Return the `*_eth0` copies of one interface's facts; facts that exist under that name already are left alone."""
    found: dict[str, Json] = {}
    for name, value in facts.items():
        match = NIC_FACT.fullmatch(name)
        if match and match[2] == fact_suffix(interface) and f"{match[1]}_eth0" not in facts:
            found[f"{match[1]}_eth0"] = value
    return found


def choose_eth0(interfaces: Iterable[Interface], addresses: Mapping[str, Json], tokens: Sequence[Token]) -> str:
    """Return the name of the boot NIC, "" where an eth0 exists or there is no physical Ethernet.

    The kernel line's BOOTIF= (pxelinux, iPXE) names it by address; without one it is the first physical Ethernet
    interface that has an IPv4 address, else the first with a carrier, else the first.
    """
    nics = [each for each in sorted(interfaces, key=lambda each: each.name) if each.ethernet]
    if any(each.name == "eth0" for each in nics):
        return ""
    match = BOOTIF.fullmatch(last_value(tokens, "BOOTIF"))
    wanted = match[1].replace("-", ":").lower() if match else ""
    ranked = [
        *(each.name for each in nics if wanted and wanted in (each.mac, each.permanent_mac)),
        *(each.name for each in nics if f"ipaddress_{fact_suffix(each.name)}" in addresses),
        *(each.name for each in nics if each.carrier),
        *(each.name for each in nics),
    ]
    return ranked[0] if ranked else ""


def digest_facts(facts: Mapping[str, Json], is_volatile: Callable[[str], bool]) -> str:
    """Return the digest over the facts less the volatile ones: SHA-256 of their canonical JSON, 64 hex digits."""
    return jsonfields.digest(steady_facts(facts, is_volatile))


def changed_names(
    before: Mapping[str, Json], after: Mapping[str, Json], is_volatile: Callable[[str], bool]
) -> list[str]:
    """Return the sorted names of facts that were added, removed or changed, less the volatile ones."""
    old, new = steady_facts(before, is_volatile), steady_facts(after, is_volatile)
    return sorted(name for name in {*old, *new} if name not in old or name not in new or old[name] != new[name])


def steady_facts(facts: Mapping[str, Json], is_volatile: Callable[[str], bool]) -> dict[str, Json]:
    """Return the facts whose change means something."""
    return {name: value for name, value in facts.items() if not is_volatile(name)}

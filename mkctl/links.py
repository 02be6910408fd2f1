"""What the machine's network still lacks, card by card, and the two exit codes that the originals had for it.

The first question of somebody whose node does not appear is whether it has a link and an address at all. Looked at in
sysfs and asked of the kernel, so that the answer is the same with networkd, another network manager or none. Any
Ethernet card counts, whatever it is called and whichever comes last (B11, B14); 127/8 and 169.254/16 are no addresses
to work with, the rest of 169/8 is (B13). Source: protocol 1.5 and 1.7.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Union

from mkcore import ethtool
from mkcore.files import read_text
from mkcore.interfaces import ARPHRD_ETHER, Interface, parse_if_inet6, read_interfaces
from mkcore.paths import Paths

NO_NETWORK, NO_USABLE_ADDRESS = 255, 254
"""Exit codes of the originals' start: -1, nothing has an address, and -2, what has one cannot work with it."""

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


@dataclass(frozen=True)
class Links:
    """`awaited`: a phrase for each card that is no further, e.g. `no carrier on eno1`. `exit_status`: 0, 254 or 255."""

    awaited: tuple[str, ...] = ()
    exit_status: int = 0


def is_usable(address: Address) -> bool:
    """Tell whether a machine can reach others beyond its link with this address."""
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)


def judge(interfaces: Sequence[Interface], addresses: Mapping[str, Sequence[Address]]) -> Links:
    """Say what is awaited on the cards; `addresses` are those of each interface by name.

    The cards are the physical Ethernet ones, or, where there is none, as in a container, every other Ethernet link.
    What a VLAN or a bond has counts for the exit status like a card's own. IPv6's link-local addresses count as none
    at all: every link has one without anybody's doing.
    """
    ethernet = [each for each in interfaces if each.type == ARPHRD_ETHER]
    cards = [each for each in ethernet if each.physical] or ethernet
    awaited = [phrase for each in cards if (phrase := _awaited(each, addresses.get(each.name, ())))]
    given = [each for name, found in addresses.items() if name != "lo" for each in found]
    if any(is_usable(each) for each in given):
        status = 0
    else:
        status = NO_USABLE_ADDRESS if any(each.version == 4 for each in given) else NO_NETWORK
    return Links(tuple(awaited) if cards else ("no network card",), status)


def _awaited(card: Interface, addresses: Sequence[Address]) -> str:
    if not card.carrier:
        return f"no carrier on {card.name}"
    if card.bond_master or any(is_usable(each) for each in addresses):
        return ""
    useless = [str(each) for each in addresses if each.version == 4]
    return f"only {useless[0]} on {card.name}" if useless else f"no address on {card.name}"


def read_links(paths: Paths, ipv4: Callable[[str], Optional[tuple[str, str]]] = ethtool.ipv4_address) -> Links:
    """Look at the machine's interfaces. `ipv4` returns (address, netmask) of an interface's first IPv4 address."""
    interfaces = read_interfaces(paths.sys, paths.proc)
    try:
        inet6 = parse_if_inet6(read_text(paths.proc / "net/if_inet6"))
    except OSError:  # a kernel without IPv6
        inet6 = {}
    addresses: dict[str, list[Address]] = {}
    for each in interfaces:
        found: list[Address] = [address.ip for address in inet6.get(each.name, [])]
        first = ipv4(each.name)
        addresses[each.name] = [ipaddress.IPv4Address(first[0]), *found] if first else found
    return judge(interfaces, addresses)

"""Routes: whether the kernel could send a packet to the server at all.

Asking before a checkin saves a burst of useless attempts while DHCP is under way, and says "waiting for a route"
instead of "unreachable". Only routes that are up and do not reject count. Link-local ones count for link-local
servers alone: an address of 169.254.0.0/16 means that DHCP failed (protocol 1.7, PORT).

Source: Documentation/networking/proc_net_tcp.rst and net/ipv4/fib_trie.c, net/ipv6/route.c of the kernel:
/proc/net/route prints addresses as hexadecimal words in the byte order of the machine, /proc/net/ipv6_route as 32
hexadecimal digits in network order. Flags: include/uapi/linux/route.h.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from mkcore.files import read_text
from mkcore.proxy import is_this_machine

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

RTF_UP = 0x0001
RTF_REJECT = 0x0200
RTF_LOCAL = 0x80000000

FIRST_DELAY_S = 1.0
LAST_DELAY_S = 64.0


@dataclass(frozen=True)
class Route:
    """One usable route: the interface's name and the destination network."""

    interface: str
    destination: Network


def parse_ipv4_routes(text: str, byteorder: str = sys.byteorder) -> list[Route]:
    """Parse /proc/net/route; lines that are not routes, are down, or reject are left out."""
    routes: list[Route] = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 8 or fields[0] == "Iface":
            continue
        try:
            flags = int(fields[3], 16)
            address, mask = (_ipv4(word, byteorder) for word in (fields[1], fields[7]))
            network = ipaddress.ip_network(f"{address}/{mask}")
        except ValueError:
            continue
        if flags & RTF_UP and not flags & RTF_REJECT:
            routes.append(Route(fields[0], network))
    return routes


def _ipv4(word: str, byteorder: str) -> ipaddress.IPv4Address:
    data = bytes.fromhex(word)
    return ipaddress.IPv4Address(data[::-1] if byteorder == "little" else data)


def parse_ipv6_routes(text: str) -> list[Route]:
    """Parse /proc/net/ipv6_route; the machine's own addresses, multicast and rejecting routes are left out."""
    routes: list[Route] = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) != 10:
            continue
        try:
            address = ipaddress.IPv6Address(bytes.fromhex(fields[0]))
            network = ipaddress.IPv6Network((address, int(fields[1], 16)), strict=False)
            flags = int(fields[8], 16)
        except ValueError:
            continue
        if flags & RTF_UP and not flags & (RTF_REJECT | RTF_LOCAL) and not network.network_address.is_multicast:
            routes.append(Route(fields[9], network))
    return routes


def read_routes(proc_root: str = "/proc") -> list[Route]:
    """Read both tables; a kernel without IPv6 has only one, a root without either has no route."""
    routes: list[Route] = []
    for name, parse in (("route", parse_ipv4_routes), ("ipv6_route", parse_ipv6_routes)):
        routes += parse(_table(Path(proc_root, "net", name)))
    return routes


def _table(path: Path) -> str:
    try:
        return read_text(path)
    except OSError:
        return ""


def reaches(routes: Iterable[Route], host: str) -> bool:
    """Tell whether a packet to `host`, an address or a name, could leave: for a name any route beyond the link will
    do."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return is_this_machine(host) or any(r.interface != "lo" and not r.destination.is_link_local for r in routes)
    if address.is_loopback:
        return True
    return any(
        r.interface != "lo" and r.destination.version == address.version and address in r.destination
        for r in routes
        if address.is_link_local or not r.destination.is_link_local
    )


def delay_s(attempt: int) -> float:
    """How long to wait after look number `attempt` (from 0) found no route: 1, 2, 4 ... 64 s, then 64 s for ever
    (protocol 1.7)."""
    return float(min(LAST_DELAY_S, FIRST_DELAY_S * 2 ** min(attempt, 6)))

"""Asking systemd-networkd and systemd-resolved over D-Bus, as any user may: leases and DNS services.

Source: org.freedesktop.network1(5), org.freedesktop.resolve1(5); RFC 2782.
"""

from __future__ import annotations

import asyncio
import re

from mkcore import systemd1
from mkcore.errors import BusFailed
from mkcore.systemd1 import Bus

_NETWORKD = ("org.freedesktop.network1", "/org/freedesktop/network1", "org.freedesktop.network1.Manager")
_RESOLVED = ("org.freedesktop.resolve1", "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager")
_DNS_ALONE = 1 << 0
_NO_TEXT_NO_ADDRESSES = (1 << 6) | (1 << 7)
_LOOKUP_S = 8.0
_NOTHING = re.compile(r"org\.freedesktop\.resolve1\.(DnsError\.NXDOMAIN|NoSuchRR|NoSuchService|CNameLoop)")
"""Errors that are an answer: there is no such service."""


async def describe_network(bus: Bus) -> str:
    """Return networkd's description of all interfaces, a JSON document. Raises BusFailed, also below systemd 251."""
    reply = await systemd1.call(bus, *_NETWORKD, "Describe")
    return str(reply.body[0])


async def renew_lease(bus: Bus, index: int) -> None:
    """Have networkd ask the DHCP server of an interface again, which one who may do so is answered at once. Raises
    NotAuthorized, BusFailed.
    """
    await systemd1.call(bus, *_NETWORKD, "RenewLink", "i", (index,))


async def resolve_service(bus: Bus, service: str, domain: str) -> list[tuple[int, int, int, str]]:
    """Ask the DNS for a service, e.g. `_mk._tcp` in `example.net`: (priority, weight, port, host) of each answer.

    Only the DNS is asked, no neighbour by multicast. Raises BusFailed: no resolved, no name server, no answer in time.
    """
    body = (0, "", service, domain, 0, _DNS_ALONE | _NO_TEXT_NO_ADDRESSES)
    try:
        reply = await systemd1.call(bus, *_RESOLVED, "ResolveService", "isssit", body, timeout_s=_LOOKUP_S)
    except BusFailed as error:
        if _NOTHING.fullmatch(error.error_name):
            return []
        raise
    return [(int(each[0]), int(each[1]), int(each[2]), str(each[3])) for each in reply.body[0]]


async def resolve_services(
    bus: Bus, service: str, domains: tuple[str, ...]
) -> dict[str, list[tuple[int, int, int, str]]]:
    """Ask for a service in several domains side by side: the answers of each domain that could be asked."""
    found = await asyncio.gather(*(resolve_service(bus, service, each) for each in domains), return_exceptions=True)
    answers: dict[str, list[tuple[int, int, int, str]]] = {}
    for domain, each in zip(domains, found):
        if not isinstance(each, BaseException):
            answers[domain] = each
        elif not isinstance(each, BusFailed):
            raise each
    return answers

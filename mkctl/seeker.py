"""Looking for the server in the network, beside the loop, as long as nobody wrote it down.

A look asks networkd for the leases; where these name no server, or the ones that are named fail, it asks the DNS too
and takes next-server as the last resort. It happens whenever the network changes, on the schedule of the historic
microkernels (protocol 1.7), and at least each minute, since a renewed lease may carry another address. It never ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from typing import Callable

from mkcore.errors import BadInput, BusFailed
from mkcore.files import read_text
from mkcore.interfaces import parse_bootif
from mkcore.network1 import describe_network, resolve_services
from mkcore.paths import Paths
from mkcore.resolver import resolve_name
from mkcore.systemd1 import Bus
from mkctl.cmdline import Token, last_value
from mkctl.hints import (
    LIMIT_BYTES,
    NAMES,
    SERVICE,
    Hints,
    Service,
    parse_describe,
    parse_next_server,
    parse_services,
    usable_address,
)
from mkctl.waiting import Schedule, Wakeup
from mkctl.worker import in_thread

NAME_S = 8.0
DOMAINS = 8
"""Search domains that are asked for a service, at most."""

log = logging.getLogger(__name__)

Addresses = Callable[[str], list[str]]


class Seeker:
    """`hints` is what was found last.

    ready: waited for before the first look. needed: whether looking helps. all_sources: whether the leases' word is not
    enough. found: called after each change of `hints`.
    """

    def __init__(
        self,
        paths: Paths,
        tokens: Iterable[Token],
        bus: Callable[[], Bus],
        *,
        ready: Callable[[], Awaitable[object]],
        needed: Callable[[], bool],
        all_sources: Callable[[], bool],
        found: Callable[[], None],
        resolve: Addresses = resolve_name,
    ) -> None:
        self.hints = Hints()
        self.changed = Wakeup()
        self._paths = paths
        self._boot_mac = parse_bootif(last_value(tuple(tokens), "BOOTIF"))
        self._bus = bus
        self._ready = ready
        self._needed = needed
        self._all_sources = all_sources
        self._found = found
        self._resolve = resolve
        self._said = ""

    async def run(self) -> None:
        """Look for ever. Never returns."""
        await self._ready()  # before the bus is there, a worse source would win over what networkd knows
        schedule = Schedule()
        while True:
            if self._needed():
                await self.look()
            if await self.changed.wait(schedule.next_s()):
                schedule.signalled()

    async def look(self) -> None:
        """Look once; the leases' word is passed on before the DNS is asked."""
        hints = await self._leases()
        if not hints.leases or not any(lease.server for lease in hints.leases) or self._all_sources():
            hints = await self._dns(hints)
            hints = replace(hints, next_server=self._next_server())
        if hints != self.hints:
            self.hints = hints
            self._found()

    async def _leases(self) -> Hints:
        try:
            text = await describe_network(self._bus())
        except BusFailed as error:
            self._say(f"DHCP options cannot be asked for ({error})")
            return Hints()
        if len(text) > LIMIT_BYTES:
            self._say(f"networkd's description has {len(text)} characters: not used")
            return Hints()
        try:
            return parse_describe(text, self._boot_mac)
        except BadInput as error:
            self._say(f"{error}: DHCP options are not used")
            return Hints()

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            log.info("%s", line)

    async def _dns(self, hints: Hints) -> Hints:
        """Add what the DNS knows: services in the search domains, and the historic names."""
        services, names = await asyncio.gather(self._services(hints.domains[:DOMAINS]), self._names())
        return replace(hints, services=services[0], names=names[0], problems=(*hints.problems, *services[1], *names[1]))

    async def _services(self, domains: tuple[str, ...]) -> tuple[tuple[Service, ...], tuple[str, ...]]:
        if not domains:
            return (), ()
        try:
            return parse_services(await resolve_services(self._bus(), SERVICE, domains))
        except BusFailed:
            return (), ()

    async def _names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        answers = await asyncio.gather(*(self._addresses(name) for name in NAMES))
        names: list[str] = []
        problems: list[str] = []
        for name, addresses in zip(NAMES, answers):
            refused = _unusable(addresses)
            if len(refused) < len(addresses):
                names.append(name)
            elif refused:
                problems.append(f"DNS, {name}: {refused[0]}: not used")
        return tuple(names), tuple(problems)

    async def _addresses(self, name: str) -> list[str]:
        try:
            return await asyncio.wait_for(in_thread(lambda: self._resolve(name), f"DNS, {name}"), NAME_S)
        except (OSError, asyncio.TimeoutError):
            return []

    def _next_server(self) -> str:
        """Next-server of the leases that networkd keeps on file, the newest interface's last."""
        for path in sorted(self._paths.leases.glob("*")):
            try:
                found = parse_next_server(read_text(path))
            except (OSError, BadInput):  # gone meanwhile, or not for us
                continue
            if found:
                return found
        return ""


def _unusable(addresses: Iterable[str]) -> list[str]:
    """Why addresses cannot be a server's, a line for each that cannot."""
    return [reason for reason in map(_why_not, addresses) if reason]


def _why_not(address: str) -> str:
    try:
        usable_address(address)
    except BadInput as error:
        return str(error)
    return ""

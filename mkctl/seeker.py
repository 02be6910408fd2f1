"""Looking for the server in the network, beside the loop, as long as nobody wrote it down.

A look asks networkd for the leases; where these name no server, or the ones that are named fail, it asks the DNS too
and takes next-server as the last resort. It happens whenever the network changes, on the schedule of the historic
microkernels (protocol 1.7), and at least each minute, since a renewed lease may carry another address; while no server
answers, the leases are read every few seconds, and renewed every few minutes. It never ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from typing import Callable, Optional

from mkcore import events
from mkcore.errors import BadInput, BusFailed, MkError, NotAuthorized
from mkcore.files import read_text
from mkcore.interfaces import parse_bootif
from mkcore.journal import log_event
from mkcore.network1 import describe_network, renew_lease, resolve_services
from mkcore.paths import Paths
from mkcore.resolver import resolve_name
from mkcore.systemd1 import Bus, read_version
from mkcore.trust import Trust
from mkctl.cloudconfig import find_sources
from mkctl.cloudsource import CloudSource
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
    why_unusable,
)
from mkctl.renewal import Renewal
from mkctl.waiting import Schedule, Wakeup
from mkctl.worker import in_thread

NAME_S = 8.0
LEASES_S = 10.0
"""While no server answers: networkd sends no signal when a renewed lease differs in options alone."""
AWAIT_S = 60.0
"""How long better sources are waited for while there seems to be no network: that may be misjudged."""
DOMAINS = 8
"""Search domains that are asked for a service, at most."""
TELLS_OPTIONS = 256
"""The first systemd whose networkd tells DHCP's options (org.freedesktop.network1(5), Describe)."""

log = logging.getLogger(__name__)

Addresses = Callable[[str], list[str]]


class Seeker:
    """`hints` is what was found last.

    ready: waited for before the first look. needed: whether looking helps. beyond: whether the server in use is one
    that the leases do not name. wide: whether the DNS counts more than they do. lost: whether no server answers
    any more. in_contact: whether one answers. found: called after each change of `hints`. trust: by what https:// is
    known. proxy: by what a cloud-config is asked for, "" for directly.
    """

    def __init__(
        self,
        paths: Paths,
        tokens: Iterable[Token],
        bus: Callable[[], Bus],
        *,
        ready: Callable[[], Awaitable[object]],
        needed: Callable[[], bool],
        beyond: Callable[[], bool],
        wide: Callable[[], bool],
        lost: Callable[[], bool],
        in_contact: Callable[[], bool],
        found: Callable[[], None],
        trust: Callable[[], Trust],
        proxy: str = "",
        resolve: Addresses = resolve_name,
        describe: Callable[[Bus], Awaitable[str]] = describe_network,
        version: Callable[[Bus], Awaitable[int]] = read_version,
    ) -> None:
        self.changed = Wakeup()
        self._paths = paths
        tokens = tuple(tokens)
        self._boot_mac = parse_bootif(last_value(tokens, "BOOTIF"))
        self._cloud = CloudSource(find_sources(tokens), self._say, trust, proxy)
        self._wide = wide
        self._dns_asked = False
        self._asked = False
        self._until_s = 0.0
        self.hints = Hints(awaits=self._awaits(), unasked=True)
        self._bus = bus
        self._ready = ready
        self._needed = needed
        self._beyond = beyond
        self._lost = lost
        self._in_contact = in_contact
        self._refused_to_renew = False
        self._found = found
        self._resolve = resolve
        self._describe = describe
        self._read_version = version
        self._version: Optional[int] = None
        self._said = ""
        self._leases = Hints()
        self._answers: dict[str, list[tuple[int, int, int, str]]] = {}
        self._services: tuple[tuple[Service, ...], tuple[str, ...]] = ((), ())
        self._names: set[str] = set()
        self._refused: dict[str, str] = {}
        self._silent: set[str] = set()
        self._renewal = Renewal(time.monotonic)

    async def run(self) -> None:
        """Look for ever. Never returns."""
        await self._ready()  # before the bus is there, a worse source would win over what networkd knows
        schedule = Schedule()
        next_s = 0.0
        while True:
            whole = time.monotonic() >= next_s
            if self._needed() and (whole or self._lost()):
                await self.look(whole=whole)
            if self._renewal.is_due(self._needed() and not self._in_contact()):
                await asyncio.gather(*map(self._renew, self._leases.leased))
            if whole:
                next_s = time.monotonic() + schedule.next_s()
            if await self.changed.wait(min(next_s - time.monotonic(), LEASES_S)):
                schedule.signalled()
                next_s = 0.0

    async def look(self, *, whole: bool = True) -> None:
        """Look once; a source that could not be asked keeps its last word, since silence is no answer.

        whole: ask in the network, too, where the leases alone will not do; else only what this machine knows is new.
        """
        self._leases = await self._ask_networkd()
        self._until_s = self._until_s or time.monotonic() + AWAIT_S
        could_answer = self._leases.is_up or time.monotonic() >= self._until_s
        if self._cloud.asked:
            self._tell_named()
        if whole:
            await self._cloud.ask(could_answer)
            self._tell_named()
            if self._is_wide():
                domains = self._leases.domains[:DOMAINS]
                await asyncio.gather(self._ask_services(domains), *map(self._ask_name, NAMES))
                self._dns_asked = self._dns_asked or could_answer
            self._asked = self._asked or could_answer
        self._tell(self._compose())

    async def _renew(self, index: int) -> None:
        """Have a lease renewed; the next looks read what it says then."""
        try:
            await renew_lease(self._bus(), index)
        except NotAuthorized as refused:
            if not self._refused_to_renew:
                self._refused_to_renew = True
                log_event(log, events.RIGHT_MISSING, f"leases may not be renewed ({refused}): they are when due")
        except BusFailed as error:  # the link is gone, or another's; the next one may not be
            log.debug("%s", error)

    def _tell_named(self) -> None:
        """Tell what leases and cloud-config name, where that is new: a DNS that is silent takes seconds to be so."""
        if (
            self._is_named()
            and not self._wide()
            and (self._leases.leases, self._cloud.found) != (self.hints.leases, self.hints.cloud)
        ):
            self._tell(self._compose())

    def _is_named(self) -> bool:
        return self._cloud.found is not None or any(lease.server for lease in self._leases.leases)

    def _is_wide(self) -> bool:
        """Whether the DNS and next-server count, too."""
        return not self._is_named() or self._beyond() or self._lost() or self._wide()

    def _awaits(self) -> str:
        if not self._cloud.asked:
            return "asking for the cloud-config that the kernel line names"
        return "asking the DNS, which counts more than files here" if self._wide() and not self._dns_asked else ""

    def _compose(self) -> Hints:
        """Make one of the last word of each source."""
        problems = (*self._leases.problems, *self._cloud.problems)
        unasked = not self._asked and not self._is_named()
        told = replace(self._leases, cloud=self._cloud.found, awaits=self._awaits(), unasked=unasked)
        hints = replace(told, problems=problems)
        if not self._is_wide():
            return hints
        refused = [f"DNS, {name}: {reason}: not used" for name, reason in self._refused.items() if reason]
        next_server, unusable = self._next_server()
        return replace(
            hints,
            services=self._services[0],
            names=tuple(name for name in NAMES if name in self._names),
            silent_dns=bool(self._silent),
            next_server=next_server,
            problems=(*hints.problems, *self._services[1], *refused, *unusable),
        )

    def _tell(self, hints: Hints) -> None:
        if hints != self.hints:
            self.hints = hints
            self._found()

    async def _ask_networkd(self) -> Hints:
        try:
            text = await self._describe(self._bus())
        except BusFailed as error:
            self._say(f"DHCP options cannot be asked for ({error})")
            return self._leases
        if len(text) > LIMIT_BYTES:
            self._say(f"networkd's description has {len(text)} characters: not used")
            return self._leases
        try:
            hints = parse_describe(text, self._boot_mac)
        except BadInput as error:
            self._say(f"{error}: DHCP options are not used")
            return self._leases
        too_old = await self._ask_version()
        if not too_old:
            return hints
        needs = f"systemd {too_old} tells no DHCP options ({TELLS_OPTIONS} does)"
        line = f"{needs}: of DHCP, next-server and the search domains alone count"
        return replace(hints, too_old=too_old, problems=(*hints.problems, line))

    async def _ask_version(self) -> int:
        """Return the version of a systemd whose DHCP options nobody gets to know, 0 for one that tells them."""
        if self._version is None:
            try:
                self._version = await self._read_version(self._bus())
            except BusFailed:
                return 0
        return self._version if self._version < TELLS_OPTIONS else 0

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            log.info("%s", line)

    async def _ask_services(self, domains: tuple[str, ...]) -> None:
        """Note what each domain says; of one that cannot be asked now its last word counts."""
        try:
            found = await resolve_services(self._bus(), SERVICE, domains) if domains else {}
        except BusFailed:
            return
        self._answers = {each: found.get(each, self._answers.get(each, [])) for each in domains}
        self._services = parse_services([answer for each in self._answers.values() for answer in each])

    async def _ask_name(self, name: str) -> None:
        """Note whether a name has an address that a server can have."""
        try:
            addresses = await asyncio.wait_for(in_thread(lambda: self._resolve(name), f"DNS, {name}"), NAME_S)
        except (MkError, OSError, asyncio.TimeoutError):
            self._silent.add(name)
            return
        refused = [reason for reason in map(why_unusable, addresses) if reason]
        self._silent.discard(name)
        self._names.discard(name)
        if len(refused) < len(addresses):
            self._names.add(name)
        self._refused[name] = "" if name in self._names or not refused else refused[0]

    def _next_server(self) -> tuple[str, tuple[str, ...]]:
        """Next-server of the leases that networkd keeps on file, one for each interface: the boot NIC's first, then the
        first interface's. And why others cannot be used, a line each.
        """
        problems: list[str] = []
        files = [path for path in self._paths.leases.glob("*") if path.name.isdecimal()]
        for path in sorted(files, key=lambda path: (int(path.name) != self._leases.boot_index, int(path.name))):
            try:
                text = read_text(path)
            except (OSError, BadInput):  # gone meanwhile, or not for us
                continue
            try:
                found = parse_next_server(text)
            except BadInput as error:
                problems.append(f"next-server of interface {path.name}'s lease: {error}: not used")
                continue
            if found:
                return found, tuple(problems)
        return "", tuple(problems)

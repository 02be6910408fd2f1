"""Talking to the server: who we are, where it is, which dialect it speaks, and the two exchanges.

Everything here is one request and its answer; what follows from an answer is decided in `mkctl.decide`. Exchanges run
in a thread of their own, since names and sockets block (mkctl/worker.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Optional

from mkcore import events
from mkcore.errors import BadAnswer, BadConfig, BadInput, ServerRefused, Unreachable
from mkcore.http import Answer, exchange
from mkcore.journal import log_event
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkcore.proxy import host_of, proxy_to
from mkcore.rate import RateLimit
from mkcore.trust import Trust
from mkctl import dialects, network
from mkctl.candidate import WRITTEN, Candidate, Found, Kind, Problem
from mkctl.clock import ask_time
from mkctl.cloudconfig import find_sources
from mkctl.cmdline import Token
from mkctl.dialects import Dialect, Registration, Reply, Request
from mkctl.discovery import discover
from mkctl.hints import Hints, why_unusable
from mkctl.identity import Identity, read_identity
from mkctl.reports import Reporter
from mkctl.settings import Loaded, server_sources, server_trust, without_effect
from mkctl.state import Saved
from mkctl.turn import Turn
from mkctl.worker import in_thread

DEADLINE_S = 20.0
SHORT_DEADLINE_S = 5.0
"""For a server that never answered, while others are named, too."""
LIMIT_BYTES = 1_000_000
REMEMBERED = 200
"""Problems, until a server answers; and their lines in an hour, for a network that says something else each time."""
HOUR_S = 3600.0
LAST_STATE = "idle"
"""What every original said of itself, whatever it was doing (protocol 3.2)."""

log = logging.getLogger(__name__)


class _Overtaken(Unreachable):
    """The server was not waited for."""


def _at(uri: str, error: ServerRefused) -> ServerRefused:
    """Name the address that refused: whoever reads it looks for a wrong server or a wrong path."""
    unknown = "; is this the server's address and path?" if error.status in (401, 404) else ""
    return ServerRefused(f"{uri}: {error}{unknown}", error.status, error.retry_after_s)


class Contact:
    """One node's side of the conversation. `seeks` tells whether the server is one that the network has to name."""

    def __init__(self, paths: Paths, tokens: Sequence[Token], reporter: Reporter) -> None:
        self.paths = paths
        self.identity = Identity()
        self.seeks = True
        self.dialect: Optional[Dialect] = None
        self._tokens = tokens
        self._cloud_named = bool(find_sources(tokens))
        self._reporter = reporter
        self._told: set[Problem] = set()
        self._lines = RateLimit(REMEMBERED / HOUR_S, REMEMBERED, time.monotonic)
        self._problems: tuple[Problem, ...] = ()
        self._turn = Turn()
        self._trust = Trust()
        self._site_proxy = ""
        self._asking: Optional[asyncio.Future[Answer]] = None

    @property
    def candidate(self) -> Optional[Candidate]:
        """The server in use, None while none is known."""
        return self._turn.current

    @property
    def moves_on(self) -> bool:
        """Whether the next checkin goes to another server."""
        return self._turn.moves_on

    @property
    def is_beyond_dhcp(self) -> bool:
        """Whether the server in use is one that the DNS or next-server named: what they say must go on to count."""
        return self.candidate is not None and self.candidate.kind in (Kind.SERVICE, Kind.NAME, Kind.NEXT_SERVER)

    @property
    def server(self) -> str:
        """Scheme, host and port of the server; "" while none is known."""
        return self.candidate.uri if self.candidate else ""

    @property
    def source(self) -> str:
        """What named the server, e.g. `DHCP option 224, eno1`; "" while none is known."""
        return self.candidate.source if self.candidate else ""

    @property
    def proxy(self) -> str:
        """By what the server is reached; "" for directly, as what listens on this machine always is."""
        return proxy_to(self.server, self._site_proxy)

    def identify(self, interfaces_pattern: str) -> None:
        """Read the identity again: NICs appear while the machine boots, and can be plugged."""
        try:
            identity = read_identity(self.paths, self._tokens, interfaces_pattern)
        except BadInput as error:
            identity = replace(
                read_identity(self.paths, self._tokens), weak=(f"identity.interfaces: {error}; all NICs are used",)
            )
        self._reporter.node = identity.name
        if identity.weak and identity.weak != self.identity.weak:
            using = identity.uuid or identity.hw_id or "an empty identity"
            self._reporter.report(events.IDENTITY_WEAK, f"{'; '.join(identity.weak)}; checking in as {using}")
        self.identity = identity

    def look(self, loaded: Loaded, saved: Saved, hints: Hints) -> str:
        """Find the server again, with what the network says; returns why there is none, "" when there is one."""
        self._trust = self.trust(loaded)
        self._site_proxy = loaded.effective().config.server_proxy
        found = self._discover(loaded, hints)
        turn = found.in_turn
        written = bool(turn) and turn[0].kind in WRITTEN
        cloud = self._cloud_named and hints.cloud is None
        self.seeks = cloud or not written or loaded.effective().config.discovery_order != "explicit"
        before, candidate = self.candidate, self._turn.choose(turn)
        vain = without_effect(self._trust, candidate.uri) if candidate else ""
        self._tell((*found.problems, Problem(vain)) if vain else found.problems)
        if candidate is None:
            self.dialect = None
            refused = loaded.site.unusable.get("server.uri", "")
            wrong = [*(each.text for each in found.problems), *filter(None, [refused])]
            written = bool(refused) or any(each.written for each in found.problems)
            nobody = "no server that was written down can be used" if written else "nobody wrote a server down"
            return "; ".join([*wrong, *(() if hints.is_being_asked else (nobody,)), *hints.missing])
        if candidate != before:
            log.info("server %s, from %s", candidate.uri, candidate.source)
        if before is None or candidate.mark != before.mark:
            self.dialect = candidate.dialect or dialects.DIALECTS.get(saved.dialects.get(candidate.uri, ""))
        return ""

    def trust(self, loaded: Loaded) -> Trust:
        """By what servers behind https:// are known, and what they are shown."""
        return server_trust(loaded, self.paths, self._tokens)

    def _discover(self, loaded: Loaded, hints: Hints) -> Found:
        order = loaded.effective().config.discovery_order
        return discover(self._tokens, *server_sources(loaded), hints, order)

    def give_way(self, loaded: Loaded, hints: Hints) -> None:
        """Wait no longer for a server that never answered, where the network now names one that goes before it."""
        self._turn.offer(self._discover(loaded, hints).in_turn)
        if self._asking and self._turn.overtaken:
            self._asking.cancel()

    def _tell(self, problems: tuple[Problem, ...]) -> None:
        """Say what is not used, once until a server has answered: this is looked at before each checkin."""
        self._problems = problems
        for problem in problems:
            if problem in self._told or len(self._told) >= REMEMBERED or self._lines.wait_s(""):
                continue  # a network that says something else each time fills neither the memory nor the journal
            self._told.add(problem)
            if problem.unsupported:
                self._reporter.report(events.NOT_SUPPORTED, problem.text)
            else:  # not by the reporter, to whom two cards are one where they differ by a number alone
                log_event(log, events.SOURCE_UNUSABLE, problem.text, node=self._reporter.node)

    async def require_dialect(self) -> Dialect:
        """The server's dialect; asks the server where nothing says which. Raises Unreachable or BadAnswer."""
        candidate = self._require()
        if self.dialect is None:
            self.dialect = await self._ask_dialect(candidate)
        return self.dialect

    def _require(self) -> Candidate:
        if self.candidate is None:
            raise Unreachable("no server is known")
        return self.candidate

    async def _ask_dialect(self, candidate: Candidate) -> Dialect:
        path = candidate.checkin_path or (candidate.base_path + "/node/checkin" if candidate.base_path else "")
        for request in dialects.probe_requests(candidate.uri, path):
            dialect = dialects.recognise(await self._exchange(request))
            if dialect is not None:
                return dialect
        raise BadAnswer(f"{candidate.uri} speaks neither Hanlon's nor Razor's dialect (server.dialect can name it)")

    async def check_in(self, first_checkin: bool) -> Reply:
        """Make one checkin. Raises Unreachable, ServerRefused or BadAnswer."""
        place = self.server
        try:
            dialect = await self.require_dialect()
            place = self._require().routes(dialect).checkin
            request = dialect.build_checkin(place, self.identity, first_checkin, LAST_STATE)
            reply = dialect.parse_checkin(await self._exchange(request))
        except _Overtaken:  # it was not given its time, so its turn comes again at once where the other one fails
            raise
        except (Unreachable, BadAnswer):
            self._turn.failed()
            raise
        except ServerRefused as error:
            if error.status in (401, 404):  # any web server's word for what it does not know; others are a server's
                self._turn.failed()
            raise _at(place, error) from None
        self._turn.answered()
        self._told.intersection_update(self._problems)  # what comes again after this is news
        return reply

    async def register(self, facts: dict[str, Json]) -> Registration:
        """Register these facts. Raises Unreachable, ServerRefused or BadAnswer."""
        dialect = await self.require_dialect()
        routes = self._require().routes(dialect)
        answer = await self._exchange(dialect.build_registration(routes.register, self.identity, facts, LAST_STATE))
        try:
            return dialect.parse_registration(answer)
        except ServerRefused as error:
            raise _at(routes.register, error) from None

    async def ask_time(self) -> None:
        """Leave the server's time for mk-clock. Raises Unreachable, BadAnswer or OSError."""
        await in_thread(partial(ask_time, self.server + "/", self._trust, self.paths, self.proxy), "time")

    async def _exchange(self, request: Request) -> Answer:
        log.debug("%s %s", request.method, request.uri)
        if self._turn.overtaken:
            raise _Overtaken(f"{request.uri}: not asked, as the network names another server now")
        deadline_s = SHORT_DEADLINE_S if self._turn.others and not self._turn.settled else DEADLINE_S
        by_name = self.candidate is not None and self.candidate.kind in (Kind.SERVICE, Kind.NAME)
        call = partial(
            exchange,
            request.method,
            request.uri,
            headers=request.headers,
            body=request.body,
            deadline_s=deadline_s,
            limit_bytes=LIMIT_BYTES,
            component="mkctl",
            judge=why_unusable if by_name and not self.proxy else None,
            trust=self._trust,
            proxy=self.proxy,
        )
        asking = self._asking = asyncio.ensure_future(in_thread(call, "exchange"))
        try:
            await asyncio.wait((asking,))  # not itself: that it is cancelled is an answer, that we are is our end
        finally:
            asking.cancel()
            self._asking = None
        if asking.cancelled():
            raise _Overtaken(f"{request.uri}: no answer yet, and the network names another server now")
        try:
            return asking.result()
        except BadConfig:
            raise
        except BadInput as error:  # by `why_unusable`: the DNS lies
            raise Unreachable(str(error)) from None

    def has_route(self) -> bool:
        """Tell whether the kernel could send a packet to one of the servers in turn, or to the proxy before it."""
        routes = network.read_routes(str(self.paths.proc))
        hosts = [host_of(proxy_to(each.uri, self._site_proxy) or each.uri) for each in self._turn.candidates]
        return any(network.reaches(routes, host) for host in hosts)

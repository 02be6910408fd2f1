"""Everything that mkctl knows at one moment: configuration, memory, decisions' state, server, facts, and who is told.

The parts each do one thing; here they meet, and here is the translation between them: what is saved, what a decision
sees, what the status shows. The loop (mkctl/agent.py) and the actions (mkctl/actions.py) work on this.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Optional

from mkcore import events, journal, systemd1
from mkcore.errors import MkError, NotReady
from mkcore.lifecycle import Notifier
from mkcore.paths import Paths
from mkctl import plan
from mkctl.announce import Announcer
from mkctl.bus import BusPresence, Controller
from mkctl.callers import Callers, settle
from mkctl.cmdline import read_cmdline
from mkctl.contact import Contact
from mkctl.correction import LIMIT_S, Correction
from mkctl.factsview import FactsView
from mkctl.hold import Hold
from mkctl.hostname import build_name, keep_host_name
from mkctl.links import read_links
from mkctl.probation import read_apply
from mkctl.progress import Progress
from mkctl.reports import Reporter
from mkctl.seeker import Seeker
from mkctl.settings import Loaded, config_error, decision_settings, load
from mkctl.state import Memory, Registration, Saved
from mkctl.status import Phase, Status, read_start_ticks
from mkctl.waiting import Wakeup

log = logging.getLogger(__name__)

BUS_WAIT_S = 5.0
NAMING_WAIT_S = 10.0
"""How long the machine's naming waits for the first registration."""


def boottime_s() -> float:
    """CLOCK_BOOTTIME in seconds, the clock of all decisions."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _first_status() -> Status:
    return Status(pid=os.getpid(), started_ticks=read_start_ticks(os.getpid()))


class Node:
    """The parts of a running mkctl. `next_s` is when the next checkin is due; `outcomes` are what tasks beside the
    loop found."""

    def __init__(self, paths: Paths, notifier: Notifier, controller: Controller, mkweb_uri: str) -> None:
        tokens = read_cmdline(paths.proc, paths.credentials)
        self.paths = paths
        self.mkweb_uri = mkweb_uri
        self.reporter = Reporter()
        self.loaded: Loaded = load(paths)
        self.effective = self.loaded.effective()
        self.memory = Memory(paths)
        self.saved = Saved()
        self.state = plan.State()
        self.contact = Contact(paths, tokens, self.reporter)
        self.facts = FactsView(paths, tokens, boottime_s)
        self.wakeup, self.network_changed, self._registered = Wakeup(), Wakeup(), Wakeup()
        self.checkin_callers = Callers(self.wakeup)
        self.register_callers = Callers(self.wakeup)
        self.outcomes: deque[plan.Outcome] = deque()
        self.next_s = 0.0
        self.waiting_for = "next checkin"
        self.collecting = False
        self._tokens = tokens
        self._serving: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.presence = BusPresence(controller)
        self.announcer = Announcer(paths, _first_status(), notifier.status, self.presence.publish)
        self.progress = Progress(notifier.watchdog, notifier.watchdog_interval_s, time.monotonic)
        self.seeker = self._make_seeker()
        self.hold = Hold(self._jobs, float(self.effective.config.extensions_builtin_wait_s), boottime_s)
        self._correction = Correction(
            self.contact.ask_time, lambda: self.contact.server, self.presence.require, self.reporter
        )
        self._dialect: str = ""
        self._store_problem: str = ""

    def _make_seeker(self) -> Seeker:
        return Seeker(
            self.paths,
            self._tokens,
            self.presence.require,
            ready=lambda: self.presence.wait_attempted(BUS_WAIT_S),
            needed=lambda: self.contact.seeks,
            beyond=lambda: self.contact.is_beyond_dhcp,
            wide=lambda: self.effective.config.discovery_order == "originals",
            lost=lambda: self.state.failures > 0,
            in_contact=lambda: self.state.in_contact,
            found=self._network_named,
            trust=lambda: self.contact.trust(self.loaded),
            proxy=self.effective.config.server_proxy,
        )

    def start(self) -> None:
        """Take configuration and memory into use; nothing here can fail for what they hold."""
        self._configure()
        error = config_error(self.loaded, self.effective)
        if error:
            self.reporter.report(
                events.CONFIG_FALLBACK, f"{error}; going on with what can be used", digest=self.effective.digest
            )
        else:
            self.reporter.report(
                events.CONFIG_IN_USE, f"configuration {self.effective.digest[:12]} in use", digest=self.effective.digest
            )
        self._recall()  # before the first status is written, whose presence tells a lost state from a first start
        self.announcer.update(config_digest=self.effective.digest, config_error=error)
        self.observe()
        server = self.contact.server
        self.announcer.phase(
            Phase.STARTING, f"configuration in use; {'the server is ' + server if server else 'no server known yet'}"
        )

    def _configure(self) -> None:
        journal.set_level(self.effective.config.log_level)
        self.facts.configure(self.effective.config)

    def _recall(self) -> None:
        self.saved, problem = self.memory.load()
        if problem:
            self.reporter.report(
                events.STATE_RECOVERED, f"{problem}; going on as on the first start, registering again"
            )
        registered = self.saved.registered
        self.state = plan.State(
            first_checkin=self.saved.first_checkin,
            registered_digest=registered.digest if registered else "",
            registered_server=registered.server if registered else "",
        )
        apply = read_apply(self.paths.apply)
        if apply.is_open_for(self.effective.digest):
            since_s = apply.boottime_usec / 1e6 or boottime_s()
            self.state = self.state._replace(probation=plan.Probation(apply.digest, since_s))
        self.save()

    def observe(self) -> str:
        """Look at everything that can change outside: identity, server, facts, memory, apply. Returns why there is no
        server."""
        self.contact.identify(self.effective.config.identity_interfaces)
        reason = self.contact.look(self.loaded, self.saved, self.seeker.hints)
        self.use_dialect()
        self.facts.server_source = self.contact.source
        self.facts.refresh()
        if not self.memory.is_stored() and not self._store_problem:
            self.reporter.report(
                events.STATE_RECOVERED, f"{self.paths.state}: the file is gone; written again from memory"
            )
            self.save()
        probation = self.state.probation
        if probation and not read_apply(self.paths.apply).is_open_for(probation.digest):
            self.state = self.state._replace(probation=None)
        self.announce()
        return reason

    async def keep_host_name(self) -> None:
        """Name the machine, where the site wants it (identity.set_host_name).

        After the first registration, which knows the name already: hostnamed and polkit, which start for it, take
        seconds of a small machine's processors just when those have the most to do.
        """

        def tell(name: str) -> None:
            """Send this name with the facts from now on."""
            self.facts.host_name = name

        async def bus() -> systemd1.Bus:
            """Return the connection when it is time to name the machine. Raises BusFailed."""
            if not self.state.registered_digest:
                await self._registered.wait(max(0.0, until_s - boottime_s()))
            await self.presence.wait_attempted(BUS_WAIT_S)
            return self.presence.require()

        until_s = boottime_s() + NAMING_WAIT_S
        if self.effective.config.identity_set_host_name:
            await keep_host_name(bus, self._wanted_name, self.reporter, tell)

    async def correct_clock(self, error: MkError) -> None:
        """Have the clock stepped where this error may come of it and the site allows it."""
        if self._correction.helps(error) and self.effective.config.clock_from_server:
            self.progress.step("asking for the time", LIMIT_S + BUS_WAIT_S)
            await self._correction.make()

    def _wanted_name(self) -> str:
        return build_name(self._tokens, self.contact.identity.macs)

    def await_route(self) -> None:
        """Say what is waited for, card by card; whoever reads the journal gets each change of it once."""
        sentence = "; ".join([f"waiting for a route to {self.contact.server}", *read_links(self.paths).awaited])
        if sentence != self.announcer.status.sentence:
            self.reporter.report(events.WAITING, sentence)
        self.announcer.phase(Phase.WAITING_FOR_NETWORK, sentence)

    def _network_named(self) -> None:
        """The network says something else of the server: whoever waits for one looks again at once."""
        self.contact.give_way(self.loaded, self.seeker.hints)
        if not self.state.in_contact:
            self.next_s = min(self.next_s, boottime_s())
        self.wakeup.set()

    def use_dialect(self) -> None:
        """Take the defaults of the dialect in use, and remember it for this server."""
        dialect = self.contact.dialect
        if dialect is None or dialect.name == self._dialect:
            return
        self._dialect = dialect.name
        self.effective = self.loaded.effective(dialect.name)
        self._configure()
        self.reporter.report(
            events.DIALECT_CHOSEN,
            f"{self.contact.server} is spoken to as {dialect.name}",
            dialect=dialect.name,
            server=self.contact.server,
        )
        if self.saved.dialects.get(self.contact.server) != dialect.name:
            self.saved = self.saved.with_dialect(self.contact.server, dialect.name)
            self.save()

    def forget_dialect(self) -> None:
        """The server does not speak what was remembered of it: ask it again next time, where nothing else says it."""
        if self.contact.candidate is not None and self.contact.candidate.dialect is None:
            self.contact.dialect = None

    def save(self) -> None:
        """Write state.json from the decisions' state; a file that cannot be written is said once, and memory serves."""
        state, before = self.state, self.saved.registered
        registered: Optional[Registration] = None
        if state.registered_server:
            same = before is not None and before.digest == state.registered_digest
            usec = before.boottime_usec if before is not None and same else int(boottime_s() * 1e6)
            registered = Registration(state.registered_digest, state.registered_server, usec)
        if state.registered_digest:
            self._registered.set()
        self.saved = replace(self.saved, first_checkin=state.first_checkin, registered=registered)
        try:
            self.memory.store(self.saved)
            self._store_problem = ""
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != self._store_problem:
                self._store_problem = reason
                text = f"{self.paths.state}: cannot be written ({reason}); kept in memory until it can"
                self.reporter.report(events.STATE_RECOVERED, text)

    def situation(self) -> plan.Situation:
        """What a decision sees of this moment."""
        return plan.Situation(
            now_s=boottime_s(),
            server=self.contact.server,
            seed=self.contact.identity.seed,
            facts=self.facts.summary(),
            rand=random.random(),
            hold_registration=self.hold.active,
            pushed=self.loaded.pushed,
            refused_digests=read_apply(self.paths.apply).refused_digests,
            moves_on=self.contact.moves_on,
        )

    def settings(self) -> plan.Settings:
        """The configuration values that decisions depend on."""
        return decision_settings(self.effective)

    def announce(self) -> None:
        """Bring the status up to date with everything but phase and errors."""
        contact, state, registered = self.contact, self.state, self.saved.registered
        has = registered is not None and bool(registered.digest)
        self.announcer.update(
            node_uuid=contact.identity.uuid,
            node_macs=contact.identity.macs,
            server_uri=contact.server,
            server_source=contact.source,
            dialect=contact.dialect.name if contact.dialect else "",
            next_checkin_usec=int(self.next_s * 1e6),
            failed_checkins=state.failures,
            last_command=state.last_command,
            first_checkin=state.first_checkin,
            registered_usec=registered.boottime_usec if registered is not None and has else 0,
            registered_digest=registered.digest if registered is not None and has else "",
            registration_pending=state.wanted,
        )

    def fail(self, error: Optional[MkError]) -> None:
        """Show an error as the last one, or that there is none."""
        self.announcer.update(last_error=str(error) if error else "", last_error_name=error.bus_name if error else "")

    def checked_in(self) -> None:
        """Show that the server answered just now."""
        self.announcer.update(
            last_checkin_usec=int(boottime_s() * 1e6), last_checkin_realtime_usec=int(time.time() * 1e6)
        )

    def serve_callers(self) -> None:
        """The checkin that begins now is the one that everybody waits for who has called until now."""
        self._serving += self.checkin_callers.take()

    def checkin_callers_done(self, error: Optional[MkError]) -> None:
        """Tell those callers how it ended. Called early where what follows ends this process."""
        settle(self._serving, error)
        self._serving = []

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the loop; it puts what it found into `outcomes` and sets `wakeup`."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Say good-bye: to callers, to readers of the status, to the bus."""
        error = NotReady("mkctl is being stopped")
        self.checkin_callers_done(error)
        self.checkin_callers.settle_all(error)
        self.register_callers.settle_all(error)
        for task in self._tasks:
            task.cancel()
        self.announcer.phase(Phase.STOPPING, "stopped")

    async def _jobs(self) -> set[str]:
        """Names of the units that systemd has a job for."""
        service, path = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
        reply = await systemd1.call(self.presence.require(), service, path, f"{service}.Manager", "ListJobs")
        return {str(job[1]) for job in reply.body[0]}

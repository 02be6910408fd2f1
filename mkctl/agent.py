"""The service: one loop that checks in, decides, acts, and waits.

    wait for a route and for the start skew
    for ever: look at the world, check in, decide, carry out, wait for the next slot or for a reason to wake up

Reasons to wake up: a call over the bus, facts that arrived, a registration that is no longer held back. Nothing that
the network does ends the process, and no configuration does (protocol B55 to B57); SIGTERM ends it at once, whatever
a thread waits for. Source: protocol 3.1, design of the suite in README.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Optional

from mkcore import config, systemd1
from mkcore.errors import BadAnswer, BusFailed, MkError, NotReady, ServerRefused
from mkcore.jsonfields import canonical
from mkcore.lifecycle import Notifier
from mkcore.paths import Paths
from mkcore.proxy import host_of, is_this_machine
from mkctl import plan
from mkctl.actions import SLACK_S, perform, rest
from mkctl.bus import drop_sent_errors
from mkctl.contact import DEADLINE_S
from mkctl.decide import decide
from mkctl.decide_config import PROBATION_LIMIT_S
from mkctl.describe import describe
from mkctl.localweb import BASE_URI
from mkctl.node import BUS_WAIT_S, Node, boottime_s
from mkctl.plan import Outcome
from mkctl.status import Phase
from mkctl.waiting import read_started_s, wait_for_route

FACTS_POLL_S = 0.25
FACTS_POLL_LATER_S = 2.0
FACTS_EAGER_S = 120.0
HOLD_POLL_S = 0.5
IDLE_S = 60.0
REGISTER_WAIT_S = 80.0
DEFECT_RETRY_S = 30.0
STOP_S = 1.0

log = logging.getLogger(__name__)


class Agent:
    """The controller, as the bus sees it too (mkctl.bus.Controller)."""

    def __init__(self, paths: Paths, notifier: Notifier, mkweb_uri: str = "") -> None:
        self.notifier = notifier
        self.node = Node(paths, notifier, self, mkweb_uri or BASE_URI)
        self._eager_until_s = boottime_s() + FACTS_EAGER_S

    # what the bus asks for

    async def check_in(self) -> None:
        """Make one checkin that begins after this call, and wait for its end."""
        self.node.network_changed.set()  # whoever waits for a route tries without one
        await self.node.checkin_callers.join()

    async def register(self) -> None:
        """Register now; facts that are still being collected are waited for."""
        try:
            await asyncio.wait_for(self.node.register_callers.join(), REGISTER_WAIT_S)
        except asyncio.TimeoutError:
            raise NotReady("the facts are not complete yet; the registration follows as soon as they are") from None

    def describe(self) -> str:
        """The status as one JSON document."""
        return canonical(describe(self.node.announcer.status, self.node.paths, alive=True)).decode()

    # the loop

    async def work(self) -> None:
        """Check in for ever."""
        await self._wait_for_first()
        while True:
            await self._iteration()

    async def _iteration(self) -> None:
        node = self.node
        try:
            await self._cycle()
            await self._until_next()
        except Exception:  # the one place: a defect in one iteration must not cost the next ones
            log.exception("this checkin failed by a defect of mkctl; the next one follows in %.0f s", DEFECT_RETRY_S)
            node.checkin_callers_done(NotReady("the checkin failed by a defect of mkctl; see the journal"))
            node.state = node.state._replace(registering=False)  # its outcome will not come any more
            node.progress.step("waiting after a defect", DEFECT_RETRY_S + SLACK_S)
            await asyncio.sleep(DEFECT_RETRY_S)

    async def _wait_for_first(self) -> None:
        """Start skew, route and bus, side by side; a call over the bus ends the first two."""
        skew_s = random.uniform(0.0, float(self.node.effective.config.checkin_skew_s))
        log.info("start skew %.1f s", skew_s)
        until_s = read_started_s() + skew_s  # a slow start of the process is part of the skew, not added to it
        self.node.progress.step("start skew", skew_s + SLACK_S)
        await asyncio.gather(self._skew(until_s), self._route(until_s), self.node.presence.wait_attempted(BUS_WAIT_S))

    async def _skew(self, until_s: float) -> None:
        while (left_s := until_s - boottime_s()) > 0 and not self.node.checkin_callers:
            await self.node.wakeup.wait(left_s)

    async def _route(self, skew_until_s: float) -> None:
        node = self.node
        if not node.contact.server or is_this_machine(host_of(node.contact.server)):
            return

        def waiting(delay_s: float) -> None:
            """Say what is waited for, and for how long that is no hang."""
            node.progress.step("waiting for a route", max(delay_s, skew_until_s - boottime_s()) + SLACK_S)
            node.await_route()

        def given_up() -> bool:
            """Tell whether a checkin is to be tried without a route."""
            probation = node.state.probation  # its end comes without a route, too: the failing checkins bring it
            late = probation is not None and boottime_s() - probation.since_s >= PROBATION_LIMIT_S
            return late or bool(node.checkin_callers)

        await wait_for_route(node.contact.has_route, node.network_changed, waiting, given_up)

    async def _cycle(self) -> None:
        """One look at the world, one checkin, and everything that follows from it."""
        node = self.node
        node.progress.step("looking at the machine", SLACK_S)
        reason = node.observe()
        node.serve_callers()
        if reason:
            node.fail(NotReady(reason))
            node.checkin_callers_done(NotReady(reason))
            await self._step(plan.NoServer(reason))
            return
        await node.hold.look()
        outcome = await self._check_in()
        error = outcome.error if isinstance(outcome, plan.CheckinFailed) else None
        await self._step(outcome)
        node.checkin_callers_done(error)

    async def _check_in(self) -> Outcome:
        node = self.node
        node.announcer.phase(Phase.CHECKING_IN, f"checking in with {node.contact.server}")
        node.progress.step("checkin", 3 * DEADLINE_S + SLACK_S)
        try:
            reply = await node.contact.check_in(node.state.first_checkin)
        except MkError as error:
            if isinstance(error, BadAnswer) or (isinstance(error, ServerRefused) and error.status == 404):
                node.forget_dialect()  # another kind of server may have taken the address
            node.fail(error)
            await node.correct_clock(error)
            return plan.CheckinFailed(error)
        node.use_dialect()
        node.fail(None)
        node.checked_in()
        node.presence.command_received(reply.command)
        sent, server = reply.config or {}, node.contact.server
        return plan.CheckedIn(reply, tuple(config.differs(sent, node.effective, server)))

    async def _step(self, outcome: Outcome) -> None:
        """Decide and carry out, until nothing follows any more."""
        node = self.node
        queue = [outcome]
        while queue:
            node.progress.step("deciding", SLACK_S)
            decision = decide(node.state, queue.pop(0), node.situation(), node.settings())
            node.state = decision.state
            found: list[Optional[Outcome]] = [await perform(node, action) for action in decision.actions]
            queue += [each for each in found if each is not None]
        rest(node)

    async def _until_next(self) -> None:
        """Wait for the next checkin's time, and meanwhile for what cannot wait that long."""
        node = self.node
        while (left_s := node.next_s - boottime_s()) > 0 and not node.checkin_callers:
            node.progress.step("waiting", IDLE_S + SLACK_S)
            if node.register_callers.news():
                await self._step(plan.RegisterAsked())
            arrived = node.facts.arrived()
            while node.outcomes:
                await self._step(node.outcomes.popleft())
            if arrived:
                await self._step(plan.FactsArrived())
            if node.hold.active and not await node.hold.look():
                await self._step(plan.HoldReleased())
            await node.wakeup.wait(min(left_s, self._poll_s()))

    def _poll_s(self) -> float:
        """How soon to look at facts and units again; a bus call or an outcome wakes the loop anyway."""
        if self.node.hold.active:
            return HOLD_POLL_S
        if self.node.facts.content.complete and not self.node.collecting:
            return IDLE_S
        return FACTS_POLL_S if boottime_s() < self._eager_until_s else FACTS_POLL_LATER_S


async def _ready(node: Node, notifier: Notifier) -> None:
    """Say READY=1: a configuration is in use, and whoever looks for us on the bus finds us there, if there is a bus."""
    if not await node.presence.wait_attempted(BUS_WAIT_S):
        log.warning("the system bus has not answered within %.0f s; going on without it", BUS_WAIT_S)
    notifier.ready(node.announcer.status.sentence)


def _watcher(node: Node) -> Callable[[Any], Awaitable[None]]:
    """Return what is called with each new connection to the bus: it watches the network for the node."""

    def network_changed(_properties: dict[str, Any]) -> None:
        """Wake whoever waits for a route or for a server's address."""
        node.network_changed.set()
        node.seeker.changed.set()

    async def connected(bus: Any) -> None:
        """Have networkd's changes told; without it the clock has to do."""
        node.seeker.changed.set()
        try:
            await systemd1.watch_network(bus, network_changed)
        except BusFailed as error:
            log.info("systemd-networkd cannot be watched (%s); looking for a route by the clock", error)

    return connected


async def _stopped(stop: asyncio.Event) -> None:
    await stop.wait()


async def serve(paths: Paths, mkweb_uri: str = "") -> None:
    """Be the service until SIGTERM or SIGINT. Raises what a part of it ended with by a defect."""
    notifier = Notifier()
    agent = Agent(paths, notifier, mkweb_uri)
    node = agent.node
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(drop_sent_errors)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    node.start()
    parts: list[Coroutine[Any, Any, None]] = [
        node.presence.run(_watcher(node)),
        node.progress.run(),
        node.seeker.run(),
        agent.work(),
    ]
    tasks = [asyncio.ensure_future(part) for part in parts]
    node.spawn(_ready(node, notifier))
    node.spawn(node.keep_host_name())
    stopper = asyncio.ensure_future(_stopped(stop))
    done, _ = await asyncio.wait({*tasks, stopper}, return_when=asyncio.FIRST_COMPLETED)
    notifier.stopping("stopping")
    node.stop()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=STOP_S)
    for task in done - {stopper}:
        task.result()
    stopper.cancel()

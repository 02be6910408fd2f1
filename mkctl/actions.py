"""Carrying out what was decided: one function per kind of action, each ending in the outcome that the next decision
needs.

Nothing here decides anything. What takes long and must not keep checkins waiting (collecting facts) runs beside the
loop and puts its outcome into the node's queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Callable, Optional
from urllib.parse import quote

from mkcore import events
from mkcore.errors import BusFailed, MkError, NotReady, ToolFailed
from mkcore.systemd1 import JobResult, connect, describe_end, start_unit, unit_state
from mkctl import localweb, plan
from mkctl.callers import settle
from mkctl.contact import DEADLINE_S
from mkctl.decide_config import show_keys
from mkctl.decide_extensions import FETCH_UNIT
from mkctl.node import Node, boottime_s
from mkctl.plan import Action, Outcome
from mkctl.status import Phase
from mkctl.worker import in_thread

FACTS_UNIT = "mk-facts.service"
FACTS_TIMEOUT_S = 370.0
"""A little more than TimeoutStartSec= of mk-facts.service: systemd's own verdict comes first."""
FETCH_TIMEOUT_S = 3700.0
"""Likewise for TimeoutStartSec= of mk-fetch.service, whose downloads take what they take."""
POWER_TIMEOUT_S = 10.0
SLACK_S = 15.0
"""What a step may take beyond its own deadline before the watchdog counts it as hanging."""

log = logging.getLogger(__name__)


async def perform(node: Node, action: Action) -> Optional[Outcome]:
    """Carry out one action; returns its outcome, or None where there is none (yet)."""
    return await _DOERS[type(action)](node, action)


async def _wait(node: Node, action: plan.Wait) -> None:
    node.next_s, node.waiting_for = action.until_s, action.reason


def rest(node: Node) -> None:
    """Show that nothing is being done and what is waited for. Power orders stay shown until the next checkin."""
    state, shown = node.state, Phase(node.announcer.status.state)
    if shown in (Phase.REBOOTING, Phase.POWERING_OFF):
        return
    delay_s = max(0.0, node.next_s - boottime_s())
    if state.in_contact:
        so_far = ", registered" if state.registered_digest and not state.wanted else ", not registered yet"
        server = f"{node.contact.server}, named by {node.contact.source}"
        sentence = f"checked in with {server} ({state.last_command}){so_far}"
        node.announcer.phase(Phase.IDLE, f"{sentence}; {node.waiting_for} in {delay_s:.0f} s")
    else:
        phase = Phase.SERVER_LOST if state.ever_in_contact else Phase.WAITING_FOR_SERVER
        node.announcer.phase(phase, f"{node.waiting_for}; next attempt in {delay_s:.0f} s")
    node.announce()


async def _save(node: Node, _action: plan.SaveState) -> None:
    node.save()


async def _report(node: Node, action: plan.Report) -> None:
    node.reporter.report(action.event, action.message, **action.fields)


async def _register(node: Node, action: plan.Register) -> Outcome:
    """Send the facts; a person who asked for it hears the result."""
    callers = node.register_callers.take()
    node.announcer.phase(Phase.REGISTERING, f"registering with {node.contact.server} ({action.reason})")
    node.progress.step("registration", DEADLINE_S + SLACK_S)
    server, facts = node.contact.server, node.facts.build()
    before, problem = node.memory.load_facts(server)
    if problem:
        node.reporter.report(events.STATE_RECOVERED, f"{problem}; written again with this registration")
    changed = node.facts.changed_names(before, facts) if before else []
    try:
        registration = await node.contact.register(facts)
    except MkError as error:
        node.fail(error)
        settle(callers, error)
        return plan.RegistrationFailed(error)
    if registration.remark:
        log.warning("%s took the registration, but %s", server, registration.remark)
    log.info(
        "registered (%s) %d facts%s",
        action.reason,
        len(facts),
        f"; changed: {', '.join(changed[:20])}" if changed else "",
    )
    try:
        node.memory.store_facts(server, facts)
    except OSError as error:
        log.error(
            "%s: cannot be written (%s); the next change cannot be told fact by fact",
            node.paths.registered_facts,
            error,
        )
    digest = node.facts.digest(facts)
    node.presence.registered(digest)
    settle(callers, None)
    return plan.Registered(server, digest)


async def _collect(node: Node, action: plan.CollectFacts) -> None:
    if node.collecting:
        return
    node.collecting = True
    log.info("starting %s: %s", FACTS_UNIT, action.reason)
    node.spawn(_collect_facts(node))


async def _collect_facts(node: Node) -> None:
    try:
        result = await start_unit(node.presence.require(), FACTS_UNIT, FACTS_TIMEOUT_S)
        if result is not JobResult.DONE:
            raise ToolFailed(f"{FACTS_UNIT} ended as {result.value}")
        node.outcomes.append(plan.FactsArrived())
    except MkError as error:
        node.outcomes.append(plan.FactsFailed(error))
        if node.register_callers:
            failure = NotReady(f"facts cannot be collected: {error}")
            node.fail(failure)
            node.register_callers.settle_all(failure)
    finally:
        node.collecting = False
        node.wakeup.set()


async def _fetch(node: Node, _action: plan.FetchExtensions) -> None:
    node.spawn(_fetch_extensions(node))


async def _fetch_extensions(node: Node) -> None:
    """Start mk-fetch. A start during a run would merge into it, and that run knows nothing of the checkin yet."""
    try:
        bus = node.presence.require()
        before = await unit_state(bus, FETCH_UNIT)
        if before.load != "loaded":
            log.info("%s is %s: no extensions are fetched here", FETCH_UNIT, before.load)
            return
        if before.active == "activating" and before.sub != "auto-restart":
            await start_unit(bus, FETCH_UNIT, FETCH_TIMEOUT_S)
        result = await start_unit(bus, FETCH_UNIT, FETCH_TIMEOUT_S)
        log.info("%s %s", FETCH_UNIT, await describe_end(bus, FETCH_UNIT, result))
    except MkError as error:
        node.outcomes.append(plan.FetchFailed(error))
        node.wakeup.set()


async def _power(node: Node, action: plan.Power) -> Optional[Outcome]:
    phase = Phase.REBOOTING if action.kind == "reboot" else Phase.POWERING_OFF
    node.announcer.phase(phase, f"{action.kind} as the server ordered")
    node.checkin_callers_done(None)
    node.progress.step(action.kind, POWER_TIMEOUT_S + SLACK_S)
    try:
        result = await _start_power(node, f"{action.kind}.target")
    except BusFailed as error:
        node.fail(error)
        return plan.PowerFailed(action.kind, error)
    if result not in (JobResult.DONE, JobResult.TIMEOUT):  # a machine that takes longer to stop is stopping
        return plan.PowerFailed(action.kind, ToolFailed(f"{action.kind}.target ended as {result.value}"))
    return None


async def _start_power(node: Node, unit: str) -> JobResult:
    """Have a systemd start the unit: this system's, or the one whose bus the site names (a container's host)."""
    through = node.effective.config.actions_power_through
    if not through:
        return await start_unit(node.presence.require(), unit, POWER_TIMEOUT_S)
    bus = await connect(f"unix:path={quote(through, safe='/-_.*')}")
    try:
        return await start_unit(bus, unit, POWER_TIMEOUT_S)
    finally:
        bus.disconnect()  # type: ignore[no-untyped-call]


async def _post_config(node: Node, action: plan.PostConfig) -> Outcome:
    node.announcer.phase(Phase.APPLYING, f"handing a changed configuration to mkweb ({show_keys(action.keys)})")
    node.checkin_callers_done(None)
    node.progress.step("posting the configuration", localweb.DEADLINE_S + SLACK_S)
    return await in_thread(lambda: localweb.post_config(action.config, node.mkweb_uri), "mkweb")


async def _await_restart(node: Node, action: plan.AwaitRestart) -> Outcome:
    """SIGTERM ends this wait together with everything else."""
    node.announcer.phase(Phase.APPLYING, "waiting to be restarted with the new configuration")
    node.progress.step("waiting for the restart", action.timeout_s + SLACK_S)
    await asyncio.sleep(action.timeout_s)
    log.warning("no restart within %.0f s; going on with the configuration in use", action.timeout_s)
    return plan.NotRestarted()


async def _confirm(node: Node, action: plan.Confirm) -> Outcome:
    return await _verdict(node, action.digest, "")


async def _refuse(node: Node, action: plan.Refuse) -> Outcome:
    node.announcer.phase(Phase.APPLYING, f"refusing the configuration: {action.reason}")
    return await _verdict(node, action.digest, action.reason)


async def _verdict(node: Node, digest: str, reason: str) -> Outcome:
    node.progress.step("verdict", localweb.DEADLINE_S + SLACK_S)
    try:
        await in_thread(lambda: localweb.deliver_verdict(digest, reason, node.mkweb_uri), "mkweb")
    except MkError as error:
        log.warning("%s", error)
        return plan.VerdictFailed(error)
    return plan.VerdictDelivered()


_DOERS: dict[type[Any], Callable[[Node, Any], Awaitable[Optional[Outcome]]]] = {
    plan.Wait: _wait,
    plan.SaveState: _save,
    plan.Report: _report,
    plan.Register: _register,
    plan.CollectFacts: _collect,
    plan.FetchExtensions: _fetch,
    plan.Power: _power,
    plan.PostConfig: _post_config,
    plan.AwaitRestart: _await_restart,
    plan.Confirm: _confirm,
    plan.Refuse: _refuse,
}

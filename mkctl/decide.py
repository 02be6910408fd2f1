"""The decisions of the controller: state, outcome and situation in; state and actions out. Pure.

Effects are elsewhere: whoever carries the actions out reports each result as the next outcome. So the whole behaviour
of a node, rare cases too, is a table that a test goes through in milliseconds. This file has the table, the checkins
and the commands; `decide_registration`, `decide_config` and `decide_extensions` have the other rows.

- An event is reported when its reason changes, not each minute that it lasts; that an outage is one event however its
  reasons vary is `mkctl.reports`' part.
- The first-checkin flag clears at the first acknowledged registration or `acknowledge` (rows 46 to 48).
- After the first contact, checkins fall into this node's own slots; failures back off below a ceiling.

Source: protocol 3.1, 3.4, 3.6.
"""

from __future__ import annotations

from typing import Any, Callable

from mkcore import events, retry
from mkcore.errors import MkError, NotAuthorized, ServerRefused, Unreachable
from mkcore.events import Event
from mkctl import decide_config, decide_extensions, decide_registration, plan
from mkctl.decide_config import configure, judge
from mkctl.decide_registration import ordered, register_if_owed
from mkctl.draft import Draft
from mkctl.plan import Decision, Outcome, Settings, Situation, State, Verdict

RETRY_BASE_S = 2.0
NEXT_SERVER_S = 0.5  # for the next of several servers that the network names: it is not the one that failed
PROBATION_RETRY_S = 15.0  # apart at least: a server's short restart must not cost a good configuration
REASON_LIMIT = 600
"""Characters of a reason in the unit's status and on the console, where a network may say as much as it likes."""
POWER_ORDERS = ("reboot", "poweroff")


def decide(state: State, outcome: Outcome, situation: Situation, settings: Settings) -> Decision:
    """Decide what follows from one outcome in this situation."""
    draft = Draft(state, situation, settings)
    _ROWS[type(outcome)](draft, outcome)
    return Decision(draft.state, tuple(draft.actions))


def _no_server(draft: Draft, outcome: plan.NoServer) -> None:
    failures = draft.state.failures + 1
    if draft.state.last_failure != outcome.reason:
        draft.report(events.WAITING, f"no server known: {outcome.reason}; looking again until one is found")
    draft.remember(failures=failures, last_failure=outcome.reason, in_contact=False)
    judge(draft)
    reason = outcome.reason if len(outcome.reason) <= REASON_LIMIT else f"{outcome.reason[: REASON_LIMIT - 3]}..."
    delay_s = draft.backoff_s(failures, Unreachable(""), RETRY_BASE_S)
    draft.wait(draft.now.now_s + delay_s, f"waiting for a server: {reason}")


def _checkin_failed(draft: Draft, outcome: plan.CheckinFailed) -> None:
    state, error = draft.state, outcome.error
    failures = state.failures + 1
    delay_s = draft.now.rand * NEXT_SERVER_S if draft.now.moves_on else draft.backoff_s(failures, error, RETRY_BASE_S)
    if state.probation:
        delay_s = max(delay_s, PROBATION_RETRY_S)
        draft.remember(probation=state.probation._replace(failed_checkins=state.probation.failed_checkins + 1))
    failure = f"{error.bus_name}: {error}"
    if failure != state.last_failure:
        draft.report(_failure_event(state, error), f"{error}; trying again in {delay_s:.0f} s", error=error.bus_name)
    draft.remember(failures=failures, last_failure=failure, in_contact=False)
    judge(draft)
    draft.wait(draft.now.now_s + delay_s, f"trying again: {error}")


def _failure_event(state: State, error: MkError) -> Event:
    if isinstance(error, ServerRefused):
        return events.CHECKIN_REFUSED
    if isinstance(error, Unreachable):
        return events.SERVER_LOST if state.ever_in_contact else events.WAITING
    return events.BAD_ANSWER


def _checked_in(draft: Draft, outcome: plan.CheckedIn) -> None:
    _note_contact(draft)
    if draft.state.probation:
        draft.remember(probation=draft.state.probation._replace(verdict=Verdict.CONFIRM))
        judge(draft)
    command = outcome.reply.command
    if command != draft.state.last_command and command != "acknowledge":
        draft.report(events.COMMAND_RECEIVED, f"the server orders {command}", command=command)
    powering = command in POWER_ORDERS and draft.settings.allow_power_orders
    _obey(draft, command)
    draft.remember(last_command=command)
    if not powering:
        configure(draft, outcome)
        decide_extensions.fetch_if_due(draft)
    draft.wait(draft.state.slot_s or draft.now.now_s, "next checkin")


def _note_contact(draft: Draft) -> None:
    state, now, settings = draft.state, draft.now, draft.settings
    if not state.ever_in_contact:
        draft.report(events.SERVER_FOUND, f"{now.server} answers")
    elif not state.in_contact:
        draft.report(events.SERVER_BACK, f"{now.server} answers again after {state.failures} failed checkins")
    slot_s = state.slot_s
    if slot_s is None:
        slot_s = retry.first_slot_s(now.now_s, now.seed, settings.interval_s)
    elif slot_s <= now.now_s:
        slot_s = retry.next_slot_s(slot_s, settings.interval_s, now.now_s)
    draft.remember(ever_in_contact=True, in_contact=True, failures=0, last_failure="", slot_s=slot_s)


def _obey(draft: Draft, command: str) -> None:
    if command == "register":
        ordered(draft)
    elif command in POWER_ORDERS:
        _power(draft, command)
    else:
        if command != "acknowledge" and command != draft.state.last_command:
            text = f"command {command} is not known here; taken as acknowledge"
            draft.report(events.COMMAND_UNKNOWN, text, command=command)
        if draft.state.first_checkin:
            draft.remember(first_checkin=False)
            draft.do(plan.SaveState())
        register_if_owed(draft)


def _power(draft: Draft, kind: str) -> None:
    if draft.settings.allow_power_orders:
        draft.report(events.POWER_ORDER_OBEYED, f"{kind} as the server ordered", command=kind)
        draft.do(plan.SaveState(), plan.Power(kind))
        return
    if kind != draft.state.last_command:
        text = f"{kind} refused: actions.allow_power_orders is not set; going on as before"
        draft.report(events.POWER_ORDER_REFUSED, text, command=kind)
    register_if_owed(draft)


def _power_failed(draft: Draft, outcome: plan.PowerFailed) -> None:
    event = events.RIGHT_MISSING if isinstance(outcome.error, NotAuthorized) else events.POWER_ORDER_REFUSED
    draft.report(event, f"{outcome.kind}: {outcome.error}; the next order is tried again", command=outcome.kind)


_ROWS: dict[type[Any], Callable[[Draft, Any], None]] = {
    plan.NoServer: _no_server,
    plan.CheckinFailed: _checkin_failed,
    plan.CheckedIn: _checked_in,
    plan.RegisterAsked: decide_registration.asked,
    plan.Registered: decide_registration.registered,
    plan.RegistrationFailed: decide_registration.registration_failed,
    plan.FactsArrived: decide_registration.facts_arrived,
    plan.FactsFailed: decide_registration.facts_failed,
    plan.HoldReleased: decide_registration.hold_released,
    plan.FetchFailed: decide_extensions.fetch_failed,
    plan.PowerFailed: _power_failed,
    plan.ConfigStored: decide_config.config_stored,
    plan.ConfigUnchanged: decide_config.config_unchanged,
    plan.ConfigNotTaken: decide_config.config_not_taken,
    plan.NotRestarted: decide_config.not_restarted,
    plan.VerdictDelivered: decide_config.verdict_delivered,
    plan.VerdictFailed: decide_config.verdict_failed,
}

"""Decisions about the registration: when one is owed, which facts it takes, what follows from its result.

It is owed when the server orders it, when a person asks, and when the facts, the server or nothing at all is what was
registered last; it stays owed until a server took it (rows 50, 56, 57). Ordered registrations want fresh facts: less
than five minutes old, without a hardware event since (B23). Changed facts are registered once the hardware that changed
was collected. Source: protocol 3.1, 3.4, 3.5, 3.6.
"""

from __future__ import annotations

from mkcore import events
from mkcore.errors import NotAuthorized
from mkctl import plan
from mkctl.decide_config import post_pending
from mkctl.draft import Draft
from mkctl.plan import Situation, State

REGISTER_RETRY_BASE_S = 5.0
CHANGED = "facts changed"
SETTLE_LIMIT_S = 60.0
COLLECTION_LIMIT_S = 120.0  # an incomplete file that nobody has touched for this long is not being collected any more


def ordered(draft: Draft) -> None:
    """Note that the server ordered a registration, and register when facts allow it."""
    had = draft.state.registered_digest
    draft.remember(wanted="ordered", registered_digest="")
    if had:  # so that a restart does not lose the order
        draft.do(plan.SaveState())
    register_if_owed(draft)


def register_if_owed(draft: Draft) -> None:
    """Register when something asks for it and facts are complete and fresh; collect them first when they are not."""
    state, facts, now = draft.state, draft.now.facts, draft.now
    reason = _why_owed(state, now)
    if reason != CHANGED and state.changed_since_s is not None:
        draft.remember(changed_since_s=None)
    if not reason or state.registering or now.hold_registration or now.now_s < state.register_not_before_s:
        return
    if reason == CHANGED and not _has_settled(draft):
        return
    if not (facts.present and facts.complete):
        collecting = facts.present and facts.age_s < COLLECTION_LIMIT_S
        if not collecting:
            draft.do(plan.CollectFacts("there are none" if not facts.present else "they were left incomplete"))
        return
    if state.wanted and facts.age_s > draft.settings.facts_max_age_s:
        draft.do(plan.CollectFacts(f"they are {facts.age_s:.0f} s old"))
    elif state.wanted and not facts.uevents_unchanged:
        draft.do(plan.CollectFacts("the hardware changed"))
    else:
        _register(draft, reason)


def _why_owed(state: State, now: Situation) -> str:
    if state.wanted:
        return state.wanted
    if not state.registered_digest:
        return "new"
    if state.registered_server != now.server:
        return "other server"
    changed = now.facts.complete and now.facts.digest != state.registered_digest
    return CHANGED if changed else ""


def _has_settled(draft: Draft) -> bool:
    """Tell whether the facts are those of the hardware as it is now.

    A network card that was just plugged shows in the addresses at once, in its lease some seconds later and in the
    collected facts last: that is one change, not three. Where something comes and goes all the time it is not waited
    for ever.
    """
    facts, now_s = draft.now.facts, draft.now.now_s
    since_s = draft.state.changed_since_s
    if facts.uevents_unchanged or (since_s is not None and now_s - since_s >= SETTLE_LIMIT_S):
        return True
    if since_s is None:
        draft.remember(changed_since_s=now_s)
    return False


def _register(draft: Draft, reason: str) -> None:
    draft.remember(registering=True, changed_since_s=None)
    draft.do(plan.Register(reason))


def asked(draft: Draft, _outcome: plan.RegisterAsked) -> None:
    """Register because a person asked, without waiting out an earlier failure."""
    draft.remember(wanted=draft.state.wanted or "asked", register_not_before_s=0.0)
    register_if_owed(draft)


def registered(draft: Draft, outcome: plan.Registered) -> None:
    """Remember what was registered where; the first checkin is over."""
    draft.remember(
        registered_digest=outcome.digest,
        registered_server=outcome.server,
        wanted="",
        registering=False,
        register_failures=0,
        register_not_before_s=0.0,
        first_checkin=False,
    )
    draft.do(plan.SaveState())
    draft.report(events.REGISTERED, f"registered with {outcome.server}", digest=outcome.digest)
    post_pending(draft)


def registration_failed(draft: Draft, outcome: plan.RegistrationFailed) -> None:
    """Keep the registration owed and try again later; say so when the reason is new."""
    failures, error = draft.state.register_failures + 1, outcome.error
    until_s = draft.now.now_s + draft.backoff_s(failures, error, REGISTER_RETRY_BASE_S)
    draft.remember(registering=False, register_failures=failures, register_not_before_s=until_s)
    delay_s = until_s - draft.now.now_s
    draft.report(events.REGISTRATION_FAILED, f"{error}; tried again after {delay_s:.0f} s", error=error.bus_name)
    post_pending(draft)
    slot_s = draft.state.slot_s
    draft.wait(until_s if slot_s is None else min(slot_s, until_s), "trying to register again")


def facts_arrived(draft: Draft, _outcome: plan.Outcome) -> None:
    """Register with what just arrived, however old an untouched file may be, if it was ordered whatever the hardware
    did meanwhile."""
    state, now = draft.state, draft.now
    reason = _why_owed(state, now)
    held = state.registering or now.hold_registration or now.now_s < state.register_not_before_s
    settled = reason != CHANGED or held or _has_settled(draft)
    if reason and now.facts.complete and not held and settled and (state.in_contact or state.wanted == "asked"):
        _register(draft, reason)


def hold_released(draft: Draft, _outcome: plan.HoldReleased) -> None:
    """Register what was held back while extensions were being installed."""
    if draft.state.in_contact:
        register_if_owed(draft)


def facts_failed(draft: Draft, outcome: plan.FactsFailed) -> None:
    """Older facts are better than none: the server waits for a registration."""
    old = draft.now.facts.complete
    event = events.RIGHT_MISSING if isinstance(outcome.error, NotAuthorized) else events.COLLECTOR_FAILED
    rest = "registering with the facts there are" if old else "the registration waits for facts"
    draft.report(event, f"facts not collected: {outcome.error}; {rest}")
    facts_arrived(draft, outcome)

"""Decisions about a pushed configuration: whether to hand it to mkweb, and the verdict while it is on probation.

A configuration is posted after the command was obeyed and the first-checkin flag stored, since that post ends this
process. On probation, the first good checkin confirms it; three failed ones or five minutes refuse it.
Source: protocol 2.4, 3.1, 3.6, 4; B19 to B22.
"""

from __future__ import annotations

from collections.abc import Sequence

from mkcore import events, jsonfields
from mkctl import plan
from mkctl.dialects.envelope import clean
from mkctl.draft import Draft
from mkctl.plan import Verdict

PROBATION_LIMIT_S = 300.0
PROBATION_FAILURES = 3
RESTART_LIMIT_S = 10.0
POST_RETRY_S = 60.0
VERDICT_RETRY_S = 10.0


def configure(draft: Draft, outcome: plan.CheckedIn) -> None:
    """Post a configuration that differs, once nothing else is under way; forget one that the server took back."""
    state, now, config = draft.state, draft.now, outcome.reply.config
    if config is None or not outcome.differing or state.probation:
        draft.remember(pending_post=None)
        return
    digest = jsonfields.digest(config)
    if digest == state.settled_config or now.now_s < state.post_not_before_s:
        return
    if {digest, jsonfields.digest({**now.pushed, **config})} & now.refused_digests:
        draft.remember(settled_config=digest)
        names = show_keys(outcome.differing)
        text = f"the pushed configuration was refused before; not taken until it changes: {names}"
        draft.report(events.CONFIG_REFUSED, text, digest=digest)
        return
    draft.remember(pending_post=plan.PostConfig(config, outcome.differing))
    if not draft.state.registering:
        post_pending(draft)


def show_keys(keys: Sequence[str]) -> str:
    """Name pushed keys on one line for people: they are a server's words, of any length and with any character."""
    return clean(", ".join(keys), 200)


def post_pending(draft: Draft) -> None:
    """Post a configuration that waited for a registration under way: its restart would have cut that short."""
    if draft.state.pending_post:
        draft.do(plan.SaveState(), draft.state.pending_post)


def config_stored(draft: Draft, _outcome: plan.ConfigStored) -> None:
    """Wait for systemd to end this process: mkweb has stored the configuration and restarts mkctl with it."""
    draft.remember(pending_post=None, post_failure="")
    draft.do(plan.AwaitRestart(RESTART_LIMIT_S))


def config_unchanged(draft: Draft, _outcome: plan.ConfigUnchanged) -> None:
    """Note that mkweb has this configuration already, so that it is not sent again."""
    _settle(draft)


def config_not_taken(draft: Draft, outcome: plan.ConfigNotTaken) -> None:
    """Keep the configuration in use, say mkweb's reason when it is new, and send again only where that can help."""
    delay_s = POST_RETRY_S if outcome.retry_after_s is None else outcome.retry_after_s
    if outcome.reason != draft.state.post_failure:
        rest = "not sent again until it changes" if outcome.final else f"sent again after {delay_s:.0f} s"
        text = f"pushed configuration not taken: {outcome.reason}; {rest}, the one in use stays"
        draft.report(events.CONFIG_REFUSED, text)
    if outcome.final:
        _settle(draft)
    draft.remember(
        pending_post=None,
        post_failure=outcome.reason,
        post_not_before_s=0.0 if outcome.final else draft.now.now_s + delay_s,
    )


def _settle(draft: Draft) -> None:
    pending = draft.state.pending_post
    settled = jsonfields.digest(pending.config) if pending else draft.state.settled_config
    draft.remember(pending_post=None, settled_config=settled)


def not_restarted(draft: Draft, _outcome: plan.NotRestarted) -> None:
    """mkweb goes on trying in its own time; until then the configuration in use serves."""
    draft.remember(post_not_before_s=draft.now.now_s + POST_RETRY_S)
    draft.wait(draft.state.slot_s or draft.now.now_s, "next checkin")


def judge(draft: Draft) -> None:
    """Tell mkweb the verdict as soon as there is one, and again until it was delivered."""
    probation = draft.state.probation
    if probation is None:
        return
    if probation.verdict is Verdict.OPEN:
        reason = ""
        if probation.failed_checkins >= PROBATION_FAILURES:
            reason = f"{probation.failed_checkins} checkins failed with it: {draft.state.last_failure}"
        elif draft.now.now_s - probation.since_s >= PROBATION_LIMIT_S:
            reason = f"no good checkin within {PROBATION_LIMIT_S:.0f} s: {draft.state.last_failure}"
        if not reason:
            return
        probation = probation._replace(verdict=Verdict.REFUSE, reason=reason)
        draft.remember(probation=probation)
    if probation.verdict is Verdict.CONFIRM:
        draft.do(plan.Confirm(probation.digest))
    else:
        draft.do(plan.Refuse(probation.digest, probation.reason))


def verdict_delivered(draft: Draft, _outcome: plan.VerdictDelivered) -> None:
    """End the probation; after a refusal wait for the restart with the previous configuration."""
    probation = draft.state.probation
    draft.remember(probation=None)
    if probation and probation.verdict is Verdict.REFUSE:
        draft.do(plan.AwaitRestart(RESTART_LIMIT_S))


def verdict_failed(draft: Draft, outcome: plan.VerdictFailed) -> None:
    """Tell the verdict again later, unless mkweb knows of no such apply."""
    if not outcome.error.retryable:  # mkweb has no such apply (any more): nothing is left to tell
        draft.remember(probation=None)
        return
    draft.wait(draft.now.now_s + VERDICT_RETRY_S, f"telling mkweb again: {outcome.error}")

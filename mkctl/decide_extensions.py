"""Decisions about mk-fetch: once for each start of mkctl, after the first checkin that succeeded.

Until then mk-fetch asks the machine's own mirror alone. The first good checkin is the moment from which the network and
the configuration in use are known to be good; as each applied push restarts mkctl, a push of other mirrors or lists is
followed by a start, too. Source: protocol 5.3 (extensions are installed at each start of the controller).
"""

from __future__ import annotations

from mkcore import events
from mkcore.errors import NotAuthorized
from mkctl import plan
from mkctl.draft import Draft

FETCH_UNIT = "mk-fetch.service"
FETCH_RETRY_BASE_S = 30.0


def fetch_if_due(draft: Draft) -> None:
    """Start mk-fetch unless that was done, or a configuration is on its way whose restart leads here again."""
    state = draft.state
    if state.fetch_started or state.pending_post is not None or draft.now.now_s < state.fetch_not_before_s:
        return
    draft.remember(fetch_started=True)
    draft.do(plan.FetchExtensions())


def fetch_failed(draft: Draft, outcome: plan.FetchFailed) -> None:
    """Try again with a later checkin: nothing but the extensions waits for it."""
    failures, error = draft.state.fetch_failures + 1, outcome.error
    delay_s = draft.backoff_s(failures, error, FETCH_RETRY_BASE_S)
    draft.remember(fetch_started=False, fetch_failures=failures, fetch_not_before_s=draft.now.now_s + delay_s)
    if failures == 1:
        event = events.RIGHT_MISSING if isinstance(error, NotAuthorized) else events.WAITING
        text = f"extensions: mk-fetch cannot be started: {error}; tried again with later checkins"
        draft.report(event, text, unit=FETCH_UNIT)

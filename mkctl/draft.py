"""A decision under construction: what the rows of the table write into.

Source: the times are those of the controller's main job (README) and of `mkcore.retry`.
"""

from __future__ import annotations

from typing import Any

from mkcore import retry
from mkcore.errors import MkError, ServerRefused
from mkcore.events import Event
from mkctl import plan
from mkctl.plan import Settings, Situation, State

PROBATION_SPACING_S = 60.0


class Draft:
    """The state as it will be and the actions so far; the situation and the settings are only read."""

    def __init__(self, state: State, situation: Situation, settings: Settings) -> None:
        self.state = state
        self.now = situation
        self.settings = settings
        self.actions: list[plan.Action] = []

    def remember(self, **changes: Any) -> None:
        """Change fields of the state."""
        self.state = self.state._replace(**changes)

    def do(self, *actions: plan.Action) -> None:
        """Append actions."""
        self.actions.extend(actions)

    def report(self, event: Event, message: str, **fields: str) -> None:
        """Append an event; the server in use is one of its fields."""
        self.do(plan.Report(event, message, {"server": self.now.server, **fields}))

    def wait(self, until_s: float, reason: str) -> None:
        """Append the wait for the next checkin, which a probation brings forward."""
        limit_s = self.now.now_s + PROBATION_SPACING_S if self.state.probation else until_s
        self.do(plan.Wait(min(until_s, limit_s), reason))

    def backoff_s(self, attempt: int, error: MkError, base_s: float) -> float:
        """Return the delay after failure number `attempt`; a server's Retry-After counts."""
        wish_s = error.retry_after_s if isinstance(error, ServerRefused) else None
        ceiling_s = self.settings.retry_ceiling_s
        rand = self.now.rand
        return retry.backoff_s(attempt, base_s=base_s, ceiling_s=ceiling_s, rand=lambda: rand, retry_after_s=wish_s)

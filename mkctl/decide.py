"""The decisions of the controller: state, outcome and situation in; state and actions out. Pure."""

from __future__ import annotations

from mkctl.plan import Decision, Outcome, Settings, Situation, State


def decide(state: State, outcome: Outcome, situation: Situation, settings: Settings) -> Decision:
    """Decide what follows from one outcome."""
    raise NotImplementedError

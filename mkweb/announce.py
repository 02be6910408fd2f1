"""What mkweb tells the operator about an apply: an event where something ended or is missing, else a line."""

from __future__ import annotations

import logging

from mkcore import events
from mkcore.errors import BusFailed
from mkcore.journal import log_event
from mkweb.apply import Apply, Do, Step

log = logging.getLogger(__name__)


def tell_stored(apply: Apply) -> None:
    """A push was accepted."""
    name = apply.digest[:12]
    log_event(
        log, events.CONFIG_STORED, f"configuration {name} stored; mkctl is restarted with it", digest=apply.digest
    )


def tell_step(step: Step, apply: Apply) -> None:
    """A step was decided and written; `apply` is as it stands after it."""
    name = apply.digest[:12]
    if step.do is Do.CONFIRM:
        log_event(log, events.CONFIG_CONFIRMED, f"configuration {name} confirmed: {apply.verdict}", digest=apply.digest)
    elif step.do is Do.CLOSE:
        log_event(
            log,
            events.CONFIG_ROLLED_BACK,
            f"configuration {name} rolled back to {apply.previous[:12]}: {apply.verdict}; "
            "it is not taken again until it changes",
            digest=apply.digest,
            previous=apply.previous,
            verdict=apply.verdict,
        )
    elif step.do is Do.REFUSE:
        log.warning("configuration %s is taken back: %s", name, apply.verdict)
    else:
        log.info("configuration %s: %s (%s)", name, apply.phase.value, step.why or "next")


def tell_right_missing(unit: str, error: BusFailed) -> None:
    """Polkit is missing or refuses."""
    message = (
        f"polkit does not let mkweb restart {unit} ({error}); check that polkit runs and that the rule of package "
        "mk-core is installed; the old configuration stays in use and the restart is tried again"
    )
    log_event(log, events.RIGHT_MISSING, message, unit=unit)


def tell_ordered() -> None:
    """POST /restart was accepted."""
    log_event(log, events.RESTART_ORDERED, "restart of mkctl ordered through POST /restart")

"""Events of mkctl, each said once per change: a fault that lasts is one line in the journal, not one a minute.

A warning whose text says nothing new, numbers aside ("tried again after 7 s"), is written at DEBUG instead, until
something ended the trouble. Notices and orders are always written: each of them happened.
"""

from __future__ import annotations

import logging
import re
from collections import deque

from mkcore import events
from mkcore.events import Event
from mkcore.journal import log_event

NUMBERS = re.compile(r"\d+(\.\d+)?")
ENDS = {
    events.SERVER_BACK.name: (events.SERVER_LOST, events.BAD_ANSWER, events.CHECKIN_REFUSED, events.WAITING),
    events.SERVER_FOUND.name: (events.SERVER_LOST, events.BAD_ANSWER, events.CHECKIN_REFUSED, events.WAITING),
    events.REGISTERED.name: (events.REGISTRATION_FAILED, events.COLLECTOR_FAILED),
    events.CONFIG_STORED.name: (events.CONFIG_REFUSED,),
}
"""Which event ends the trouble that others told of."""
KEPT = 8
"""Reasons of one trouble that are remembered: several servers that fail in turn are no news each time."""

log = logging.getLogger(__name__)


class Reporter:
    """Writes events; `node` is added to each as MK_NODE."""

    def __init__(self) -> None:
        self.node = ""
        self._said: dict[str, deque[str]] = {}

    def report(self, event: Event, message: str, **fields: object) -> None:
        """Write one event, or a line at DEBUG when it repeats the last one of its kind."""
        for ended in ENDS.get(event.name, ()):
            self._said.pop(ended.name, None)
        # The server is lost once, whatever the later attempts die of; those go to the diagnostics.
        key = "" if event is events.SERVER_LOST else NUMBERS.sub("#", message)
        ends = any(event in ended for ended in ENDS.values())
        said = self._said.setdefault(event.name, deque(maxlen=KEPT if ends else 1))
        if event.priority <= events.WARNING and key in said:
            log.debug("again: %s", message)
            return
        said.append(key)
        log_event(log, event, message, node=self.node, **fields)

"""Having the clock stepped where the server's certificate is not valid yet: asking for the time, starting mk-clock."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from mkcore import events, systemd1
from mkcore.errors import MkError, NotAuthorized, TlsFailed
from mkctl import clock
from mkctl.reports import Reporter

LIMIT_S = clock.DEADLINE_S + clock.TIMEOUT_S
"""How long one correction takes at most."""

_REMEMBERED = 32
"""Servers whose time was not taken: more than a site has."""

log = logging.getLogger(__name__)


class Correction:
    """Done once. ask: leaves the server's time for mk-clock (`clock.ask_time`). server: whom it asks, e.g.
    `https://mk.example`. bus: the connection, or BusFailed.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[None]],
        server: Callable[[], str],
        bus: Callable[[], systemd1.Bus],
        reporter: Reporter,
    ) -> None:
        self._ask = ask
        self._server = server
        self._bus = bus
        self._reporter = reporter
        self._done = False
        self._not_taken: list[str] = []
        self._said = ""

    def helps(self, error: MkError) -> bool:
        """Tell whether a clock that goes forward may mend this error, and was not asked for yet.

        A server whose time mk-clock did not take is not asked again; another one is.
        """
        asked = self._done or self._server() in self._not_taken
        return isinstance(error, TlsFailed) and error.too_early and not asked

    async def make(self) -> None:
        """Ask for the time and have it set.

        A server that does not say the time, or a systemd that does not answer, is asked again at the next failure; the
        reason is said once.
        """
        server = self._server()
        try:
            await self._ask()
            bus = self._bus()
            result = await systemd1.start_unit(bus, clock.UNIT, clock.TIMEOUT_S)
        except NotAuthorized as refused:
            self._done = True
            text = f"{clock.UNIT} may not be started ({refused}); the clock stays"
            self._reporter.report(events.RIGHT_MISSING, text)
        except (MkError, OSError) as failure:
            if str(failure) != self._said:
                self._said = str(failure)
                log.warning("the server's time is not taken: %s", failure)
        else:
            self._done = result is systemd1.JobResult.DONE
            if not self._done:
                self._not_taken = [*self._not_taken, server][-_REMEMBERED:]
            log.info("%s %s", clock.UNIT, await systemd1.describe_end(bus, clock.UNIT, result))

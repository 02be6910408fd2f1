"""People who asked for something over the bus and wait until it has been done.

A caller is served by work that began after the call, so that what was changed on the server before it is seen; all
who wait at that moment share it.
"""

from __future__ import annotations

import asyncio
from typing import Optional

from mkcore.errors import MkError
from mkctl.waiting import Wakeup


class Callers:
    """Who waits for one kind of work. `wakeup` tells the loop that somebody does."""

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup
        self._waiting: list[asyncio.Future[None]] = []
        self._news = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def join(self) -> None:
        """Wait for the work. Raises the MkError that it ended with."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._news = True
        self._wakeup.set()
        await future

    def news(self) -> bool:
        """Tell whether somebody has asked since the last look."""
        news, self._news = self._news, False
        return news

    def take(self) -> list[asyncio.Future[None]]:
        """Everybody who has asked until now, for `settle`; those who ask later wait for the next time."""
        taken, self._waiting = self._waiting, []
        return taken

    def settle_all(self, error: Optional[MkError]) -> None:
        """Tell everybody who waits."""
        settle(self.take(), error)


def settle(callers: list[asyncio.Future[None]], error: Optional[MkError]) -> None:
    """Tell these callers how it ended; those who have gone are left out."""
    for future in callers:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

"""Blocking calls off the loop, in threads that nobody waits for at the end.

The default executor of asyncio joins its threads at exit: a name server that does not answer held a SIGTERM for 7.4
s. A daemon thread per call costs some 0.1 ms and dies with the process, so a stop takes effect at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Callable, TypeVar

from mkcore.errors import MkError

log = logging.getLogger(__name__)

T = TypeVar("T")


class BrokenCall(MkError):
    """A call ended by an error that it does not document: a defect of ours, and no reason for the service to stop."""


async def in_thread(call: Callable[[], T], name: str) -> T:
    """Run `call` in a daemon thread of that name; return what it returns, raise the MkError or OSError that it raises.

    When the caller is cancelled the thread runs on until `call` ends; its result is dropped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: list[T], error: Exception) -> None:
        """Hand over what came of it, in the loop; nobody may want it any more."""
        if future.done():
            return
        if result:
            future.set_result(result[0])
        else:
            future.set_exception(error)

    def work() -> None:
        """Be the thread."""
        result: list[T] = []
        failure: Exception = BrokenCall(f"{name} ended by an unexpected error; its traceback is in the journal")
        try:
            result.append(call())
        except (MkError, OSError) as error:
            failure = error
        finally:  # whatever happened, the waiting coroutine goes on; the threading module prints what is unexpected
            try:
                loop.call_soon_threadsafe(settle, result, failure)
            except RuntimeError:
                log.debug("%s ended after the loop", name)

    threading.Thread(target=work, name=name, daemon=True).start()
    return await future

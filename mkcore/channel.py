"""A connection of the WSGI server: counts what its peer takes, and sends files without reading them.

waitress would read as much of a file as the socket's buffer could hold, send what of it fits now, and read the rest
again. A file with a method `place() -> (descriptor, offset)`, which says where its bytes lie, goes from the page cache
into the socket instead, some at a time, so that one fast reader keeps nobody waiting.

`Inline` and `InlineChannel` stand in for waitress' pool of threads where the application never waits for anything: a
request that takes a fifth of a millisecond costs as much again to be handed to a thread and back.

Source: sendfile(2); waitress' HTTPChannel and ThreadedTaskDispatcher, whose methods are replaced here.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Any

from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.channel import HTTPChannel

SLOWEST_BYTES_PER_S = 1000
TURN_BYTES = 4 << 20
"""What one connection is sent at most before the others have their turn."""

log = logging.getLogger(__name__)


class Channel(HTTPChannel):
    """A connection that knows how much of its answer the peer took and when its present request began."""

    sent_bytes = 0
    mark_bytes = 0
    mark_time = 0.0
    partial: object = None  # the request that is being received
    partial_since = 0.0

    def _flush_some(self, do_close: bool = True) -> bool:
        """Send what the peer takes now, of a file at most its turn; return whether it took anything."""
        outbufs: Any = self.outbufs
        began = self.sent_bytes
        while True:
            buffer = outbufs[0]
            left = len(buffer)
            while left and self.sent_bytes - began < TURN_BYTES:
                sent = self._send_some(buffer, left, len(outbufs) > 1 and len(outbufs[1]) > 0, do_close)
                if not sent:
                    break
                buffer.skip(sent, True)
                self.total_outbufs_len -= sent
                left -= sent
            if left or len(outbufs) == 1:
                break
            outbufs.pop(0).close()
        if self.sent_bytes > began:
            self.last_activity = time.time()
        return self.sent_bytes > began

    def _send_some(self, buffer: Any, left: int, more: bool, do_close: bool) -> int:
        """Send from the beginning of `buffer`; return how many bytes. A file that became shorter ends the connection.

        more: what comes next may go in the same packet.
        """
        connection: Any = self.socket
        place = getattr(buffer.file, "place", None) if isinstance(buffer, ReadOnlyFileBasedBuffer) else None
        try:
            if place is None:
                sent = int(connection.send(buffer.get(self.sendbuf_len), socket.MSG_MORE if more else 0))
            else:
                descriptor, offset = place()
                sent = os.sendfile(connection.fileno(), descriptor, offset, min(left, TURN_BYTES))
        except BlockingIOError:
            return 0
        except OSError as error:
            log.debug("a connection ended while it was answered: %s", error)
            if do_close:
                self.handle_close()
            return 0
        if not sent and place is not None:
            log.warning("a file became shorter while it was sent; its connection is closed")
            self.will_close = True
        self.sent_bytes += sent
        return sent

    def overdue(self, now: float, slow_s: float) -> bool:
        """Tell whether the peer has been too slow, in its request or in taking the answer."""
        if self.request is not self.partial:
            self.partial, self.partial_since = self.request, now
        elif self.partial is not None and not self.requests and now - self.partial_since > slow_s:
            return True
        if not self.total_outbufs_len or self.mark_time == 0.0:
            self.mark_time, self.mark_bytes = now, self.sent_bytes
        elif now - self.mark_time > slow_s:
            if self.sent_bytes - self.mark_bytes < SLOWEST_BYTES_PER_S * slow_s:
                return True
            self.mark_time, self.mark_bytes = now, self.sent_bytes
        return False


class InlineChannel(Channel):
    """A connection whose requests are answered in the loop: nothing else can make room while it waits for room.

    An answer is sent when all of it is there, so that head and content of a small file wake its reader once.
    """

    held = False

    def service(self) -> None:
        """Answer one request."""
        self.held = True
        try:
            super().service()
        finally:
            self.held = False
        self.handle_write()  # and closes, if that was asked for

    def _flush_some(self, do_close: bool = True) -> bool:
        """Send, but for an answer that is being made."""
        return False if self.held else super()._flush_some(do_close)

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Wait for nothing: the next request waits in `Inline` until this one's answer has left."""


class Inline:
    """Runs requests in the server's loop, each connection's next one when the answer before it has left."""

    def __init__(self) -> None:
        self._tasks: list[Any] = []

    def set_thread_count(self, count: int) -> None:
        """There are none."""

    def add_task(self, task: Any) -> None:
        """Have `task` run by the next `run`."""
        self._tasks.append(task)

    def run(self) -> None:
        """Run what can be run now."""
        while True:
            ready = [task for task in self._tasks if not getattr(task, "total_outbufs_len", 0)]
            if not ready:
                return
            self._tasks = [task for task in self._tasks if task not in ready]
            for task in ready:
                task.service()

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """Drop what has not run."""
        for task in self._tasks if cancel_pending else ():
            task.cancel()
        self._tasks = []
        return True

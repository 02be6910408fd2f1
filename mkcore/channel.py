"""A connection of the WSGI server: counts what its peer takes, and sends files without reading them.

waitress would read as much of a file as the socket's buffer could hold, send what of it fits now, and read the rest
again. A file that says where its bytes lie (`Placed`) goes from the page cache into the socket instead, some at a time,
so that one fast reader keeps nobody waiting.

Source: sendfile(2); waitress' HTTPChannel, whose `send` and `_flush_some` are replaced.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any, Protocol, runtime_checkable

from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.channel import HTTPChannel

SLOWEST_BYTES_PER_S = 1000
TURN_BYTES = 4 << 20
"""What one connection is sent at most before the others have their turn."""

log = logging.getLogger(__name__)


@runtime_checkable
class Placed(Protocol):
    """A body that lies in a file."""

    def place(self) -> tuple[int, int]:
        """Return the file's descriptor, and at which of the file's bytes the body goes on."""
        ...


class Channel(HTTPChannel):
    """A connection that knows how much of its answer the peer took and when its present request began."""

    sent_bytes = 0
    mark_bytes = 0
    mark_time = 0.0
    partial: object = None  # the request that is being received
    partial_since = 0.0

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send, and count."""
        sent: int = super().send(data, do_close)
        self.sent_bytes += sent
        return sent

    def _flush_some(self, do_close: bool = True) -> bool:
        """Send what the peer takes now, of a file at most its turn; return whether it took anything."""
        outbufs: Any = self.outbufs
        began = self.sent_bytes
        while True:
            buffer = outbufs[0]
            left = len(buffer)
            while left and self.sent_bytes - began < TURN_BYTES:
                sent = self._send_some(buffer, left, do_close)
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

    def _send_some(self, buffer: Any, left: int, do_close: bool) -> int:
        """Send from the beginning of `buffer`; return how many bytes. A file that became shorter ends it."""
        if not isinstance(buffer, ReadOnlyFileBasedBuffer) or not isinstance(buffer.file, Placed):
            return self.send(buffer.get(self.sendbuf_len), do_close)
        connection: Any = self.socket
        try:
            sent = os.sendfile(connection.fileno(), *buffer.file.place(), min(left, TURN_BYTES))
        except BlockingIOError:
            return 0
        except ConnectionError:
            if do_close:
                self.handle_close()
            return 0
        if not sent:
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

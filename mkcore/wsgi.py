"""A WSGI server for socket-activated services: waitress, with deadlines, a watchdog and an idle exit.

waitress bounds sizes and silence. Added here: a deadline for a whole request (a client that drips one byte per second
is never silent), one for a reader that takes its answer too slowly, WATCHDOG=1 only after a no-op went through the
worker pool, and the end after a while without requests, when systemd holds the socket again. Nothing is lost at that
moment: connections are accepted inside the loop alone, later ones wait in the socket for the next start.

Source: waitress documentation (arguments of serve), sd_notify(3), systemd.socket(5).
"""

from __future__ import annotations

import math
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Optional

from waitress import wasyncore
from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.server import BaseWSGIServer, create_server

from mkcore.channel import Channel, Inline, InlineChannel
from mkcore.lifecycle import Notifier

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_POLL_S = 1.0
_DRAIN_S = 3.0
_CONNECTIONS = 64


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket for `serve` outside systemd; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def serve(
    app: WSGIApplication,
    sockets: Sequence[socket.socket],
    *,
    idle_s: float = math.inf,
    hung_s: float = 60.0,
    slow_s: float = 10.0,
    limit_bytes: int = 1 << 20,
    busy: Callable[[], bool] = lambda: False,
    status: Callable[[], str] = lambda: "Waiting for requests.",
    threads: int = 4,
    connections: int = _CONNECTIONS,
    stop: Optional[threading.Event] = None,
) -> str:
    """Serve `app` on listening sockets until SIGTERM, `stop`, or `idle_s` without a request; return why it ended.

    A request must be complete within `slow_s` and an answer must be taken at 1 kB/s over each `slow_s`, or the
    connection is closed. No progress of any request for `hung_s`, or a worker pool that runs nothing, ends WATCHDOG=1.
    Bodies above `limit_bytes` get 413; more than `connections` peers at once wait in the socket. No idle exit while
    `busy()`. `status()` is shown as the unit's status. Without threads the loop itself runs `app`, which must then
    never wait, and answer with little or with files.
    """
    return _Service(app, sockets, slow_s, limit_bytes, threads, connections).run(idle_s, hung_s, busy, status, stop)


class _Progress:
    """WSGI middleware that counts requests begun and ended, and notes when one last moved."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app
        self.lock = threading.Lock()
        self.active = 0
        self.moved = time.monotonic()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with self.lock:
            if self.active == 0:
                self.moved = time.monotonic()  # time without requests is no hang
            self.active += 1
        streamed: Optional[_Streamed] = None
        try:
            body = self.app(environ, start_response)
            # a plain file is sent by the server's own loop; wrapping it would keep a worker busy for a slow reader
            if not isinstance(body, (ReadOnlyFileBasedBuffer, list, tuple)):
                streamed = _Streamed(body, self)
            return streamed or body
        finally:
            if streamed is None:
                self.end()

    def end(self) -> None:
        """Count a request as ended."""
        with self.lock:
            self.active -= 1
            self.moved = time.monotonic()


class _Streamed:
    """A body that is made while it is sent: each part is progress, close() is the request's end."""

    def __init__(self, body: Iterable[bytes], progress: _Progress) -> None:
        self.body = body
        self.progress = progress
        self.open = True

    def __iter__(self) -> Iterator[bytes]:
        for part in self.body:
            self.progress.moved = time.monotonic()
            yield part

    def close(self) -> None:
        """End the request, once."""
        try:
            close = getattr(self.body, "close", None)
            if close is not None:
                close()
        finally:
            if self.open:
                self.open = False
                self.progress.end()


class _Pulse:
    """A no-op for the worker pool: when it ran, the pool is alive."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.pending = False
        self.ran = False

    def service(self) -> None:
        """Called by a worker."""
        self.ran = True
        self.wake()

    def cancel(self) -> None:
        """Called at shutdown."""

    def defer(self) -> None:
        """Called by the dispatcher of some versions when it queues a task."""


def _nothing() -> None:
    """Do nothing."""


class _Service:
    """One run of the server."""

    def __init__(
        self,
        app: WSGIApplication,
        sockets: Sequence[socket.socket],
        slow_s: float,
        limit_bytes: int,
        threads: int,
        connections: int,
    ) -> None:
        self.progress = _Progress(app)
        self.slow_s = slow_s
        self.channels: dict[int, Any] = {}
        self.notifier = Notifier()
        self.terminated = False
        self.inline = None if threads else Inline()
        dispatcher: Any = self.inline
        self.server: Any = create_server(
            self.progress,
            map=self.channels,
            sockets=list(sockets),
            _dispatcher=dispatcher,
            threads=max(1, threads),
            max_request_body_size=limit_bytes,
            max_request_header_size=32 << 10,
            connection_limit=connections,
            channel_timeout=max(1, math.ceil(slow_s)),
            cleanup_interval=max(1, math.ceil(slow_s / 4)),
            asyncore_use_poll=True,
            ident="mksuite",
            clear_untrusted_proxy_headers=True,
        )
        listeners: list[Any] = [each for each in self.channels.values() if isinstance(each, BaseWSGIServer)]
        self.trigger: Callable[[], None] = listeners[0].pull_trigger
        for listener in listeners:
            listener.channel_class = Channel if threads else InlineChannel
            if not threads:
                listener.pull_trigger = _nothing  # for other threads to wake the loop
        self.pulse = _Pulse(self.trigger)

    def connections(self) -> list[Channel]:
        """Return the open connections."""
        return [each for each in self.channels.values() if isinstance(each, Channel)]

    def run(
        self,
        idle_s: float,
        hung_s: float,
        busy: Callable[[], bool],
        status: Callable[[], str],
        stop: Optional[threading.Event],
    ) -> str:
        """Run the loop to its end; return the reason."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.terminate)
            signal.signal(signal.SIGINT, self.terminate)
        self.notifier.ready(status())
        try:
            reason = self._loop(idle_s, hung_s, busy, status, stop)
            self.notifier.stopping(reason)
            self._drain()
            return reason
        finally:
            self.server.task_dispatcher.shutdown(timeout=1)
            wasyncore.close_all(self.channels)

    def terminate(self, *_: object) -> None:
        """Handle a signal: end the loop soon, and wake it."""
        self.terminated = True
        self.trigger()

    def _loop(
        self,
        idle_s: float,
        hung_s: float,
        busy: Callable[[], bool],
        status: Callable[[], str],
        stop: Optional[threading.Event],
    ) -> str:
        used = fed = time.monotonic()
        poll_s = min(_POLL_S, (self.notifier.watchdog_interval_s or math.inf) / 2)
        while not (self.terminated or (stop is not None and stop.is_set())):
            self._turn(poll_s)
            now = time.monotonic()
            self._close_overdue(now)
            self.notifier.status(status())
            if self.notifier.watchdog_interval_s is not None:
                fed = self._feed_watchdog(now, fed, hung_s)
            if self.connections() or self.progress.active or busy():
                used = now
            if now - used >= idle_s:
                return "No requests for a while, ending."
        return "Ending as ordered."

    def _turn(self, timeout_s: float) -> None:
        """Do what the sockets are ready for, waiting at most so long for any of it."""
        wasyncore.loop(timeout=timeout_s, use_poll=True, map=self.channels, count=1)
        if self.inline is not None:
            self.inline.run()

    def _close_overdue(self, now: float) -> None:
        for channel in self.connections():
            if channel.overdue(now, self.slow_s):
                channel.handle_close()

    def _feed_watchdog(self, now: float, fed: float, hung_s: float) -> float:
        """Send WATCHDOG=1 when a no-op went through the pool and no request hangs; return when it was sent last."""
        interval_s = min(self.notifier.watchdog_interval_s or math.inf, 10.0)
        if not self.pulse.pending and now - fed >= interval_s / 2:
            self.pulse.pending, self.pulse.ran = True, False
            self.server.task_dispatcher.add_task(self.pulse)
        if self.pulse.pending and self.pulse.ran:
            self.pulse.pending = False
            if not self.progress.active or now - self.progress.moved < hung_s:
                self.notifier.watchdog()
            return now
        return fed

    def _drain(self) -> None:
        """Let requests that have begun end, and their answers leave, for a few seconds."""
        for each in [each for each in self.channels.values() if isinstance(each, BaseWSGIServer)]:
            each.accepting = False
        end = time.monotonic() + _DRAIN_S
        while time.monotonic() < end and self._unfinished():
            self._turn(0.05)

    def _unfinished(self) -> bool:
        return any(each.requests or each.total_outbufs_len for each in self.connections())

"""A server that tells machines the time, which is this host's; whoever asks is answered. Source: RFC 5905, 7.3."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Callable

PORT = 123
_FROM_1900 = 2_208_988_800
"""Seconds from the epoch of NTP to that of Unix."""


def build_answer(query: bytes, now: float) -> bytes:
    """Return a stratum-1 server's answer to a client's packet of 48 bytes or more; ``now``: seconds since 1970."""
    stamp = struct.pack("!2I", int(now) + _FROM_1900, int(now % 1 * 2**32))
    head = (query[0] & 0x38) | 4  # no leap second, the client's version, mode 4: a server's
    # stratum 1, asked each 64 s, good to a microsecond; then name, the clock's last setting, origin, receive, transmit
    return struct.pack("!BBbb2I", head, 1, 6, -20, 0, 0) + b"TEST" + stamp + query[40:48] + stamp + stamp


class TimeServer(threading.Thread):
    """The running server on ``address``; leaving its `with` block ends it. ``call`` runs a function in its network."""

    def __init__(self, call: Callable[[Callable[[], socket.socket]], socket.socket], address: str) -> None:
        super().__init__(daemon=True)

        def listen() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((address, PORT))
            return made

        self._socket = call(listen)

    def run(self) -> None:
        while True:
            query, client = self._socket.recvfrom(1024)
            if not query:
                return
            if len(query) >= 48:
                self._socket.sendto(build_answer(query, time.time()), client)

    def __enter__(self) -> TimeServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self.join()
        self._socket.close()

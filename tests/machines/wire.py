"""What machines send to the server, as it passes the bridge: the first line of each request, and each attempt to
connect.

A test that asserts how often a node knocks, or with which words, must not believe the node or the server.

Source: packet(7); RFC 791 and RFC 9293 for the headers.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Callable, Optional

_ETH_P_IP = 0x0800
_TCP = 6
_SYN, _ACK = 0x02, 0x10
_METHODS = (b"GET ", b"POST ", b"PUT ", b"HEAD ")


@dataclass(frozen=True)
class Sent:
    """One thing that a machine sent: a request's first line, or "" for an attempt to connect; monotonic seconds."""

    at_s: float
    line: str


def parse_frame(frame: bytes, port: int, host: str = "") -> Optional[str]:
    """Return what an Ethernet frame holds for TCP ``port``, of the IPv4 address ``host`` where one is named:

    a request's first line, "" for a SYN, None for anything else.
    """
    if len(frame) < 54 or struct.unpack_from("!H", frame, 12)[0] != _ETH_P_IP or frame[23] != _TCP:
        return None
    if host and frame[30:34] != socket.inet_aton(host):
        return None
    tcp = 14 + (frame[14] & 0x0F) * 4
    if len(frame) < tcp + 20 or struct.unpack_from("!H", frame, tcp + 2)[0] != port:
        return None
    flags, data = frame[tcp + 13], frame[tcp + (frame[tcp + 12] >> 4) * 4 :]
    if flags & (_SYN | _ACK) == _SYN:
        return ""
    return data.split(b"\r\n", 1)[0].decode("ascii", "replace") if data.startswith(_METHODS) else None


class Wire:
    """A running recorder on one interface; leaving its `with` block ends it."""

    def __init__(
        self, call: Callable[[Callable[[], socket.socket]], socket.socket], interface: str, port: int, host: str = ""
    ) -> None:
        """Listen on ``interface`` for traffic to ``port``, of this IPv4 address alone where ``host`` names one;
        ``call`` runs a function in the interface's namespace.
        """
        self._port, self._host = port, host
        self._sent: list[Sent] = []
        self._changed = threading.Condition()
        self._ended = threading.Event()

        def listen() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP))
            made.bind((interface, _ETH_P_IP))
            made.settimeout(0.2)
            return made

        self._socket = call(listen)
        self._thread = threading.Thread(target=self._record, daemon=True, name="wire")

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _record(self) -> None:
        while not self._ended.is_set():
            try:
                frame = self._socket.recv(65536)
            except socket.timeout:
                continue
            line = parse_frame(frame, self._port, self._host)
            if line is not None:
                with self._changed:
                    self._sent.append(Sent(time.monotonic(), line))
                    self._changed.notify_all()

    def requests(self, since_s: float = 0.0) -> list[Sent]:
        """Return the requests sent after a moment (monotonic seconds)."""
        with self._changed:
            return [sent for sent in self._sent if sent.line and sent.at_s > since_s]

    def attempts(self, since_s: float = 0.0) -> list[Sent]:
        """Return the attempts to connect after a moment."""
        with self._changed:
            return [sent for sent in self._sent if not sent.line and sent.at_s > since_s]

    def wait_requests(self, count: int, since_s: float, timeout_s: float) -> list[Sent]:
        """Return the requests sent after a moment, as soon as there are ``count``; fewer only at the deadline."""
        with self._changed:
            self._changed.wait_for(
                lambda: sum(1 for sent in self._sent if sent.line and sent.at_s > since_s) >= count, timeout_s
            )
        return self.requests(since_s)

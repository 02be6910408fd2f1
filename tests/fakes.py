"""Servers for tests: real sockets on 127.0.0.1, raw bytes in and out, nothing of the product in them.

`WireServer` records each request byte for byte and answers what a script says: bytes as they are (so recorded answers
of real servers are replayed verbatim), or one of the misbehaviours below. `parse_request` reads a recording with its
own few lines, so that a test compares the product's bytes with a reading that the product had no part in.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Optional, Union

WIRE = Path(__file__).resolve().parent / "data" / "wire"
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Drip:
    """Send the data one byte at a time, this far apart."""

    data: bytes
    interval_s: float


@dataclass(frozen=True)
class Endless:
    """Send `head`, then `chunk` for ever."""

    head: bytes
    chunk: bytes = b"x" * 65536


@dataclass(frozen=True)
class Hang:
    """Send `head` and then nothing, with the connection open."""

    head: bytes = b""


@dataclass(frozen=True)
class Reset:
    """Send `head`, then reset the connection."""

    head: bytes = b""


Play = Union[bytes, Drip, Endless, Hang, Reset]
Script = Callable[[bytes], Play]


@dataclass(frozen=True)
class Recorded:
    """One request taken apart: header names in lower case, in the order sent."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> Optional[str]:
        """The value of a header that is there once; None when it is missing. Twice fails the test."""
        found = [value for key, value in self.headers if key == name.lower()]
        assert len(found) < 2, f"{name} sent {len(found)} times"
        return found[0] if found else None


def parse_request(raw: bytes) -> Recorded:
    """Take a recorded request apart."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    assert separator, raw
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    assert version == "HTTP/1.1", first
    headers = tuple((name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return Recorded(method, target, headers, body)


def read_wire(name: str) -> bytes:
    """Read a file below tests/data/wire."""
    return (WIRE / name).read_bytes()


def json_answer(body: bytes, status: str = "200 OK", headers: Iterable[str] = ()) -> bytes:
    """Put a status line, a JSON content type and the length around a body."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def in_turn(*plays: Play) -> Script:
    """Answer the first request with the first play and so on; the last one serves all later requests."""
    left = list(plays)
    lock = threading.Lock()

    def script(_request: bytes) -> Play:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return script


class WireServer:
    """A server on a port of 127.0.0.1; use as a context manager. `requests` are raw, in order of arrival."""

    def __init__(self, script: Union[Play, Script], host: str = "127.0.0.1") -> None:
        self._script: Script = script if callable(script) else in_turn(script)
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host = host
        self._stopped = threading.Event()
        self._arrived = threading.Condition()
        self._threads: list[threading.Thread] = []
        self.requests: list[bytes] = []
        self.port = 0

    @property
    def uri(self) -> str:
        """Scheme, host and port, as a candidate of discovery has it."""
        return f"http://[{self._host}]:{self.port}" if ":" in self._host else f"http://{self._host}:{self.port}"

    def __enter__(self) -> WireServer:
        self._listener = socket.create_server((self._host, self.port), family=self._family, backlog=64)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), "a connection of the test server did not end"

    def wait_for(self, count: int, deadline_s: float = DEADLINE_S) -> list[bytes]:
        """Wait until this many requests have arrived; fails the test at the deadline."""
        with self._arrived:
            done = self._arrived.wait_for(lambda: len(self.requests) >= count, deadline_s)
            assert done, f"{len(self.requests)} of {count} requests arrived within {deadline_s} s"
            return list(self.requests)

    def _start(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(0.2)
            try:
                request = self._read(connection)
                if request is None:
                    return
                with self._arrived:
                    self.requests.append(request)
                    self._arrived.notify_all()
                self._play(connection, self._script(request))
            except OSError:
                return  # the client has gone, which is its right

    def _read(self, connection: socket.socket) -> Optional[bytes]:
        data = b""
        until = time.monotonic() + DEADLINE_S
        while not self._stopped.is_set() and time.monotonic() < until:
            head, separator, body = data.partition(b"\r\n\r\n")
            if separator and len(body) >= _length(head):
                return data
            chunk = _receive(connection)
            if chunk == b"":
                return None
            data += chunk or b""
        return None

    def _play(self, connection: socket.socket, play: Play) -> None:
        connection.settimeout(DEADLINE_S)
        if isinstance(play, bytes):
            connection.sendall(play)
            connection.shutdown(socket.SHUT_WR)
            self._drain(connection)
        elif isinstance(play, Drip):
            for byte in play.data:
                connection.sendall(bytes((byte,)))
                if self._stopped.wait(play.interval_s):
                    return
        elif isinstance(play, Endless):
            connection.sendall(play.head)
            while not self._stopped.is_set():
                connection.sendall(play.chunk)
        elif isinstance(play, Hang):
            connection.sendall(play.head)
            self._stopped.wait()
        else:
            connection.sendall(play.head)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _drain(self, connection: socket.socket) -> None:
        """Read until the client closes: closing first would let a reset overtake the answer."""
        connection.settimeout(0.2)
        until = time.monotonic() + 5.0
        while not self._stopped.is_set() and time.monotonic() < until:
            if _receive(connection) == b"":
                return


def _receive(connection: socket.socket) -> Optional[bytes]:
    """The next bytes, b"" at the end, None while there is nothing (so that a stopping server notices)."""
    try:
        return connection.recv(65536)
    except socket.timeout:
        return None


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0

"""An HTTP proxy of the tests' own, with nothing of the product in it: whatever host it is asked for, one port answers.

It reads the head of a connection's first request alone, as each of the product's connections has one: CONNECT becomes a
tunnel, an address the path at its end (RFC 9112 section 3.2).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

_GRANTED = "200 Connection established"


class Proxy:
    """A proxy to a port of this machine; `heads` are the requests that it was sent, without their bodies.

    refusal: with which status, and further header lines, it answers itself instead; it may change while it runs.
    reached_after_s: how long it takes to reach the server.
    """

    def __init__(self, port: int, refusal: str = "", reached_after_s: float = 0.0) -> None:
        self._reached_after_s = reached_after_s
        self.heads: list[bytes] = []
        self.refusal = refusal
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def lines(self) -> list[str]:
        """The first line of each request."""
        return [head.split(b"\r\n", 1)[0].decode("ascii") for head in list(self.heads)]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                more = near.recv(4096)
                if not more:
                    return
                data += more
            self.heads.append(data.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n")
            if self.refusal:
                near.sendall(f"HTTP/1.1 {self.refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            elif data.startswith(b"CONNECT "):
                time.sleep(self._reached_after_s)
                near.sendall(f"HTTP/1.1 {_GRANTED}\r\n\r\n".encode())
                self._pass_on(near, b"")
            else:
                self._pass_on(near, _for_server(data))

    def _pass_on(self, near: socket.socket, first: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as far:
            far.sendall(first)
            back = threading.Thread(target=_copy, args=(far, near), daemon=True)
            back.start()
            _copy(near, far)
            back.join()


def _for_server(data: bytes) -> bytes:
    """Return what came with the path of the address in place of it, as the server wants it."""
    line, rest = data.split(b"\r\n", 1)
    method, address, version = line.split(b" ")
    parts = urlsplit(address)
    query = b"?" + parts.query if parts.query else b""
    return b"".join((method, b" ", parts.path or b"/", query, b" ", version, b"\r\n", rest))


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

"""A server at another port and path than mkserver's own: a relay, as a site's web server in front of it is one.

Source: protocol 1.3 and 1.4 for what a base path stands in place of.
"""

from __future__ import annotations

import http.client
import http.server
import threading
from typing import Callable


class Relay:
    """Passes what is asked for below ``base`` at ``port`` on to ``own`` of the server at ``to``; nothing else is there.

    ``asked`` are the paths of all requests. ``call`` runs a function in the network's namespace; threads that it starts
    stay there. Leaving the `with` block ends it.
    """

    def __init__(
        self, call: Callable[[Callable[[], None]], None], to: tuple[str, int], port: int, base: str, own: str
    ) -> None:
        self.asked: list[str] = []
        self._call, self._to, self._port = call, to, port
        self._handler = _make_handler(self.asked, to, base, own)

    def __enter__(self) -> Relay:
        def start() -> None:
            self._server = http.server.ThreadingHTTPServer((self._to[0], self._port), self._handler)
            self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
            self._thread.start()

        self._call(start)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _make_handler(
    asked: list[str], to: tuple[str, int], base: str, own: str
) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            """Pass it on."""
            asked.append(self.path)
            if not self.path.startswith(f"{base}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            connection = http.client.HTTPConnection(*to, timeout=30)
            connection.request(self.command, own + self.path[len(base) :], body, dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

    return Handler

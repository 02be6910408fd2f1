"""The web server of somebody else's mirror, as a program inside a test machine: `stranger.py FOLDER PORT...`.

It serves what lies in FOLDER on each port and knows ranges. A file whose name begins with `cut` is broken off in its
middle when it is asked for from its beginning. Each request is a line on standard output: path, a blank, its Range.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import sys
import threading
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    """Answers GET and HEAD."""

    def do_GET(self) -> None:
        """Send a file, the part of it that is asked for, or the first half of what should come."""
        wanted = self.headers.get("Range", "")
        print(self.path, wanted, flush=True)
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{len(content)}"')
        self.end_headers()
        cut = path.name.startswith("cut") and not start and len(content) > 1 << 20
        with contextlib.suppress(ConnectionError):  # who sees that it is too large asks for no more
            self.wfile.write(content[start : len(content) // 2 if cut else len(content)])

    def log_message(self, *_: object) -> None:
        """Say nothing more."""


def main() -> None:
    """Serve until the end."""
    folder, *ports = sys.argv[1:]
    handler = functools.partial(Handler, directory=folder)
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), handler) for port in ports]
    for server in servers:
        threading.Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    main()

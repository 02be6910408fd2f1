"""The embedded server as a process of its own, and its JSON API as a person's program uses it.

Nothing of mkserver is imported: what is shown and asserted comes over HTTP, as for anybody else.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE = ROOT / "build/image"
PORT = 8026
_NEEDED = "import dbus_next, flask, requests, sdnotify, sqlalchemy, waitress, werkzeug"

T = TypeVar("T")
Where = Callable[[Callable[[], T]], T]
"""Runs a function where the server can be reached: here, or in another network namespace."""


class ServerError(Exception):
    """The server did not start, or refused what was asked of it."""


def call_here(function: Callable[[], T]) -> T:
    """Run a function in this process's own network."""
    return function()


def find_python() -> str:
    """Return a Python that has what mkserver needs: the tests' environment, else the system's. Raises ServerError."""
    tried = [str(ROOT / "build/venv/bin/python"), "/usr/bin/python3", sys.executable]
    for python in tried:
        if (
            Path(python).exists()
            and subprocess.run([python, "-c", _NEEDED], capture_output=True, check=False).returncode == 0
        ):
            return python
    raise ServerError(f"none of {', '.join(tried)} has the embedded server's libraries: run packaging/setup run")


def read_manifest(folder: Path = IMAGE) -> dict[str, Any]:
    """Return the built image's manifest. Raises ServerError when there is none."""
    path = folder / "manifest.json"
    if not path.exists():
        raise ServerError(f"there is no image in {folder}: run make image")
    return dict(json.loads(path.read_text(encoding="utf-8")))


class Server:
    """A running mkserver; leaving its `with` block ends it."""

    def __init__(
        self,
        data: Path,
        *,
        address: str = "127.0.0.1",
        cmdline: str = "",
        password: str = "",
        prefix: Sequence[str] = (),
        where: Where[Any] = call_here,
        keep: bool = False,
        mirror: Optional[Path] = None,
    ) -> None:
        """Prepare a server with its data in ``data`` (made anew unless ``keep``), at ``address`` as in a URI; `start`
        starts it.

        ``mirror`` is a folder that it hands out below /mirror. ``prefix`` is a command that runs it, ``where`` reaches
        it: both for a network namespace.
        """
        self.data, self.address, self._cmdline, self._password = data, address, cmdline, password
        self._prefix, self._where = list(prefix), where
        self._options = ["--mirror", str(mirror)] if mirror else []
        self._python = find_python()
        self.process: Optional[subprocess.Popen[bytes]] = None
        if not keep:
            shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True, exist_ok=True)
        data.chmod(0o750)
        if password:
            self._mkserver("password", "--stdin", "--data", str(data), stdin=password + "\n")

    def _mkserver(self, *arguments: str, stdin: str = "") -> None:
        command = [self._python, "-m", "mkserver", *arguments]
        done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise ServerError(f"mkserver {arguments[0]}: {done.stderr.strip()}")

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and return when it answers. Raises ServerError with its own words when it does not."""
        command = [*self._prefix, self._python, "-m", "mkserver", "run", "--data", str(self.data)]
        command += ["--listen", f"{self.address}:{PORT}", "--cmdline", self._cmdline]
        command += ["--kernel", str(IMAGE / "vmlinuz"), "--initrd", str(IMAGE / "initrd"), *self._options]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        with (self.data / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError, http.client.HTTPException):
                self.get("/api/version")
                if self.process.poll() is None:
                    return
            if self.process.poll() is not None:
                raise ServerError(f"mkserver ended with status {self.process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                self.stop()
                raise ServerError(f"mkserver did not answer within a minute: {self.last_words()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it; what it knows stays in its data."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def last_words(self) -> str:
        """Return the end of its log."""
        lines = (self.data / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "\n".join(lines[-10:]) or "it said nothing"

    def exchange(
        self, method: str, path: str, body: Optional[Mapping[str, Any]] = None, host: str = ""
    ) -> tuple[int, bytes]:
        """Send one request and return status and body; ``host`` replaces the Host header."""
        headers = {"Host": host or f"{self.address}:{PORT}", "Accept": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        if self._password:
            headers["Authorization"] = "Basic " + base64.b64encode(f"mkserver:{self._password}".encode()).decode()

        def send() -> tuple[int, bytes]:
            connection = http.client.HTTPConnection(self.address.strip("[]"), PORT, timeout=30)
            try:
                connection.request(method, path, data, headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        result: tuple[int, bytes] = self._where(send)
        return result

    def send(self, method: str, path: str, body: Optional[Mapping[str, Any]] = None) -> dict[str, Any]:
        """Use the JSON API. Raises ServerError with its error for a status of 400 or more."""
        status, data = self.exchange(method, path, body)
        made = json.loads(data)
        if status >= 400:
            raise ServerError(f"{method} {path}: {status}: {made.get('error')}")
        return dict(made)

    def get(self, path: str) -> dict[str, Any]:
        """Read from the JSON API."""
        return self.send("GET", path)

    def bootstrap(self, host: str) -> str:
        """Return the iPXE script that a DHCP server hands out, for nodes that reach this server as ``host``."""
        status, data = self.exchange("GET", "/ipxe/hanlon", host=host)
        if status != 200:
            raise ServerError(f"no iPXE script: status {status}")
        return data.decode()

    def configure(self, **values: object) -> None:
        """Set configuration keys for all nodes."""
        self.send("PATCH", "/api/config", {"set": values})

    def nodes(self) -> list[dict[str, Any]]:
        """Return all nodes."""
        return list(self.get("/api/nodes")["nodes"])

    def node(self, name: str) -> Optional[dict[str, Any]]:
        """Return one node by id, UUID or MAC; None when the server does not know it."""
        status, data = self.exchange("GET", f"/api/nodes/{name}")
        return dict(json.loads(data)) if status == 200 else None

    def order(self, name: str, order: str) -> None:
        """Have the node's next checkin answered with an order: register, reboot or poweroff."""
        self.send("POST", f"/api/nodes/{name}/orders", {"order": order})

"""A running mkserver for tests: the shipped application behind the shipped HTTP server, and a clock to move."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from mkcore import wsgi
from mkserver.app import build_app, build_services
from mkserver.settings import Limits, Settings

START_S = 1_800_000_000.0


@dataclass
class Clock:
    """Wall clock of the server: a millisecond passes with each look at it; set `now_s` to move it."""

    now_s: float = START_S

    def __call__(self) -> float:
        self.now_s += 0.001
        return self.now_s


@dataclass
class Reply:
    """An HTTP answer: header names lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


@dataclass
class Live:
    """One server on a free port of 127.0.0.1, in a thread of this process; `with Live(path) as live`."""

    data: Path
    kernel: Optional[Path] = None
    initrd: Optional[Path] = None
    mirror: Optional[Path] = None
    cmdline: str = ""
    database_url: str = ""
    limits: Limits = field(default_factory=Limits)
    clock: Clock = field(default_factory=Clock)

    def __enter__(self) -> Live:
        listener = wsgi.bind("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        settings = Settings(
            data=self.data,
            port=self.port,
            kernel=self.kernel,
            initrd=self.initrd,
            mirror=self.mirror,
            cmdline=self.cmdline,
            database_url=self.database_url,
            limits=self.limits,
        )
        self.services = build_services(settings, self.clock)
        self.stop = threading.Event()
        arguments: Mapping[str, Any] = {"slow_s": 30.0, "limit_bytes": 16 << 20, "threads": 8, "stop": self.stop}
        app = build_app(self.services)
        self.thread = threading.Thread(target=wsgi.serve, args=(app, [listener]), kwargs=arguments, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            pass  # wakes the loop, unless it has ended already
        self.thread.join(10)
        self.services.registry.database.close()

    @property
    def base(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: Optional[bytes] = None, headers: Optional[Mapping[str, str]] = None
    ) -> Reply:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        """GET; header names with _ for -."""
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def send(self, method: str, path: str, body: object) -> Reply:
        """Send JSON to the API."""
        return self.ask(method, path, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def register(self, uuid: str, facts: Mapping[str, Any], mac_id: str = "") -> Reply:
        """Register as a Hanlon node."""
        values = {"mac_id": mac_id, "uuid": uuid, "attributes_hash": facts, "last_state": "idle"}
        path = "/hanlon/api/v1/node/register"
        return self.ask("POST", path, json.dumps(values).encode(), {"Content-Type": "text/json"})

    def checkin(self, uuid: str, first: bool = False) -> Reply:
        """Check in as a Hanlon node."""
        more = "&first_checkin=true" if first else ""
        return self.get(f"/hanlon/api/v1/node/checkin?uuid={uuid}&mac_id=&last_state=idle{more}")

    def command(self, uuid: str, first: bool = False) -> str:
        """The command that a checkin is answered with."""
        name: str = self.checkin(uuid, first).json["response"]["command_name"]
        return name

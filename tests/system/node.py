"""A node on a test machine: the suite and the embedded server on one systemd, and what tests ask both of them.

The server listens on the machine's own loopback interface, so a node finds it by its configuration and no packet
leaves the machine.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

from mkcore import events
from tests.machines import nspawn

UUID = "4C4C4544-0042-4410-8051-C3C04F395931"
SERVER_URI = "http://127.0.0.1:8026"
MKWEB, EXTENSIONS, PACKAGES = 2156, 2157, 2158
SITE = f"""\
[server]
uri = "{SERVER_URI}"

[apply]
min_spacing_s = 0
"""
"""A site's own interval or skew would differ from what the server pushes, and so cause a restart."""
CONTROLLER = ("org.mksuite.Controller1", "/org/mksuite/Controller1", "org.mksuite.Controller1")


class Node:
    """The suite on a machine, and the server's view of it."""

    def __init__(self, machine: nspawn.Machine) -> None:
        self.machine = machine

    def start(self) -> None:
        """Enable and start the server, then the suite, as their administrators would."""
        self.machine.run("systemctl", "enable", "--now", "mkserver.service")
        self.machine.run("systemctl", "enable", "--now", "mk.target")

    def start_registered(self) -> None:
        """Start, and wait for the registration."""
        start = self.machine.mark()
        self.start()
        self.check_in()  # not after the start skew
        self.machine.wait_event(events.REGISTERED.id, after=start)

    def check_in(self, check: bool = True) -> str:
        """Have the controller check in now; returns when that checkin has ended."""
        done = self.machine.run("busctl", "call", *CONTROLLER, "CheckIn", check=check)
        return done.stderr.strip()

    def push(self, body: object) -> tuple[int, dict[str, Any]]:
        """Post a configuration to mkweb as a controller would; return status and answer."""
        data = json.dumps(body).encode()
        status, headers, answer = self.machine.http(
            "POST", MKWEB, "/setMkConfig", data, {"Content-Type": "application/json"}
        )
        plain = not headers.get("content-type", "").startswith("application/json")
        return status, {"text": answer.decode()} if plain else json.loads(answer)

    def stored(self) -> dict[str, Any]:
        """Return what `GET /config` says."""
        status, _, answer = self.machine.http("GET", MKWEB, "/config")
        assert status == 200, answer
        found: dict[str, Any] = json.loads(answer)
        return found

    def apply(self) -> dict[str, Any]:
        """Return apply.json, or an empty map."""
        text = self.machine.run("cat", "/run/mkweb/apply.json", check=False).stdout
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def server(self, *words: str) -> Any:
        """Run a verb of `mkserver` and return what it says as JSON."""
        return json.loads(self.machine.output("mkserver", *words, "--json"))

    def set_server(self, **values: object) -> None:
        """Change what the server pushes."""
        self.machine.run("mkserver", "config", "set", "--force", *(f"{key}={value}" for key, value in values.items()))

    def unset_server(self, *keys: str) -> None:
        """Let the server push its defaults of these keys again."""
        self.machine.run("mkserver", "config", "unset", *keys)

    def invocation(self, unit: str = "mkctl.service") -> str:
        """Return which start of a unit this is."""
        return self.machine.property(unit, "InvocationID")

    def count(self, event: events.Event, after: str) -> int:
        """Return how often an event was written since the mark."""
        return len(self.machine.journal(f"MESSAGE_ID={event.id}", after=after))


@contextlib.contextmanager
def boot(
    name: str, layers: list[Path], *, site: str = SITE, credentials: Optional[Mapping[str, str]] = None
) -> Iterator[Node]:
    """Boot a machine with a site configuration and yield the node on it, nothing of it started."""
    with nspawn.boot(name, layers, uuid=UUID, files={"/etc/mk/mk.toml": site}, credentials=credentials) as machine:
        yield Node(machine)


def warnings(machine: nspawn.Machine) -> list[str]:
    """Return what an operator would have to look at: everything of our units at warning and above, and failed units."""
    ours = machine.journal("--unit=mk*", "--priority=warning")
    failed = machine.run("systemctl", "--failed", "--plain", "--no-legend").stdout.splitlines()
    return [str(entry["MESSAGE"]) for entry in ours] + failed

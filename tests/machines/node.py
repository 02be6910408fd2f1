"""A machine under test as its tests speak of it:

over D-Bus, systemd and mkweb from inside, over the server from outside.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Optional

from .complaints import list_complaints
from .journal import Channel
from .qemu import VirtualMachine
from .server import Server
from .wire import Wire

BUS_NAME = "org.mksuite.Controller1"
BUS_PATH = "/org/mksuite/Controller1"

_REQUEST = """\
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
body = sys.stdin.buffer.read()
connection.request(sys.argv[2], sys.argv[3], body or None, {"Content-Type": "application/json"} if body else {})
answer = connection.getresponse()
print(answer.status)
print(answer.read().decode(), end="")
"""

_KILL_IN_PHASE = """\
import json, os, signal, sys
def phase():
    try:
        with open("/run/mkweb/apply.json", "rb") as file:
            return json.load(file)["phase"]
    except (FileNotFoundError, ValueError):
        return ""
while phase() != sys.argv[1]:
    pass
with open("/sys/fs/cgroup/mk.slice/mkweb.service/cgroup.procs") as file:
    for pid in file.read().split():
        os.kill(int(pid), signal.SIGKILL)
print("killed in", phase())
"""


@dataclass(frozen=True)
class Node:
    """A running machine with all that a test looks at."""

    vm: VirtualMachine
    channel: Channel
    server: Server
    wire: Wire

    def check_in(self, *, check: bool = True) -> None:
        """Have mkctl check in now, and return when the server's answer was obeyed.

        Where that answer restarts mkctl, or worse, there may be no reply: ``check=False`` does without.
        """
        call = ("busctl", "call", "--timeout=60", BUS_NAME, BUS_PATH, BUS_NAME, "CheckIn")
        self.channel.run(*call, timeout_s=90, check=check)

    def property(self, name: str) -> Any:
        """Return a property of mkctl's interface."""
        said = self.channel.run("busctl", "get-property", "--json=short", BUS_NAME, BUS_PATH, BUS_NAME, name)
        return json.loads(said.stdout)["data"]

    def show(self, unit: str, *names: str) -> list[str]:
        """Return properties of a unit, in the order of their names."""
        said = self.channel.run("systemctl", "show", unit, *(f"--property={name}" for name in names))
        found = dict(line.partition("=")[::2] for line in said.stdout.splitlines())
        return [found[name] for name in names]

    def invocation(self, unit: str = "mkctl.service") -> str:
        """Return the id of a unit's present run."""
        return self.show(unit, "InvocationID")[0]

    def request(self, method: str, path: str, body: object = None, port: int = 2156) -> tuple[int, str]:
        """Send a request to a loopback server of the machine (mkweb is 2156); returns status and body."""
        data = "" if body is None else json.dumps(body)
        said = self.channel.run("python3", "-I", "-c", _REQUEST, str(port), method, path, stdin=data)
        status, _, text = said.stdout.partition("\n")
        return int(status), text

    def config(self) -> dict[str, Any]:
        """Return what mkweb says of the configuration (GET /config)."""
        status, text = self.request("GET", "/config")
        assert status == 200, text
        return dict(json.loads(text))

    def known(self) -> dict[str, Any]:
        """Return what the server's API says of the machine."""
        found: Optional[dict[str, Any]] = self.server.node(self.vm.machine.uuid)
        assert found is not None, "the server does not know the machine"
        return found

    def write(self, path: str, text: str) -> None:
        """Write a file in the machine, with the directories above it."""
        self.channel.run("mkdir", "-p", path.rpartition("/")[0])
        self.channel.run("tee", path, stdin=text)

    def watch_mkweb(self, phase: str, unit: str) -> None:
        """Have mkweb killed when an apply next stands in ``phase``, by a process that runs as ``unit`` and looks all
        the time.
        """
        watcher = ["python3", "-I", "-c", _KILL_IN_PHASE, phase]
        self.channel.run("systemd-run", "--quiet", "--nice=-20", f"--unit={unit}", "--remain-after-exit", *watcher)

    def was_killed(self, phase: str, unit: str) -> bool:
        """Return whether that process killed mkweb in the phase.

        It is ended. A short phase can pass between two looks.
        """
        self.channel.run("systemctl", "stop", unit)
        return f"killed in {phase}" in self.channel.run("journalctl", "--unit", unit, "--output=cat").stdout

    def failed_units(self) -> str:
        """Return what `systemctl --failed` lists."""
        return self.channel.run("systemctl", "--failed", "--no-legend", "--plain").stdout

    def complaints(self) -> list[str]:
        """Return those of the warnings that are no passing silence of a busy host (tests/machines/complaints.py)."""
        fields = "--output-fields=PRIORITY,MESSAGE,MESSAGE_ID,_SYSTEMD_UNIT"
        said = self.channel.run("journalctl", "--boot", "--unit=mk*", "--output=json", "--quiet", fields)
        return list_complaints([json.loads(line) for line in said.stdout.splitlines()])

    def warnings(self) -> str:
        """Return what our services wrote at warning or above in this boot."""
        said = self.channel.run("journalctl", "--boot", "--unit=mk*", "--priority=warning", "--output=short", "--quiet")
        return said.stdout

"""A node to run the real mkctl in: a root directory, a private system bus with the shipped policy, a fake systemd.

The daemon is the real process (`python -m mkctl run --root DIR`); what it sees of the world is files below DIR, a bus
of its own and sockets of this test. Nothing of the product is patched.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from dbus_next.aio import MessageBus
from dbus_next.constants import MessageType
from dbus_next.message import Message
from dbus_next.signature import Variant

REPO = Path(__file__).resolve().parent.parent.parent
NAME = "org.mksuite.Controller1"
PATH = "/org/mksuite/Controller1"
DEADLINE_S = 60.0
"""Bounds what hangs; what is waited for takes a second, and some where the machine is busy."""

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.systemd1"/>
  </policy>
  <policy user="{user}"><allow own="org.freedesktop.systemd1"/><allow own="org.freedesktop.network1"/>
    <allow own="org.freedesktop.resolve1"/><allow send_destination="org.freedesktop.network1"/>
    <allow send_destination="org.freedesktop.resolve1"/></policy>
  <include>{policy}</include>
</busconfig>
"""


def wait_until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Return the first true value of `condition`; fail the test at the deadline.

    It looks again and again, as there is no one event to wait for: conditions are about files, sockets, lines and
    answers of other processes.
    """
    until = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < until, f"{what}: not within {deadline_s} s"
        time.sleep(0.02)
    return value


class PrivateBus:
    """A dbus-daemon with a system bus's rules and our policy file, whose user mkctl is the one who runs the tests."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "bus"
        user = pwd.getpwuid(os.getuid()).pw_name
        policy = directory / "policy.conf"
        shipped = (REPO / "units/dbus/org.mksuite.Controller1.conf").read_text(encoding="utf-8")
        assert 'user="mkctl"' in shipped
        policy.write_text(shipped.replace('user="mkctl"', f'user="{user}"'), encoding="utf-8")
        self._config = directory / "bus.conf"
        self._config.write_text(BUS_CONFIG.format(address=self.socket, user=user, policy=policy), encoding="utf-8")
        self._process: Optional[subprocess.Popen[bytes]] = None

    @property
    def address(self) -> str:
        """What DBUS_SYSTEM_BUS_ADDRESS is set to."""
        return f"unix:path={self.socket}"

    def start(self) -> None:
        """Start the bus and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(["dbus-daemon", f"--config-file={self._config}", "--nofork", "--nopidfile"])
        wait_until(self._listens, "the private bus")

    def _listens(self) -> bool:
        """Tell whether the bus takes connections: its socket's file is there a moment before."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            return client.connect_ex(str(self.socket)) == 0

    def stop(self) -> None:
        """End the bus with everything on it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def busctl(self, *arguments: str, uid: Optional[int] = None) -> subprocess.CompletedProcess[str]:
        """Run busctl on this bus, as another user where one is named."""
        prefix = ["setpriv", f"--reuid={uid}", "--clear-groups"] if uid is not None else []
        command = [*prefix, "busctl", f"--address={self.address}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S * 2, check=False)


class FakeSystemd:
    """org.freedesktop.systemd1 on the private bus: takes StartUnit, tells of the job's end, lists the given jobs.

    `units` has the active state and the sub-state of each unit that is loaded, `status` what it says of itself."""

    def __init__(self, address: str) -> None:
        self.started: list[str] = []
        self.jobs: list[str] = []
        self.units: dict[str, tuple[str, str]] = {}
        self.status: dict[str, str] = {}
        self.skipped: set[str] = set()
        """The units whose conditions do not hold: systemd starts nothing, and calls the job done."""
        self.restarts: dict[str, int] = {}
        """By the path of the unit's object: how often it was started by itself."""
        self.refuse = ""
        self.busy = False
        """As while it reads its units again: of a unit that it has started it says nothing."""
        self.result = "done"
        self.network = ""
        """What networkd describes, a JSON document; "" for a networkd that knows no such method."""
        self.services: list[tuple[int, int, int, str]] = []
        """What resolved knows of every service: priority, weight, port, host."""
        self.on_start: Callable[[str], None] = lambda unit: None
        self._address = address
        self._stop: Optional[asyncio.Event] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> FakeSystemd:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S), "the fake systemd did not get its name"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None and self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        bus = await MessageBus(bus_address=self._address).connect()
        bus.add_message_handler(lambda message: self._handle(bus, message))
        await bus.request_name("org.freedesktop.systemd1")
        await bus.request_name("org.freedesktop.network1")
        await bus.request_name("org.freedesktop.resolve1")
        self._bus = bus
        self._ready.set()
        await self._stop.wait()
        bus.disconnect()

    def network_changed(self) -> None:
        """Say what networkd says when a link becomes routable."""
        changed = ["org.freedesktop.network1.Manager", {"OnlineState": Variant("s", "online")}, []]
        path, interface = "/org/freedesktop/network1", "org.freedesktop.DBus.Properties"
        message = Message.new_signal(path, interface, "PropertiesChanged", "sa{sv}as", changed)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._bus.send, message)

    def _handle(self, bus: MessageBus, message: Message) -> Any:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if message.member == "Subscribe":
            return Message.new_method_return(message)
        if message.member == "Describe" and self.network:
            return Message.new_method_return(message, "s", [self.network])
        if message.member == "ResolveService":
            found = [[*each, [], ""] for each in self.services]
            return Message.new_method_return(
                message, "a(qqqsa(iiay)s)aayssst", [found, [], message.body[1], message.body[2], "", 0]
            )
        if message.member == "ListJobs":
            jobs = [[i, unit, "start", "running", f"/job/{i}", f"/unit/{i}"] for i, unit in enumerate(self.jobs, 1)]
            return Message.new_method_return(message, "a(usssoo)", [jobs])
        if message.member == "LoadUnit" and self.busy and message.body[0] in self.started:
            return Message.new_error(message, "org.freedesktop.DBus.Error.NoReply", "busy")
        if message.member == "LoadUnit":
            return Message.new_method_return(message, "o", [f"/unit/{message.body[0].encode().hex()}"])
        if message.member == "Get" and message.body[1] == "NRestarts" and message.path in self.restarts:
            return Message.new_method_return(message, "v", [Variant("u", self.restarts[message.path])])
        if message.member == "GetAll":
            return Message.new_method_return(message, "a{sv}", [self._properties(message.path)])
        if message.member not in ("StartUnit", "RestartUnit"):
            return None
        unit = message.body[0]
        if self.refuse:
            return Message.new_error(message, self.refuse, "refused by the test")
        self.started.append(unit)
        self.on_start(unit)
        job = f"/org/freedesktop/systemd1/job/{len(self.started)}"
        bus.send(Message.new_method_return(message, "o", [job]))
        manager, path = "org.freedesktop.systemd1.Manager", "/org/freedesktop/systemd1"
        body = [len(self.started), job, unit, self.result]
        bus.send(Message.new_signal(path, manager, "JobRemoved", "uoss", body))
        return True

    def _properties(self, path: str) -> dict[str, Variant]:
        unit = bytes.fromhex(path.rpartition("/")[2]).decode()
        active, sub = self.units.get(unit, ("inactive", "dead"))
        load = "loaded" if unit in self.units else "not-found"
        texts = {"LoadState": load, "ActiveState": active, "SubState": sub, "StatusText": self.status.get(unit, "")}
        said = {name: Variant("s", text) for name, text in texts.items()}
        return {**said, "ConditionResult": Variant("b", unit not in self.skipped)}


class Daemon:
    """A running `mkctl run`; `lines` is what it wrote to standard error."""

    def __init__(self, node: Node) -> None:
        environment = {
            **os.environ,
            "DBUS_SYSTEM_BUS_ADDRESS": node.bus_address,
            "NOTIFY_SOCKET": str(node.notify_path),
            "WATCHDOG_USEC": "400000",
            "PYTHONPATH": str(REPO),
        }
        command = [sys.executable, "-m", "mkctl", "run", "--root", str(node.root), "--mkweb", node.mkweb_uri]
        self.lines: list[str] = []
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def said(self, pattern: str) -> list[str]:
        """The lines so far in which the pattern is found."""
        return [line for line in list(self.lines) if re.search(pattern, line)]

    def wait_for(self, pattern: str) -> str:
        """Wait for a line; returns it."""
        return str(wait_until(lambda: self.said(pattern), f"line {pattern!r} in {self.lines}")[0])

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)

    def stop(self) -> tuple[int, float]:
        """SIGTERM; returns exit status and how long it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return status, time.monotonic() - began


class Node:
    """The files that mkctl sees, and the daemon on them."""

    def __init__(self, directory: Path, bus: PrivateBus) -> None:
        self.root = directory / "root"
        self.bus = bus
        self.bus_address = bus.address
        self.mkweb_uri = "http://127.0.0.1:9"
        self.notify_path = directory / "notify"
        self.notified: list[str] = []
        for name in ("run/mkctl", "run/mkweb", "run/mk-facts", "etc/mk", "proc/net", "sys/class/net", "sys/kernel"):
            (self.root / name).mkdir(parents=True)
        self.write("proc/cmdline", "quiet\n")
        self.write("sys/kernel/uevent_seqnum", "100\n")
        self.write("sys/class/dmi/id/product_uuid", "564d1a2b-3c4d-5e6f-7081-92a3b4c5d6e7\n")
        self.add_nic("enp77s0", "52:54:00:12:34:56")  # a name that no real machine here has: ioctls are real
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self.notify_path))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                data = self._notify.recv(65536)
            except OSError:
                return
            self.notified += data.decode("utf-8").splitlines()

    def close(self) -> None:
        """Release the sockets."""
        self._notify.close()

    def write(self, name: str, text: str) -> Path:
        """Write a file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def read(self, name: str) -> Any:
        """Read a JSON file below the root."""
        return json.loads((self.root / name).read_text(encoding="utf-8"))

    def add_nic(self, name: str, mac: str) -> None:
        """A physical Ethernet interface in sysfs."""
        base = f"sys/class/net/{name}"
        for leaf, text in (("type", "1"), ("address", mac), ("mtu", "1500"), ("operstate", "up"), ("carrier", "1")):
            self.write(f"{base}/{leaf}", text + "\n")
        (self.root / base / "device").mkdir()

    def configure(self, server: str, more: str = "", interval_s: int = 3600) -> None:
        """The site's configuration: this server, no skew, a checkin only when asked, with diagnostics."""
        text = f'[server]\nuri = "{server}"\n[checkin]\nskew_s = 0\ninterval_s = {interval_s}\n[log]\nlevel = "INFO"\n'
        self.write("etc/mk/mk.toml", text + more)

    def facts(self, generation: int = 1, complete: bool = True, **facts: Any) -> None:
        """Write facts.json as mk-facts does: atomically."""
        body = {
            "version": 1,
            "generation": generation,
            "complete": complete,
            "boottime_usec": time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000 if complete else 0,
            "uevent_seqnum": 100,
            "collectors": {"sysfs": {"status": "ok", "duration_ms": 3, "error": "", "facts": []}},
            "facts": {"hostname": "box", "is_virtual": True, "processorcount": 2, **facts},
        }
        temporary = self.write("run/mk-facts/.facts.json.new", json.dumps(body))
        temporary.rename(self.root / "run/mk-facts/facts.json")

    def status(self) -> dict[str, Any]:
        """status.json, {} while there is none."""
        try:
            return dict(self.read("run/mkctl/status.json"))
        except FileNotFoundError:
            return {}

    def wait_status(self, **wanted: Any) -> dict[str, Any]:
        """Wait until status.json has these values."""

        def matches() -> Optional[dict[str, Any]]:
            status = self.status()
            return status if all(status.get(name) == value for name, value in wanted.items()) else None

        return dict(wait_until(matches, f"status {wanted}, last {self.status()}"))

    @contextmanager
    def daemon(self) -> Iterator[Daemon]:
        """Run mkctl; killed at the end if it still runs."""
        daemon = Daemon(self)
        try:
            yield daemon
        finally:
            if daemon.process.poll() is None:
                daemon.kill()
            print("\n".join(daemon.lines))

    def mkctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of mkctl on this node."""
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.bus_address, "PYTHONPATH": str(REPO)}
        command = [sys.executable, "-m", "mkctl", arguments[0], "--root", str(self.root), *arguments[1:]]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)

    def property(self, name: str) -> Any:
        """A property of the daemon on the bus."""
        run = self.bus.busctl("--json=short", "get-property", NAME, PATH, NAME, name)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)["data"]

    def call(self, method: str) -> subprocess.CompletedProcess[str]:
        """Call a method of the daemon on the bus."""
        return self.bus.busctl("--timeout=60", "call", NAME, PATH, NAME, method)

    def on_bus(self) -> bool:
        """Tell whether the daemon owns its name."""
        return self.bus.busctl("status", NAME).returncode == 0

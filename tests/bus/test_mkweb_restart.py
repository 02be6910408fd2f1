"""The real mkweb on a private bus: restart through systemd's Manager, both verdicts, kill -9 in each phase, idle exit.

systemd and mkctl are stand-ins here, a few lines on the bus with their real names, interfaces and policy; the real
ones are met in the system tier. The listening socket is held by the test as systemd holds it, so that a killed mkweb
loses no connection.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

import pytest
from dbus_next.aio import MessageBus
from dbus_next.constants import MessageType
from dbus_next.message import Message
from dbus_next.signature import Variant

from mkcore.jsonfields import digest
from tests.bus.harness import DEADLINE_S, NAME, PATH, REPO, PrivateBus, wait_until

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
UNIT_PATH = "/org/freedesktop/systemd1/unit/mkctl_2eservice"
NEW = {"mk_checkin_interval": 30}
WANTED = digest(NEW)
EMPTY = digest({})
LAUNCH = (  # what systemd does between fork and exec of a socket-activated service
    "import os, sys; os.dup2(int(sys.argv[1]), 3); "
    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='mkweb.socket'); "
    "os.execv(sys.executable, [sys.executable, '-m', 'mkweb', *sys.argv[2:]])"
)


class Machine:
    """systemd with the one unit mkctl.service, whose mkctl owns its bus name and reads config.json at each start."""

    names: tuple[str, ...] = (SYSTEMD, NAME)

    def __init__(self, address: str, directory: Path) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.results: list[str] = []
        """Of the coming jobs; `done` when empty."""
        self.refusals = 0
        """So many coming restarts are refused as polkit refuses them."""
        self.held = threading.Event()
        self.release = threading.Event()
        self.release.set()
        self.active, self.in_use, self.config_error = "active", EMPTY, ""
        self._directory, self._address = directory, address
        self._ready = threading.Event()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._stop: Optional[asyncio.Event] = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Machine:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        assert self._loop is not None and self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)

    @property
    def restarts(self) -> int:
        return sum(call[0] == "RestartUnit" for call in self.calls)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        bus = await MessageBus(bus_address=self._address).connect()
        bus.add_message_handler(lambda message: self._handle(bus, message))
        for name in self.names:
            await bus.request_name(name)
        self._ready.set()
        await self._stop.wait()
        bus.disconnect()

    def _handle(self, bus: MessageBus, message: Message) -> Any:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if message.path == PATH and message.member == "Get":
            assert message.body[0] == NAME
            value = {"ConfigDigest": self.in_use, "ConfigError": self.config_error}[message.body[1]]
            return Message.new_method_return(message, "v", [Variant("s", value)])
        if message.member == "Subscribe":
            return Message.new_method_return(message)
        if message.member == "LoadUnit":
            return Message.new_method_return(message, "o", [UNIT_PATH])
        if message.path == UNIT_PATH and message.member == "GetAll":
            return Message.new_method_return(message, "a{sv}", [self._properties()])
        if message.member == "RestartUnit":
            self.calls.append((message.member, message.signature, *message.body))
            if self.refusals:
                self.refusals -= 1
                name = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
                return Message.new_error(message, name, "Interactive authentication required.")
            asyncio.get_running_loop().create_task(self._restart(bus, message))
            return True
        return None

    def start_mkctl(self) -> None:
        """What a start of mkctl does, as far as mkweb sees it."""
        self.in_use, self.config_error = digest(json.loads((self._directory / "config.json").read_text())), ""

    def _properties(self) -> dict[str, Variant]:
        text = {"LoadState": "loaded", "ActiveState": self.active, "SubState": "running", "Result": "success"}
        text["StatusText"] = "Reading the configuration."
        return {**{k: Variant("s", v) for k, v in text.items()}, "InvocationID": Variant("ay", b"\xab" * 16)}

    async def _restart(self, bus: MessageBus, message: Message) -> None:
        job = f"/org/freedesktop/systemd1/job/{self.restarts}"
        bus.send(Message.new_method_return(message, "o", [job]))
        self.held.set()
        await asyncio.get_running_loop().run_in_executor(None, self.release.wait)
        result = self.results.pop(0) if self.results else "done"
        if result == "done":
            await asyncio.get_running_loop().run_in_executor(None, self.start_mkctl)
        self.active = "active" if result == "done" else "activating"
        body = [self.restarts, job, message.body[0], result]
        bus.send(Message.new_signal("/org/freedesktop/systemd1", MANAGER, "JobRemoved", "uoss", body))


class Mkweb:
    """The process, started again and again on one socket, and its files."""

    def __init__(self, directory: Path, bus: PrivateBus) -> None:
        self.root, self.directory = directory / "root", directory / "root/run/mkweb"
        self.directory.mkdir(parents=True)
        self.bus = bus
        tools = directory / "tools"
        tools.mkdir()
        fake = tools / "journalctl"
        fake.write_text(f'#!/bin/sh\necho "$@" >> {directory}/journalctl\necho "the last line of mkctl"\n')
        fake.chmod(0o755)
        self.path = f"{tools}:{os.environ['PATH']}"
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(directory / "notify"))
        self.notified: list[str] = []
        self.process: Optional[subprocess.Popen[str]] = None
        self.lines: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                self.notified += self.notify.recv(65536).decode().splitlines()

    def start(self, *options: str) -> None:
        """Start it as systemd does at a connection."""
        environment = {
            **os.environ,
            "PATH": self.path,
            "PYTHONPATH": str(REPO),
            "DBUS_SYSTEM_BUS_ADDRESS": self.bus.address,
            "NOTIFY_SOCKET": str(self.notify.getsockname()),
            "WATCHDOG_USEC": "1000000",
        }
        number = self.listener.fileno()
        command = [sys.executable, "-c", LAUNCH, str(number), "--root", str(self.root), *options]
        self.process = subprocess.Popen(command, env=environment, pass_fds=(number,), stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.lines.extend(line.rstrip("\n") for line in process.stderr)

    def end(self, sign: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        assert self.process is not None
        self.process.send_signal(sign)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)
        self.listener.close()
        self.notify.close()
        print("\n".join(self.lines))

    def ask(self, method: str, path: str, body: Optional[object] = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, path, content, {"Host": "localhost:2156"})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, data.decode() if response.headers["Content-Type"] == "text/plain" else json.loads(data)

    def read(self, name: str = "apply.json") -> Any:
        try:
            return json.loads((self.directory / name).read_text())
        except FileNotFoundError:
            return {}

    def wait_phase(self, phase: str) -> Any:
        """Wait until apply.json says so, for a refusal until the rollback is over."""

        def reached() -> Any:
            apply = self.read()
            over = phase != "refused" or apply.get("rolled_back")
            return apply if apply.get("phase") == phase and over else None

        return wait_until(reached, f"phase {phase}, now {self.read()}")


@pytest.fixture
def mkweb(tmp_path: Path, bus: PrivateBus) -> Iterator[Mkweb]:
    mkweb = Mkweb(tmp_path, bus)
    yield mkweb
    mkweb.close()


@pytest.fixture
def machine(mkweb: Mkweb, bus: PrivateBus) -> Iterator[Machine]:
    with Machine(bus.address, mkweb.directory) as machine:
        yield machine


def push(mkweb: Mkweb, config: object = NEW) -> None:
    assert mkweb.ask("POST", "/setMkConfig", config) == (
        200,
        "New configuration saved, Microkernel Controller restarted",
    )


def test_the_whole_way_of_a_good_configuration(mkweb: Mkweb, machine: Machine) -> None:
    mkweb.start()
    push(mkweb)
    mkweb.wait_phase("probation")
    assert machine.calls == [("RestartUnit", "ss", "mkctl.service", "replace")]
    assert machine.in_use == WANTED
    assert mkweb.ask("POST", "/setMkConfig", {"mk_checkin_interval": 31})[0] == 409
    assert mkweb.ask("POST", "/confirm", {"digest": WANTED})[0] == 200
    mkweb.wait_phase("confirmed")
    assert machine.restarts == 1
    shown = mkweb.ask("GET", "/config")[1]
    assert (shown["config"], shown["digest"], shown["previous_digest"]) == (NEW, WANTED, EMPTY)
    assert mkweb.ask("POST", "/setMkConfig", {"mk_checkin_interval": 31})[0] == 429
    assert mkweb.end(signal.SIGTERM) == 0
    wait_until(lambda: "READY=1" in mkweb.notified, "what the service notified")
    probation = "is probation"
    wait_until(lambda: any(each.startswith("STATUS=") and probation in each for each in mkweb.notified), probation)


def test_a_failed_start_is_rolled_back_with_its_last_words(mkweb: Mkweb, machine: Machine, tmp_path: Path) -> None:
    mkweb.start()
    machine.results = ["failed"]
    push(mkweb)
    apply = mkweb.wait_phase("refused")
    assert "job failed" in apply["verdict"]
    assert "STATUS: Reading the configuration." in apply["verdict"]
    assert "journal: the last line of mkctl" in apply["verdict"]
    assert "_SYSTEMD_INVOCATION_ID=" + "ab" * 16 in (tmp_path / "journalctl").read_text()
    assert (machine.in_use, machine.active, machine.restarts) == (EMPTY, "active", 2)
    assert mkweb.read("config.json") == {}
    shown = mkweb.ask("GET", "/config")[1]["apply"]
    assert shown["verdict"] == apply["verdict"]
    assert shown["spacing_s"] == 120
    status, body = mkweb.ask("POST", "/setMkConfig", NEW)
    assert status == 422
    assert "rolled back before" in body["error"]


def test_mkctl_refuses(mkweb: Mkweb, machine: Machine) -> None:
    mkweb.start()
    push(mkweb)
    mkweb.wait_phase("probation")
    assert mkweb.ask("POST", "/refuse", {"digest": WANTED, "reason": "3 checkins failed"})[0] == 200
    apply = mkweb.wait_phase("refused")
    assert "3 checkins failed" in apply["verdict"]
    assert (machine.in_use, machine.restarts) == (EMPTY, 2)


def test_a_right_that_is_missing_is_told_once_and_tried_again(mkweb: Mkweb, machine: Machine) -> None:
    machine.refusals = 2
    mkweb.start()
    push(mkweb)
    wait_until(lambda: machine.restarts == 2, "a second attempt")
    assert (mkweb.read()["phase"], machine.in_use) == ("restarting", EMPTY)
    mkweb.wait_phase("probation")
    assert len([line for line in mkweb.lines if "polkit" in line]) == 1


@pytest.mark.parametrize("phase", ["stored", "restarting", "probation", "refused"])
def test_kill_9_in_each_phase_is_finished_by_the_next_start(mkweb: Mkweb, machine: Machine, phase: str) -> None:
    mkweb.start()
    if phase in ("stored", "restarting"):
        machine.release.clear()  # the restart hangs, so mkweb stays in its phase
    push(mkweb)
    if phase in ("stored", "restarting"):
        wait_until(machine.held.is_set, "the restart")
    else:
        mkweb.wait_phase("probation")
    if phase == "refused":
        machine.release.clear()
        machine.held.clear()
        assert mkweb.ask("POST", "/refuse", {"digest": WANTED})[0] == 200
        wait_until(machine.held.is_set, "the restart with the previous one")
    mkweb.end(signal.SIGKILL)
    if (
        phase == "stored"
    ):  # over in a moment; what its one write leaves is this, with the files that mkctl reads still old
        path = mkweb.directory / "apply.json"
        path.write_text(json.dumps({**mkweb.read(), "phase": "stored"}))
        (mkweb.directory / "config.json").write_text("{}")
    assert mkweb.read()["phase"] == phase
    machine.release.set()
    mkweb.start()
    if phase != "refused":
        mkweb.wait_phase("probation")
        assert mkweb.ask("POST", "/confirm", {"digest": WANTED})[0] == 200
        mkweb.wait_phase("confirmed")
    else:
        mkweb.wait_phase("refused")
    wait_until(lambda: machine.in_use == (EMPTY if phase == "refused" else WANTED), "mkctl with the right one")
    assert mkweb.read("config.json") == ({} if phase == "refused" else NEW)


def test_a_request_during_the_kill_is_answered_by_the_next_start(mkweb: Mkweb, machine: Machine) -> None:
    mkweb.start()
    assert mkweb.ask("GET", "/health")[0] == 200
    mkweb.end(signal.SIGKILL)
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(mkweb.ask("GET", "/health")[0]))
    waiting.start()
    mkweb.start()
    waiting.join(DEADLINE_S)
    assert answers == [200]


def test_it_ends_when_idle_but_never_with_an_apply_open(mkweb: Mkweb, machine: Machine) -> None:
    mkweb.start("--idle", "1")
    push(mkweb)
    mkweb.wait_phase("probation")
    watched = mkweb.notified.count("WATCHDOG=1")
    wait_until(lambda: mkweb.notified.count("WATCHDOG=1") >= watched + 2, "two watchdog messages")  # two seconds
    assert mkweb.process is not None
    assert mkweb.process.poll() is None
    assert mkweb.ask("POST", "/confirm", {"digest": WANTED})[0] == 200
    assert mkweb.process.wait(DEADLINE_S) == 0
    wait_until(lambda: "STOPPING=1" in mkweb.notified, "what the service notified")
    mkweb.start("--idle", "1")
    assert mkweb.ask("GET", "/config")[1]["apply"]["phase"] == "confirmed"


def test_an_ordered_restart(mkweb: Mkweb, machine: Machine) -> None:
    mkweb.start()
    assert mkweb.ask("POST", "/restart")[0] == 200
    wait_until(lambda: machine.restarts == 1, "the restart")
    assert mkweb.ask("POST", "/restart")[0] == 429


def test_no_bus_at_all(mkweb: Mkweb, bus: PrivateBus) -> None:
    bus.stop()
    mkweb.start()
    push(mkweb)
    wait_until(lambda: "no connection" in mkweb.ask("GET", "/health")[1]["detail"], "the reason in the status")
    assert mkweb.read()["phase"] == "restarting"
    assert mkweb.end(signal.SIGTERM) == 0


def test_without_a_socket_it_says_what_to_do() -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    command = [sys.executable, "-m", "mkweb"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (run.returncode, run.stderr.count("\n")) == (71, 1)
    assert "--listen" in run.stderr

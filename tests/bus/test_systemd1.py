"""mkcore.systemd1 against a private bus, where a stand-in for systemd's Manager answers in every order and mood.

The stand-in is no systemd: it shows that our side follows the protocol. The real one is asked in the system tier.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from dbus_next import Message, MessageType, Variant
from dbus_next.aio import MessageBus

from mkcore import systemd1
from mkcore.errors import BusFailed, NotAuthorized
from mkcore.systemd1 import JobResult, UnitState

SYSTEMD = "org.freedesktop.systemd1"
SYSTEMD_PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
UNIT_PATH = "/org/freedesktop/systemd1/unit/x"
UNIT = {
    "LoadState": Variant("s", "loaded"),
    "ActiveState": Variant("s", "active"),
    "SubState": Variant("s", "running"),
    "InvocationID": Variant("ay", bytes(range(16))),
    "Conditions": Variant("a(sbbsi)", []),
}
SERVICE = {"Result": Variant("s", "success"), "StatusText": Variant("s", "Waiting.")}
ERRORS = {
    "interactive.service": "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
    "denied.service": "org.freedesktop.DBus.Error.AccessDenied",
    "absent.service": "org.freedesktop.systemd1.NoSuchUnit",
}


class StandIn(threading.Thread):
    """Owns systemd's and networkd's names; what a job does follows from the unit's name."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.ready = threading.Event()
        self.calls: list[str] = []
        self.subscribers: set[str] = set()
        self.jobs = 0
        self.on_job: Callable[[], None] = lambda: None

    def run(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self.bus = await MessageBus(bus_address=self.address).connect()
        self.other = await MessageBus(bus_address=self.address).connect()
        self.bus.add_message_handler(self._answer)
        await self.bus.request_name(SYSTEMD)
        await self.bus.request_name("org.freedesktop.network1")
        self.ready.set()
        for bus in (self.bus, self.other):
            with contextlib.suppress(EOFError, OSError):
                await bus.wait_for_disconnect()

    def say(self, work: Callable[[], None]) -> None:
        """Run something in the stand-in's own thread."""
        self.loop.call_soon_threadsafe(work)

    def network_changed(self, path: str, **changed: str) -> None:
        body = ["org.freedesktop.network1.Manager", {name: Variant("s", value) for name, value in changed.items()}, []]
        self.say(
            lambda: self.bus.send(  # type: ignore[func-returns-value]
                Message.new_signal(path, "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", body)
            )
        )

    def _answer(self, message: Message) -> Optional[Message]:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        self.calls.append(message.member)
        if message.member == "Subscribe":
            if message.sender in self.subscribers:
                return Message.new_error(message, "org.freedesktop.systemd1.AlreadySubscribed", "Already")
            self.subscribers.add(message.sender)
            return Message.new_method_return(message)
        if message.member in ("StartUnit", "RestartUnit"):
            return self._job(message)
        if message.member == "LoadUnit":
            return Message.new_method_return(message, "o", [UNIT_PATH])
        if message.member == "GetAll":
            properties = SERVICE if message.body[0].endswith("Service") else UNIT
            return Message.new_method_return(message, "a{sv}", [properties])
        if message.member == "Get":
            return Message.new_method_return(message, "v", [Variant("a{sv}", {"inner": Variant("as", ["deep"])})])
        return None

    def _job(self, message: Message) -> Optional[Message]:
        unit, mode = message.body
        assert mode == "replace"
        if unit in ERRORS:
            return Message.new_error(message, ERRORS[unit], "no such luck")
        self.jobs += 1
        self.on_job()
        job = f"/org/freedesktop/systemd1/job/{self.jobs}"
        reply = Message.new_method_return(message, "o", [job])
        word = unit.split(".")[0]
        if word == "mute":
            return self._swallow(message)
        if word == "early":
            self._removed(self.bus, job, unit, "done")
            return reply
        self.bus.send(reply)
        self._removed(self.bus, job + "99", "other.service", "failed")
        if word == "spoofed":
            self._removed(self.other, job, unit, "done")
            self.loop.call_later(0.2, self._removed, self.bus, job, unit, "failed")
        elif word != "endless":
            self._removed(self.bus, job, unit, word)
        return self._swallow(message)

    def _swallow(self, message: Message) -> Any:
        return True  # dbus-next: handled, send nothing more

    def _removed(self, bus: MessageBus, job: str, unit: str, result: str) -> None:
        body = [self.jobs, job, unit, result]
        bus.send(Message.new_signal(SYSTEMD_PATH, MANAGER, "JobRemoved", "uoss", body))


BUS_CONFIG = """<busconfig>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
  </policy>
</busconfig>
"""


@contextlib.contextmanager
def private_bus(directory: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A bus with nothing on it that could be activated, and without the rules of a system bus."""
    config = directory / "bus.conf"
    config.write_text(BUS_CONFIG.format(path=directory / "bus"), encoding="utf-8")
    command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        yield daemon.stdout.readline().strip(), daemon
        daemon.kill()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a private bus."""
    with private_bus(tmp_path) as (where, _):
        yield where


@pytest.fixture
def systemd(address: str) -> StandIn:
    stand_in = StandIn(address)
    stand_in.start()
    assert stand_in.ready.wait(20)
    return stand_in


def with_bus(address: str, work: Callable[[MessageBus], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        bus = await systemd1.connect(address)
        try:
            return await work(bus)
        finally:
            bus.disconnect()

    return asyncio.run(whole())


@pytest.mark.parametrize(
    ("unit", "result"),
    [
        *((f"{result.value}.service", result) for result in JobResult),
        ("early.service", JobResult.DONE),
        ("spoofed.service", JobResult.FAILED),
        ("a-result-of-later-versions.service", JobResult.FAILED),
    ],
)
def test_the_result_is_that_of_the_own_job(address: str, systemd: StandIn, unit: str, result: JobResult) -> None:
    assert with_bus(address, lambda bus: systemd1.start_unit(bus, unit, 20)) is result
    assert systemd1.restart_unit_blocking(unit, 20, address) is result
    assert [name for name in systemd.calls if name.endswith("Unit")] == ["StartUnit", "RestartUnit"]


def test_several_jobs_on_one_connection(address: str, systemd: StandIn) -> None:
    async def work(bus: MessageBus) -> list[JobResult]:
        first = await asyncio.gather(
            *(systemd1.start_unit(bus, f"{word}.service", 20) for word in ("done", "failed", "early"))
        )
        return [*first, await systemd1.restart_unit(bus, "canceled.service", 20)]

    results = with_bus(address, work)
    assert results == [JobResult.DONE, JobResult.FAILED, JobResult.DONE, JobResult.CANCELED]


def test_a_job_that_does_not_end_is_a_timeout(address: str, systemd: StandIn) -> None:
    assert systemd1.restart_unit_blocking("endless.service", 3.0, address) is JobResult.TIMEOUT


@pytest.mark.parametrize("unit", ["interactive.service", "denied.service"])
def test_refusals_are_told_apart_from_failures(address: str, systemd: StandIn, unit: str) -> None:
    with pytest.raises(NotAuthorized) as caught:
        systemd1.restart_unit_blocking(unit, 20, address)
    assert caught.value.error_name == ERRORS[unit]
    assert "RestartUnit" in str(caught.value)
    assert "no such luck" in str(caught.value)


def test_other_errors_keep_their_name(address: str, systemd: StandIn) -> None:
    with pytest.raises(BusFailed) as caught:
        systemd1.restart_unit_blocking("absent.service", 20, address)
    assert caught.type is BusFailed
    assert caught.value.error_name == "org.freedesktop.systemd1.NoSuchUnit"


def test_a_systemd_that_does_not_answer_is_a_failure_in_time(address: str, systemd: StandIn) -> None:
    with pytest.raises(BusFailed, match=r"StartUnit of org\.freedesktop\.systemd1 was not answered within 3 s"):
        with_bus(address, lambda bus: systemd1.start_unit(bus, "mute.service", 3.0))


def test_states_and_properties(address: str, systemd: StandIn) -> None:
    state = UnitState("loaded", "active", "running", "success", "000102030405060708090a0b0c0d0e0f", "Waiting.", True)
    assert systemd1.unit_state_blocking("mkctl.service", address) == state
    target = systemd1.unit_state_blocking("mk.target", address)
    assert (target.active, target.result, target.status_text) == ("active", "", "")
    value = systemd1.get_property_blocking(SYSTEMD, "/x", "a.b", "C", address)
    assert value == {"inner": ["deep"]}


def test_the_network_is_watched_until_the_end(address: str, systemd: StandIn) -> None:
    async def work(bus: MessageBus) -> list[dict[str, Any]]:
        seen: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        end = await systemd1.watch_network(bus, seen.put_nowait)
        systemd.network_changed("/org/freedesktop/network1/link/_32", AddressState="routable")
        systemd.network_changed("/org/freedesktop/network1", OnlineState="online")
        systemd.network_changed("/org/freedesktop/elsewhere", OnlineState="degraded")
        got = [await asyncio.wait_for(seen.get(), 20) for _ in range(2)]
        await end()
        systemd.network_changed("/org/freedesktop/network1", OnlineState="offline")
        await systemd1.get_property(bus, SYSTEMD, "/x", "a.b", "C")  # one round trip later it would have come
        return got + ([seen.get_nowait()] if not seen.empty() else [])

    assert with_bus(address, work) == [{"AddressState": "routable"}, {"OnlineState": "online"}]


def test_nobody_owns_the_name(address: str) -> None:
    with pytest.raises(BusFailed) as caught:
        systemd1.unit_state_blocking("x.service", address)
    assert caught.value.error_name == "org.freedesktop.DBus.Error.ServiceUnknown"


@pytest.mark.parametrize(
    "where", ["unix:path=/no/such/bus", "nonsense", "unix:path=/dev/null", "tcp:host=127.0.0.1,port=1"]
)
def test_no_bus_is_one_line(where: str) -> None:
    with pytest.raises(BusFailed, match=f"^no connection to {where}: ") as caught:
        systemd1.unit_state_blocking("x.service", where)
    assert caught.value.error_name == ""


def test_a_bus_that_dies_meanwhile_ends_the_wait(tmp_path: Path) -> None:
    with private_bus(tmp_path) as (where, daemon):
        stand_in = StandIn(where)
        stand_in.start()
        assert stand_in.ready.wait(20)
        stand_in.on_job = daemon.kill
        with pytest.raises(BusFailed, match="the connection to the bus is lost"):
            systemd1.restart_unit_blocking("endless.service", 20, where)

"""Asking systemd and its companions over D-Bus: start and restart units, read states and properties.

Calls are low-level messages with literal names and signatures. A job is waited for by its own JobRemoved signal, which
may arrive before the reply that names the job: signals are kept from before the call on. Every call has a deadline.

Source: org.freedesktop.systemd1(5), org.freedesktop.network1(5), D-Bus specification.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageType
from dbus_next.errors import AuthError, DBusError, InvalidAddressError
from dbus_next.message import Message
from dbus_next.signature import Variant

from mkcore.errors import BusFailed, NotAuthorized

CALL_TIMEOUT_S = 10.0
_LOSS_CHECK_S = 1.0
_LOOK_S = 0.5
_SYSTEMD = "org.freedesktop.systemd1"
_SYSTEMD_PATH = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_NETWORKD = "org.freedesktop.network1"
_NETWORKD_PATH = "/org/freedesktop/network1"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_ALREADY_SUBSCRIBED = "org.freedesktop.systemd1.AlreadySubscribed"
_REFUSALS = (
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
    "org.freedesktop.DBus.Error.AuthFailed",
    "org.freedesktop.PolicyKit1.Error.NotAuthorized",
    "org.freedesktop.PolicyKit1.Error.Failed",
)
# systemd passes on, under whatever name it has, the error of not reaching polkitd: "Unit polkit.service is masked."
_POLKIT = re.compile("polkit|PolicyKit")
T = TypeVar("T")
Bus = MessageBus
"""A connection, for whoever passes it on."""


class JobResult(enum.Enum):
    """How a job ended, in systemd's words; `timeout` also when it did not end while we waited."""

    DONE = "done"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELED = "canceled"
    DEPENDENCY = "dependency"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class UnitState:
    """A unit as systemd shows it, e.g. load "loaded", active "active", sub "running", result "success".

    `result` and `status_text` are "" for units that are no services; `invocation_id` is 32 hexadecimal digits, "" for a
    unit that never ran. `conditions_held`: at the last start of it; before the first one this says nothing.
    """

    load: str
    active: str
    sub: str
    result: str
    invocation_id: str
    status_text: str
    conditions_held: bool


async def connect(address: str = "") -> MessageBus:
    """Connect to the system bus, or to the bus at `address`; raise BusFailed when there is none or it refuses."""
    try:
        bus = MessageBus(bus_address=address) if address else MessageBus(bus_type=BusType.SYSTEM)
        return await asyncio.wait_for(bus.connect(), CALL_TIMEOUT_S)
    except (OSError, EOFError, AuthError, InvalidAddressError, DBusError, asyncio.TimeoutError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BusFailed(f"no connection to {address or 'the system bus'}: {reason}") from None


async def call(
    bus: MessageBus,
    destination: str,
    path: str,
    interface: str,
    member: str,
    signature: str = "",
    body: tuple[object, ...] = (),
    *,
    timeout_s: float = CALL_TIMEOUT_S,
) -> Message:
    """Call a method and return the reply; raise NotAuthorized for a refusal, BusFailed for any other failure."""
    message = Message(
        destination=destination, path=path, interface=interface, member=member, signature=signature, body=list(body)
    )
    if not bus.connected:
        raise BusFailed(f"{member} of {destination}: the connection to the bus is lost")
    try:
        reply = await asyncio.wait_for(bus.call(message), timeout_s)
    except asyncio.TimeoutError:
        raise BusFailed(f"{member} of {destination} was not answered within {timeout_s:g} s") from None
    except (OSError, EOFError):
        raise BusFailed(f"{member} of {destination}: the connection to the bus is lost") from None
    except DBusError as error:
        raise BusFailed(f"{member} of {destination} failed: {error.text}") from None
    if reply is None:
        raise BusFailed(f"{member} of {destination}: the connection to the bus is lost")
    if reply.message_type is MessageType.ERROR:
        name = str(reply.error_name)
        text = f"{member} of {destination} failed: {reply.body[0] if reply.body else name}"
        refused = name in _REFUSALS or _POLKIT.search(text)
        raise NotAuthorized(f"{text} ({name})", name) if refused else BusFailed(f"{text} ({name})", name)
    return reply


async def start_unit(bus: MessageBus, unit: str, timeout_s: float) -> JobResult:
    """Start a unit and wait for the job; a unit that is active already is DONE. Raises NotAuthorized, BusFailed."""
    return await _run_job(bus, "StartUnit", unit, timeout_s)


async def restart_unit(bus: MessageBus, unit: str, timeout_s: float) -> JobResult:
    """Restart a unit, or start it, and wait for the job. Raises NotAuthorized, BusFailed."""
    return await _run_job(bus, "RestartUnit", unit, timeout_s)


class _Jobs:
    """Collects JobRemoved signals: the job's path -> its result."""

    def __init__(self) -> None:
        self.results: dict[str, tuple[str, str]] = {}
        self.changed = asyncio.Event()

    def take(self, message: Message) -> bool:
        """Note a signal; the sender is kept, because anybody on the bus may send a signal of this name."""
        if (
            message.message_type is MessageType.SIGNAL
            and message.member == "JobRemoved"
            and message.interface == _MANAGER
            and message.signature == "uoss"
        ):
            self.results[message.body[1]] = (str(message.sender), message.body[3])
            self.changed.set()
        return False

    async def result(self, bus: MessageBus, job: str, sender: str) -> str:
        """Wait until `sender` says that `job` is over; raise BusFailed when the bus goes away (no signal says so)."""
        while self.results.get(job, ("", ""))[0] != sender:
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), _LOSS_CHECK_S)
            except asyncio.TimeoutError:
                if not bus.connected:
                    raise BusFailed(f"{job}: the connection to the bus is lost") from None
        return self.results[job][1]


async def _run_job(bus: MessageBus, method: str, unit: str, timeout_s: float) -> JobResult:
    deadline = asyncio.get_running_loop().time() + timeout_s
    rule = f"type='signal',sender='{_SYSTEMD}',path='{_SYSTEMD_PATH}',interface='{_MANAGER}',member='JobRemoved'"
    jobs = _Jobs()
    bus.add_message_handler(jobs.take)
    try:
        await _match(bus, "AddMatch", rule)
        try:
            await call(bus, _SYSTEMD, _SYSTEMD_PATH, _MANAGER, "Subscribe")
        except BusFailed as error:
            if error.error_name != _ALREADY_SUBSCRIBED:
                raise
        # systemd lets nobody wait for a polkit dialogue here: without a grant the call is refused at once
        reply = await call(bus, _SYSTEMD, _SYSTEMD_PATH, _MANAGER, method, "ss", (unit, "replace"), timeout_s=timeout_s)
        remaining = max(0.0, deadline - asyncio.get_running_loop().time())
        word = await asyncio.wait_for(jobs.result(bus, reply.body[0], str(reply.sender)), remaining)
        return JobResult(word)
    except asyncio.TimeoutError:
        return JobResult.TIMEOUT
    except ValueError:  # results that newer versions of systemd may add ("once", "frozen", …) are no success
        return JobResult.FAILED
    finally:
        bus.remove_message_handler(jobs.take)
        await _unmatch(bus, rule)


async def _match(bus: MessageBus, method: str, rule: str) -> None:
    name = "org.freedesktop.DBus"
    await call(bus, name, "/org/freedesktop/DBus", name, method, "s", (rule,))


async def _unmatch(bus: MessageBus, rule: str) -> None:
    """Drop a match rule; a bus that is gone has dropped it already."""
    try:
        await _match(bus, "RemoveMatch", rule)
    except BusFailed:
        return


def plain(value: Any) -> Any:
    """Strip the variants from a D-Bus value, at any depth."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in cast("dict[object, object]", value).items()}
    if isinstance(value, list):
        return [plain(item) for item in cast("list[object]", value)]
    return value


async def unit_state(bus: MessageBus, unit: str) -> UnitState:
    """Return the state of a unit, also of one that is not loaded or does not exist. Raises BusFailed."""
    reply = await call(bus, _SYSTEMD, _SYSTEMD_PATH, _MANAGER, "LoadUnit", "s", (unit,))
    path = reply.body[0]
    common = await get_all(bus, _SYSTEMD, path, "org.freedesktop.systemd1.Unit")
    service: dict[str, Any] = {}
    if unit.endswith(".service"):
        service = await get_all(bus, _SYSTEMD, path, "org.freedesktop.systemd1.Service")
    return UnitState(
        load=str(common.get("LoadState", "")),
        active=str(common.get("ActiveState", "")),
        sub=str(common.get("SubState", "")),
        result=str(service.get("Result", "")),
        invocation_id=bytes(common.get("InvocationID", b"")).hex(),
        status_text=str(service.get("StatusText", "")),
        conditions_held=bool(common.get("ConditionResult", True)),
    )


async def describe_end(bus: MessageBus, unit: str, result: JobResult) -> str:
    """Say how a start that was waited for ended: "ended as done", or that conditions of the unit do not hold.

    systemd calls the job of a start that a condition prevents `done`, too. Does it not answer, the job's word counts.
    """
    with contextlib.suppress(BusFailed):
        if result is JobResult.DONE and not (await unit_state(bus, unit)).conditions_held:
            result = JobResult.SKIPPED
    return "was skipped: its conditions do not hold" if result is JobResult.SKIPPED else f"ended as {result.value}"


async def get_all(bus: MessageBus, destination: str, path: str, interface: str) -> dict[str, Any]:
    """Return all properties of an interface, without their variants. Raises BusFailed."""
    reply = await call(bus, destination, path, _PROPERTIES, "GetAll", "s", (interface,))
    return {str(name): plain(value) for name, value in reply.body[0].items()}


async def read_version(bus: MessageBus) -> int:
    """Return the number of systemd's version: 257 for `257.8-1~deb13u1`, 0 where it has none. Raises BusFailed."""
    text = str(await get_property(bus, _SYSTEMD, _SYSTEMD_PATH, _MANAGER, "Version"))
    found = re.match(r"[^0-9]{0,10}([0-9]{1,5})", text)
    return int(found.group(1)) if found else 0


async def get_property(bus: MessageBus, destination: str, path: str, interface: str, name: str) -> Any:
    """Return one property, without its variant. Raises BusFailed."""
    reply = await call(bus, destination, path, _PROPERTIES, "Get", "ss", (interface, name))
    return plain(reply.body[0])


async def watch_network(bus: MessageBus, callback: Callable[[dict[str, Any]], None]) -> Callable[[], Awaitable[None]]:
    """Call `callback` with the changed properties of networkd's Manager (OnlineState, …) and of its links
    (AddressState, …) whenever they change: of a third card's lease the Manager's alone say nothing.

    A networkd that starts later, or again, announces its properties itself. Returns a function that ends the watch.
    Raises BusFailed.
    """
    rule = f"type='signal',sender='{_NETWORKD}',path_namespace='{_NETWORKD_PATH}',interface='{_PROPERTIES}'"

    def take(message: Message) -> bool:
        """Look at each message of the bus, and leave it to others as well."""
        if (
            message.message_type is MessageType.SIGNAL
            and message.member == "PropertiesChanged"
            and f"{message.path}/".startswith(f"{_NETWORKD_PATH}/")
            and message.signature == "sa{sv}as"
        ):
            callback({str(name): plain(value) for name, value in message.body[1].items()})
        return False

    async def end() -> None:
        """End the watch."""
        bus.remove_message_handler(take)
        await _unmatch(bus, rule)

    bus.add_message_handler(take)
    try:
        await _match(bus, "AddMatch", rule)
    except BusFailed:
        bus.remove_message_handler(take)
        raise
    return end


def restart_unit_blocking(unit: str, timeout_s: float, address: str = "") -> JobResult:
    """Restart a unit over a connection of its own; for threads without an event loop. Raises as restart_unit."""
    return _blocking(lambda bus: restart_unit(bus, unit, timeout_s), address)


def run_oneshot_blocking(unit: str, timeout_s: float, say: Callable[[str], None], again: bool = False) -> JobResult:
    """Start a oneshot, wait for its end and pass on each STATUS= of it; again: instead of a run that is under way.

    Over a connection of its own. Raises as start_unit.
    """

    async def run(bus: MessageBus) -> JobResult:
        """Look at the unit now and then until its job has ended."""
        said = (await unit_state(bus, unit)).status_text
        job = asyncio.ensure_future((restart_unit if again else start_unit)(bus, unit, timeout_s))
        while True:
            await asyncio.wait([job], timeout=_LOOK_S)
            try:
                text = (await unit_state(bus, unit)).status_text
            except BusFailed:  # systemd answers nobody while it reads its units again; only the job tells how it ends
                text = said
            if text not in (said, ""):
                say(text)
            said = text
            if job.done():
                return job.result()

    return _blocking(run, "")


def unit_state_blocking(unit: str, address: str = "") -> UnitState:
    """Return the state of a unit over a connection of its own. Raises as unit_state."""
    return _blocking(lambda bus: unit_state(bus, unit), address)


def get_property_blocking(destination: str, path: str, interface: str, name: str, address: str = "") -> Any:
    """Return one property over a connection of its own. Raises as get_property."""
    return _blocking(lambda bus: get_property(bus, destination, path, interface, name), address)


def _blocking(work: Callable[[MessageBus], Coroutine[Any, Any, T]], address: str) -> T:
    async def whole() -> T:
        """Connect, work, and wait until the connection is closed."""
        bus = await connect(address)
        try:
            return await work(bus)
        finally:
            bus.disconnect()  # type: ignore[no-untyped-call]
            with contextlib.suppress(OSError, EOFError, asyncio.TimeoutError):
                await asyncio.wait_for(bus.wait_for_disconnect(), _LOSS_CHECK_S)  # type: ignore[no-untyped-call]

    return asyncio.run(whole())

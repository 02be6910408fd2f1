"""mkctl on the system bus: org.mksuite.Controller1 and org.freedesktop.LogControl1.

The contract is units/dbus/org.mksuite.Controller1.xml; a test compares what is exported here with it. Who may call is
the bus's policy, not ours. Errors of the suite become D-Bus errors here and nowhere else.

The bus may be absent, late, or restart: the service goes on without it, and this module connects again. LogControl1
is what `systemctl service-log-level mkctl debug` uses (org.freedesktop.LogControl1(5)).

dbus-next takes the D-Bus signatures from annotations, which no type checker can follow: this file is the one that is
exempt.
"""

# ruff: noqa: F821 (annotations are D-Bus signatures)

import asyncio
import logging
from typing import Any, Optional, Protocol

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import ErrorType, NameFlag, PropertyAccess, RequestNameReply
from dbus_next.errors import DBusError
from dbus_next.service import ServiceInterface, dbus_property, method, signal

from mkcore import journal, systemd1
from mkcore.errors import BUS_PREFIX, BusFailed, MkError
from mkctl.status import Status

NAME = "org.mksuite.Controller1"
PATH = "/org/mksuite/Controller1"
LOG_CONTROL_PATH = "/org/freedesktop/LogControl1"
FIRST_RETRY_S = 0.25
LAST_RETRY_S = 30.0
SETTLE_S = 5.0

LEVELS = {
    "emerg": logging.CRITICAL,
    "alert": logging.CRITICAL,
    "crit": logging.CRITICAL,
    "err": logging.ERROR,
    "warning": logging.WARNING,
    "notice": logging.INFO,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
LEVEL_NAMES = {
    logging.CRITICAL: "crit",
    logging.ERROR: "err",
    logging.WARNING: "warning",
    logging.INFO: "info",
    logging.DEBUG: "debug",
}

log = logging.getLogger(__name__)


class Controller(Protocol):
    """What the bus asks of the agent. The coroutines end when the work has ended and raise MkError."""

    async def check_in(self) -> None: ...

    async def register(self) -> None: ...

    def describe(self) -> str: ...


def bus_error(error: MkError) -> DBusError:
    """The suite's error as a D-Bus error: org.mksuite.Error.* with the same one line."""
    return DBusError(BUS_PREFIX + error.bus_name, str(error))


class ControllerInterface(ServiceInterface):
    """org.mksuite.Controller1; `values` are the properties by name."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(NAME)
        self.controller = controller
        self.values: dict[str, Any] = property_values(Status())

    def publish(self, values: dict[str, Any]) -> None:
        """Take new property values and signal those that changed."""
        changed = {name: value for name, value in values.items() if self.values[name] != value}
        self.values.update(changed)
        if changed:
            self.emit_properties_changed(changed)

    @method()
    async def CheckIn(self):
        try:
            await self.controller.check_in()
        except MkError as error:
            raise bus_error(error) from error

    @method()
    async def Register(self):
        try:
            await self.controller.register()
        except MkError as error:
            raise bus_error(error) from error

    @method()
    def Describe(self) -> "s":
        return self.controller.describe()

    @dbus_property(access=PropertyAccess.READ)
    def State(self) -> "s":
        return self.values["State"]

    @dbus_property(access=PropertyAccess.READ)
    def NodeUuid(self) -> "s":
        return self.values["NodeUuid"]

    @dbus_property(access=PropertyAccess.READ)
    def ServerUri(self) -> "s":
        return self.values["ServerUri"]

    @dbus_property(access=PropertyAccess.READ)
    def ServerSource(self) -> "s":
        return self.values["ServerSource"]

    @dbus_property(access=PropertyAccess.READ)
    def LastCheckinUSec(self) -> "t":
        return self.values["LastCheckinUSec"]

    @dbus_property(access=PropertyAccess.READ)
    def LastError(self) -> "s":
        return self.values["LastError"]

    @dbus_property(access=PropertyAccess.READ)
    def ConfigDigest(self) -> "s":
        return self.values["ConfigDigest"]

    @dbus_property(access=PropertyAccess.READ)
    def ConfigError(self) -> "s":
        return self.values["ConfigError"]

    @dbus_property(access=PropertyAccess.READ)
    def FactsDigest(self) -> "s":
        return self.values["FactsDigest"]

    @signal()
    def CommandReceived(self, command) -> "s":
        return command

    @signal()
    def Registered(self, digest) -> "s":
        return digest


def property_values(status: Status) -> dict[str, Any]:
    """The properties of org.mksuite.Controller1 that a status stands for."""
    return {
        "State": status.state,
        "NodeUuid": status.node_uuid,
        "ServerUri": status.server_uri,
        "ServerSource": status.server_source,
        "LastCheckinUSec": status.last_checkin_realtime_usec,
        "LastError": status.last_error,
        "ConfigDigest": status.config_digest,
        "ConfigError": status.config_error,
        "FactsDigest": status.registered_digest,
    }


class LogControlInterface(ServiceInterface):
    """org.freedesktop.LogControl1: the level of diagnostics. Events of the catalogue are written at every level."""

    def __init__(self, identifier: str) -> None:
        super().__init__("org.freedesktop.LogControl1")
        self.identifier = identifier

    @dbus_property()
    def LogLevel(self) -> "s":
        """The level in use, by its name in syslog(3)."""
        return LEVEL_NAMES.get(logging.getLogger().level, "info")

    @LogLevel.setter
    def LogLevel(self, value: "s"):
        """Log at this level from now on."""
        if value not in LEVELS:
            raise DBusError(ErrorType.INVALID_ARGS, f"{value!r} is not a log level of syslog(3)")
        journal.set_level(value)
        self.emit_properties_changed({"LogLevel": LEVEL_NAMES[LEVELS[value]]})

    @dbus_property()
    def LogTarget(self) -> "s":
        """Where the diagnostics go."""
        return log_target()

    @LogTarget.setter
    def LogTarget(self, value: "s"):
        """Refuse another target than the one in use."""
        if value not in ("auto", log_target()):
            raise DBusError(
                ErrorType.INVALID_ARGS, f"this service logs to {log_target()!r}, as its unit says; not to {value!r}"
            )

    @dbus_property(access=PropertyAccess.READ)
    def SyslogIdentifier(self) -> "s":
        """The name under which the journal has them."""
        return self.identifier


def log_target() -> str:
    """Where the diagnostics go: `journal`, or `console` for standard error."""
    return (
        "journal"
        if any(isinstance(each, journal.JournalHandler) for each in logging.getLogger().handlers)
        else "console"
    )


def drop_sent_errors(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handle the loop's exceptions: dbus-next sends the error of a method as a reply, and then raises it once more."""
    if not isinstance(context.get("exception"), DBusError):
        loop.default_exception_handler(context)


class BusPresence:
    """Keeps mkctl on the bus. `bus` is the live connection or None; calls to systemd go over it too."""

    def __init__(self, controller: Controller, address: str = "") -> None:
        self.bus: Optional[MessageBus] = None
        self._attempted = asyncio.Event()
        self._address = address
        self._controller = ControllerInterface(controller)
        self._log_control = LogControlInterface("mkctl")

    async def wait_attempted(self, timeout_s: float) -> bool:
        """Wait until one attempt to connect has ended, well or not; False when that takes longer."""
        try:
            await asyncio.wait_for(self._attempted.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        return True

    def publish(self, status: Status) -> None:
        """Show `status` in the properties, with PropertiesChanged for what changed."""
        self._controller.publish(property_values(status))

    def command_received(self, command: str) -> None:
        """Emit CommandReceived."""
        self._controller.CommandReceived(command)

    def registered(self, digest: str) -> None:
        """Emit Registered."""
        self._controller.Registered(digest)

    def require(self) -> MessageBus:
        """The live connection. Raises BusFailed while there is none."""
        if self.bus is None or not self.bus.connected:
            raise BusFailed("no connection to the system bus", error_name="org.freedesktop.DBus.Error.Disconnected")
        return self.bus

    async def run(self, on_connected: Any) -> None:
        """Connect, stay, connect again; calls `on_connected(bus)` (a coroutine function) after each connection. Never
        returns."""
        delay_s, said = FIRST_RETRY_S, ""
        while True:
            try:
                bus = await self._connect()
            except BusFailed as error:
                self._attempted.set()
                if str(error) != said:
                    said = str(error)
                    log.warning("system bus: %s; going on without it, trying again", error)
                await asyncio.sleep(delay_s)
                delay_s = min(LAST_RETRY_S, delay_s * 2)
                continue
            self.bus = bus
            self._attempted.set()
            began_s = asyncio.get_running_loop().time()
            watcher = asyncio.ensure_future(on_connected(bus))
            gone = asyncio.ensure_future(bus.wait_for_disconnect())
            try:
                await asyncio.wait({gone})
            finally:
                self._leave(bus)
                watcher.cancel()
            said = f"the system bus went away: {gone.exception() or 'closed'}"
            log.warning("%s; going on without it, trying again", said)
            stayed = asyncio.get_running_loop().time() - began_s > SETTLE_S
            delay_s = FIRST_RETRY_S if stayed else min(LAST_RETRY_S, delay_s * 2)
            await asyncio.sleep(delay_s)

    async def _connect(self) -> MessageBus:
        bus = await systemd1.connect(self._address)
        try:
            await asyncio.wait_for(self._appear(bus), systemd1.CALL_TIMEOUT_S)
        except (OSError, EOFError, asyncio.TimeoutError) as error:  # it went away, or hangs, before it gave us the name
            self._leave(bus)
            raise BusFailed(f"the bus took us and then did not answer: {error or type(error).__name__}") from None
        return bus

    async def _appear(self, bus: MessageBus) -> None:
        bus.export(PATH, self._controller)
        bus.export(LOG_CONTROL_PATH, self._log_control)
        try:
            reply = await bus.request_name(NAME, NameFlag.NONE)
        except DBusError as error:
            log.error(
                "the bus does not give us the name %s (%s); is its policy file installed? Going on without the name",
                NAME,
                error,
            )
            return
        if reply not in (RequestNameReply.PRIMARY_OWNER, RequestNameReply.ALREADY_OWNER):
            log.warning("another process owns %s; taking over when it leaves", NAME)

    def _leave(self, bus: MessageBus) -> None:
        self.bus = None
        bus.unexport(PATH)
        bus.unexport(LOG_CONTROL_PATH)
        if bus.connected:
            bus.disconnect()

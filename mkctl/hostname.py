"""The machine's name: `mk` and the address of the card that it booted from, e.g. `mk000C29C952BA`.

The historic microkernels had eth0's address in it, and died where there was no eth0 (B15). Here it is that of BOOTIF=
on the kernel line, else the first one of the identity, so that two boots give one name whichever card is served first.
systemd-hostnamed sets it, as the transient name, for as long as the system runs; whoever asks by name is answered by
systemd-resolved or nss-myhostname, so no file is edited. Asked of hostnamed and not read from /proc: this service has
a host name of its own (ProtectHostname=). Source: protocol 1.8; org.freedesktop.hostname1(5).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from mkcore import events, systemd1
from mkcore.errors import BusFailed, NotAuthorized
from mkcore.interfaces import parse_bootif
from mkcore.systemd1 import Bus
from mkctl.cmdline import Token, last_value
from mkctl.reports import Reporter

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0
_HOSTNAMED = ("org.freedesktop.hostname1", "/org/freedesktop/hostname1", "org.freedesktop.hostname1")

log = logging.getLogger(__name__)


def build_name(tokens: Sequence[Token], macs: Sequence[str]) -> str:
    """Return the name, "" where no address is known. `macs` are those of the identity, with colons."""
    mac = parse_bootif(last_value(tokens, "BOOTIF")) or next(iter(macs), "")
    return f"mk{mac.replace(':', '').upper()}" if mac else ""


async def keep_host_name(
    bus: Callable[[], Awaitable[Bus]], wanted: Callable[[], str], reporter: Reporter, tell: Callable[[str], None]
) -> None:
    """Name the machine, as soon as there is an address, a bus and the right to; end when it has its name.

    bus: returns the connection or raises BusFailed. wanted: the name, "" while unknown. tell: told what the machine is
    called, "" for what it was called before. It is told the wanted name at once, so that no registration waits for
    hostnamed and polkit to start, and takes it back where naming fails.
    """
    delay_s, said, hopeful = FIRST_RETRY_S, "", True
    while True:
        name = wanted()
        if hopeful:
            tell(name)
        try:
            if name:
                await _set(await bus(), name)
                tell(name)
                return
        except BusFailed as error:
            hopeful = False
            tell("")
            if isinstance(error, NotAuthorized):
                text = f"host name {name}: {error}; the machine keeps the name that it has"
                reporter.report(events.RIGHT_MISSING, text)
            else:
                level = logging.DEBUG if str(error) == said else logging.INFO
                log.log(level, "host name %s: %s; trying on", name, error)
                said = str(error)
        await asyncio.sleep(delay_s)
        delay_s = min(LAST_RETRY_S, 2 * delay_s)


async def _set(bus: Bus, name: str) -> None:
    """Set this name unless it is set."""
    if await systemd1.get_property(bus, *_HOSTNAMED, "Hostname") != name:
        await systemd1.call(bus, *_HOSTNAMED, "SetHostname", "sb", (name, False))
        log.info("this machine is called %s", name)

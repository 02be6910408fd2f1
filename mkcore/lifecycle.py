"""The service's side of systemd's notification and socket-passing protocols.

Readiness, status and watchdog go through sdnotify; inherited sockets are taken as sd_listen_fds(3) describes. Outside
systemd every call does nothing, so that a service runs in a terminal unchanged.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Optional, cast

import sdnotify

from mkcore.errors import one_line

Listener = socket.socket
"""A listening socket, so that who only passes one on need not import socket."""
_FIRST_SOCKET = 3  # SD_LISTEN_FDS_START


class Notifier:
    """Tells systemd how this process is; `watchdog_interval_s` is how often it wants to hear, None for never."""

    def __init__(self) -> None:
        self._notify = cast("Callable[[str], None]", sdnotify.SystemdNotifier().notify)  # pyright: ignore
        self._status = ""
        self.watchdog_interval_s: Optional[float] = _watchdog_interval_s()

    def ready(self, status: str) -> None:
        """Say that the service is up, with a first status of one sentence."""
        self._status = one_line(status)
        self._send(f"READY=1\nSTATUS={self._status}")

    def status(self, text: str) -> None:
        """Replace the status that `systemctl status` shows; the same text again sends nothing."""
        if text == self._status:
            return
        line = one_line(text)
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def watchdog(self) -> None:
        """Say that the service made progress."""
        self._send("WATCHDOG=1")

    def stopping(self, text: str) -> None:
        """Say that the service is about to end, and why."""
        self._send(f"STOPPING=1\nSTATUS={one_line(text)}")

    def _send(self, state: str) -> None:
        # sdnotify writes Latin-1 and drops what that cannot hold, READY=1 beside it included; systemd wants UTF-8
        self._notify(state.encode("utf-8", "replace").decode("latin-1"))


def _watchdog_interval_s() -> Optional[float]:
    """Half of WatchdogSec=, as sd_watchdog_enabled(3) recommends."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2e6 if text.isdigit() and int(text) > 0 else None


def inherited_sockets() -> list[tuple[str, socket.socket]]:
    """Return the sockets that systemd passed, each with its FileDescriptorName=; empty when it passed none.

    The variables are removed, so that a child does not take them for its own.
    """
    pid = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    found: list[tuple[str, socket.socket]] = []
    for offset in range(int(count)):
        descriptor = _FIRST_SOCKET + offset
        os.set_inheritable(descriptor, False)
        name = names[offset] if offset < len(names) and names[offset] else "unknown"
        found.append((name, socket.socket(fileno=descriptor)))
    return found

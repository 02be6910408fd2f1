"""The one tree of errors.

Every expected failure of the suite is an MkError. Each class says whether trying again can help, which exit status a
command ends with (sysexits.h where a number fits) and under which D-Bus name it is reported. Foreign exceptions are
translated into one of these where they enter: OSError in files and proc, requests' in http, dbus_next's in systemd1.

`str(error)` is one line: what failed and where. What happens next is added by whoever handles it.
"""

from __future__ import annotations

from typing import Optional

BUS_PREFIX = "org.mksuite.Error."


def one_line(text: str) -> str:
    """Return a stranger's text as one line for logs, D-Bus and terminals: no control characters, single blanks."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


class MkError(Exception):
    """Base of all expected failures; never raised itself."""

    exit_status: int = 70
    retryable: bool = False
    bus_name: str = "Failed"

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class BadInput(MkError):
    """Data from outside (a file, a message, an argument) is not what it must be."""

    exit_status = 65
    bus_name = "BadInput"

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class BadConfig(BadInput):
    """A value of the configuration cannot be used."""

    exit_status = 78
    bus_name = "BadConfig"


class Unreachable(MkError):
    """The other side cannot be reached: name, route, refused or reset connection, time."""

    exit_status = 69
    retryable = True
    bus_name = "Unreachable"


class TlsFailed(Unreachable):
    """No TLS with that server: a certificate is refused, ours or its own. too_early: its own is not valid yet."""

    bus_name = "TlsFailed"

    def __init__(self, message: str, too_early: bool = False) -> None:
        super().__init__(message)
        self.too_early = too_early


class BadAnswer(MkError):
    """The other side answered, but not with what the protocol allows."""

    exit_status = 76
    retryable = True
    bus_name = "BadAnswer"


class ServerRefused(MkError):
    """The server understood and said no; `status` is the HTTP status, `retry_after_s` its own wish, if it had one."""

    exit_status = 77
    retryable = True
    bus_name = "ServerRefused"

    def __init__(self, message: str, status: int = 0, retry_after_s: Optional[float] = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class NotReady(MkError):
    """Something that is needed first is not there yet."""

    exit_status = 75
    retryable = True
    bus_name = "NotReady"


class ToolFailed(MkError):
    """An external program is missing, failed, or was stopped at its limit."""

    bus_name = "ToolFailed"


class BusFailed(MkError):
    """A D-Bus call failed; `error_name` is the error's D-Bus name, empty when the connection itself failed."""

    retryable = True
    bus_name = "BusFailed"

    def __init__(self, message: str, error_name: str = "") -> None:
        super().__init__(message)
        self.error_name = error_name


class NotAuthorized(BusFailed):
    """Polkit or the bus policy refused the call."""

    exit_status = 77
    retryable = False
    bus_name = "NotAuthorized"


class Untrusted(MkError):
    """Content is not vouched for: no signature, a wrong one, an expired key, a sum that differs."""

    exit_status = 77
    bus_name = "Untrusted"


class Unsupported(MkError):
    """Asked for something that this version does not do."""

    exit_status = 69
    bus_name = "Unsupported"

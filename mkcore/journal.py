"""Logging to the journal by its native protocol, or to standard error.

Python's logging stays the interface; this module gives it one handler. Under systemd a record is one datagram with
its own fields (MESSAGE_ID, MK_*), which catalog entries and tests refer to; on a terminal it is one line. The level
filters diagnostics only: an event goes out always, because stock servers push the level ERROR.

Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/, systemd.exec(5) on $JOURNAL_STREAM, sd-daemon(3) on <N> prefixes.
"""

from __future__ import annotations

import logging
import os
import re
import struct
import sys
from collections.abc import Mapping
from typing import Optional

from mkcore.errors import BadInput
from mkcore.events import Event

JOURNAL_SOCKET = "/run/systemd/journal/socket"
_LEVELS = {"FATAL": 50, "ERROR": 40, "WARN": 30, "INFO": 20, "DEBUG": 10}
_OTHER_NAMES = {
    "EMERG": "FATAL",
    "ALERT": "FATAL",
    "CRIT": "FATAL",
    "CRITICAL": "FATAL",
    "ERR": "ERROR",
    "WARNING": "WARN",
    "NOTICE": "INFO",
}
_PRIORITIES = ((50, 2), (40, 3), (30, 4), (20, 6), (0, 7))
_PYTHON_LEVELS = {2: 50, 3: 40, 4: 30, 5: 20, 6: 20, 7: 10}
_NOISY = ("urllib3", "requests", "charset_normalizer", "waitress", "waitress.queue", "werkzeug", "asyncio", "dbus_next")
_FIELD_NAME = re.compile(r"[^A-Z0-9_]")


def parse_level(text: str) -> str:
    """Return FATAL, ERROR, WARN, INFO or DEBUG for any usual spelling; raise BadInput for another word.

    Understood are Ruby's ("Logger::ERROR", "ERROR"), systemd's ("err", "warning", "notice", …) and Python's.
    """
    word = text.strip()
    word = word[len("Logger::") :] if word.startswith("Logger::") else word.upper()
    word = _OTHER_NAMES.get(word, word)
    if word not in _LEVELS:
        raise BadInput(f"no log level of the name {text.strip()[:40]!r}")
    return word


def set_level(level: str) -> None:
    """Set the threshold of diagnostics; raise BadInput for an unknown name."""
    number = _LEVELS[parse_level(level)]
    logging.getLogger().setLevel(number)
    for name in _NOISY:  # what libraries say about single connections is ours to say, once, with the consequence
        logging.getLogger(name).setLevel(logging.DEBUG if number <= logging.DEBUG else logging.CRITICAL)


def level_name() -> str:
    """Return the threshold in use: FATAL, ERROR, WARN, INFO or DEBUG."""
    number = logging.getLogger().level
    return next((name for name, value in _LEVELS.items() if number >= value), "DEBUG")


def setup(level: str, *, component: str) -> None:
    """Send all logging of this process to the journal when standard error leads there, else to standard error."""
    handler: logging.Handler
    if _stderr_is_journal():
        handler = JournalHandler(component)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_OneLine(component))
    logging.getLogger().handlers[:] = [handler]
    logging.raiseExceptions = False  # a full journal must not fill standard error with tracebacks
    set_level(level)


def log_event(log: logging.Logger, event: Event, message: str, **fields: object) -> None:
    """Write an event with its MESSAGE_ID, whatever the level; each keyword becomes the field MK_<KEYWORD>."""
    extra: dict[str, object] = {"MESSAGE_ID": event.id, "MK_EVENT": event.name, "PRIORITY": event.priority}
    for name, value in fields.items():
        extra["MK_" + _FIELD_NAME.sub("_", name.upper())] = value
    # whose place goes into CODE_FILE and CODE_LINE; `inspect` takes long to import
    caller = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    place = (caller.f_code.co_filename, caller.f_lineno, caller.f_code.co_name)
    record = logging.LogRecord(log.name, _PYTHON_LEVELS[event.priority], *place[:2], message, (), None, place[2])
    record.journal_fields = extra
    log.handle(record)


def _stderr_is_journal() -> bool:
    """Compare standard error with $JOURNAL_STREAM, as systemd.exec(5) asks for."""
    try:
        device, inode = os.environ.get("JOURNAL_STREAM", "").split(":")
        status = os.fstat(2)
        return (status.st_dev, status.st_ino) == (int(device), int(inode))
    except (ValueError, OSError):
        return False


class _OneLine(logging.Formatter):
    """`component: message` for people; a traceback follows on its own lines at DEBUG."""

    def __init__(self, component: str) -> None:
        super().__init__(f"{component}: %(message)s")


class JournalHandler(logging.Handler):
    """Writes each record as one datagram to journald."""

    def __init__(self, component: str, path: str = JOURNAL_SOCKET) -> None:
        import socket  # a run on a terminal has no use for it

        super().__init__()
        self.component = component
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a journal that is full or away loses the record, never the service."""
        try:
            self._send(build_datagram(self._fields(record)))
        except OSError:
            self.handleError(record)

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        fields: dict[str, object] = {
            "MESSAGE": self.format(record),
            "PRIORITY": next(priority for level, priority in _PRIORITIES if record.levelno >= level),
            "SYSLOG_IDENTIFIER": self.component,
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": record.lineno,
            "CODE_FUNC": record.funcName or "",
        }
        own: Optional[Mapping[str, object]] = getattr(record, "journal_fields", None)
        if own:
            fields.update(own)
        return fields

    def _send(self, datagram: bytes) -> None:
        try:
            self.socket.sendto(datagram, self.path)
        except OSError as error:
            if error.errno != 90:  # EMSGSIZE: too large for a datagram, so hand over a sealed file instead
                raise
            self._send_file(datagram)

    def _send_file(self, datagram: bytes) -> None:
        import array  # only ever needed for records of more than some 200 kB
        import fcntl
        import socket

        descriptor = os.memfd_create("mk-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            rest = memoryview(datagram)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            fcntl.fcntl(descriptor, 1033, 0xF)  # F_ADD_SEALS: seal, shrink, grow, write; journald refuses others
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
            self.socket.sendmsg([b""], [rights], 0, self.path)
        finally:
            os.close(descriptor)


def build_datagram(fields: Mapping[str, object]) -> bytes:
    """Build the native protocol's form of one record; a value with a newline is sent with its length."""
    parts: list[bytes] = []
    for name, value in fields.items():
        key, data = name.encode("ascii"), str(value).encode("utf-8", "replace")
        if b"\n" in data:
            parts.append(key + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(key + b"=" + data + b"\n")
    return b"".join(parts)

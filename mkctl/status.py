"""What mkctl tells about itself: one document, written to /run/mkctl/status.json at each change and returned by
Describe().

The verbs for people read the file: they answer at once, also while the daemon is busy, hangs, or is dead, and need no
bus. The file names the process that wrote it by its id and start time, so that a reader can tell a living daemon from
the last words of a dead one. Times are CLOCK_BOOTTIME in microseconds unless the name says otherwise, 0 for "never".
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, NamedTuple

from mkcore.files import read_line
from mkcore.jsonfields import Json, get_bool, get_int, get_str, get_strings

VERSION = 1
MAX_INT = 2**63 - 1


class Phase(enum.Enum):
    """What mkctl is doing; the D-Bus property State has these words."""

    STARTING = "starting"
    WAITING_FOR_SERVER = "waiting-for-server"
    WAITING_FOR_NETWORK = "waiting-for-network"
    CHECKING_IN = "checking-in"
    IDLE = "idle"
    SERVER_LOST = "server-lost"
    REGISTERING = "registering"
    APPLYING = "applying"
    REBOOTING = "rebooting"
    POWERING_OFF = "powering-off"
    STOPPING = "stopping"


class Status(NamedTuple):
    """The document. `sentence` is STATUS= of the unit; `last_error_name` is the last part of an org.mksuite.Error.*
    name."""

    pid: int = 0
    started_ticks: int = 0
    state: str = Phase.STARTING.value
    sentence: str = "starting"
    node_uuid: str = ""
    node_macs: tuple[str, ...] = ()
    server_uri: str = ""
    server_source: str = ""
    dialect: str = ""
    last_checkin_usec: int = 0
    last_checkin_realtime_usec: int = 0
    next_checkin_usec: int = 0
    failed_checkins: int = 0
    last_command: str = ""
    first_checkin: bool = True
    registered_usec: int = 0
    registered_digest: str = ""
    registration_pending: str = ""
    config_digest: str = ""
    config_error: str = ""
    last_error: str = ""
    last_error_name: str = ""


def build_status(status: Status) -> dict[str, Json]:
    """Build the JSON value of status.json."""
    return {**status._asdict(), "node_macs": list(status.node_macs), "version": VERSION}


def parse_status(body: dict[str, Json], where: str = "status.json") -> Status:
    """Parse status.json; keys that are missing take their defaults. Raises BadInput naming the key."""
    get_int(body, "version", where=where, low=VERSION, high=VERSION)
    values: dict[str, Any] = {}
    for name, default in Status._field_defaults.items():
        if isinstance(default, bool):
            values[name] = get_bool(body, name, default=default, where=where)
        elif isinstance(default, int):
            values[name] = get_int(body, name, default=default, where=where, low=0, high=MAX_INT)
        elif isinstance(default, str):
            values[name] = get_str(body, name, default=default, where=where)
        else:
            values[name] = tuple(get_strings(body, name, default=[], where=where))
    return Status(**values)


def parse_start_ticks(stat: str) -> int:
    """Start time of a process in clock ticks since boot, field 22 of /proc/PID/stat (proc(5)); 0 when the text has
    none.

    The second field is the program's name in parentheses and may itself hold blanks and parentheses.
    """
    fields = stat.rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[19].isdigit() else 0


def read_start_ticks(pid: int, proc_root: str = "/proc") -> int:
    """Start time of process `pid`; 0 when there is no such process."""
    return parse_start_ticks(read_line(str(Path(proc_root, str(pid), "stat"))))


def is_alive(status: Status, proc_root: str = "/proc") -> bool:
    """Tell whether the process that wrote this status still runs."""
    return (
        status.pid > 0 and status.started_ticks > 0 and read_start_ticks(status.pid, proc_root) == status.started_ticks
    )

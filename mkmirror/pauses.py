"""How long mk-fetch leaves a mirror alone that did not answer: half a minute, then longer, up to five minutes.

systemd starts the unit again each half minute (RestartSec=; that it grows can be said since version 254 alone, that it
varies not at all), and a start that comes before its time ends at once. Each machine waits another while, so that those
which lost a mirror together do not come back together. What somebody asks for is not put off: a changed request or
configuration, other keys that are trusted, and mirrors elsewhere that may be asked now are a new question, and so is
`systemctl restart`, which the unit's count of automatic restarts tells. (A `systemctl start` of a unit that is to be
started again by itself waits for just that.)

Source: systemd.service(5), RestartSec=; org.freedesktop.systemd1(5), NRestarts.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Optional

from mkcore import files, systemd1
from mkcore.errors import BadInput, BusFailed
from mkcore.jsonfields import get_int, get_str

FILE = "pause.json"
FIRST_S, LONGEST_S = 30.0, 300.0
UNKNOWN = -1
_LIMIT_BYTES = 64 << 10
_CONTENT_BYTES = 1 << 20
_UNIT = "/org/freedesktop/systemd1/unit/mk_2dfetch_2eservice"


@dataclass(frozen=True)
class Pause:
    """failures: runs without an answer, one after another; until_s: seconds since boot; restarts: of the unit so far;
    asked: what was asked for, as `fingerprint` has it.
    """

    failures: int = 0
    until_s: float = 0.0
    restarts: int = UNKNOWN
    asked: str = ""

    def left_s(self, now_s: float, restarts: int, asked: str) -> float:
        """Return for how long this start comes too early, 0 for one that is due or that somebody wants now."""
        by_itself = restarts > self.restarts > UNKNOWN and asked == self.asked
        return max(0.0, self.until_s - now_s) if by_itself else 0.0

    def after_failure(self, now_s: float, restarts: int, asked: str, rand: Callable[[], float]) -> Pause:
        """Return the pause after one more run without an answer: half of 30 s, 60 s, … 300 s, and a part of the rest.

        rand: returns a number in 0..1.
        """
        limit_s = min(LONGEST_S, FIRST_S * 2.0 ** min(self.failures, 16))
        return Pause(self.failures + 1, now_s + limit_s * (1 + rand()) / 2, restarts, asked)


def read_pause(path: Path) -> Pause:
    """Return the pause that was written down, none where nothing was or it is damaged. Raises OSError."""
    try:
        found = files.read_object(path, _LIMIT_BYTES)
        until_s = get_int(found, "until_ms", low=0) / 1000
        return Pause(get_int(found, "failures", low=0), until_s, get_int(found, "restarts"), get_str(found, "asked"))
    except (BadInput, FileNotFoundError):
        return Pause()


def write_pause(path: Path, pause: Optional[Pause]) -> None:
    """Write it down, or with None that there is none. Raises OSError."""
    if pause is None:
        files.remove(path)
        return
    until_ms = int(pause.until_s * 1000)
    found = {"failures": pause.failures, "until_ms": until_ms, "restarts": pause.restarts, "asked": pause.asked}
    files.write_json(path, found)


class Pauses:
    """The pauses of one process. path: where they are written down; asked: as `fingerprint` has it.

    restarts: counts the automatic restarts of the unit; now_s: seconds since boot; rand: a number in 0..1.
    """

    def __init__(
        self,
        path: Path,
        asked: str,
        restarts: Optional[Callable[[], int]] = None,
        now_s: Optional[Callable[[], float]] = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._path, self._asked = path, asked
        self._restarts, self._now_s, self._rand = restarts or count_restarts, now_s or boottime_s, rand
        self._pause = read_pause(path)

    def left_s(self) -> float:
        """Return for how long this start comes too early, 0 where it does not. Raises OSError."""
        if not self._pause.failures:
            return 0.0
        restarts = self._restarts()
        left_s = self._pause.left_s(self._now_s(), restarts, self._asked)
        if left_s:
            write_pause(self._path, replace(self._pause, restarts=restarts))
        return left_s

    def note(self, *, failed: bool) -> None:
        """Note how the run ended: whether a mirror did not answer. Raises OSError."""
        if failed:
            restarts = self._restarts()
            self._pause = self._pause.after_failure(self._now_s(), restarts, self._asked, self._rand)
        write_pause(self._path, self._pause if failed else None)


def boottime_s() -> float:
    """Return seconds since boot, with those asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def fingerprint(paths: Iterable[Path], contents: Iterable[Path] = (), *, remote: bool = False) -> str:
    """Return what changes when one of these files does: for what was asked, not for what it says.

    contents: files that count by what is in them, as systemd makes credentials anew for each start. remote: whether
    mirrors elsewhere may be asked, which is another question than before.
    """
    marks = ["remote" if remote else "own", *map(_mark, paths), *map(_digest, contents)]
    return hashlib.sha256(" ".join(marks).encode()).hexdigest()


def _mark(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "-"
    return f"{found.st_ino:x}.{found.st_mtime_ns:x}.{found.st_size:x}"


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(files.read_bytes(path, _CONTENT_BYTES)).hexdigest()
    except (BadInput, OSError):
        return _mark(path)


def count_restarts(address: str = "") -> int:
    """Return how often systemd has started mk-fetch.service by itself, UNKNOWN where it cannot be asked.

    address: of the bus, "" for the system's.
    """
    try:
        interface = "org.freedesktop.systemd1.Service"
        found = systemd1.get_property_blocking("org.freedesktop.systemd1", _UNIT, interface, "NRestarts", address)
    except BusFailed:
        return UNKNOWN
    return found if isinstance(found, int) else UNKNOWN

"""What a command tells the person who waits: one line that moves on a terminal, few lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Optional, TextIO

_TERMINAL_S, _LOG_S = 0.1, 10.0


def human(size_bytes: float) -> str:
    """Return a size for people, e.g. `20.5 MB` (10^6)."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.2f} GB"


class Progress:
    """Tells on `stream` how a work goes on; `quiet` leaves only warnings."""

    def __init__(
        self,
        stream: Optional[TextIO] = None,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._clock = clock
        self._terminal = self._stream.isatty()
        self._pending = False
        self._last = clock()

    def say(self, text: str) -> None:
        """Write a line that stays."""
        if not self._quiet:
            self._write(text)

    def warn(self, text: str) -> None:
        """Write a line that stays, even when quiet."""
        self._write(f"warning: {text}")

    def moved(self, what: str, done: int, total: Optional[int]) -> None:
        """Show that so many bytes of `what` are done; on a terminal ten times a second at most, else every ten
        seconds."""
        now = self._clock()
        if self._quiet or now - self._last < (_TERMINAL_S if self._terminal else _LOG_S):
            return
        self._last = now
        share = f" of {human(total)} ({100 * done // total} %)" if total else ""
        text = f"{what}: {human(done)}{share}"
        if self._terminal:
            self._stream.write(f"\r{text}\x1b[K")
            self._stream.flush()
            self._pending = True
        else:
            self._write(text)

    def _write(self, text: str) -> None:
        clear, self._pending = "\r\x1b[K" if self._pending else "", False
        self._stream.write(f"{clear}{text}\n")
        self._stream.flush()

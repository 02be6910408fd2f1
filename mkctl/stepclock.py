"""mk-clock: step a clock that is behind to the time that the server says, once per boot. See mk-clock(8).

A machine whose battery is dead boots years ago, where no certificate is valid yet. mkctl, which has a network and no
rights, leaves what its server says in /run/mkctl/clock.json; this program, which has the right and no network, judges
it: forward alone, once, and not beyond ten years after the suite was built, so that a liar gains little. That the time
is right shows when the certificate is verified again, as it always is.

Source: clock_settime(2), RFC 9110 section 6.6.1 (Date).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mkcore import events, journal
from mkcore.errors import BadInput
from mkcore.files import read_object, write_json
from mkcore.jsonfields import get_int, get_str
from mkcore.paths import paths_under

LIMIT_BYTES = 4096
TEN_YEARS_S = 10 * 365 * 86_400
STEPPED = Path("/run/mk-clock/stepped.json")

log = logging.getLogger("mk-clock")


def judge(wanted_s: int, now_s: float, built_s: float) -> str:
    """Say why the clock is not stepped to `wanted_s`, "" where it is; all are seconds since 1970."""
    if wanted_s <= now_s:
        return f"{show(wanted_s)} is not ahead of this machine's clock: a clock never goes back"
    if wanted_s > built_s + TEN_YEARS_S:
        return f"{show(wanted_s)} is more than ten years after {show(built_s)}, when this system was built"
    return ""


def show(seconds: float) -> str:
    """Return a moment as `2026-11-23 00:15:02 UTC`; seconds beyond year 9999 as they are."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if abs(seconds) < 2**37 else f"{seconds} s"


def step(order: Path, stepped: Path, built_s: float, now_s: float, set_clock: Callable[[float], None]) -> int:
    """Judge what `order` says and do it; return the exit status. `stepped` is left behind once it was done."""
    if stepped.exists():
        log.info("the clock was stepped once in this boot already: left as it is")
        return 0
    try:
        body = read_object(order, LIMIT_BYTES)
        wanted_s = get_int(body, "time_s", where=str(order), low=0)
        server = get_str(body, "server", where=str(order))[:200]
        reason = judge(wanted_s, now_s, built_s)
        if reason:
            raise BadInput(reason)
        set_clock(float(wanted_s))
    except (BadInput, OSError) as error:
        journal.log_event(log, events.CLOCK_REFUSED, f"the clock is not stepped: {error}")
        return 65
    write_json(stepped, {"time_s": wanted_s, "server": server})
    text = f"the clock was stepped from {show(now_s)} to {show(wanted_s)}, as {server} says"
    journal.log_event(log, events.CLOCK_STEPPED, text, server=server)
    return 0


def main() -> int:
    """Step this machine's clock."""
    journal.setup("INFO", component="mk-clock")

    def set_clock(seconds: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, seconds)

    return step(paths_under().clock, STEPPED, Path(__file__).stat().st_mtime, time.time(), set_clock)


if __name__ == "__main__":
    sys.exit(main())

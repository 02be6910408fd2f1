"""The program mk-facts: its arguments, and how one run goes. See mk-facts(8)."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable, NamedTuple

from mkcore import journal
from mkcore.errors import MkError
from mkcore.jsonfields import Json
from mkcore.paths import paths_under
from mkctl.probe.ahead import Ahead
from mkctl.probe.model import build_facts_file
from mkctl.probe.rounds import Pace, collect_until_stable, watch_kernel
from mkctl.probe.sources import build_collectors
from mkctl.probe.store import FactsStore, save_facts, save_nothing

log = logging.getLogger("mk-facts")

TIMER = "mk-facts.timer"
OVERDUE_S = 35.0
"""After boot: from here on the timer may have elapsed during a run. Its start request then merged into that run and is
gone, and the next one comes a quarter of an hour later."""
AGAIN = 3
"""Collections for extensions that came or went during one run; the next start follows soon after."""


class Wish(NamedTuple):
    """What a run is asked for: the tree ("" for the machine), whether it writes no file, whether it listens, and where
    a container has its host's files ("" outside one)."""

    root: str = ""
    only_print: bool = False
    listen: bool = False
    host: str = ""


def run(arguments: Sequence[str], ahead: Ahead) -> int:
    """Collect, and return the exit status: 0 even where collectors failed, as their status stands in the file."""
    wish = _parse(arguments) if arguments else Wish()
    journal.setup("INFO", component="mk-facts")
    wish = wish._replace(listen=wish.listen or by_timer(os.environ))
    try:
        store = collect(wish, ahead)
    except (MkError, OSError) as error:
        log.error("%s; the facts of the last good run stay in use", error)
        return error.exit_status if isinstance(error, MkError) else 74
    if wish.only_print:
        _print(store)
    return 0


def collect(wish: Wish, ahead: Ahead) -> FactsStore:
    """Collect, and once more where extensions came or went meanwhile: they bring collectors, and the start request that
    told of them merged into this run. Raises MkError, OSError when the file cannot be written."""
    before = mark_of(paths_under(wish.root).installed)
    store = _collect(wish, ahead)
    for _ in range(0 if wish.only_print else AGAIN):
        now = mark_of(paths_under(wish.root).installed)
        if now == before:
            break
        before = now
        store = _collect(wish._replace(listen=False), Ahead())
    return store


def mark_of(path: Path) -> tuple[int, int]:
    """Return what changes whenever a file is replaced; (0, 0) where there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def _collect(wish: Wish, ahead: Ahead) -> FactsStore:
    paths = paths_under(wish.root)

    def before(name: str) -> Mapping[str, Json]:
        """Return what a collector's earlier run put into the inventory."""
        return store.content.collectors[name].inventory

    collectors = build_collectors(wish.root, ahead=ahead, before=before, host=wish.host)
    save = save_nothing if wish.only_print else save_facts
    store = FactsStore(paths.facts, [collector.name for collector in collectors], save)
    if not wish.only_print:
        store.load(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)
    pace = Pace(rounds=1, first_quiet_s=0.0) if wish.only_print else Pace()
    kernel = watch_kernel(Path(wish.host or wish.root or "/"), paths.sys)
    chosen = [collector for collector in collectors if collector.awaited or wish.listen or not wish.only_print]
    overdue = None if wish.listen else is_overdue
    collect_until_stable(chosen, store, kernel, _status(os.environ), pace, ahead.seqnum, overdue)
    return store


def _status(environment: Mapping[str, str]) -> Callable[[str], None]:
    """Return what shows a sentence in `systemctl status`; nothing does where nobody listens."""
    if "NOTIFY_SOCKET" not in environment:
        return lambda _: None
    from mkcore.lifecycle import Notifier

    return Notifier().status


def by_timer(environment: Mapping[str, str]) -> bool:
    """Tell whether mk-facts.timer started this run, as systemd.exec(5) says ($TRIGGER_UNIT): the run that may take the
    half minute that neighbours need to be heard."""
    return environment.get("TRIGGER_UNIT") == TIMER


def is_overdue() -> bool:
    """Tell whether the machine is on for so long that neighbours have to be heard, whoever started this run."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) >= OVERDUE_S


def _parse(arguments: Sequence[str]) -> Wish:
    import argparse  # not for the unit, which passes nothing

    parser = argparse.ArgumentParser(prog="mk-facts", description="Collect the hardware facts of this machine.")
    parser.add_argument("--print", action="store_true", help="write facts to standard output, and no file")
    parser.add_argument("--root", default="", help=argparse.SUPPRESS)
    parser.add_argument("--host", default="", metavar="DIR", help="in a container: where the host's files are")
    parser.add_argument("--listen", action="store_true", help="wait for neighbours too (31 s), as the timer's runs do")
    options = parser.parse_args(arguments)
    return Wish(options.root, options.print, options.listen, options.host.rstrip("/"))


def _print(store: FactsStore) -> None:
    import json

    json.dump(build_facts_file(store.content), sys.stdout, indent=1, sort_keys=True, ensure_ascii=False)
    sys.stdout.write("\n")

"""The program mk-facts: its arguments, and how one run goes. See mk-facts(8)."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable

from mkcore import journal
from mkcore.errors import MkError
from mkcore.paths import paths_under
from mkctl.probe.ahead import Ahead
from mkctl.probe.model import build_facts_file
from mkctl.probe.rounds import Pace, collect_until_stable, watch_kernel
from mkctl.probe.sources import build_collectors
from mkctl.probe.store import FactsStore, save_facts, save_nothing

log = logging.getLogger("mk-facts")

TIMER = "mk-facts.timer"
OVERDUE_S = 45.0
"""After boot: from here on the timer may have elapsed during a run. Its start request then merged into that run and is
gone, and the next one comes a quarter of an hour later."""


def run(arguments: Sequence[str], ahead: Ahead) -> int:
    """Collect, and return the exit status: 0 even where collectors failed, as their status stands in the file."""
    root, only_print, listen = _parse(arguments) if arguments else ("", False, by_timer(os.environ))
    journal.setup("INFO", component="mk-facts")
    paths = paths_under(root)
    collectors = build_collectors(root, ahead=ahead, before=lambda name: store.content.collectors[name].inventory)
    save = save_nothing if only_print else save_facts
    store = FactsStore(paths.facts, [collector.name for collector in collectors], save)
    try:
        if not only_print:
            store.load(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)
        pace = Pace(rounds=1, first_quiet_s=0.0) if only_print else Pace()
        kernel = watch_kernel(Path(root or "/"), paths.sys)
        chosen = [collector for collector in collectors if collector.awaited or listen or not only_print]
        overdue = None if listen else is_overdue
        collect_until_stable(chosen, store, kernel, _status(os.environ), pace, ahead.seqnum, overdue)
    except (MkError, OSError) as error:
        log.error("%s; the facts of the last good run stay in use", error)
        return error.exit_status if isinstance(error, MkError) else 74
    if only_print:
        _print(store)
    return 0


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


def _parse(arguments: Sequence[str]) -> tuple[str, bool, bool]:
    import argparse  # not for the unit, which passes nothing

    parser = argparse.ArgumentParser(prog="mk-facts", description="Collect the hardware facts of this machine.")
    parser.add_argument("--print", action="store_true", help="write facts to standard output, and no file")
    parser.add_argument("--root", default="", help=argparse.SUPPRESS)
    parser.add_argument("--listen", action="store_true", help="wait for neighbours too (31 s), as the timer's runs do")
    options = parser.parse_args(arguments)
    return options.root, options.print, options.listen


def _print(store: FactsStore) -> None:
    import json

    json.dump(build_facts_file(store.content), sys.stdout, indent=1, sort_keys=True, ensure_ascii=False)
    sys.stdout.write("\n")

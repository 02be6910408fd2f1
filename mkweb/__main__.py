"""Command line of mkweb: takes its socket, wires worker, application and server, and serves.

Under systemd the socket is inherited and the process ends after half a minute without requests, unless an apply is
open. Run by hand it binds its own loopback address and stays. Exit status: 0 ended in order, 2 wrong usage, 70 a
defect (systemd starts it again, and the open apply is finished), 71 no socket, 73 the state directory cannot be made.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional

from mkcore import journal
from mkcore.loopback import parse_listen
from mkcore.version import VERSION

if TYPE_CHECKING:
    from mkcore.lifecycle import Listener
    from mkcore.paths import Paths
    from mkweb.worker import Worker

IDLE_S = 30.0
HUNG_S = 20.0
SLOW_S = 10.0
TRIAL_S, TRIAL_PATIENCE_S = 5.0, 15.0

log = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="mkweb",
        description="Take pushed configurations on loopback and have systemd restart mkctl with them.",
        epilog="Started by mkweb.socket. See mkweb(8).",
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=parse_listen,
        help="bind this loopback address instead of taking systemd's socket",
    )
    parser.add_argument(
        "--idle",
        metavar="SECONDS",
        type=float,
        help=f"end after so long without requests (default {IDLE_S:.0f}, with --listen never)",
    )
    parser.add_argument("--root", metavar="DIR", default="", help="take and keep all files below DIR")
    parser.add_argument("--version", action="version", version=f"mkweb {VERSION}")
    return parser


def take_sockets(listen: Optional[tuple[str, int]]) -> list[Listener]:
    """Return the listening sockets: systemd's, or one bound to `listen`; raise OSError when it cannot be bound."""
    from mkcore import lifecycle, wsgi

    return [wsgi.bind(*listen)] if listen else [each for _, each in lifecycle.inherited_sockets()]


def build_worker(paths: Paths) -> Worker:
    """Make the worker over the files of `paths`; raise OSError when their directory cannot be made."""
    from mkcore import files
    from mkcore.config import effective, read_site
    from mkweb.controller import SystemdController
    from mkweb.store import Store
    from mkweb.worker import Worker

    files.make_dir(paths.run_mkweb)
    store = Store(paths.run_mkweb, files.read_line(paths.proc / "sys/kernel/random/boot_id"))
    return Worker(
        store,
        SystemdController(),
        min_spacing_s=lambda: effective(read_site(paths), {}, {}).config.apply_min_spacing_s,
        rand=random.random,
    )


def serve(sockets: Sequence[Listener], paths: Paths, idle_s: float) -> int:
    """Serve until idle or told to end; return the exit status."""
    from mkcore import rubyregex, wsgi
    from mkcore.config import read_site
    from mkweb.app import LIMIT_BYTES, ConfigApp
    from mkweb.factnames import fact_names, known_names

    worker = build_worker(paths)
    app = ConfigApp(
        worker,
        lambda: read_site(paths),
        lambda pattern: rubyregex.try_pattern(
            pattern, (*fact_names(), *known_names(paths)), TRIAL_S, TRIAL_PATIENCE_S
        ),
    )
    app.use_log_level()
    failed = threading.Event()
    threading.Thread(target=carry, args=(worker, failed), name="worker", daemon=True).start()
    wsgi.serve(
        app,
        sockets,
        idle_s=idle_s,
        hung_s=HUNG_S,
        slow_s=SLOW_S,
        limit_bytes=LIMIT_BYTES,
        busy=worker.busy,
        status=worker.status,
        stop=failed,
    )
    return 70 if failed.is_set() else 0


def carry(worker: Worker, failed: threading.Event) -> None:
    """Run the worker; a defect in it ends the process, so that systemd starts it anew and the apply is finished from
    its file.
    """
    try:
        worker.run()
    except Exception:
        log.exception("the worker failed; mkweb ends and is started again")
        failed.set()


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run mkweb with the arguments `argv` (default: those of the process); return the exit status."""
    options = build_parser().parse_args(argv)
    journal.setup("INFO", component="mkweb")
    from mkcore.paths import paths_under  # after --help and --version have answered

    try:
        sockets = take_sockets(options.listen)
    except OSError as error:
        log.error("cannot listen: %s", error)
        return 71
    if not sockets:
        log.error("no socket: start mkweb.socket, or give --listen 127.0.0.1:2156")
        return 71
    idle_s = options.idle if options.idle is not None else math.inf if options.listen else IDLE_S
    try:
        return serve(sockets, paths_under(options.root), idle_s)
    except OSError as error:
        log.error("cannot start: %s", error)
        return 73


if __name__ == "__main__":
    sys.exit(main())

"""Command line of mkmirror: without a verb it takes its two sockets by name and serves the mirror's trees on them.

Under systemd the sockets are inherited (FileDescriptorName= extensions and packages) and the process ends after half
a minute without requests. Run by hand it binds its own loopback addresses and stays. Exit status: 0 ended in order,
64 wrong usage, 71 no socket, 78 a socket of an unknown name; those of the verbs are their errors' (mkmirror(8)).
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional

from mkcore import journal
from mkcore.errors import MkError
from mkcore.loopback import parse_listen
from mkcore.version import VERSION
from mkmirror import cli

if TYPE_CHECKING:
    from mkcore.lifecycle import Listener

IDLE_S = 30.0
HUNG_S = 60.0
SLOW_S = 10.0
LIMIT_BYTES = 64 << 10
IO_STATUS = 74
KINDS = ("extensions", "packages")

log = logging.getLogger(__name__)


def build_parser() -> cli.Parser:
    """Build the parser of the command line."""
    parser = cli.Parser(
        prog="mkmirror",
        description="Without a verb: serve extensions and packages to this machine, on loopback (started by "
        "mkmirror.socket and mkmirror-packages.socket). The verbs make, check and copy mirrors and extensions.",
        epilog="See mkmirror(8).",
    )
    cli.add_verbs(parser)
    parser.add_argument(
        "--listen", metavar="HOST:PORT", type=parse_listen, help="bind this loopback address for extensions"
    )
    parser.add_argument(
        "--listen-packages", metavar="HOST:PORT", type=parse_listen, help="bind this loopback address for packages"
    )
    parser.add_argument(
        "--idle",
        metavar="SECONDS",
        type=float,
        help=f"end after so long without requests (default {IDLE_S:.0f}, with --listen never)",
    )
    parser.add_argument("--root", metavar="DIR", default="", help="take all files from below DIR")
    parser.add_argument("--version", action="version", version=f"mkmirror {VERSION}")
    return parser


def take_sockets(options: argparse.Namespace) -> list[tuple[str, Listener]]:
    """Return name and socket of each listener: systemd's, or those bound by option; raise OSError when one cannot be
    bound.
    """
    from mkcore import lifecycle, wsgi

    wanted = ((KINDS[0], options.listen), (KINDS[1], options.listen_packages))
    bound = [(name, wsgi.bind(*address)) for name, address in wanted if address]
    return bound or lifecycle.inherited_sockets()


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run mkmirror with the arguments `argv` (default: those of the process); return the exit status."""
    options = build_parser().parse_args(argv)
    return run_verb(options) if options.verb else serve(options)


def run_verb(options: argparse.Namespace) -> int:
    """Run a verb; return 0, the error's own exit status, or 74 for files (sysexits.h)."""
    try:
        options.run(options)
    except MkError as error:
        print(f"mkmirror: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"mkmirror: {error.filename or 'system'}: {error.strerror or error}", file=sys.stderr)
        return IO_STATUS
    except KeyboardInterrupt:
        return 130
    return 0


def serve(options: argparse.Namespace) -> int:
    """Serve the mirror until idle or told to end; return the exit status."""
    journal.setup("INFO", component="mkmirror")
    from mkcore import wsgi  # after --help and --version have answered
    from mkcore.paths import paths_under
    from mkmirror.app import MirrorApp

    try:
        named = take_sockets(options)
    except OSError as error:
        log.error("cannot listen: %s", error)
        return 71
    if not named:
        log.error("no socket: start mkmirror.socket, or give --listen 127.0.0.1:2157")
        return 71
    unknown = sorted({name for name, _ in named} - set(KINDS))
    if unknown:
        log.error("no use for a socket of the name %s; the names are %s", unknown[0], " and ".join(KINDS))
        return 78
    paths = paths_under(options.root)
    app = MirrorApp((paths.mirror_admin, paths.mirror), {str(each.getsockname()[1]): name for name, each in named})
    by_hand = bool(options.listen or options.listen_packages)
    idle_s = options.idle if options.idle is not None else math.inf if by_hand else IDLE_S
    sockets = [each for _, each in named]
    wsgi.serve(app, sockets, idle_s=idle_s, hung_s=HUNG_S, slow_s=SLOW_S, limit_bytes=LIMIT_BYTES, threads=0)
    return 0


if __name__ == "__main__":
    sys.exit(main())

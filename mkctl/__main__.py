"""`mkctl`: the service (`mkctl run`) and the commands for people, wired to their modules.

A verb loads only what it needs: `status` must answer at once on the slowest machine, `run` alone brings in the event
loop, the HTTP client and the bus.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Optional

from mkcore.errors import MkError
from mkcore.paths import paths_under


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one verb; returns the exit status. An expected failure is one line on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        service = run_options(arguments)
        return run_verb(arguments) if service is None else run_service(**service)
    except MkError as error:
        print(f"mkctl: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # `mkctl facts | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run_options(arguments: list[str]) -> Optional[dict[str, str]]:
    """The options of `run`, None for every other command line and for an unusual one.

    The service stays in memory and so does what it imports: it goes without argparse, which would cost 0.6 MB.
    """
    names = [each[2:] for each in arguments[1::2] if each in ("--root", "--mkweb")]
    if arguments[:1] != ["run"] or len(arguments) != 1 + 2 * len(names):
        return None
    return dict(zip(names, arguments[2::2]))


def run_service(root: str = "", mkweb: str = "") -> int:
    """Be the service."""
    from mkctl.service import run

    return run(paths_under(root), mkweb)


def run_verb(arguments: list[str]) -> int:
    """Parse the command line, load the module of the verb and call it. Raises MkError."""
    from mkctl.cli.parser import build_parser

    options = build_parser().parse_args(arguments)
    paths, verb = paths_under(options.root), options.verb
    if verb == "run":
        return run_service(options.root, options.mkweb)
    if verb == "status":
        from mkctl.cli.status import show_status

        return show_status(paths, options.as_json)
    if verb in ("checkin", "register"):
        from mkctl.cli.call import call

        return call(paths, {"checkin": "CheckIn", "register": "Register"}[verb], options.as_json)
    if verb == "facts":
        from mkctl.cli.facts import run_facts

        return run_facts(paths, options)
    if verb == "config":
        from mkctl.cli.config import show_config

        return show_config(paths, options.origin, options.as_json)
    from mkctl.cli.version import show_version

    return show_version(options.as_json)


if __name__ == "__main__":
    sys.exit(main())

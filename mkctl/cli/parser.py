"""The command line of `mkctl`: verbs and their options. What each verb does is in the module of its name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from mkcore.keys import FACT_SETS
from mkcore.version import VERSION

USAGE_STATUS = 64
"""EX_USAGE of sysexits.h, as every other status of `mkctl` follows that file."""

EPILOG = """exit status:
  0   done
  3   mkctl run is not running
  64  wrong usage
  65  a file or argument is not what it must be
  69  the server cannot be reached
  70  an internal or bus failure
  75  not ready yet: try again
  76  the server's answer cannot be used
  77  refused: by the server, or for lack of rights
  78  the configuration cannot be used
  254 status: waiting for the network, with unusable addresses alone
  255 status: waiting for the network, with no address at all

mkctl(1) has the details, mk.toml(5) the configuration."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and end with EX_USAGE."""

    def error(self, message: str) -> NoReturn:
        """Print one line that says how to get help, and exit."""
        self.exit(USAGE_STATUS, f"mkctl: {message} (see {self.prog} --help)\n")


def build_parser() -> Parser:
    """Build the parser of all verbs."""
    common = Parser(add_help=False)
    common.add_argument("--json", action="store_true", dest="as_json", help="print one JSON document")
    common.add_argument("--root", default="", metavar="DIR", help=argparse.SUPPRESS)
    parser = Parser(
        prog="mkctl",
        description="Controller of the discovery microkernel: shows and drives this node's talk with its server.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mkctl {VERSION}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    run = verbs.add_parser(
        "run", help="be the service (what mkctl.service starts)", description="Be the service, until SIGTERM."
    )
    run.add_argument("--root", default="", metavar="DIR", help=argparse.SUPPRESS)
    run.add_argument("--mkweb", default="", metavar="URI", help=argparse.SUPPRESS)
    texts = {
        "status": "show node, server, checkins, registration, configuration, facts",
        "checkin": "check in now and print the outcome",
        "register": "register the facts now and print the outcome",
        "version": "print the version",
    }
    for verb, text in texts.items():
        verbs.add_parser(verb, parents=[common], help=text, description=text[0].upper() + text[1:] + ".")
    _add_facts(verbs.add_parser, common)
    text = "print the values in effect"
    config = verbs.add_parser("config", parents=[common], help=text, description=text[0].upper() + text[1:] + ".")
    config.add_argument("--origin", action="store_true", help="show where each value comes from")
    return parser


def _add_facts(add_parser: Callable[..., argparse.ArgumentParser], common: Parser) -> None:
    text = "print the facts that would be sent, or only those named"
    facts = add_parser("facts", parents=[common], help=text, description=text[0].upper() + text[1:] + ".")
    facts.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="name of a fact, a pattern such as 'macaddress*', or with dots a value in a structure (disks.sda.serial); "
        "with --timing of a collector",
    )
    facts.add_argument(
        "--dialect", choices=("razor", "hanlon"), help="as this kind of server gets them (default: the one in use)"
    )
    facts.add_argument(
        "--set",
        action="extend",
        type=_sets,
        dest="sets",
        metavar="SET",
        help=f"these sets instead of the configured ones: {', '.join(FACT_SETS)}",
    )
    instead = facts.add_mutually_exclusive_group()
    instead.add_argument("--diff", action="store_true", help="what changed since the last registration")
    instead.add_argument("--timing", action="store_true", help="what each collector cost, and how it went")
    instead.add_argument("--explain", action="append", metavar="NAME", help="where a fact comes from")
    instead.add_argument("--inventory", action="store_true", help="the inventory document, or values in it")
    instead.add_argument("--schema", action="store_true", help="the JSON Schema of the inventory document")


def _sets(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FACT_SETS:
            raise argparse.ArgumentTypeError(f"{name!r} is not a set of facts: {', '.join(FACT_SETS)}")
    return names

"""Entry point of `mkserver`: logging, exit statuses, and the one place where an unexpected error ends the process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Optional

from mkcore import journal
from mkcore.errors import MkError

from . import cli

_LOG = logging.getLogger(__name__)
_IO_STATUS = 74


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one verb; returns the exit status: 0, or the error's own, 74 for files (see sysexits.h)."""
    options = cli.build_parser().parse_args(arguments)
    try:
        journal.setup(getattr(options, "log_level", "warn"), component="mkserver")
        options.verb(options)
    except MkError as error:
        print(f"mkserver: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"mkserver: {error.filename or 'system'}: {error.strerror or error}", file=sys.stderr)
        return _IO_STATUS
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001 - the process ends here, with its traceback in the journal
        _LOG.exception("mkserver ends: unexpected error")
        return 70
    return 0


if __name__ == "__main__":
    sys.exit(main())

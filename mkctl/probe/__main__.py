"""mk-facts: collect the hardware facts of this machine into /run/mk-facts/facts.json. See mk-facts(8)."""

from __future__ import annotations

import gc
import os
import sys

from mkctl.probe.ahead import Ahead, start_ahead


def main() -> int:
    """Run mk-facts; return its exit status. What takes longest starts first: see `mkctl.probe.ahead`."""
    ahead = Ahead() if sys.argv[1:] else start_ahead()
    try:
        from mkctl.probe.program import run

        return run(sys.argv[1:], ahead)
    finally:
        ahead.drop()


if __name__ == "__main__":
    gc.disable()  # a run ends before there is anything to collect; looking for it takes a tenth of the run
    status = main()
    sys.stdout.flush()
    # At once: no taking apart of what the kernel frees anyway, and no waiting for a thread that hangs in a device.
    os._exit(status)

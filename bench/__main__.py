"""``python -m bench [--only GROUP]``: runs the groups, writes build/bench.json and prints the table.

Ends with 1 and a line for each figure that is not what is asked for, and with 0 when there is none. Rows of groups that
were not run now, kept from earlier, are shown and not judged again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench import extensions, facts, facts_vm, image, image_memory, mirror, network, network_machines
from bench.rows import Row, list_missed, merge, table

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "build/bench.json"
GROUPS: dict[str, tuple[Callable[[Path], list[Row]], ...]] = {
    "size": (image.size,),
    "cli": (image.cli,),
    "boot": (image.boot,),
    "memory": (image_memory.measure,),
    "facts": (facts.host, facts_vm.machine),
    "mirror": (mirror.measure,),
    "network": (network.measure, network_machines.measure),
    "extensions": (extensions.measure,),
}


def main() -> int:
    """Run the benchmark groups that were asked for (all by default); returns the status to end with, 0 or 1."""
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=sorted(GROUPS), help="run one group and replace its rows alone")
    asked = parser.parse_args().only
    rows, measured = merge(RECORD, []), list[Row]()
    for name, measures in GROUPS.items():
        for measure in measures if asked in (None, name) else ():
            print(f"bench: {name} …", file=sys.stderr, flush=True)
            fresh = measure(ROOT)
            measured += fresh
            rows = merge(RECORD, fresh)  # at once: what fails later takes nothing of it away
    missed = list_missed(measured)
    print("\n".join([table(rows), *missed]))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""How long a node takes to register once its network makes that possible, in every topology of the tests.

*Possible* is when a connection from the node's network to the listening server succeeds for the first time, and DHCP
has named it, as good as some tenths of a second: it is looked for again and again. The nodes are containers: what is
measured is the suite and networkd, not the emulation of a processor.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.rows import Row
from mkcore import events
from tests.machines import nspawn, topologies, tree
from tests.machines.segments import Segments
from tests.machines.topologies import TOPOLOGIES


def measure(root: Path) -> list[Row]:
    """Return the worst topology's time, and each one's."""
    taken: dict[str, float] = {}
    layers = tree.make_installed()
    with Segments("mk-bench-network", root / "build/bench/network") as far:
        for name, topology in TOPOLOGIES.items():
            with topologies.boot("bench-network", layers, topology) as machine:
                taken[name] = _take(name, machine, far)
            print(f"bench: network: {name}: {taken[name]:.1f} s", file=sys.stderr, flush=True)
    worst = max(taken, key=lambda name: taken[name])
    rows = [Row("network.possible_to_registered_s", round(taken[worst], 1), "s", f"the worst of {len(taken)}: {worst}")]
    return rows + [Row(f"network.{name}_s", round(value, 1), "s") for name, value in taken.items()]


def _take(name: str, machine: nspawn.Machine, far: Segments) -> float:
    """Return the seconds from the possible to the registration in a fresh machine."""
    topology = TOPOLOGIES[name]
    with topologies.settle(topology, machine, far) as place:
        entry = machine.wait_event(events.REGISTERED.id, after=place.mark, timeout_s=topologies.FOUND_S)
        assert place.possible_since, f"{name}: registered, though no connection to the server succeeded"
        # microseconds of CLOCK_MONOTONIC, which a container shares with its host
        return int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6 - place.possible_since

"""Two collections of a machine that nobody touches have one digest, with every set of facts on (B37, B48).

Between them lies what tests can do to a machine that is no change of it: memory is taken, files are written, CPUs work.
Where all tests run, they are a minute apart.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from mkcore.jsonfields import Json
from mkcore.keys import FACT_SETS, VOLATILE
from mkctl.factsview import compile_volatile
from mkctl.probe.model import parse_facts_file
from mkctl.probe.schema import steady_inventory
from mkctl.registration import Steady, build_facts, choose_facts

ROOT = Path(__file__).resolve().parent.parent.parent
APART_S = 60.0 if os.environ.get("MK_FULL") else 0.0
INSIDE = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc")
"""Other tests make and remove interfaces and mounts of this machine meanwhile."""


def collect() -> dict[str, Json]:
    """Return all facts of all sets, as a registration would send them without an exclusion pattern."""
    argv = [*INSIDE, sys.executable, "-m", "mkctl.probe", "--print"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, capture_output=True, timeout=120, check=True, env=variables)
    chosen = choose_facts(parse_facts_file(done.stdout), FACT_SETS)
    return build_facts(chosen.flat, {}, None, on_top=chosen.on_top)


def test_a_machine_at_rest_has_one_digest(tmp_path: Path) -> None:
    began = time.monotonic()
    before = collect()
    (tmp_path / "file").write_bytes(os.urandom(8 << 20))
    held = bytearray(os.urandom(64 << 20))
    while time.monotonic() - began < APART_S:
        sum(held)
    after = collect()
    assert {
        "memory",
        "mountpoints",
        "load_averages",
        "system_uptime",
        "uptime_seconds",
        "mk_inventory",
    } <= before.keys()
    assert before["memory"] != after["memory"]
    steady = Steady(compile_volatile(VOLATILE), steady_inventory)
    assert steady.changed_names(before, after) == []
    assert steady.digest(before) == steady.digest(after)
    assert Steady(compile_volatile(()), steady_inventory).digest(before) != steady.digest(after)

"""Hardware facts: one whole run of mk-facts beside what it replaces, on this host with the system's Python.

The peers are the historic way (Facter, lscpu, five class listings of lshw, ipmitool, one after the other), one `lshw`
alone, and the inventory of ironic-python-agent as a process of its own. All run in turn, in one measurement. mk-facts
is measured as its timer starts it: hardware stands still, an earlier run's file is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.rows import Row, against

ROUNDS = 15
PYTHON = "/usr/bin/python3"
FACTS = Path("/run/mk-facts")
CLASSES = ("bus", "memory", "disk", "processor", "network")
FACTER = ("facter", "--json")
ORIGINALS: tuple[tuple[str, ...], ...] = (
    FACTER,
    ("lscpu",),
    *(("lshw", "-c", name) for name in CLASSES),
    ("ipmitool", "bmc", "info"),
)
PEER = "facter, lscpu, 5 lshw, ipmitool"
IPA = """
import json
from ironic_python_agent import config, hardware
from oslo_config import cfg
cfg.CONF([], project="ironic-python-agent")
json.dumps(hardware.GenericHardwareManager().list_hardware_info(), default=str)
"""
IDENTITY = """
import sys, time
sys.path.insert(0, {root!r})
from mkcore.paths import paths_under
from mkctl.cmdline import read_cmdline
from mkctl.identity import read_identity
began = time.perf_counter()
paths = paths_under()
read_identity(paths, read_cmdline(paths.proc))
print((time.perf_counter() - began) * 1e3)
"""


@dataclass(frozen=True)
class Figures:
    """Medians of one entry: seconds of wall clock, MB of peak resident memory (10^6 bytes)."""

    wall_s: float
    peak_rss_mb: float


def probe(root: Path) -> tuple[str, ...]:
    """The command of mk-facts.service, of this source tree."""
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(root)!r}); "
        "runpy.run_module('mkctl.probe', run_name='__main__', alter_sys=True)"
    )
    return (PYTHON, "-I", "-c", code)


def build_argv(root: Path, entries: Mapping[str, Sequence[Sequence[str]]], rounds: int) -> list[str]:
    """The command that measures these entries in turn."""
    asked = json.dumps({"rounds": rounds, "entries": entries})
    return [PYTHON, "-I", "-S", "-c", (root / "bench/measure.py").read_text(encoding="utf-8"), asked]


def parse_measured(text: str, free: Sequence[str] = ()) -> dict[str, Figures]:
    """Take medians of what was measured.

    Raises RuntimeError for a command that failed; those of the entries in `free` may end with a status of their own
    (ipmitool without a BMC, Facter where it may not read all), but must have run.
    """
    figures: dict[str, Figures] = {}
    for name, runs in json.loads(text).items():
        largest = 255 if name in free else 0
        failed = [run["statuses"] for run in runs if any(not 0 <= status <= largest for status in run["statuses"])]
        if failed:
            raise RuntimeError(f"bench: {name}: {len(failed)} of {len(runs)} runs failed: {failed[0]}")
        walls = [run["wall_s"] for run in runs]
        figures[name] = Figures(
            statistics.median(walls), statistics.median(run["peak_rss_kib"] for run in runs) * 1024 / 1e6
        )
        spread = f"{min(walls) * 1e3:.1f} to {max(walls) * 1e3:.1f} ms"
        print(f"bench: {name}: median {figures[name].wall_s * 1e3:.1f} ms, {spread}", file=sys.stderr)
    return figures


def host(root: Path) -> list[Row]:
    """Measure on this host."""
    ipa = root / "build/venv-ipa/bin/python"
    if not ipa.exists():
        raise RuntimeError("no build/venv-ipa: run packaging/setup bench")
    entries = {
        "mk-facts": [probe(root)],
        "originals": ORIGINALS,
        "ipa": [(str(ipa), "-c", IPA)],
        "lshw": [("lshw", "-json")],
        "facter": [FACTER],
    }
    with facts_folder():
        for _ in range(2):  # compiles, and leaves the file that a later run finds
            subprocess.run(probe(root), check=True, capture_output=True)
        argv = build_argv(root, entries, ROUNDS)
        measured = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    figures = parse_measured(measured, free=("originals", "facter"))
    ours = figures["mk-facts"]
    return [
        against("facts.wall_over_originals", ours.wall_s, "s", PEER, figures["originals"].wall_s),
        against("facts.wall_over_ipa", ours.wall_s, "s", "ironic-python-agent", figures["ipa"].wall_s),
        against("facts.wall_over_one_lshw", ours.wall_s, "s", "lshw -json", figures["lshw"].wall_s),
        Row("facts.wall_ms", round(ours.wall_s * 1e3, 1), "ms"),
        against("facts.peak_rss_mb", ours.peak_rss_mb, "MB", "facter --json", figures["facter"].peak_rss_mb),
        Row("facts.identity_ms", round(identity_ms(root), 3), "ms"),
    ]


def identity_ms(root: Path) -> float:
    """The first reading of the identity in a fresh process, imports not counted."""
    argv = [PYTHON, "-I", "-c", IDENTITY.format(root=str(root))]
    runs = [subprocess.run(argv, check=True, capture_output=True, text=True).stdout for _ in range(ROUNDS)]
    return statistics.median(float(text) for text in runs)


@contextlib.contextmanager
def facts_folder() -> Iterator[None]:
    """Have /run/mk-facts in memory, as it is on a node, and leave nothing behind."""
    made = not FACTS.exists()
    FACTS.mkdir(exist_ok=True)
    mounted = os.geteuid() == 0 and _file_system(FACTS) != "tmpfs"
    if mounted:
        subprocess.run(["mount", "-t", "tmpfs", "mk-facts", str(FACTS)], check=True)
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", str(FACTS)], check=True)
        if made:
            for path in FACTS.iterdir():
                path.unlink()
            FACTS.rmdir()


def _file_system(path: Path) -> str:
    run = subprocess.run(["stat", "-f", "-c", "%T", str(path)], check=True, capture_output=True, text=True)
    return run.stdout.strip()

"""Outputs of real machines, from the folder that MK_CAPTURES names: each parses, and counts agree with plain counting.

The plain counts here look at the raw documents and share nothing with the parsers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore.errors import MkError
from mkctl.probe.base import parse_cpu_models, processor_facts
from mkctl.probe.facter_memory import flat_memory, parse_meminfo
from mkctl.probe.smbios import parse_table
from mkctl.probe.smbios_processor import count_processors
from mkctl.probe.sources import build_collectors

OWN = Path(__file__).resolve().parent.parent / "data" / "captures"
CAPTURES = Path(os.environ.get("MK_CAPTURES") or "/nonexistent")
WHY_NOT = "MK_CAPTURES names no folder of real machines' outputs"


def captures(pattern: str, own: str = "") -> list[object]:
    """The files of a pattern; where there are none, one parameter that is skipped with the reason."""
    found = sorted(CAPTURES.glob(pattern)) + (sorted(OWN.glob(own)) if own else [])
    real = [pytest.param(path, id=path.name) for path in found]
    if not CAPTURES.is_dir():
        real.append(pytest.param(CAPTURES, id=pattern, marks=pytest.mark.skip(reason=WHY_NOT)))
    return real


def plain_processors(path: Path) -> int:
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return len(re.findall(r"^processor(?:\s*:\s*\d+$|\s+\d+:)", text, re.MULTILINE))


@pytest.mark.parametrize("path", captures("proc/cpuinfo*"))
def test_cpuinfo(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    plain = plain_processors(path)
    assert len(parse_cpu_models(text)) == plain
    assert processor_facts(tmp_path, text)["processorcount"] == plain


@pytest.mark.parametrize("path", captures("proc/meminfo*"))
def test_meminfo(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    total_kb = int(text.split("MemTotal:")[1].split()[0])
    assert flat_memory(parse_meminfo(text))["memorysize_mb"] == f"{total_kb / 1024:.2f}"


@pytest.mark.parametrize("path", captures("smbios-raw/*.bin"))
def test_smbios(path: Path) -> None:
    """A dmidecode dump: the entry point in the first 32 bytes, the table where that says."""
    dump = path.read_bytes()
    offset = 0x20
    kinds = [structure.kind for structure in parse_table(dump[offset:])]
    assert {0, 1, 4} <= set(kinds)
    assert 1 <= count_processors(parse_table(dump[offset:])) <= kinds.count(4)


NEEDS = {"memory": "proc/meminfo", "time": "proc/uptime", "mounts": "proc/self/mounts"}
"""Collectors that make their facts of one file of /proc, which few of the trees have."""
BULK = (  # tens of thousands of files that no collector reads
    *("cache/*", "system/node/*", "bus/*", "module/*", "thermal*", "power/*", "cpufreq/*", "cpuidle/*", "irq/*"),
    *("topology/core*", "topology/thread*", "topology/die*", "topology/cluster*", "topology/book*", "local_cpu*"),
    *("uevent", "resource*", "config", "msi_*", "proc/[0-9]*", "crash_notes*", "pci_bus/*", "acpi*", "LNX*"),
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: unpacking a tree is all that these tests spend time on."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="mk-test-", dir=base) as name:
        yield Path(name)


def unpack(path: Path, folder: Path) -> Path:
    """Unpack a tree; return its root: the folder that holds `sys` or `proc`. tar(1), as Python's takes ten times as
    long."""
    command = ["tar", "-xJf", str(path), "-C", str(folder), *(f"--exclude=*/{bulk}" for bulk in BULK)]
    subprocess.run(command, check=True, capture_output=True)
    for depth in range(4):
        for found in sorted(folder.glob("*/" * depth + "[sp][yr][so]*")):
            if found.name in ("sys", "proc") and found.is_dir():
                return found.parent
    raise AssertionError(f"{path.name} holds neither sys nor proc")


@pytest.mark.parametrize("path", captures("sysfs/*.tar.xz") + captures("lscpu/*.tar.xz"))
def test_trees(path: Path, folder: Path) -> None:
    """Each collector that reads files alone ends with facts or with one of our own errors."""
    root = unpack(path, folder)
    facts: dict[str, object] = {}
    for collector in build_collectors(str(root)):
        if collector.name not in ("lscpu", "lshw"):
            try:
                facts.update(collector.collect().facts)
            except (MkError, OSError) as error:
                assert collector.name in NEEDS and not (root / NEEDS[collector.name]).exists(), error
    json.dumps(facts, allow_nan=False)
    block = root / "sys/block"
    disks = [each for each in block.iterdir() if (each / "device").exists()] if block.is_dir() else []
    assert str(facts.get("blockdevices", "")).count(",") + bool(disks) == len(disks)
    present = root / "sys/devices/system/cpu/present"
    if present.exists():
        spans = [part.split("-") for part in present.read_text().strip().split(",")]
        count = sum(int(span[-1]) - int(span[0]) + 1 for span in spans)
        assert facts["processorcount"] == max(count, plain_processors(root / "proc/cpuinfo"))
    assert isinstance(facts["is_virtual"], bool)

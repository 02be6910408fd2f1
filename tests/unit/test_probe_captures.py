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
from mkctl.probe.base import memory_facts, parse_cpu_models, processor_facts
from mkctl.probe.flatten import flatten_lshw
from mkctl.probe.lscpu import KEYS, flatten_lscpu, parse_lscpu
from mkctl.probe.lshw import parse_lshw
from mkctl.probe.names import clean_name
from mkctl.probe.smbios import count_processors, parse_table
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


def raw_nodes(value: object) -> Iterator[tuple[dict, dict]]:
    """Yield every device of a raw document with its parent."""
    stack = [(root, {}) for root in (value if isinstance(value, list) else [value])]
    while stack:
        device, parent = stack.pop()
        yield device, parent
        stack.extend((child, device) for child in device.get("children", []))


def plain_counts(path: Path) -> dict[str, int]:
    nodes = [
        (device, parent, device.get("class"), device["id"].split(":")[0])
        for device, parent in raw_nodes(json.loads(path.read_text(encoding="utf-8")))
        if not device.get("disabled")
    ]
    joined = {
        id(parent)
        for device, parent, kind, _ in nodes
        if kind == parent.get("class") == "network" and "logicalname" not in parent
    }
    block = re.compile(r"/dev/nvme\d+n\d+")
    return {
        "cpu": sum(kind == "processor" and name == "cpu" for _, _, kind, name in nodes),
        "nic": sum(kind == "network" and id(device) not in joined for device, _, kind, _ in nodes),
        "disk": sum(
            kind == "disk"
            and (
                name == "disk"
                or name.startswith("virtio")
                or (name == "namespace" and bool(block.match(str(device.get("logicalname")))))
            )
            for device, _, kind, name in nodes
        ),
        "mem_slot": sum(
            kind == "memory" and name == "bank" and device.get("size", 0) > 0 and parent["id"].startswith("memory")
            for device, parent, kind, name in nodes
        ),
        "memory_bytes": max(
            sum(
                d.get("size", 0)
                for d, _, kind, name in nodes
                if kind == "memory" and name == "memory" and "businfo" not in d
            ),
            sum(d.get("size", 0) for d, p, kind, name in nodes if kind == "memory" and name == "bank"),
        ),
    }


@pytest.mark.parametrize("path", captures("lshw-json/*.json", own="*lshw*.json"))
def test_lshw(path: Path) -> None:
    facts = flatten_lshw(parse_lshw(path.read_bytes()), board={}, block=[])
    counts = plain_counts(path)
    for group in ("cpu", "nic", "disk"):
        assert int(facts.get(f"mk_hw_{group}_count", "0")) == counts[group], group
        numbers = {match.group(1) for match in (re.match(rf"mk_hw_{group}(\d+)_", name) for name in facts) if match}
        assert numbers == {str(number) for number in range(counts[group])}, group
    assert int(facts.get("mk_hw_mem_slot_count", "0")) == counts["mem_slot"]
    if counts["memory_bytes"]:
        match = re.fullmatch(r"(\d+)([KMGT])iB", facts["mk_hw_mem_size"])
        assert match
        unit = 1024 ** (" KMGT".index(match.group(2)))
        assert int(match.group(1)) * unit <= counts["memory_bytes"] < (int(match.group(1)) + 1) * unit
    assert all(isinstance(value, str) and value for value in facts.values())
    assert all(clean_name(name) == name for name in facts)


@pytest.mark.parametrize("path", captures("lshw-text/*"))
def test_lshw_text_is_refused_in_one_line(path: Path) -> None:
    with pytest.raises(MkError, match=r"^lshw -json[^\n]*$"):
        parse_lshw(path.read_bytes())


@pytest.mark.parametrize("path", captures("lscpu/*.[tj][xs]*"))
def test_lscpu(path: Path) -> None:
    pairs = parse_lscpu(path.read_bytes())
    text = path.read_text(encoding="utf-8")
    facts = flatten_lscpu(pairs, "")
    assert set(facts) <= {f"mk_hw_lscpu_{key}" for key in KEYS}
    if "japanese" in path.name:
        return
    sockets = re.search(r'^\s*(?:"field": ")?(?:CPU s|S)ocket\(s\):(?:",\s*"data": "|\s+)(\d+)', text, re.MULTILINE)
    assert facts.get("mk_hw_lscpu_CPU_sockets") == (sockets.group(1) if sockets else None)
    assert ("mk_hw_lscpu_Architecture" in facts) == ("Architecture:" in text)
    assert ("mk_hw_lscpu_L2_cache" in facts) == bool(re.search(r'^\s*(?:"field": ")?L2 cache:', text, re.MULTILINE))


@pytest.mark.parametrize("path", captures("lscpu/*.expected.txt"))
def test_lscpu_text_and_json_of_one_machine_agree(path: Path) -> None:
    other = path.with_name(path.name.replace(".expected.txt", ".lscpu-J.json"))
    if other.exists():
        text, document = (flatten_lscpu(parse_lscpu(each.read_bytes()), "") for each in (path, other))
        assert text.items() <= document.items()
        assert set(document) - set(text) <= {"mk_hw_lscpu_Architecture", "mk_hw_lscpu_Byte_Order"}  # of uname(2)


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
    assert memory_facts(text)["memorysize_mb"] == f"{total_kb / 1024:.2f}"


@pytest.mark.parametrize("path", captures("smbios-raw/*.bin"))
def test_smbios(path: Path) -> None:
    """A dmidecode dump: the entry point in the first 32 bytes, the table where that says."""
    dump = path.read_bytes()
    offset = 0x20
    kinds = [structure.kind for structure in parse_table(dump[offset:])]
    assert {0, 1, 4} <= set(kinds)
    assert 1 <= count_processors(dump[offset:]) <= kinds.count(4)


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
                assert collector.name == "memory" and not (root / "proc/meminfo").exists(), error
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

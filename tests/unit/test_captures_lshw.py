"""`lshw -json` of real machines: each parses, and counts agree with plain counting.

The plain counts here look at the raw documents and share nothing with the parsers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from capture_files import captures

from mkcore.errors import MkError
from mkctl.probe.flatten import flatten_lshw
from mkctl.probe.groups import group_facts
from mkctl.probe.lshw import parse_lshw
from mkctl.probe.names import clean_name

CLASSES = {"bus": "bus", "mem": "memory", "disk": "disk", "proc": "processor", "nw": "network"}
KINDS = r"^mk_hw_((bus|fw|mem)_[a-z_]+|mem_slot\d+_[a-z_]+|(disk|cpu|nic)(\d+_[a-z_]+|_count)|mem_slot_count)$"


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
def test_counts(path: Path) -> None:
    left_out: list[str] = []
    facts = flatten_lshw(parse_lshw(path.read_bytes(), left_out), board={}, block=[])
    assert left_out == []
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
    assert all(clean_name(name) == name and re.match(KINDS, name) for name in facts)


def entries(value: object) -> Iterator[dict]:
    """Every device in the value of a group fact."""
    if isinstance(value, list):
        for item in value:
            yield from entries(item)
    elif isinstance(value, dict):
        yield value
        for item in value.values():
            yield from entries(item)


@pytest.mark.parametrize("path", captures("lshw-json/*.json", own="*lshw*.json"))
def test_group_facts_lose_no_device_and_invent_none(path: Path) -> None:
    """As many devices of a class as the document has enabled ones, wherever they are nested."""
    facts = group_facts(parse_lshw(path.read_bytes()))
    document = json.loads(path.read_text(encoding="utf-8"))
    disabled = {id(device) for device, parent in raw_nodes(document) if device.get("disabled")}
    for device, parent in raw_nodes(document):  # parents come first
        if id(parent) in disabled:
            disabled.add(id(device))
    for group, node_class in CLASSES.items():
        devices = [d for d, _ in raw_nodes(document) if d.get("class") == node_class and id(d) not in disabled]
        plain = len(devices) - sum(group == "mem" and d["id"].startswith("cache:") for d in devices)
        found = [
            entry
            for name, text in facts.items()
            if name.startswith(f"mk_hw_{group}_")
            for entry in entries(json.loads(text))
        ]
        assert len(found) == plain, group
        unclaimed = sum(not device.get("claimed") for device in devices if not device["id"].startswith("cache:"))
        assert sum(entry.get("UNCLAIMED") is True for entry in found) == unclaimed, group
    assert all(name.endswith("_json_str") and clean_name(name) == name for name in facts)


@pytest.mark.parametrize("path", captures("lshw-text/*"))
def test_text_listings_are_refused_in_one_line(path: Path) -> None:
    """The suite reads the JSON alone."""
    with pytest.raises(MkError, match=r"^lshw -json[^\n]*$"):
        parse_lshw(path.read_bytes())

"""The collectors on what the declared machines' kernels showed (tests/machines/capture.py): the inventory is what was
declared.

The same comparison as in a machine that runs (tests/image/test_hardware.py), with what a tree of files can show:
neither the answers to ioctls (drivers of network cards) nor those of devices (management controller, TPM).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from capture_files import OWN
from probe_tree import make_tool, make_tree

from mkctl.probe.model import Status, join_trees
from mkctl.probe.sources import build_collectors

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.machines import matrix
from tests.machines.compare import key_declared, list_differences
from tests.machines.rich_truth import build_inventory

MACHINES = ("rich-bios", "one-cpu-virtio", "many-nics")
SECTIONS = {"firmware", "memory", "disks", "pci", "usb", "storage_controllers", "devices_without_driver", "system"}
UNSEEN = (".driver:", ".model: declared some text", "disks.SATA-DVD:", "disks.sr0:")
"""Of network cards, which an ioctl asks for; of controllers, where this machine has no pci.ids; the number of an
optical drive, which udev asked it for."""
FILES_OF_PROC = {"time", "mounts"}
"""Collectors whose files are not among the captured ones."""


def make_machine(name: str, folder: Path) -> Path:
    """Make the tree of a captured machine, and its tools on PATH."""
    capture = OWN / name
    texts = json.loads((capture / "tree.json").read_text(encoding="utf-8"))
    others = json.loads((capture / "tree-bytes.json").read_text(encoding="utf-8"))
    root = make_tree(folder / "root", {**texts, **{path: bytes.fromhex(data) for path, data in others.items()}})
    for file, path in (("smbios.bin", "DMI"), ("smbios-entry-point.bin", "smbios_entry_point")):
        make_tree(root, {f"sys/firmware/dmi/tables/{path}": (capture / file).read_bytes()})
    for tool in ("lshw", "lscpu"):
        make_tool(folder / "bin", tool, f"cat '{capture / tool}.json'")
    return root


@pytest.mark.parametrize("name", MACHINES)
def test_inventory_is_what_was_declared(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_machine(name, tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    found: dict[str, Any] = {}
    for collector in build_collectors(str(root)):
        if collector.name in FILES_OF_PROC:
            continue
        collected = collector.collect()
        assert collected.status is Status.OK, (collector.name, collected.error)
        found = join_trees((found, collected.inventory))
    command_line = (root / "proc/cmdline").read_text(encoding="utf-8").strip()
    truth = build_inventory(matrix.MACHINES[name], command_line, "")
    assert set(truth) >= SECTIONS - {"usb", "devices_without_driver"}
    wanted = {section: truth[section] for section in SECTIONS & set(truth)}
    differences = list_differences(wanted, key_declared(found))
    assert [line for line in differences if not any(text in line for text in UNSEEN)] == []

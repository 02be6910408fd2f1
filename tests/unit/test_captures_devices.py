"""Devices of real machines: trees of /sys and outputs of smartctl, from the folder that MK_CAPTURES names.

The counts come from the list of names in the archive and from plain reading of the documents; they share nothing with
the parsers.
"""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest
from capture_files import captures, unpack
from test_probe_devices import check

from mkctl.probe.devices import collect_block, collect_pci, collect_usb
from mkctl.probe.smart import parse_smartctl

ATTRIBUTES = {5: "reallocated_sectors", 197: "pending_sectors", 199: "interface_crc_errors"}
NEEDS_NONE = re.compile(r"0x(06|0500|0501|0580|08(?!05)|1101|13)")


class Listing:
    """The members of an archive: names from `sys/` on, texts of small files, targets of links."""

    def __init__(self, path: Path) -> None:
        self.texts: dict[str, str] = {}
        self.links: dict[str, str] = {}
        with tarfile.open(path) as archive:
            for member in archive:
                name = re.sub(r"^.*?\bsys/", "sys/", member.name)
                if member.issym():
                    self.links[name] = member.linkname
                elif member.isfile() and "/pci" in name:
                    stream = archive.extractfile(member)
                    assert stream
                    self.texts[name] = stream.read(4096).decode("latin-1").strip()
        self.names = {*self.texts, *self.links}

    def functions(self) -> dict[str, str]:
        """Address and folder of the PCI functions that have a vendor."""
        found = {name.rpartition("/")[2]: name for name in self.links if name.startswith("sys/bus/pci/devices/")}
        folders = {address: f"sys/{self.links[name].lstrip('./')}" for address, name in found.items()}
        return {address: folder for address, folder in folders.items() if f"{folder}/vendor" in self.texts}

    def class_of(self, folder: str) -> str:
        return self.texts[f"{folder}/class"]


@pytest.mark.parametrize("path", captures("sysfs/*.tar.xz"))
def test_trees(path: Path, tmp_path: Path) -> None:
    listing = Listing(path)
    functions = listing.functions()
    blocks = [name for name in listing.links if re.fullmatch(r"sys/block/[^/]+", name)]
    disks = [
        name.rpartition("/")[2]
        for name in blocks
        if f"sys/{listing.links[name].lstrip('./')}/device" in listing.links and "/virtual/" not in listing.links[name]
    ]
    root = tmp_path
    if functions or blocks:
        root = unpack(path, tmp_path, "*sys/bus/pci*", "*sys/devices/pci*", "*sys/block*")
    inventory = check(collect_pci(root / "sys", tmp_path))
    pci = inventory.get("pci", {})
    assert sorted(pci) == sorted(functions)
    for address, folder in functions.items():
        entry = pci[address]
        assert entry["vendor_id"] == listing.texts[f"{folder}/vendor"].removeprefix("0x")
        assert entry["device_id"] == listing.texts[f"{folder}/device"].removeprefix("0x")
        assert entry["class_id"] == listing.class_of(folder).removeprefix("0x")
        assert entry.get("driver") == (listing.links.get(f"{folder}/driver", "").rpartition("/")[2] or None)
        node = listing.texts.get(f"{folder}/numa_node", "-1")
        assert entry.get("numa_node", -1) == int(node)
    storage = [
        address for address, folder in functions.items() if listing.class_of(folder).startswith(("0x01", "0x0c04"))
    ]
    host_folders = [a for a in storage if (pci[a]["vendor_id"], pci[a]["device_id"]) == ("1af4", "105a")]
    assert len(inventory.get("storage_controllers", {})) == len(storage) - len(host_folders)
    graphics = [a for a, folder in functions.items() if re.match("0x(03|12|0b40)", listing.class_of(folder))]
    assert sorted(inventory.get("gpus", {})) == sorted(graphics)
    lacking = [
        address
        for address, folder in functions.items()
        if f"{folder}/driver" not in listing.links and not NEEDS_NONE.match(listing.class_of(folder))
    ]
    assert inventory.get("devices_without_driver", []) == sorted(lacking)
    block = collect_block(root / "sys", tmp_path)
    found = check(block).get("disks", {})
    assert sorted(found) == sorted(disks)
    assert block.facts.get("blockdevices", "") == ",".join(sorted(disks))
    for name, entry in found.items():
        target = listing.links[f"sys/block/{name}"]
        assert entry.get("controller", "") in target
        assert f"/{entry['scsi_address']}/" in target
    assert check(collect_usb(root / "sys", tmp_path)) == {}


@pytest.mark.parametrize("path", captures("smartctl-json/*.json"))
def test_smartctl(path: Path) -> None:
    data = path.read_bytes()
    document = json.loads(data)
    health = parse_smartctl(data)
    assert health["source"] == "smartctl"
    if "devices" in document:  # a list of disks, with no health of any
        assert health == {"source": "smartctl"}
        return
    assert health["passed"] is document["smart_status"]["passed"]
    assert health["temperature_c"] == document["temperature"]["current"]
    assert health["power_on_hours"] == document["power_on_time"]["hours"]
    assert health["power_cycles"] == document["power_cycle_count"]
    table = document.get("ata_smart_attributes", {}).get("table", [])
    raw = {row["id"]: row["raw"]["value"] for row in table}
    assert {key: health.get(key) for key in ATTRIBUTES.values()} == {
        key: raw.get(number) for number, key in ATTRIBUTES.items()
    }
    log = document.get("nvme_smart_health_information_log")
    if log:
        assert (health["percentage_used"], health["media_errors"]) == (log["percentage_used"], log["media_errors"])
    bits = bin(document["smartctl"]["exit_status"] >> 3).count("1")
    assert len(health.get("problems", [])) == bits

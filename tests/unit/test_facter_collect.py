"""Facter's collectors as a whole: what each brings of a made machine, what stays the same, what a broken part costs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from probe_tree import make_tree

from mkcore.errors import BadInput
from mkcore.keys import VOLATILE
from mkcore.paths import paths_under
from mkctl.factsview import compile_volatile
from mkctl.probe import facter
from mkctl.probe.collect import Collected
from mkctl.probe.sources import build_collectors
from mkctl.registration import Steady

SCHEMA = Path(facter.__file__).parent / "schema"
TREE: dict[str, str | bytes] = {
    "proc/sys/kernel/hostname": "mk0123\n",
    "proc/cmdline": "root=/dev/vda1 node.password=hunter2\n",
    "proc/uptime": "81.23 150.00\n",
    "proc/loadavg": "0.50 0.40 0.30 1/99 1234\n",
    "proc/meminfo": "MemTotal: 2014228 kB\nMemFree: 1000 kB\nMemAvailable: 5000 kB\nSwapTotal: 9 kB\nSwapFree: 5 kB\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: CPU\ncpu MHz\t: 2000.0\n\nprocessor\t: 1\nmodel name\t: CPU\n",
    "proc/filesystems": "nodev\tproc\n\text4\n",
    "proc/self/mounts": "/dev/vda1 / ext4 rw 0 0\n",
    "proc/sys/crypto/fips_enabled": "1\n",
    "etc/os-release": 'ID=debian\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n',
    "sys/class/net/eth0/address": "52:54:00:12:34:56\n",
    "sys/class/net/eth0/ifindex": "2\n",
    "sys/class/net/eth0/mtu": "1500\n",
    "sys/class/dmi/id/sys_vendor": "QEMU\n",
    "sys/block/vda/size": "2048\n",
    "sys/block/vda/device/": "",
    "sys/block/vda/vda1/size": "1024\n",
}
Collect = Callable[[Path], Collected]
COLLECTORS: dict[str, Collect] = {
    "system": lambda root: facter.collect_system(paths_under(str(root)), root),
    "time": lambda root: facter.collect_time(paths_under(str(root))),
    "memory": lambda root: facter.collect_memory(paths_under(str(root))),
    "processors": lambda root: facter.collect_processors(paths_under(str(root)), root),
    "dmi": lambda root: facter.collect_dmi(paths_under(str(root))),
    "networking": lambda root: facter.collect_networking(paths_under(str(root)), root, only_files=True),
    "mounts": lambda root: facter.collect_mounts(paths_under(str(root))),
    "partitions": lambda root: facter.collect_partitions(paths_under(str(root)), root),
}


def collect_all(root: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Flat facts, structured facts and the inventory's parts of a tree."""
    flat: dict[str, Any] = {}
    structured: dict[str, Any] = {}
    inventory: dict[str, Any] = {}
    for collect in COLLECTORS.values():
        found = collect(root)
        flat.update(found.facts)
        structured.update(found.structured)
        inventory.update(found.inventory)
    return flat, structured, inventory


def test_every_structured_core_fact_is_there(tmp_path: Path) -> None:
    _, structured, _ = collect_all(make_tree(tmp_path, TREE))
    assert structured.keys() == {
        *("networking", "disks", "dmi", "memory", "processors", "os", "partitions", "mountpoints", "filesystems"),
        *("virtual", "is_virtual", "hypervisors", "system_uptime", "load_averages", "identity", "timezone", "path"),
        *("kernel", "kernelrelease", "kernelversion", "kernelmajversion", "fips_enabled"),
    }
    assert structured["hypervisors"] == {"kvm": {}}
    assert structured["fips_enabled"] is True
    assert structured["networking"]["interfaces"] == {"eth0": {"mac": "52:54:00:12:34:56", "mtu": 1500}}
    assert structured["partitions"]["/dev/vda1"]["mount"] == "/"
    json.dumps(structured, allow_nan=False)


def test_names_with_two_shapes_have_each_in_its_set(tmp_path: Path) -> None:
    """os, processors and partitions exist in both versions; the flat facts keep the older form."""
    flat, structured, _ = collect_all(make_tree(tmp_path, TREE))
    assert flat["processors"].keys() == {"count", "models"}
    assert {"count", "models", "isa", "speed"} <= structured["processors"].keys()
    assert flat["partitions"].keys() == {"vda1"}
    assert structured["partitions"].keys() == {"/dev/vda1"}
    assert flat["os"].keys() == {"name", "family", "release", "lsb"}
    assert structured["os"].keys() == {"architecture", "distro", "family", "hardware", "name", "release", "selinux"}
    assert flat["system_uptime"] == structured["system_uptime"]


def test_the_kernel_s_part_of_the_inventory(tmp_path: Path) -> None:
    _, _, inventory = collect_all(make_tree(tmp_path, TREE))
    schema = json.loads((SCHEMA / "kernel.json").read_text(encoding="utf-8"))
    jsonschema.validate(inventory["kernel"], schema)
    assert inventory["kernel"].keys() == {"release", "version", "machine", "command_line"}
    assert inventory["kernel"]["command_line"] == "root=/dev/vda1 node.password=..."


LATER = {
    "proc/uptime": "180141.23 150.00\n",
    "proc/loadavg": "1.50 1.40 1.30 1/99 1234\n",
    "proc/meminfo": "MemTotal: 2014228 kB\nMemFree: 999 kB\nMemAvailable: 4999 kB\nSwapTotal: 9 kB\nSwapFree: 4 kB\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: CPU\ncpu MHz\t: 800.0\n\nprocessor\t: 1\nmodel name\t: CPU\n",
}


def test_what_changes_by_itself_does_not_change_the_digest(tmp_path: Path) -> None:
    """B37, B48: a day of uptime, load, memory, clock and disk usage; with all sets of facts on."""
    steady = Steady(compile_volatile(VOLATILE))
    before = collect_all(make_tree(tmp_path / "before", TREE))
    after = collect_all(make_tree(tmp_path / "after", {**TREE, **LATER}))
    after[1]["mountpoints"]["/"].update(available="1 GiB", available_bytes=1, used="5", used_bytes=5, capacity="5%")
    for old, new in zip(before, after):
        assert steady.changed_names(old, new) == []
        assert steady.digest(old) == steady.digest(new)
    assert before[:2] != after[:2]
    grown = collect_all(make_tree(tmp_path / "grown", {**TREE, "proc/meminfo": "MemTotal: 4014228 kB\n"}))
    assert "memorysize" in steady.changed_names(before[0], grown[0])
    assert steady.changed_names(before[1], grown[1]) == ["memory"]


def test_an_address_that_is_being_tried_is_no_change() -> None:
    """Flags of addresses come and go for some seconds after a link came up; the addresses count."""
    steady = Steady(compile_volatile(VOLATILE))

    def networking(address: str, *flags: str) -> dict[str, Any]:
        binding = {"address": address, "flags": list(flags)}
        return {"networking": {"interfaces": {"eth0": {"bindings6": [binding]}}}}

    first = networking("fe80::1", "tentative", "permanent")
    assert steady.changed_names(first, networking("fe80::1", "permanent")) == []
    assert steady.changed_names(first, networking("fe80::2", "tentative")) == ["networking"]


@pytest.mark.parametrize("name", [*COLLECTORS])
def test_an_empty_machine(tmp_path: Path, name: str) -> None:
    """Nothing there: facts that need nothing, or one error of ours that names the file."""
    try:
        found = COLLECTORS[name](tmp_path)
    except (BadInput, OSError) as error:
        assert name in {"time", "memory", "mounts"}, error
        return
    json.dumps([dict(found.facts), dict(found.structured), dict(found.inventory)], allow_nan=False)
    assert not found.error


def test_where_the_kernel_lists_no_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sandbox without AF_NETLINK interfaces are reported, and the status says what is missing."""
    monkeypatch.setattr(facter.ethtool, "RTM_GETADDR", 9999)  # a request that the kernel refuses
    found = facter.collect_networking(paths_under(str(make_tree(tmp_path, TREE))), tmp_path)
    assert found.error.startswith("no list of addresses: ")
    assert found.structured["networking"]["interfaces"] == {  # type: ignore[call-overload,index]
        "eth0": {"mac": "52:54:00:12:34:56", "mtu": 1500}
    }


def test_two_thousand_devices_and_mounts(tmp_path: Path) -> None:
    """A machine full of disks and mounts is reported in full, within a second."""
    files = dict(TREE)
    files["proc/self/mounts"] = "".join(f"/dev/sd{n}1 {tmp_path} ext4 rw 0 0\n" for n in range(2000))
    for number in range(1000):
        files[f"sys/block/sd{number}/size"] = "2048\n"
        files[f"sys/block/sd{number}/device/model"] = "M\n"
        files[f"sys/block/sd{number}/sd{number}p1/size"] = "1024\n"
    root = make_tree(tmp_path, files)
    began = time.thread_time()
    partitions, mounts = COLLECTORS["partitions"](root), COLLECTORS["mounts"](root)
    assert len(partitions.structured["disks"]) == 1001  # type: ignore[arg-type]
    assert len(partitions.facts["partitions"]) == 1001  # type: ignore[arg-type]
    assert mounts.structured["mountpoints"].keys() == {str(tmp_path)}  # type: ignore[union-attr]
    assert time.thread_time() - began < 10


def test_a_container_tells_of_its_host(tmp_path: Path) -> None:
    """Kernel and devices are the same on both sides; names, release, mounts and what contains it are the host's."""
    own = make_tree(tmp_path / "own", {**TREE, "run/systemd/container": "podman\n"})
    host = make_tree(
        tmp_path / "host",
        {
            "proc/1/mounts": "/dev/vda1 /srv xfs rw 0 0\nproc /proc proc rw 0 0\n",
            "etc/os-release": 'ID=fedora\nNAME="Fedora Linux"\nVERSION_ID="43"\n',
            "srv/": "",
        },
    )
    collectors = {each.name: each for each in build_collectors(str(own), host=str(host))}
    system = collectors["system"].collect()
    assert (system.facts["operatingsystem"], system.facts["virtual"]) == ("Fedora", "kvm")
    assert system.facts["hostname"] == "mk0123", "the kernel says so"
    mountpoints: Any = collectors["mounts"].collect().structured["mountpoints"]
    assert mountpoints.keys() == {"/srv"}
    assert mountpoints["/srv"]["size_bytes"] > 0, "its size is asked for where the container sees it"
    partitions: Any = collectors["partitions"].collect().structured["partitions"]
    assert partitions["/dev/vda1"]["mount"] == "/srv"

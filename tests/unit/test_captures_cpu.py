"""Processors of real machines' trees: counts equal what lscpu printed there, and what plain reading finds.

The plain reading looks at every CPU by itself, where the product reads each set once.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from capture_files import captures, unpack
from inventory_schema import check_schema

from mkctl.probe.cpu_topology import read_topology

PARTS = ("*sys/devices/system/cpu/*", "*sys/devices/system/node/*", "*proc/cpuinfo")
NOT_HERE = ("uevent", "power", "cpuidle", "microcode", "hotplug", "memory[0-9]*", "hugepages", "vmstat", "numastat")
OTHER_SOCKETS = ("ul-arm-A510",)  # lscpu counts sockets by kind of core there
OTHER_CACHES = ("ul-sparc64", "ul-loongarch")  # in files of sparc's own; one L3 for 32 packages of a virtual machine
EDITED = ("hwloc-40intel64-4n10c+pci-conflicts.tar.xz",)  # a CPU names the package of others as its own


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: unpacking a tree is all that these tests spend time on."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="mk-test-", dir=base) as name:
        yield Path(name)


def read(path: Path, folder: Path) -> tuple[dict, Path]:
    excluded = [f"--exclude=*/{name}" for name in NOT_HERE]
    root = unpack(path, folder, *excluded, *PARTS)
    cpuinfo = root / "proc/cpuinfo"
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    found = read_topology(f"{root}/sys", text, "declared")
    check_schema({"processors": found})
    return found, root


def parsable(text: str) -> list[list[str]]:
    """The lines of `lscpu -p` in an expected text: CPU, core, socket, node and caches; of the first of two tables."""
    tables = re.split(r"(?:^#.*\n)+", text, flags=re.MULTILINE)[1:]
    return [line.split(",") for line in tables[0].splitlines() if re.match(r"\d+,", line)]


@pytest.mark.parametrize("path", captures("lscpu/*.tar.xz"))
def test_what_lscpu_prints(path: Path, folder: Path) -> None:
    found, _ = read(path, folder)
    text = path.with_name(path.name.replace(".tar.xz", ".expected.txt")).read_text(encoding="utf-8")
    lines = parsable(text)
    packages = list(found["packages"].values())
    assert found["online"] == len(lines) == sum(package["threads"] for package in packages)
    if all("cores" in package for package in packages) and not path.name.startswith(OTHER_SOCKETS):
        assert len(packages) == len({line[2] for line in lines})
        assert sum(package["cores"] for package in packages) == len({line[1] for line in lines})
    nodes = dict(re.findall(r"^NUMA node(\d+) CPU\(s\): +(\S+)$", text, re.MULTILINE))
    ours = {key: expand(node["cpus"]) for key, node in found.get("numa_nodes", {}).items() if "cpus" in node}
    assert ours == {key: expand(cpus) for key, cpus in nodes.items()}
    check_caches(text, packages if not path.name.startswith(OTHER_CACHES) else [])
    vendor = re.search(r"^Vendor ID: +(\S.*)$", text, re.MULTILINE)
    assert packages[0].get("vendor_id") == (vendor.group(1) if vendor else None)
    if "x86" in path.name or "vbox" in path.name or "vmware" in path.name:  # of others lscpu has names of its own
        check_x86(text, packages)


def check_caches(text: str, packages: list[dict]) -> None:
    for name, instances in re.findall(r"^(L\d[di]?)(?: cache)?: .*\((\d+) instances?\)$", text, re.MULTILINE):
        level, kind = int(name[1]), {"d": ("data",), "i": ("instruction",)}.get(name[2:], ("unified", None))
        ours = [each for package in packages for each in package.get("caches", []) if each["level"] == level]
        counted = sum(cache["count"] for cache in ours if cache.get("type") in kind)
        assert counted == int(instances) or not packages, name


def check_x86(text: str, packages: list[dict]) -> None:
    assert {package["model_name"] for package in packages} == set(
        re.findall(r"^Model name: +(\S.*)$", text, re.MULTILINE)
    )
    for name, key in (("CPU family", "family"), ("Model", "model"), ("Stepping", "stepping")):
        assert int(re.findall(rf"^{name}: +(\d+)$", text, re.MULTILINE)[0]) == packages[0][key]
    flags = re.findall(r"^Flags: +(\S.*)$", text, re.MULTILINE)[0].split()
    assert sorted(packages[0]["flags"]) == sorted(flags)


def expand(cpus: str) -> set[int]:
    spans = [(int(low), int(high or low)) for low, _, high in (part.partition("-") for part in cpus.split(","))]
    return {number for low, high in spans for number in range(low, high + 1)}


def line(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def each_cpu(root: Path) -> list[Path]:
    online = line(root / "sys/devices/system/cpu/online")
    found = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*"), key=lambda each: int(each.name[3:]))
    if not online:
        return found
    return [each for each in found if int(each.name[3:]) in expand(online)]


@pytest.mark.parametrize("path", captures("sysfs/*.tar.xz"))
def test_plain_reading(path: Path, folder: Path) -> None:
    found, root = read(path, folder)
    if path.name in EDITED:
        return  # reading it is all that can be asked
    cpus = [each for each in each_cpu(root) if (each / "topology/core_siblings").exists()]
    packages = found.get("packages", {}).values()
    known = [package for package in packages if "cores" in package]
    assert len(known) == len({line(each / "topology/core_siblings") for each in cpus})
    assert sum(package["threads"] for package in known) == len(cpus)
    cores = {line(each / "topology/thread_siblings") for each in cpus}
    assert sum(package["cores"] for package in known) == len(cores)
    indexes = [index for each in cpus for index in each.glob("cache/index[0-9]*") if (index / "level").exists()]
    caches = {(index.name, line(index / "shared_cpu_map")) for index in indexes}
    if all(set(users) - set("0,") for _, users in caches):  # an IA-64 has caches that nobody uses
        assert sum(cache["count"] for package in known for cache in package.get("caches", [])) == len(caches)
    nodes = list((root / "sys/devices/system/node").glob("node[0-9]*"))
    assert set(found.get("numa_nodes", {})) == {each.name[4:] for each in nodes}
    for node in nodes:
        total = re.search(r"MemTotal: +(\d+) kB", line(node / "meminfo"))
        ours = found["numa_nodes"][node.name[4:]]
        assert ours.get("memory_bytes", 0) == (int(total.group(1)) << 10 if total else 0)
        assert ours.get("distances", []) == [int(each) for each in line(node / "distance").split()]

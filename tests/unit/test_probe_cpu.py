"""Packages, cores, threads, caches and NUMA nodes from trees of /sys, and models from /proc/cpuinfo."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from cpu_tree import ARM64, cpu_tree, mask, without
from hypothesis import given
from hypothesis import strategies as st
from inventory_schema import check_schema
from probe_tree import make_tree

from mkctl.probe.cpu_models import describe_cpus
from mkctl.probe.cpu_sets import count, format_set, lowest, members, parse_list, parse_mask
from mkctl.probe.cpu_topology import read_topology


def read(root: Path, files: Mapping[str, str]) -> dict:
    make_tree(root, files)
    found = read_topology(f"{root}/sys", files.get("proc/cpuinfo", ""), "x86_64")
    check_schema({"processors": found})
    return found


def caches(package: Mapping[str, object]) -> list[tuple[object, ...]]:
    found = package["caches"]
    assert isinstance(found, list)
    return [(each["level"], each["type"], each["size_bytes"] >> 10, each["count"]) for each in found]


def test_two_sockets(tmp_path: Path) -> None:
    found = read(tmp_path, cpu_tree(2, 4, 2))
    assert (found["architecture"], found["online"], found["present"]) == ("x86_64", 16, 16)
    assert set(found["packages"]) == {"0", "1"}
    package = found["packages"]["1"]
    assert caches(package) == [
        (1, "data", 32, 4),
        (1, "instruction", 32, 4),
        (2, "unified", 1024, 4),
        (3, "unified", 36608, 1),
    ]
    del package["caches"]
    assert package == {
        "model_name": "Declared(R) Server  Processor",
        "vendor_id": "GenuineIntel",
        "family": 6,
        "model": 85,
        "stepping": 7,
        "microcode": "0x5003604",
        "flags": ["fpu", "vme", "sse2", "hypervisor"],
        "cores": 4,
        "threads": 8,
        "numa_nodes": [1],
        "max_mhz": 3900,
    }
    assert found["numa_nodes"] == {
        "0": {"cpus": "0-3,8-11", "memory_bytes": 1 << 30, "distances": [10, 21]},
        "1": {"cpus": "4-7,12-15", "memory_bytes": 1 << 30, "distances": [21, 10]},
    }


def test_aarch64(tmp_path: Path) -> None:
    package = read(tmp_path, cpu_tree(1, 4, 1, ARM64))["packages"]["0"]
    assert {key: package[key] for key in ("model_name", "vendor_id", "family", "model", "revision", "flags")} == {
        "model_name": "Neoverse-N1",
        "vendor_id": "ARM",
        "family": 8,
        "model": 0xD0C,
        "revision": "r3p1",
        "flags": ["fp", "asimd", "atomics"],
    }
    assert (package["cores"], package["threads"]) == (4, 4)


@pytest.mark.parametrize(("packages", "cores", "threads"), [(2, 128, 2), (1, 512, 1)])
def test_512_cpus_are_counted_like_few_and_fast(tmp_path: Path, packages: int, cores: int, threads: int) -> None:
    files = cpu_tree(packages, cores, threads, l3_cores=8)
    make_tree(tmp_path, files)
    began = time.thread_time()
    found = read_topology(f"{tmp_path}/sys", files["proc/cpuinfo"], "x86_64")
    assert time.thread_time() - began < 0.3  # of processor time, typically some 5 ms
    assert found["online"] == packages * cores * threads
    assert len(found["packages"]) == packages
    for package in found["packages"].values():
        assert (package["cores"], package["threads"]) == (cores, cores * threads)
        assert [number for _, _, _, number in caches(package)] == [cores, cores, cores, cores // 8]


def test_a_group_of_cores_of_which_one_is_left(tmp_path: Path) -> None:
    """Of the first group of eight that shares an L3 seven are off; the other groups are whole."""
    files = without(cpu_tree(1, 96, 1, l3_cores=8), *(f"cpu{number}/" for number in range(1, 8)))
    files["sys/devices/system/cpu/online"] = "0,8-95\n"
    running = parse_list("0,8-95")
    for name, text in files.items():
        if name.endswith(("shared_cpu_map", "package_cpus")):
            files[name] = mask([*members(parse_mask(text) & running)])
    package = read(tmp_path, files)["packages"]["0"]
    assert (package["cores"], [number for _, _, _, number in caches(package)]) == (89, [89, 89, 89, 12])


def test_old_kernels_have_old_names(tmp_path: Path) -> None:
    names = {"package_cpus": "core_siblings", "core_cpus": "thread_siblings"}
    files = without(cpu_tree(1, 2, 1), "online", "present")
    for new, old in names.items():
        files = {name.replace(new, old): text for name, text in files.items()}
    found = read(tmp_path, files)
    assert (found["online"], found["present"]) == (2, 2)
    package = found["packages"]["0"]
    assert (package["cores"], package["threads"], package["numa_nodes"]) == (2, 2, [0])
    assert [number for _, _, _, number in caches(package)] == [2, 2, 2, 1]


def test_stopped_processors_are_present(tmp_path: Path) -> None:
    """Defect B02: a kernel started with maxcpus=1."""
    files = without(cpu_tree(1, 4, 1), "cpu1/", "cpu2/", "cpu3/")
    files["sys/devices/system/cpu/online"] = "0\n"
    found = read(tmp_path, files)
    assert (found["online"], found["present"]) == (1, 4)
    assert found["packages"]["0"]["threads"] == 1


def test_two_kinds_of_cores(tmp_path: Path) -> None:
    """Each kind has caches of its own size; the small cores share theirs."""
    files = cpu_tree(1, 4, 1)
    files["sys/devices/cpu_atom/cpus"] = "2-3\n"
    for number in (2, 3):
        folder = f"sys/devices/system/cpu/cpu{number}/cache"
        files[f"{folder}/index0/size"] = "64K\n"
        files[f"{folder}/index2/shared_cpu_map"] = "c\n"
    found = caches(read(tmp_path, files)["packages"]["0"])
    assert found == [
        (1, "data", 32, 2),
        (1, "data", 64, 2),
        (1, "instruction", 32, 4),
        (2, "unified", 1024, 3),
        (3, "unified", 36608, 1),
    ]


def test_packages_of_one_number_stay_apart(tmp_path: Path) -> None:
    """As in the books of s390; a package without a number gets one."""
    files = cpu_tree(3, 2, 1)
    for number in range(6):
        files[f"sys/devices/system/cpu/cpu{number}/topology/physical_package_id"] = "-1\n" if number > 3 else "0\n"
    found = read(tmp_path, files)["packages"]
    assert {key: package["threads"] for key, package in found.items()} == {"0": 2, "1": 2, "2": 2}


def test_memory_without_processors_is_a_node(tmp_path: Path) -> None:
    files = cpu_tree(1, 1, 1)
    files["sys/devices/system/node/node255/cpumap"] = "00000000\n"
    files["sys/devices/system/node/node255/meminfo"] = "Node 255 MemTotal: 2048 kB\n"
    files["sys/devices/system/node/node255/distance"] = "80 10\n"
    files["sys/devices/system/node/nodes"] = "x"
    found = read(tmp_path, files)
    assert found["numa_nodes"]["255"] == {"memory_bytes": 2 << 20, "distances": [80, 10]}
    assert found["packages"]["0"]["numa_nodes"] == [0]


def test_without_topology_there_are_threads_and_no_cores(tmp_path: Path) -> None:
    files = without(cpu_tree(1, 2, 1), "topology", "cache", "cpufreq", "node")
    package = read(tmp_path, files)["packages"]["0"]
    assert package["threads"] == 2
    assert not {"cores", "caches", "numa_nodes", "max_mhz"} & set(package)


def test_a_machine_that_shows_nothing(tmp_path: Path) -> None:
    assert read_topology(str(tmp_path), "", "riscv64") == {"architecture": "riscv64"}


def test_half_readable_trees(tmp_path: Path) -> None:
    files = cpu_tree(1, 2, 1)
    folder = "sys/devices/system/cpu/cpu"
    files[f"{folder}0/cache/index0/level"] = "one\n"
    files[f"{folder}0/cache/index1/size"] = "K\n"
    files[f"{folder}0/cache/index1/type"] = "Odd\n"
    files[f"{folder}1/cache/index3/shared_cpu_map"] = "odd\n"
    files[f"{folder}0/topology/physical_package_id"] = "\xb2\n"
    files[f"{folder}0/cpufreq/cpuinfo_max_freq"] = "<unknown>\n"
    files["sys/devices/system/node/node0/distance"] = "10 x\n"
    package = read(tmp_path, files)["packages"]["0"]
    assert {"level": 1, "count": 1} in package["caches"]
    assert "max_mhz" not in package


S390 = """\
vendor_id       : IBM/S390
# processors    : 2
features\t: esan3 zarch
processor 0: version = 00,  identification = 4729E7,  machine = 2964
processor 1: version = 00,  identification = 4729E7,  machine = 2964
"""
OLD_ARM = """\
Processor       : ARMv7 Processor rev 1 (v7l)
processor       : 0
BogoMIPS        : 1990.65

Features        : swp half
CPU implementer : 0x41
CPU architecture: 7
CPU variant     : 0x2
CPU part        : 0xc09
CPU revision    : 1

Hardware        : declared
"""
POWER = "processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t\t: 3800MHz\nrevision\t: 2.2\n"
RISCV = "processor\t: 0\nhart\t\t: 1\nisa\t\t: rv64imafdc\nuarch\t\t: sifive,u74-mc\n"
LOONGARCH = """\
system type\t: x

processor\t\t: 0
CPU Family\t\t: Loongson-64bit
Model Name\t\t: Loongson-3A5000
Features\t: cpucfg lam
"""


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (S390, {"vendor_id": "IBM/S390", "flags": ["esan3", "zarch"]}),
        (
            OLD_ARM,
            {
                "model_name": "ARMv7 Processor rev 1 (v7l)",
                "vendor_id": "ARM",
                "family": 7,
                "model": 0xC09,
                "revision": "r2p1",
                "flags": ["swp", "half"],
            },
        ),
        (POWER, {"model_name": "POWER9, altivec supported"}),
        (RISCV, {"model_name": "sifive,u74-mc"}),
        (LOONGARCH, {"model_name": "Loongson-3A5000", "flags": ["cpucfg", "lam"]}),
        ("processor : 0\nCPU implementer : 0x99\nCPU part : 0x1\nCPU architecture: AArch64\n", {"model": 1}),
        ("processor : 0\nmodel name : -\nvendor_id :\n", {}),
        ("", {}),
    ],
)
def test_models_of_other_architectures(cpuinfo: str, expected: dict[str, object]) -> None:
    assert describe_cpus(cpuinfo, [0]) == {0: expected}


def test_each_package_has_the_model_of_its_first_cpu() -> None:
    cpuinfo = "processor : 0\nmodel name : A\n\nprocessor : 1\nmodel name : A\n\nprocessor : 2\nmodel name : B\n"
    found = describe_cpus(cpuinfo, [0, 2, 9])
    assert [found[number]["model_name"] for number in (0, 2, 9)] == ["A", "B", "A"]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0-3,8", [0, 1, 2, 3, 8]),
        ("5", [5]),
        ("", []),
        ("3-1", []),
        ("a", []),
        ("1-", []),
        ("-1", []),
        ("99999999", []),
        ("0,x", []),
    ],
)
def test_lists(text: str, numbers: list[int]) -> None:
    assert list(members(parse_list(text))) == numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("00000001,00000003", [0, 1, 32]), ("f", [0, 1, 2, 3]), ("", []), ("x", []), ("-3", []), ("f" * 20000, [])],
)
def test_masks(text: str, numbers: list[int]) -> None:
    assert list(members(parse_mask(text))) == numbers


@given(st.sets(st.integers(min_value=0, max_value=600)))
def test_what_is_written_is_read_again(numbers: set[int]) -> None:
    cpus = sum(1 << number for number in numbers)
    assert parse_list(format_set(cpus)) == parse_mask(f"{cpus:x}") == cpus
    assert list(members(cpus)) == sorted(numbers)
    assert count(cpus) == len(numbers)
    if numbers:
        assert lowest(cpus) == min(numbers)


@given(st.text(max_size=200))
def test_garbage_never_raises(text: str) -> None:
    parse_list(text)
    parse_mask(text)
    describe_cpus(text, [0, 1])
    packages = {"packages": {"0": {**describe_cpus(f"processor : 0\n{text}", [0])[0], "threads": 1}}}
    check_schema({"processors": packages})

"""Processors as the kernel sees them: packages with their cores, threads and caches, NUMA nodes.

sysfs has half a dozen directories for each CPU, so that reading all of a machine with 512 would take longer than the
rest of the probe. Sets make that needless: one CPU of a package names all of its package, one thread its core, one
user of a cache all its users; each set is read once. On a machine with more than 64 CPUs and one kind of cores, a cache
of level 1 or 2 that the first core of a package has for itself is taken to be so in all of its cores.

Counts are those of running CPUs: a stopped one shows no topology. The kernel's numbers of packages need not be unique
(books of s390, clusters of some ARM boards), their sets are; a second package of a number takes the next free one.
Source: Documentation/admin-guide/cputopology.rst, Documentation/ABI/testing/sysfs-devices-system-cpu (cache),
Documentation/ABI/stable/sysfs-devices-node of the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from mkcore.files import list_names, read_attribute, read_line
from mkcore.jsonfields import Json
from mkctl.probe.cpu_models import describe_cpus
from mkctl.probe.cpu_sets import count, format_set, lowest, parse_list, parse_mask

_PACKAGE = ("package_cpus", "core_siblings")  # the newer name first
_CORE = ("core_cpus", "thread_siblings")
_USERS = ("shared_cpu_map",)
_FEW_CPUS = 64
_CORE_LEVELS = (1, 2)  # the next one belongs to a group of cores, of which the first may be the only one that runs
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Package(NamedTuple):
    """One package: its number as text, its running CPUs, and the threads of each core (sets)."""

    key: str
    cpus: int
    cores: tuple[int, ...]


class NumaNode(NamedTuple):
    """One NUMA node: its CPUs (none for memory alone), its memory, its distances to all nodes in their order."""

    number: int
    cpus: int
    memory_bytes: int
    distances: tuple[int, ...]


def read_topology(sys_root: str, cpuinfo: str, machine: str) -> dict[str, Json]:
    """Return the inventory's part on processors: architecture, online, present, packages, numa_nodes.

    cpuinfo: text of /proc/cpuinfo. machine: the architecture as uname(2) has it. Raises nothing: what cannot be read is
    left out.
    """
    folder = f"{sys_root}/devices/system/cpu"
    online = read_online(folder)
    present = parse_list(read_line(f"{folder}/present")) | online
    found: dict[str, Json] = {"architecture": machine}
    if online:
        found["online"] = count(online)
        found["present"] = count(present)
    nodes = read_nodes(f"{sys_root}/devices/system/node")
    packages = read_packages(folder, online)
    models = describe_cpus(cpuinfo, [lowest(package.cpus) for package in packages])
    if packages:
        uniform = count(online) > _FEW_CPUS and not os.path.exists(f"{sys_root}/devices/cpu_atom")
        found["packages"] = {
            package.key: {**models[lowest(package.cpus)], **_describe(folder, package, nodes, uniform)}
            for package in packages
        }
    if nodes:
        found["numa_nodes"] = {str(node.number): _describe_node(node) for node in nodes}
    return found


def read_online(folder: str) -> int:
    """Return the running CPUs; of a kernel too old to tell, those that have a directory."""
    online = parse_list(read_line(f"{folder}/online"))
    if not online:
        for name in _names(folder, "cpu"):
            online |= 1 << int(name[3:])
    return online


def read_packages(folder: str, online: int) -> list[Package]:
    """Return the packages in the order of their first CPUs; CPUs without topology are one package of unknown cores."""
    packages: dict[str, Package] = {}
    unknown = 0
    rest = online
    while rest:
        number = lowest(rest)
        topology = f"{folder}/cpu{number}/topology"
        cpus = _read_set(topology, _PACKAGE)
        if not cpus:
            unknown |= 1 << number
            rest &= rest - 1
            continue
        cpus = (cpus | 1 << number) & rest
        rest &= ~cpus
        key = _free_key(read_line(f"{topology}/physical_package_id"), packages)
        packages[key] = Package(key, cpus, _read_cores(folder, cpus))
    if unknown:
        key = _free_key("", packages)
        packages[key] = Package(key, unknown, ())
    return sorted(packages.values(), key=lambda package: lowest(package.cpus))


def _read_cores(folder: str, cpus: int) -> tuple[int, ...]:
    cores: list[int] = []
    while cpus:
        number = lowest(cpus)
        threads = (_read_set(f"{folder}/cpu{number}/topology", _CORE) | 1 << number) & cpus
        cores.append(threads)
        cpus &= ~threads
    return tuple(cores)


def _free_key(wanted: str, taken: dict[str, Package]) -> str:
    if wanted.isascii() and wanted.isdigit() and wanted not in taken:
        return wanted
    number = 0
    while str(number) in taken:
        number += 1
    return str(number)


def _describe(folder: str, package: Package, nodes: Sequence[NumaNode], uniform: bool) -> dict[str, Json]:
    first = f"{folder}/cpu{lowest(package.cpus)}"
    found: dict[str, Json] = {"threads": count(package.cpus)}
    if package.cores:
        found["cores"] = len(package.cores)
    caches = _read_caches(folder, package, uniform and not read_line(f"{first}/cpu_capacity"))
    if caches:
        found["caches"] = caches
    near = [node.number for node in nodes if node.cpus & package.cpus]
    if near:
        found["numa_nodes"] = list[Json](near)
    frequency_khz = read_line(f"{first}/cpufreq/cpuinfo_max_freq")
    if frequency_khz.isascii() and frequency_khz.isdigit() and int(frequency_khz) >= 1000:
        found["max_mhz"] = int(frequency_khz) // 1000
    return found


def _read_caches(folder: str, package: Package, uniform: bool) -> list[Json]:
    """Return the kinds of caches (level, type, size) with the number of each.

    uniform: a cache that the first core has for itself need not be looked for in the others. Some hypervisors list one
    cache twice.
    """
    kinds: dict[tuple[int, str, int], int] = {}
    seen: set[tuple[int, str, int]] = set()
    ends = (lowest(package.cpus), package.cpus.bit_length() - 1)  # of two kinds of cores the second comes last
    for index in max((_names(f"{folder}/cpu{number}/cache", "index") for number in ends), key=len):
        rest = package.cpus
        while rest:
            number = lowest(rest)
            cache = f"{folder}/cpu{number}/cache/{index}"
            users = (_read_set(cache, _USERS) | 1 << number) & rest
            rest &= ~users
            kind = _read_kind(cache)
            if not kind[0] or (*kind[:2], users) in seen:
                continue
            seen.add((*kind[:2], users))
            everywhere = uniform and kind[0] in _CORE_LEVELS and package.cores[:1] == (users,)
            kinds[kind] = kinds.get(kind, 0) + (len(package.cores) if everywhere else 1)
            if everywhere:
                break
    return [_describe_cache(*kind, number) for kind, number in sorted(kinds.items())]


def _read_kind(cache: str) -> tuple[int, str, int]:
    """Return level, type and size in bytes of a cache; level 0 when there is none."""
    level, size = read_line(f"{cache}/level"), read_line(f"{cache}/size")
    amount, unit = size[:-1], _UNITS.get(size[-1:], 0)
    return (
        int(level) if level.isascii() and level.isdigit() else 0,
        read_line(f"{cache}/type").lower(),
        int(amount) * unit if amount.isascii() and amount.isdigit() else 0,
    )


def _describe_cache(level: int, kind: str, size_bytes: int, number: int) -> Json:
    found: dict[str, Json] = {"level": level, "count": number}
    if kind in ("data", "instruction", "unified"):
        found["type"] = kind
    if size_bytes > 0:
        found["size_bytes"] = size_bytes
    return found


def read_nodes(folder: str) -> list[NumaNode]:
    """Return the NUMA nodes by number; none on a kernel without NUMA."""
    nodes: list[NumaNode] = []
    for name in _names(folder, "node"):
        place = f"{folder}/{name}"
        cpus = parse_mask(read_line(f"{place}/cpumap"))
        distances = read_line(f"{place}/distance").split()
        numbers = tuple(int(each) for each in distances if each.isascii() and each.isdigit())
        nodes.append(NumaNode(int(name[4:]), cpus, _read_memory(f"{place}/meminfo"), numbers))
    return nodes


def _read_memory(path: str) -> int:
    """Return MemTotal of a node in bytes; its lines are "Node 0 MemTotal:  32768 kB"."""
    for line in read_attribute(path).decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) == 5 and words[2] == "MemTotal:" and words[3].isascii() and words[3].isdigit():
            return int(words[3]) << 10
    return 0


def _describe_node(node: NumaNode) -> Json:
    found: dict[str, Json] = {}
    if node.cpus:
        found["cpus"] = format_set(node.cpus)
    if node.memory_bytes > 0:
        found["memory_bytes"] = node.memory_bytes
    if node.distances:
        found["distances"] = list[Json](node.distances)
    return found


def _read_set(folder: str, names: Sequence[str]) -> int:
    """Return the set that the first of the attributes gives which are there; 0 for none."""
    for name in names:
        data = read_attribute(f"{folder}/{name}")
        if data:
            return parse_mask(data.decode("ascii", "replace"))
    return 0


def _names(folder: str, prefix: str) -> list[str]:
    """Return the entries called prefix and number, by number."""
    names = list_names(folder)
    start = len(prefix)
    found = [name for name in names if name.startswith(prefix) and name[start:].isascii() and name[start:].isdigit()]
    return sorted(found, key=lambda name: (len(name), name))

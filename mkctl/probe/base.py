"""The machine's processors and architecture, in the forms of Facter 2.4 and 4.

    2.4  processorcount 4, physicalprocessorcount 1, processor0 "Xeon …", architecture, hardwaremodel, hardwareisa,
         processors {"count", "models", "physicalcount"}
    4    processors {"count", "cores", "threads", "physicalcount", "models", "isa", "speed": "2.60 GHz"}

Counted better than Facter did: processors are those that the firmware reported (present), so that a kernel started with
maxcpus=1, as historic servers ask for, does not make an 8-way machine a single one (defect B02). The flat
`architecture` is the kernel's name on every distribution ("x86_64"); Facter wrote "amd64" on some, of the same
machine. `cores` are those of a package, `threads` those of a core, as lscpu counts them. `speed` is what /proc/cpuinfo
says of the last processor, and follows its clock. Source: protocol 6.8; Documentation/admin-guide/cputopology.rst of
the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mkcore.files import read_line
from mkcore.jsonfields import Json
from mkctl.probe.facter_amounts import format_frequency
from mkctl.probe.smbios_processor import read_processor_count

CPUINFO_LIMIT_BYTES = 16 << 20
_MAX_CPUS = 1 << 16
_MODEL_KEYS = ("model name", "Processor", "cpu", "cpu model", "family")  # x86, old ARM, POWER, MIPS, IA-64
_LINE = r"^(processor(?: \d+)?|{}|vendor_id)[ \t]*:[ \t]*(.*?)[ \t]*$".format("|".join(_MODEL_KEYS))
_CLOCK = r"^(?:cpu MHz|clock)[ \t]*:[ \t]*(\d{1,7})"  # x86, POWER


class Processors(NamedTuple):
    """What the kernel says. models: one text for each present processor, "" where it names none; empty if it names no
    model at all. packages, cores, threads: of the machine, of a package, of a core; 0 where it shows no topology."""

    count: int  # type: ignore[assignment]  # of a tuple's methods nobody needs this one
    models: tuple[str, ...]
    packages: int
    cores: int
    threads: int
    speed_mhz: int


def machine_facts(machine: str) -> dict[str, Json]:
    """Make architecture, hardwaremodel and hardwareisa of what uname(2) calls the machine."""
    architecture = "i386" if re.fullmatch(r"i[3456]86", machine) else machine
    return {"architecture": architecture, "hardwaremodel": machine, "hardwareisa": machine}


def read_processors(sys_root: Path, cpuinfo: str) -> Processors:
    """Read the processors. cpuinfo: text of /proc/cpuinfo.

    A processor that is present but not started has no entry in cpuinfo; it takes the model of the first one.
    """
    models = parse_cpu_models(cpuinfo)
    present = parse_cpu_list(read_line(sys_root / "devices/system/cpu/present"))
    count = max(len(present), len(models))
    online = parse_cpu_list(read_line(sys_root / "devices/system/cpu/online"))
    packages, cores, threads = _read_topology(f"{sys_root}/devices/system/cpu", present)
    per_package = cores // packages if packages else 0
    if len(online) < len(present):  # a stopped processor shows no package: ask the firmware
        packages = max(packages, read_processor_count(sys_root))
    names = [models[number] if number < len(models) else models[0] for number in range(count)] if models else []
    speeds = re.findall(_CLOCK, cpuinfo, re.MULTILINE | re.ASCII)
    return Processors(count, tuple(names), packages, per_package, threads, int(speeds[-1]) if speeds else 0)


def processor_facts(sys_root: Path, cpuinfo: str) -> dict[str, Json]:
    """Make the flat facts of the processors: see `read_processors` and `flat_processors`."""
    return flat_processors(read_processors(sys_root, cpuinfo))


def flat_processors(processors: Processors) -> dict[str, Json]:
    """Make processorcount, processorN, physicalprocessorcount and processors of Facter 2.4."""
    facts: dict[str, Json] = {"processorcount": processors.count}
    facts.update({f"processor{number}": name for number, name in enumerate(processors.models)})
    structure: dict[str, Json] = {"count": processors.count, "models": list[Json](processors.models)}
    if processors.packages:
        facts["physicalprocessorcount"] = processors.packages
        structure["physicalcount"] = processors.packages
    facts["processors"] = structure
    return facts


def structured_processors(processors: Processors, isa: str) -> dict[str, Json]:
    """Make `processors` of Facter 4. isa: what `uname -p` prints."""
    facts: dict[str, Json] = {
        "count": processors.count,
        "models": [name for name in processors.models if name],
        "isa": isa,
    }
    counts = {"physicalcount": processors.packages, "cores": processors.cores, "threads": processors.threads}
    facts.update({key: value for key, value in counts.items() if value})
    if processors.speed_mhz:
        facts["speed"] = format_frequency(processors.speed_mhz * 1_000_000)
    return facts


def _read_topology(folder: str, present: list[int]) -> tuple[int, int, int]:
    """Return the packages and cores of the machine and the threads of its largest core, reading one CPU of each."""
    packages: set[str] = set()
    in_known_core: set[int] = set()
    in_known_package: set[int] = set()
    cores = threads = 0
    for number in present:
        topology = f"{folder}/cpu{number}/topology"
        if number not in in_known_package:
            package = read_line(f"{topology}/physical_package_id")
            if package in {"", "-1"}:  # not started, or nothing known
                continue
            packages.add(package)
            in_known_package.update(parse_cpu_list(read_line(f"{topology}/core_siblings_list")) or [number])
        if number not in in_known_core:
            siblings = parse_cpu_list(read_line(f"{topology}/thread_siblings_list")) or [number]
            in_known_core.update(siblings)
            cores, threads = cores + 1, max(threads, len(siblings))
    return len(packages), cores, threads


def parse_cpu_models(cpuinfo: str) -> list[str]:
    """Return the model of each processor of /proc/cpuinfo, in order; "" for one whose block names none."""
    models: list[str] = []
    shared = ""
    for key, value in re.findall(_LINE, cpuinfo, re.MULTILINE | re.ASCII):
        if key == "processor" and value.isdigit():
            models.append("")
        elif key.startswith("processor "):  # s390: one line for each
            models.append(shared)
        elif key in _MODEL_KEYS and value:
            if not models:
                shared = shared or value  # old ARM and s390 name the model once, before the processors
            elif not models[-1]:
                models[-1] = value
        elif key == "vendor_id" and not models:
            shared = shared or value
    return [model or shared for model in models]


def parse_cpu_list(text: str) -> list[int]:
    """Parse the kernel's list of CPUs: "0-3,8" -> [0, 1, 2, 3, 8]; an empty list for anything else."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part, re.ASCII)
        if not match:
            return []
        low, high = int(match.group(1)), int(match.group(2) or match.group(1))
        numbers.extend(range(low, min(high, _MAX_CPUS) + 1))
    return numbers


def join_facts(parts: Iterable[dict[str, Json]]) -> dict[str, Json]:
    """Join maps of facts; a later one wins."""
    facts: dict[str, Json] = {}
    for part in parts:
        facts.update(part)
    return facts

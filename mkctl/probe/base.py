"""Facter's base facts of the running system: names, architecture, memory, processors.

Types and formats are those of Facter 2.4 (protocol 6.8): texts, `processorcount` and `physicalprocessorcount` integers,
`processors` a map. Two things are counted better than Facter did: processors are those that the firmware reported
(present), so that a kernel started with maxcpus=1, as historic servers ask for, does not make an 8-way machine a single
one (defect B02). `architecture` is the kernel's name on every distribution ("x86_64"); Facter wrote "amd64" on some, of
the same machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mkcore.errors import BadInput
from mkcore.files import read_line, read_text
from mkcore.jsonfields import Json
from mkctl.probe.smbios import read_processor_count

CPUINFO_LIMIT_BYTES = 16 << 20
_MAX_CPUS = 1 << 16
_MODEL_KEYS = ("model name", "Processor", "cpu", "cpu model", "family")  # x86, old ARM, POWER, MIPS, IA-64
_RESOLV_FILES = ("run/systemd/resolve/resolv.conf", "etc/resolv.conf")


def name_facts(root: Path, proc_root: Path) -> dict[str, Json]:
    """Make hostname, domain and fqdn; the domain from the host name, else from the resolver's configuration."""
    host, _, domain = read_line(proc_root / "sys/kernel/hostname").partition(".")
    for name in _RESOLV_FILES:
        domain = domain or parse_resolv_domain(_read(root / name))
    facts: dict[str, Json] = {}
    if host:
        facts["hostname"] = host
    if domain:
        facts["domain"] = domain
    if host and domain:
        facts["fqdn"] = f"{host}.{domain}"
    elif host:
        facts["fqdn"] = host
    return facts


def parse_resolv_domain(text: str) -> str:
    """Return the domain that resolv.conf(5) gives: `domain`, else the first of `search`; "" for none or the root."""
    found = {"domain": "", "search": ""}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] in found and not found[words[0]]:
            found[words[0]] = words[1].strip(".")
    return found["domain"] or found["search"]


def machine_facts(machine: str) -> dict[str, Json]:
    """Make architecture, hardwaremodel and hardwareisa of what uname(2) calls the machine."""
    architecture = "i386" if re.fullmatch(r"i[3456]86", machine) else machine
    return {"architecture": architecture, "hardwaremodel": machine, "hardwareisa": machine}


def memory_total_bytes(meminfo: str) -> int:
    """Return MemTotal of /proc/meminfo, what the kernel can use. Raises BadInput without it."""
    match = re.search(r"^MemTotal:\s+(\d{1,15}) kB$", meminfo, re.MULTILINE | re.ASCII)
    if not match:
        raise BadInput("no MemTotal", "/proc/meminfo")
    return int(match.group(1)) << 10


def memory_facts(meminfo: str) -> dict[str, Json]:
    """Make memorysize ("7.80 GB") and memorysize_mb ("7984.12") of /proc/meminfo. Raises BadInput without MemTotal."""
    size_mb = f"{memory_total_bytes(meminfo) / 1048576:.2f}"
    scaled, unit = float(size_mb), "MB"
    for larger in ("GB", "TB"):
        if scaled >= 1024:
            scaled, unit = scaled / 1024, larger
    return {"memorysize": f"{scaled:.2f} {unit}", "memorysize_mb": size_mb}


def processor_facts(sys_root: Path, cpuinfo: str) -> dict[str, Json]:
    """Make processorcount, processorN, physicalprocessorcount and processors. cpuinfo: text of /proc/cpuinfo.

    A processor that is present but not started has no entry in cpuinfo; it takes the model of the first one.
    """
    models = parse_cpu_models(cpuinfo)
    present = parse_cpu_list(read_line(sys_root / "devices/system/cpu/present"))
    count = max(len(present), len(models))
    online = parse_cpu_list(read_line(sys_root / "devices/system/cpu/online"))
    packages = {
        read_line(sys_root / f"devices/system/cpu/cpu{number}/topology/physical_package_id") for number in present
    }
    physical = len(packages - {"", "-1"})
    if len(online) < len(present):  # a stopped processor shows no package: ask the firmware
        physical = max(physical, read_processor_count(sys_root))
    facts: dict[str, Json] = {"processorcount": count}
    names = [models[number] if number < len(models) else models[0] for number in range(count)] if models else []
    facts.update({f"processor{number}": name for number, name in enumerate(names)})
    structure: dict[str, Json] = {"count": count, "models": list[Json](names)}
    if physical:
        facts["physicalprocessorcount"] = physical
        structure["physicalcount"] = physical
    facts["processors"] = structure
    return facts


def parse_cpu_models(cpuinfo: str) -> list[str]:
    """Return the model of each processor of /proc/cpuinfo, in order; "" for one whose block names none."""
    models: list[str] = []
    shared = ""
    for line in cpuinfo.splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if not colon:
            continue
        if key == "processor" and value.isdigit():
            models.append("")
        elif key.startswith("processor ") and key[10:].isdigit():  # s390: one line for each
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


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, BadInput):
        return ""

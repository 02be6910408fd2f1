"""Trees of /sys for processors: packages of cores of threads, with the caches and NUMA nodes of a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

X86 = """\
processor\t: {number}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Declared(R) Server  Processor
stepping\t: 7
microcode\t: 0x5003604
cpu MHz\t\t: 2100.000
flags\t\t: fpu vme sse2 hypervisor
bugs\t\t: spectre_v1
"""
ARM64 = """\
processor\t: {number}
BogoMIPS\t: 50.00
Features\t: fp asimd atomics
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""


def mask(cpus: Sequence[int]) -> str:
    """A set of CPUs in words of 32 bits."""
    digits = f"{sum(1 << number for number in cpus):x}"
    digits = digits.zfill(-(-len(digits) // 8) * 8)
    return ",".join(digits[start : start + 8] for start in range(0, len(digits), 8))


def cpu_tree(packages: int, cores: int, threads: int, cpuinfo: str = X86, l3_cores: int = 0) -> dict[str, str]:
    """A machine whose CPU numbers run through the cores of all packages, then through their second threads.

    Every package is a NUMA node of 1 GiB. l3_cores: how many cores share an L3; 0 for all of the package.
    """
    per_thread = packages * cores
    total = per_thread * threads
    files = {
        "sys/devices/system/cpu/online": f"0-{total - 1}\n",
        "sys/devices/system/cpu/present": f"0-{total - 1}\n",
        "proc/cpuinfo": "\n".join(cpuinfo.format(number=number) for number in range(total)) + "\n",
    }
    for number in range(total):
        core = number % per_thread
        package = core // cores
        siblings = [core + per_thread * thread for thread in range(threads)]
        whole = [each for each in range(total) if each % per_thread // cores == package]
        group = l3_cores or cores
        share = [each for each in whole if each % per_thread % cores // group == core % cores // group]
        folder = f"sys/devices/system/cpu/cpu{number}"
        files[f"{folder}/topology/physical_package_id"] = f"{package}\n"
        files[f"{folder}/topology/package_cpus"] = f"{mask(whole)}\n"
        files[f"{folder}/topology/core_cpus"] = f"{mask(siblings)}\n"
        files[f"{folder}/cpufreq/cpuinfo_max_freq"] = "3900000\n"
        caches: tuple[tuple[int, str, str, Sequence[int]], ...] = (
            (1, "Data", "32K", siblings),
            (1, "Instruction", "32K", siblings),
            (2, "Unified", "1024K", siblings),
            (3, "Unified", "36608K", share),
        )
        for index, (level, kind, size, users) in enumerate(caches):
            cache = f"{folder}/cache/index{index}"
            files[f"{cache}/level"], files[f"{cache}/type"] = f"{level}\n", f"{kind}\n"
            files[f"{cache}/size"], files[f"{cache}/shared_cpu_map"] = f"{size}\n", f"{mask(users)}\n"
    for package in range(packages):
        whole = [each for each in range(total) if each % per_thread // cores == package]
        node = f"sys/devices/system/node/node{package}"
        files[f"{node}/cpumap"] = f"{mask(whole)}\n"
        files[f"{node}/meminfo"] = f"\nNode {package} MemTotal:        1048576 kB\nNode {package} MemFree: 1 kB\n"
        files[f"{node}/distance"] = " ".join("10" if each == package else "21" for each in range(packages)) + "\n"
    return files


def without(files: Mapping[str, str], *parts: str) -> dict[str, str]:
    """The tree without the files whose name holds one of the parts."""
    return {name: text for name, text in files.items() if not any(part in name for part in parts)}

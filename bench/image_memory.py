"""The image in little memory: the smallest machine that registers, by BIOS and by UEFI, and what the image then uses.

A machine's size is QEMU's -m, in MiB. Each size is tried from the smallest on, until a machine of it registers within
its time; one whose kernel stops before that says so on its console and costs no waiting. The direct boot is QEMU's own
loader (BIOS) or the firmware's (UEFI, OVMF), which holds kernel and initrd while the kernel unpacks them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bench.image import DEADLINE_S, USUAL_MIB, build_machine, server
from bench.rows import Row
from mkcore import events
from tests.machines.firmware import build_uefi
from tests.machines.journal import Channel
from tests.machines.qemu import CONSOLE, VirtualMachine

SIZES_MIB = (192, 208, 224, 256, 320, 384, 512, 768, 1024)
UEFI_SIZES_MIB = (256, 320, 384, 448, 512, 768, 1024)
WORDS = "hanlon.ip=10.0.2.2 hanlon.port={port}"
# Reads /proc/meminfo as `free` does, but that what lies in tmpfs counts as used: the layers of the root lie there.
USED = """
import re
kib = {m[1]: int(m[2]) for m in re.finditer(r"^(\\w+):\\s+(\\d+)", open("/proc/meminfo").read(), re.M)}
cache = kib["Buffers"] + kib["Cached"] + kib["SReclaimable"] - kib["Shmem"]
print(kib["MemTotal"] - kib["MemFree"] - cache)
"""
SETTLE_S = 30.0
WITHIN_S = 180.0
"""How long a small machine may take: several times what one with plenty takes. One that swaps its own programs in and
out for minutes has too little.
"""
STOPPED = ("Kernel panic", "mk: cannot start", "Out of memory", "Initramfs unpacking failed")


def registers(root: Path, memory_mib: int, *, uefi: bool) -> bool:
    """Whether a machine of that size registers in time."""
    folder = root / f"build/bench/memory-{'uefi' if uefi else 'bios'}"
    with server(root) as port:
        firmware = tuple(build_uefi(folder.with_suffix(".firmware"))) if uefi else ()
        machine = build_machine(root, memory_mib, WORDS.format(port=port), memory_mib, firmware)
        with VirtualMachine(machine, folder) as vm:
            channel = Channel(vm)
            deadline = time.monotonic() + WITHIN_S
            while time.monotonic() < deadline:
                if channel.find(events.REGISTERED):
                    return True
                console = (vm.folder / CONSOLE).read_text(encoding="utf-8", errors="replace")
                said = [word for word in STOPPED if word in console]
                if said or vm.process.poll() is not None:
                    print(f"bench: {memory_mib} MiB: {said or 'it ended'}", file=sys.stderr)
                    return False
                time.sleep(1)
    print(f"bench: {memory_mib} MiB: not registered within {WITHIN_S:g} s", file=sys.stderr)
    return False


def find_smallest(root: Path, sizes_mib: tuple[int, ...], *, uefi: bool) -> float:
    """Return the smallest size that registers. TimeoutError when none does."""
    for memory_mib in sizes_mib:
        print(f"bench: {'UEFI' if uefi else 'BIOS'}, {memory_mib} MiB", file=sys.stderr, flush=True)
        if registers(root, memory_mib, uefi=uefi):
            return memory_mib
    raise TimeoutError(f"no machine registered, up to {sizes_mib[-1]} MiB")


def used_mb(root: Path) -> float:
    """MB in use, cache excluded, half a minute after the registration of a machine that has plenty."""
    with server(root) as port:
        machine = build_machine(root, USUAL_MIB, WORDS.format(port=port))
        with VirtualMachine(machine, root / "build/bench/memory-used") as vm:
            channel = Channel(vm)
            channel.wait_event(events.REGISTERED, DEADLINE_S)
            time.sleep(SETTLE_S)  # what started last, and what it left behind, is part of no idle machine
            return int(channel.run("/usr/bin/python3", "-I", "-c", USED, timeout_s=120).stdout) * 1024 / 1e6


def measure(root: Path) -> list[Row]:
    """All rows of this group."""
    return [
        Row("image.used_memory_mb", round(used_mb(root), 1), "MB"),
        Row("image.min_memory_mb", find_smallest(root, SIZES_MIB, uefi=False), "MB"),
        Row("image.min_memory_uefi_mb", find_smallest(root, UEFI_SIZES_MIB, uefi=True), "MB"),
    ]

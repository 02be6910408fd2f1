"""Memory and swap: the flat facts of Facter 2.4 and `memory` of Facter 4, both from /proc/meminfo.

    2.4  memorysize "7.80 GB", memorysize_mb "7984.12"; memoryfree, swapsize and swapfree in the same two forms
    4    {"system": {"total": "7.80 GiB", "total_bytes": …, "available", "used", "capacity": "8.81%"}, "swap": {…}}

What Facter calls free is what programs can have: the kernel's own estimate (MemAvailable) in version 4, free memory
with buffers and page cache in 2.4. All but the totals change from second to second. Source: proc_meminfo(5), protocol
6.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from mkcore.errors import BadInput
from mkcore.jsonfields import Json
from mkctl.probe.facter_amounts import amounts, format_share

_KEYS = frozenset({"MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapTotal", "SwapFree"})
_MAX_DIGITS = 15


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the amounts of /proc/meminfo that facts are made of, in bytes. Raises BadInput without MemTotal."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        if key in _KEYS:
            number, _, unit = rest.strip().partition(" ")
            if unit == "kB" and number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS:
                found[key] = int(number) << 10
    if not found.get("MemTotal"):
        raise BadInput("no MemTotal", "/proc/meminfo")
    return found


def flat_memory(meminfo: Mapping[str, int]) -> dict[str, Json]:
    """Make memorysize, memoryfree, swapsize and swapfree of Facter 2.4, each with its `_mb` twin; texts all."""
    facts = _flat("memorysize", meminfo["MemTotal"])
    if "MemFree" in meminfo:
        facts.update(_flat("memoryfree", _free_bytes(meminfo)))
    for name, key in (("swapsize", "SwapTotal"), ("swapfree", "SwapFree")):
        if key in meminfo:
            facts.update(_flat(name, meminfo[key]))
    return facts


def structured_memory(meminfo: Mapping[str, int]) -> dict[str, Json]:
    """Make `memory` of Facter 4; no `swap` on a machine without."""
    total = meminfo["MemTotal"]
    available = meminfo.get("MemAvailable")
    if available is None and "MemFree" in meminfo:  # kernels before 3.14
        available = _free_bytes(meminfo)
    memory: dict[str, Json] = {"system": _pool(total, available)}
    if meminfo.get("SwapTotal"):
        memory["swap"] = _pool(meminfo["SwapTotal"], meminfo.get("SwapFree"))
    return memory


def _free_bytes(meminfo: Mapping[str, int]) -> int:
    return meminfo["MemFree"] + meminfo.get("Buffers", 0) + meminfo.get("Cached", 0)


def _pool(total: int, available: Optional[int]) -> dict[str, Json]:
    pool = amounts("total", total)
    if available is not None:
        used = max(0, total - available)
        pool.update({**amounts("available", available), **amounts("used", used), "capacity": format_share(used, total)})
    return pool


def _flat(name: str, size_bytes: int) -> dict[str, Json]:
    size_mb = f"{size_bytes / 1048576:.2f}"
    scaled, unit = float(size_mb), "MB"
    for larger in ("GB", "TB"):
        if scaled >= 1024:
            scaled, unit = scaled / 1024, larger
    return {name: f"{scaled:.2f} {unit}", f"{name}_mb": size_mb}

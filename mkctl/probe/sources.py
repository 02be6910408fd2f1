"""The collectors of this version, and what they run.

Each reads below one root directory, so that tests and `--root` give them a tree. Tools come from PATH.

lshw runs once, with SMBIOS. The historic agents gave it `-disable dmi` wherever the fact `virtual` was kvm, because the
lshw of that time crashed or hung there (protocol 6.2); that costs a virtual machine its vendor, of which servers make a
tag, firmware, memory modules and CPU sockets. Here the tool gets SMBIOS everywhere and is run again without it, on any
machine, when it did crash or hang. The result then carries a remark.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from mkcore.jsonfields import Json
from mkcore.paths import Paths, paths_under
from mkcore.proc import Finished, Outcome, run
from mkctl.probe.ahead import LSCPU, LSHW, Ahead
from mkctl.probe.bmc import build_ipmi
from mkctl.probe.collect import Collected, Collector
from mkctl.probe.custom import build_custom
from mkctl.probe.devices import build_health, collect_block, collect_pci, collect_usb
from mkctl.probe.dmi import board_fields, read_dmi
from mkctl.probe.extensions import collect_extensions
from mkctl.probe.facter import (
    collect_dmi,
    collect_memory,
    collect_mounts,
    collect_networking,
    collect_partitions,
    collect_processors,
    collect_system,
    collect_time,
    read_cpuinfo,
)
from mkctl.probe.flatten import flatten_lshw
from mkctl.probe.groups import group_facts, lscpu_group
from mkctl.probe.lldp import LISTENING_LIMIT_S, Before, collect_lldp
from mkctl.probe.lscpu import flatten_lscpu, parse_lscpu
from mkctl.probe.lshw import parse_lshw
from mkctl.probe.machine import collect_smbios, collect_tpm
from mkctl.probe.model import Status
from mkctl.probe.network import collect_network
from mkctl.probe.sysfs import read_block_devices
from mkctl.probe.tools import failed

LSHW_WITHOUT_SMBIOS = ("lshw", "-json", "-disable", "dmi")

Runner = Callable[..., Finished]
"""What runs a tool: `mkcore.proc.run`, or that of the tools which were started ahead."""


class Limits(NamedTuple):
    """Time limits in seconds. `lshw_s` bounds one run of the tool; a second one after a crash has the same."""

    kernel_s: float = 30.0
    lscpu_s: float = 10.0
    lshw_s: float = 50.0


LIMITS = Limits()


def build_collectors(
    root: str = "",
    limits: Limits = LIMITS,
    ahead: Optional[Ahead] = None,
    before: Before = lambda _: {},
    host: str = "",
) -> list[Collector]:
    """Return the collectors for the machine, or for the tree below `root`; later ones win where names collide.

    host: where a container has the files of the machine that it runs on, with which it shares kernel and network.
    ahead: the tools that are under way already. before: returns what a collector, by its name, brought to the inventory
    the last time. Two have the name lldp: what the one heard in half a minute takes the place of the other's.
    """
    tool = (ahead or Ahead()).run
    paths, own, top = paths_under(root), Path(root or "/"), Path(host or root or "/")
    margin_s = 5.0  # a tool's limit, then its end and its parsing
    return [
        Collector("system", limits.kernel_s, partial(collect_system, paths, top)),
        Collector("memory", limits.kernel_s, partial(collect_memory, paths)),
        Collector("time", limits.kernel_s, partial(collect_time, paths)),
        Collector("processors", limits.kernel_s, partial(collect_processors, paths, top)),
        Collector("dmi", limits.kernel_s, partial(collect_dmi, paths)),
        Collector("smbios", limits.kernel_s, partial(collect_smbios, paths)),
        Collector("tpm", limits.kernel_s, partial(collect_tpm, paths, own)),
        Collector("network", limits.kernel_s, partial(collect_network, paths, top, bool(root))),
        Collector("lldp", limits.kernel_s, partial(collect_lldp, top, paths.sys, before)),
        Collector("networking", limits.kernel_s, partial(collect_networking, paths, top, bool(root))),
        Collector("mounts", limits.kernel_s, partial(collect_mounts, paths, host)),
        Collector("partitions", limits.kernel_s, partial(collect_partitions, paths, top, host)),
        Collector("block", limits.kernel_s, partial(collect_block, paths.sys, top)),
        Collector("pci", limits.kernel_s, partial(collect_pci, paths.sys, own)),
        Collector("usb", limits.kernel_s, partial(collect_usb, paths.sys, own)),
        Collector("lscpu", limits.lscpu_s + margin_s, partial(collect_lscpu, paths, limits.lscpu_s, tool)),
        Collector("lshw", 2 * limits.lshw_s + margin_s, partial(collect_lshw, paths, limits.lshw_s, tool)),
        *build_ipmi(root, paths),
        *build_health(root, paths.sys, before),
        Collector("extensions", limits.kernel_s, partial(collect_extensions, paths.installed)),
        *build_custom(own),
        *([] if root else [_listener(top, paths, before)]),
    ]


def _listener(top: Path, paths: Paths, before: Before) -> Collector:
    collect = partial(collect_lldp, top, paths.sys, before, listening=True)
    return Collector("lldp", LISTENING_LIMIT_S, collect, awaited=False)


def collect_lscpu(paths: Paths, timeout_s: float, run: Runner = run) -> Collected:
    """Run lscpu; the text form where this util-linux has no JSON."""
    finished = run(LSCPU, timeout_s=timeout_s)
    if finished.outcome is Outcome.FAILED:
        finished = run(LSCPU[:1], timeout_s=timeout_s / 2)
    if not finished.ok:
        return failed(finished)
    pairs = parse_lscpu(finished.stdout)
    return Collected({**flatten_lscpu(pairs, read_cpuinfo(paths)), **lscpu_group(pairs)}, tool_s=finished.duration_s)


def collect_lshw(paths: Paths, timeout_s: float, run: Runner = run) -> Collected:
    """Run lshw once, and once more without SMBIOS if it crashed or hung."""
    block = read_block_devices(paths.sys)  # while a tool that was started ahead still runs
    board = board_fields(read_dmi(paths.sys))
    finished, remark = run(LSHW, timeout_s=timeout_s), ""
    if finished.outcome in {Outcome.SIGNALLED, Outcome.TIMED_OUT}:
        remark = f"{finished.describe()}; read again without SMBIOS"
        finished = run(LSHW_WITHOUT_SMBIOS, timeout_s=timeout_s)
    if not finished.ok:
        return failed(finished)
    left_out: list[str] = []
    roots = parse_lshw(finished.stdout, left_out)
    if left_out:
        remark = "; ".join(filter(None, (remark, f"{len(left_out)} devices left out: {left_out[0]}")))
    facts: dict[str, Json] = {**flatten_lshw(roots, board=board, block=block), **group_facts(roots)}
    return Collected(facts, Status.OK, remark, tool_s=finished.duration_s)

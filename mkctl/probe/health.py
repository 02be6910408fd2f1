"""The health of the disks, asked of `smartctl`, or of `nvme` where that one is missing.

Its own collector, because it is the only one that makes disks work: a dying disk answers late or never. Each disk has
a time limit, a handful is asked at once, and a disk that fails, hangs or floods costs itself only. A sleeping disk is
not woken. What such a disk said last stays, as long as its serial number or WWN is the same: its problems are a reason
to register, and would otherwise come and go with its sleep.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from mkcore.errors import MkError, ToolFailed
from mkcore.jsonfields import Json
from mkcore.proc import Finished, Outcome, run
from mkctl.probe.collect import Collected
from mkctl.probe.disks import read_disks
from mkctl.probe.model import Status
from mkctl.probe.nvme import parse_smart_log
from mkctl.probe.smart import COMMAND, parse_smartctl
from mkctl.probe.sysfs import read_block_devices

NVME_COMMAND = ("nvme", "smart-log", "-o", "json")
OUTPUT_LIMIT_BYTES = 1 << 20
NAME = "disk-health"

# What a hypervisor or an eMMC presents has no such log; asking would only make noise.
_TRANSPORTS = frozenset({"sata", "ata", "sas", "scsi", "usb", "nvme", "fc"})


Before = Callable[[str], Mapping[str, Json]]
"""Gives what a collector, by its name, brought to the inventory in its last good run."""


@dataclass(frozen=True)
class HealthLimits:
    """disk_s: for one disk. total_s: no disk is begun that might end later. at_once: how many are asked together."""

    disk_s: float = 15.0
    total_s: float = 30.0
    at_once: int = 8


@dataclass
class _Answers:
    """What the disks answered, filled by several threads."""

    health: dict[str, dict[str, Json]] = field(default_factory=dict[str, dict[str, Json]])
    errors: dict[str, str] = field(default_factory=dict[str, str])
    hung: set[str] = field(default_factory=set[str])


def collect_health(
    sys_root: Path,
    top: Path,
    smartctl: bool = True,
    limits: HealthLimits = HealthLimits(),
    before: Before = lambda _: {},
) -> Collected:
    """Ask every disk for its health; merged into the inventory's `disks` as `health`. smartctl: False takes nvme."""
    known, last = _entries(before("block")), _entries(before(NAME))
    disks = _choose(sys_root, top, nvme_only=not smartctl)
    names = list(disks)
    if not names:
        return Collected()
    answers = _ask_all(names, _ask_smartctl if smartctl else _ask_nvme, limits)
    for name in names:
        said = last.get(name, {}).get("health")
        if isinstance(said, dict) and _is_same(disks[name], known.get(name, {})):
            _keep_last(answers.health, name, said)
    inventory: dict[str, Json] = {}
    if answers.health:
        inventory["disks"] = {name: {"health": answers.health[name]} for name in names if name in answers.health}
    if not answers.errors:
        return Collected(inventory=inventory)
    first = next(name for name in names if name in answers.errors)
    error = f"{len(answers.errors)} of {len(names)} disks gave no health, {first}: {answers.errors[first]}"
    if answers.health:
        return Collected(inventory=inventory, error=error)
    return Collected(status=Status.TIMED_OUT if answers.hung else Status.FAILED, error=error)


def _entries(inventory: Mapping[str, Json]) -> dict[str, dict[str, Json]]:
    disks = inventory.get("disks")
    return {name: disk for name, disk in disks.items() if isinstance(disk, dict)} if isinstance(disks, dict) else {}


def _is_same(disk: Mapping[str, Json], other: Mapping[str, Json]) -> bool:
    names = [(disk.get(key), other.get(key)) for key in ("wwn", "serial") if disk.get(key)]
    return bool(names) and all(now == then for now, then in names)


def _keep_last(health: dict[str, dict[str, Json]], name: str, said: dict[str, Json]) -> None:
    """Let stand what a disk said last that sleeps now or does not answer."""
    now = health.get(name)
    if now is None:
        health[name] = said
    elif "power_mode" in now and "problems" in said:
        now.setdefault("problems", said["problems"])


def _choose(sys_root: Path, top: Path, *, nvme_only: bool) -> dict[str, dict[str, Json]]:
    """Return the disks to ask: with hardware of their own behind them, so not the volumes of RAID controllers.

    A drive without medium, such as a virtual one of the BMC, has nothing to say and would be a problem each time.
    """
    found = read_disks(sys_root, f"{top}/dev", read_block_devices(sys_root))
    volumes = [item.get("disk") for items in found.volumes.values() for item in items if isinstance(item, dict)]
    wanted = frozenset({"nvme"}) if nvme_only else _TRANSPORTS
    return {
        name: entry
        for name, entry in found.disks.items()
        if isinstance(entry, dict)
        and name not in volumes
        and entry.get("kind") == "disk"
        and "size_bytes" in entry
        and entry.get("transport") in wanted
    }


def _ask_all(names: Sequence[str], ask: Callable[[str, float], Mapping[str, Json]], limits: HealthLimits) -> _Answers:
    answers = _Answers()
    pending: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        pending.put(name)
    deadline = time.monotonic() + limits.total_s
    arguments = (pending, ask, limits.disk_s, deadline, answers)
    workers = [
        threading.Thread(target=_work, args=arguments, name="mk-disk-health", daemon=True)
        for _ in range(min(limits.at_once, len(names)))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()  # each run has its limit
    return answers


def _work(
    pending: queue.SimpleQueue[str],
    ask: Callable[[str, float], Mapping[str, Json]],
    disk_s: float,
    deadline: float,
    answers: _Answers,
) -> None:
    while True:
        try:
            name = pending.get_nowait()
        except queue.Empty:
            return
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            answers.errors[name] = "no time was left"
            answers.hung.add(name)
            continue
        try:
            answers.health[name] = dict(ask(f"/dev/{name}", min(disk_s, remaining_s)))
        except _Hung as error:
            answers.errors[name] = str(error)
            answers.hung.add(name)
        except MkError as error:
            answers.errors[name] = str(error)


class _Hung(ToolFailed):
    """The tool did not end in time."""


def _ask_smartctl(device: str, timeout_s: float) -> Mapping[str, Json]:
    finished = run((*COMMAND, device), timeout_s=timeout_s, limit_bytes=OUTPUT_LIMIT_BYTES)
    # an exit status is a set of bits, which the document repeats
    if finished.outcome not in {Outcome.OK, Outcome.FAILED} or not finished.stdout:
        raise _failure(finished)
    return parse_smartctl(finished.stdout)


def _ask_nvme(device: str, timeout_s: float) -> Mapping[str, Json]:
    finished = run((*NVME_COMMAND, device), timeout_s=timeout_s, limit_bytes=OUTPUT_LIMIT_BYTES)
    if not finished.ok:
        raise _failure(finished)
    return parse_smart_log(finished.stdout)


def _failure(finished: Finished) -> ToolFailed:
    return (_Hung if finished.outcome is Outcome.TIMED_OUT else ToolFailed)(finished.describe())

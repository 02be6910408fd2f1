"""What `smartctl -j` says of a disk's health.

One JSON layout covers ATA, SCSI and NVMe, with a section of its own for each. The exit status is a set of bits, of
which only the lowest two mean that there is nothing to read: a disk that fails, or once was too hot, ends with a
status as well. Sources: smartctl(8), "EXIT STATUS" and "-n"; the JSON of smartmontools 7, format version 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, parse_object
from mkctl.probe.nvme import parse_count
from mkctl.probe.texts import clean_text

COMMAND = ("smartctl", "-j", "-a", "-n", "standby")

_NOTHING_READ = 0b11  # the command line was wrong, or the device did not answer; a sleeping one counts so, too
_FAILING = 0b1000
_PROBLEMS = {
    3: "the disk says that it is failing",
    4: "attributes that predict a failure are below their threshold",
    5: "attributes were below their threshold in the past",
    6: "the error log has entries",
    7: "the self-test log has errors",
}
_ASLEEP = " mode, exit("
# The raw values of ATA attributes whose meaning vendors agree on.
_ATTRIBUTES = {
    5: "reallocated_sectors",
    197: "pending_sectors",
    198: "uncorrectable_sectors",
    199: "interface_crc_errors",
}
_NVME_LOG = {
    "percentage_used": "percentage_used",
    "available_spare": "available_spare_percent",
    "available_spare_threshold": "available_spare_threshold_percent",
    "media_errors": "media_errors",
    "unsafe_shutdowns": "unsafe_shutdowns",
    "num_err_log_entries": "error_log_entries",
}
# Where a value stands that all kinds of disks may have.
_COMMON = (
    ("temperature", "current", "temperature_c"),
    ("power_on_time", "hours", "power_on_hours"),
    ("endurance_used", "current_percent", "percentage_used"),
)


def parse_smartctl(data: bytes) -> dict[str, Json]:
    """Parse the output of `smartctl -j -a` into the inventory's `health`.

    Example: {"source": "smartctl", "passed": true, "temperature_c": 34, "power_on_hours": 4280}. A disk that sleeps and
    was left asleep: {"source": "smartctl", "power_mode": "standby"}. Raises BadInput when there is no JSON object, or
    when smartctl could not read the device, with smartctl's own words.
    """
    start = data.find(b"{")  # warnings may stand before it
    document = parse_object(data[start:] if start > 0 else data, "smartctl")
    head = _section(document, "smartctl")
    status = max(0, parse_count(head.get("exit_status")))
    messages = _messages(head)
    health: dict[str, Json] = {"source": "smartctl"}
    if status & _NOTHING_READ:
        asleep = next((text for text in messages if _ASLEEP in text), "")
        if not asleep:
            raise BadInput(messages[0] if messages else f"ended with status {status}", "smartctl")
        health["power_mode"] = asleep.partition(_ASLEEP)[0].split()[-1].lower()
        return health
    passed = _section(document, "smart_status").get("passed")
    if isinstance(passed, bool):
        health["passed"] = passed
    elif status & _FAILING:
        health["passed"] = False
    for section, field, key in _COMMON:
        _keep(health, key, _section(document, section).get(field))
    _keep(health, "power_cycles", document.get("power_cycle_count"))
    health.update(_ata(document))
    health.update(_scsi(document))
    log = _section(document, "nvme_smart_health_information_log")
    for field, key in _NVME_LOG.items():
        _keep(health, key, log.get(field))
    problems: list[Json] = [text for bit, text in _PROBLEMS.items() if status >> bit & 1]
    if problems:
        health["problems"] = problems
    return health


def _ata(document: Mapping[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    table = _section(document, "ata_smart_attributes").get("table")
    for row in table if isinstance(table, list) else []:
        if not isinstance(row, dict):
            continue
        number = row.get("id")
        key = _ATTRIBUTES.get(number, "") if isinstance(number, int) else ""
        if key:
            _keep(found, key, _section(row, "raw").get("value"))
    return found


def _scsi(document: Mapping[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    _keep(found, "reallocated_sectors", document.get("scsi_grown_defect_list"))
    _keep(found, "percentage_used", document.get("scsi_percentage_used_endurance_indicator"))
    log = _section(document, "scsi_error_counter_log")
    counts = [parse_count(_section(log, kind).get("total_uncorrected_errors")) for kind in log]
    if any(count >= 0 for count in counts):
        found["media_errors"] = sum(count for count in counts if count >= 0)
    return found


def _messages(head: Mapping[str, Json]) -> list[str]:
    """Return the messages, errors first."""
    messages = head.get("messages")
    items = [item for item in messages if isinstance(item, dict)] if isinstance(messages, list) else []
    items.sort(key=lambda item: item.get("severity") != "error")
    texts = [item.get("string") for item in items]
    return [clean_text(text) for text in texts if isinstance(text, str)]


def _section(document: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    value = document.get(name)
    return value if isinstance(value, dict) else cast("dict[str, Json]", {})


def _keep(health: dict[str, Json], key: str, value: Json) -> None:
    """Keep a number that there is; temperatures alone may be below zero."""
    if key == "temperature_c" and isinstance(value, int) and not isinstance(value, bool):
        health[key] = value
    elif parse_count(value) >= 0:
        health[key] = parse_count(value)

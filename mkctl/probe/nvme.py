"""NVMe namespaces from /sys/block, and the health that `nvme smart-log -o json` prints.

With native multipath the kernel shows a namespace once, below its subsystem; the controllers that lead to it are links
there. Sources: Documentation/ABI/stable/sysfs-block and drivers/nvme/host/sysfs.c of the kernel; NVM Express Base
Specification 2.0, figure 207 for the log; nvme-smart-log(1).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from mkcore.files import list_names, read_line
from mkcore.jsonfields import Json, parse_object
from mkctl.probe.disk_place import parse_place
from mkctl.probe.texts import clean_text

_KELVIN = 273
# Names of the log's fields: of nvme-cli, and of the inventory.
_LOG = {
    "percent_used": "percentage_used",
    "percentage_used": "percentage_used",
    "avail_spare": "available_spare_percent",
    "spare_thresh": "available_spare_threshold_percent",
    "media_errors": "media_errors",
    "power_on_hours": "power_on_hours",
    "power_cycles": "power_cycles",
    "unsafe_shutdowns": "unsafe_shutdowns",
    "num_err_log_entries": "error_log_entries",
}
_WARNINGS = (
    "available spare below threshold",
    "temperature out of range",
    "reliability degraded",
    "media read-only",
    "volatile memory backup failed",
    "persistent memory region unreliable",
)


class Namespace(NamedTuple):
    """controllers: PCI addresses of the controllers that lead to it. entry: the inventory's `namespace` object."""

    controllers: tuple[str, ...]
    entry: dict[str, Json]


def read_namespace(path: str) -> Namespace:
    """Read what /sys/block/nvme0n1 says of the namespace; what is unknown or all zeros is left out. Raises nothing."""
    numbers = {
        "eui64": read_line(f"{path}/eui").replace(" ", "").lower(),
        "nguid": read_line(f"{path}/nguid").replace("-", "").lower(),
        "uuid": read_line(f"{path}/uuid").lower(),
        "subsystem_nqn": clean_text(read_line(f"{path}/device/subsysnqn")),
    }
    entry: dict[str, Json] = {key: value for key, value in numbers.items() if value.strip("0-")}
    nsid = read_line(f"{path}/nsid")
    if nsid.isascii() and nsid.isdigit():
        entry["nsid"] = int(nsid)
    links = _list_controllers(f"{path}/device")
    controllers = _read_controllers(f"{path}/device", links)
    # a subsystem has no transport of its own; all paths to a namespace are of one kind
    transport = read_line(f"{path}/device/{f'{links[0]}/' if links else ''}transport")
    if len(controllers) > 1:
        entry["paths"] = list(controllers)
    if transport and transport != "pcie":
        entry["fabric"] = transport
    return Namespace(controllers, entry)


def _list_controllers(device: str) -> list[str]:
    """Return the names of the controllers below a subsystem; none for a controller's own folder."""
    return [name for name in list_names(device) if name.startswith("nvme") and name[4:].isdecimal()]


def _read_controllers(device: str, links: Iterable[str]) -> tuple[str, ...]:
    """Return the PCI addresses of the controllers; one over a network has none."""
    addresses: list[str] = []
    for name in links:
        try:
            address = parse_place(os.readlink(f"{device}/{name}")).controller
        except OSError:
            continue  # the controller went away, or is a folder and not a link
        if address:
            addresses.append(address)
    return tuple(addresses)


def parse_smart_log(data: bytes) -> dict[str, Json]:
    """Parse `nvme smart-log -o json` into the inventory's `health`; raise BadInput when it is no JSON object.

    Fields that are missing or no numbers are left out. Temperatures come in kelvin.
    """
    log = parse_object(data, "nvme smart-log")
    health: dict[str, Json] = {"source": "nvme"}
    for name, key in _LOG.items():
        value = parse_count(log.get(name))
        if value >= 0:
            health[key] = value
    kelvin = parse_count(log.get("temperature"))
    if kelvin > 0:
        health["temperature_c"] = kelvin - _KELVIN
    warning = log.get("critical_warning")
    if isinstance(warning, dict):  # nvme-cli 2 with verbose output: the value and its bits
        warning = warning.get("value")
    bits = parse_count(warning)
    if bits >= 0:
        health["passed"] = bits == 0
        problems: list[Json] = [text for bit, text in enumerate(_WARNINGS) if bits >> bit & 1]
        if problems:
            health["problems"] = problems
    return health


def parse_count(value: Json) -> int:
    """Return a counter of the log, -1 for what is none; nvme-cli prints large ones as text ("1,234") or as floats."""
    if isinstance(value, bool):
        return -1
    if isinstance(value, int):
        return max(value, -1)
    if isinstance(value, float):
        return int(value) if value >= 0 else -1
    if isinstance(value, str):
        digits = value.replace(",", "")
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 40 else -1
    return -1

"""What is wrong with serial numbers: twins, and bytes that are no text.

Both are reported as they are, and named in the status of the collector that read them: whoever takes a serial number
for a key would make two disks into one, or never find a number again that another tool spells otherwise. Two paths to
one disk and the namespaces of one NVMe controller have one serial number by right.
"""

from __future__ import annotations

from collections.abc import Mapping

from mkcore.jsonfields import Json

_NAMED = 3


def not_utf8(text: str) -> bool:
    """Tell whether a text that was read from hardware had bytes that are not UTF-8, which show as U+FFFD."""
    return "\ufffd" in text


def describe_disk_serials(disks: Mapping[str, Json]) -> str:
    """Say what is odd about the serial numbers of the inventory's disks, "" for nothing.

    Example: "sda and sdb have the same serial number, S1; the serial number of sdc is not UTF-8".
    """
    owners: dict[str, dict[str, str]] = {}
    damaged: list[str] = []
    for name, entry in disks.items():
        serial = entry.get("serial") if isinstance(entry, dict) else None
        if not isinstance(serial, str) or not isinstance(entry, dict) or entry.get("kind") != "disk":
            continue
        owners.setdefault(serial, {}).setdefault(_unit(name, entry), name)
        if not_utf8(serial):
            damaged.append(name)
    twins = [(serial, list(units.values())) for serial, units in owners.items() if len(units) > 1]
    found = [f"{' and '.join(names[:_NAMED])} have the same serial number, {serial}" for serial, names in twins]
    found += [f"the serial number of {name} is not UTF-8" for name in damaged]
    rest = f"and {len(found) - _NAMED} more such" if len(found) > _NAMED else ""
    return "; ".join(filter(None, (*found[:_NAMED], rest)))


def _unit(name: str, entry: Mapping[str, Json]) -> str:
    """Return what disks have in common that are one thing: an NVMe subsystem, else a world-wide name, else nothing.

    Without the kernel's multipath each of an NVMe disk's two ports shows its namespaces as disks of their own.
    """
    if name.startswith("nvme"):
        namespace = entry.get("namespace")
        subsystem = namespace.get("subsystem_nqn") if isinstance(namespace, dict) else None
        return subsystem if isinstance(subsystem, str) else name.rpartition("n")[0]
    wwn = entry.get("wwn")
    return wwn if isinstance(wwn, str) else name

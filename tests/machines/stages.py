"""How far a booting machine has come, read from its serial console and from what the server knows of it.

Pure: text and the API's answers in, names of stages out. What firmware, iPXE and kernel print is recognised by words
that they have printed for many years; a stage that is missed because its words changed is passed with the next one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

_WORDS: Sequence[tuple[str, str]] = (
    ("firmware", r"SeaBIOS \(version [^)\s]*|BdsDxe|UEFI firmware"),
    ("iPXE", r"iPXE initialising devices|Open Source Network Boot Firmware"),
    ("boot script from TFTP", r"tftp://\S+?\.\.\. ?ok"),
    ("kernel over HTTP", r"https?://\S*/vmlinuz\S*?\.\.\. ?(?:\d+%[\x08\s]*)*ok"),
    ("initrd over HTTP", r"https?://\S*/initrd\S*?\.\.\. ?(?:\d+%[\x08\s]*)*ok"),
    ("kernel", r"Linux version \S+"),
    ("systemd", r"systemd\[1\]: (?:systemd \d+|Detected|Queued|Hostname)|Welcome to "),
)
_SERVER = ("first checkin", "registered")
STAGES = tuple(name for name, _ in _WORDS) + _SERVER
"""Names of all stages, in their order."""

_PROGRESS = re.compile(r"(https?://\S+?)\.\.\. ?(?:[^\n]*?(\d+)%)[^\n%]*\Z")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]")


def strip_escapes(text: str) -> str:
    """Return what a terminal was sent without its escapes and backspaces."""
    return _ESCAPES.sub("", text).replace("\b", "")


def clean(text: object, most: int = 120) -> str:
    """Return text for a terminal:

    what a stranger's machine said of itself, less escapes and controls, at most ``most`` characters.
    """
    return "".join(char if char.isprintable() else " " for char in strip_escapes(str(text)))[:most].strip()


def count_stages(console: str, node: Optional[Mapping[str, Any]]) -> int:
    """Return how many of STAGES a machine has reached.

    ``node`` is what the API says of it, None while the server knows nothing.
    """
    if node and node.get("registered_ms"):
        return len(STAGES)
    if node and node.get("checkins"):
        return len(STAGES) - 1
    text = strip_escapes(console)
    reached = [number for number, (_, words) in enumerate(_WORDS, 1) if re.search(words, text)]
    return max(reached, default=0)


def read_download(console: str) -> tuple[str, int]:
    """Return name and percentage of the file that iPXE is fetching at this moment; ("", 0) when it fetches none."""
    match = _PROGRESS.search(strip_escapes(console[-400:]).rstrip())
    return (match[1].rpartition("/")[2], min(int(match[2]), 100)) if match else ("", 0)


@dataclass(frozen=True)
class Truth:
    """What identifies a machine:

    UUID in upper case, MACs and disk serials sorted; comparable with what it was made of.
    """

    uuid: str
    macs: tuple[str, ...]
    serials: tuple[str, ...]


def build_truth(uuid: str, macs: Sequence[str], serials: Sequence[str]) -> Truth:
    """Build it from any spelling."""
    return Truth(uuid.upper(), tuple(sorted(mac.lower() for mac in macs)), tuple(sorted(serials)))


def read_truth(inventory: Mapping[str, Any]) -> Truth:
    """Read it from an inventory of the server's API; disks without a serial (a drive without a medium) are left out."""
    serials = [str(disk["serial"]) for disk in inventory["disks"] if disk["serial"]]
    return build_truth(str(inventory["uuid"]), [str(nic["mac"]) for nic in inventory["nics"]], serials)


def inventory_lines(node: Mapping[str, Any]) -> list[str]:
    """Write a node's inventory as lines of text: label, value."""
    found = node["inventory"]
    rows = [
        ("vendor", f"{found['vendor']} {found['product']}"),
        ("UUID", found["uuid"]),
        ("CPUs", f"{found['cpu_count']} x {found['cpu_model']}, {found['logical_cpus']} logical"),
        ("memory", found["memory"]),
    ]
    rows += [
        ("disk", f"{disk['name']:8} {disk['serial'] or '-':20} {disk['size']}  {disk['model']}")
        for disk in found["disks"]
    ]
    rows += [("NIC", f"{nic['name']:8} {nic['mac']:20} {nic['address'] or 'no address'}") for nic in found["nics"]]
    return [f"{label:8} {clean(value, 100)}" for label, value in rows]

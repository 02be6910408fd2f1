"""Names for the numbers of PCI and USB devices, from the lists that distributions carry.

The list of PCI numbers has 1.4 MB and 38,000 lines; a machine has some dozen devices of a handful of vendors. So the
file is never parsed: one search finds the blocks of the vendors that are present, and names are looked up inside them.
Where the list is missing, the numbers stand alone. Source: the head of pci.ids(5) itself: a vendor's line starts with
four hex digits, its devices follow with one tab, their subsystems with two; classes stand at the end as "C 02".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mkcore.errors import BadInput
from mkcore.files import read_bytes
from mkctl.probe.texts import clean_text

PCI_LISTS = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")
USB_LISTS = ("usr/share/misc/usb.ids", "usr/share/hwdata/usb.ids")
LIMIT_BYTES = 16 << 20

_HEX = frozenset("0123456789abcdef")
_FEW = 8  # searching a block more often costs as much as taking it apart
_MANY_VENDORS = 32  # likewise for the whole list


class Names(NamedTuple):
    """Names by number, all in lower case: vendors "8086", devices ("8086", "10d3"), classes "0200"."""

    vendors: Mapping[str, str]
    devices: Mapping[tuple[str, str], str]
    classes: Mapping[str, str]


def read_names(
    top: Path, lists: Sequence[str], devices: Iterable[tuple[str, str]], classes: Iterable[str] = ()
) -> Names:
    """Return the names of `devices` (vendor and device number, four hex digits each) and `classes` (four digits).

    lists: paths below `top`, the first that can be read is taken; without any, and for numbers that it lacks, there is
    no name.
    """
    for path in lists:
        try:
            data = read_bytes(top / path, LIMIT_BYTES)
        except (OSError, BadInput):
            continue
        return find_names(data, devices, classes)
    return Names({}, {}, {})


def find_names(data: bytes, devices: Iterable[tuple[str, str]], classes: Iterable[str] = ()) -> Names:
    """Find names in the content of such a list; pure, raises nothing, whatever the content."""
    wanted: dict[bytes, set[str]] = {}
    for vendor, device in devices:
        if len(vendor) == 4 and _HEX.issuperset(vendor):
            wanted.setdefault(vendor.encode(), set()).add(device)
    vendors: dict[str, str] = {}
    names: dict[tuple[str, str], str] = {}
    for key, start in _find_vendors(data, wanted):
        vendor = key.decode()
        vendors[vendor] = _line_at(data, start)
        for device, name in _find_in_block(data, start, wanted[key]).items():
            names[vendor, device] = name
    return Names(vendors, names, _find_classes(data, classes))


def _find_vendors(data: bytes, wanted: Iterable[bytes]) -> list[tuple[bytes, int]]:
    """Return the vendors that the list has, each with the offset of its name."""
    keys = sorted(wanted)
    if len(keys) > _MANY_VENDORS:
        return [(match[1], match.end()) for match in re.finditer(rb"\n([0-9a-f]{4})  ", data) if match[1] in wanted]
    found: list[tuple[bytes, int]] = []
    position = 0
    for key in keys:
        # the list is sorted, so that all searches together pass through it once
        start = data.find(b"\n" + key + b"  ", position)
        if start >= 0:
            found.append((key, start + 7))
            position = start
    return found


def _find_in_block(data: bytes, start: int, wanted: Iterable[str]) -> dict[str, str]:
    keys = [device for device in wanted if len(device) == 4 and _HEX.issuperset(device)]
    end = _find_end(data, start)
    found: dict[str, str] = {}
    if len(keys) > _FEW:
        lines = {line[:4]: line[6:] for line in data[start:end].split(b"\n\t") if line[:1] != b"\t"}
        return {key: _line_at(lines[key.encode()], 0) for key in keys if key.encode() in lines}
    for key in keys:
        line = data.find(b"\n\t" + key.encode() + b"  ", start, end)
        if line >= 0:
            found[key] = _line_at(data, line + 8)
    return found


def _find_end(data: bytes, start: int) -> int:
    """Return where the block ends: at the next line that begins with neither a tab nor a comment."""
    following = re.compile(rb"\n[^\t#\n]").search(data, start)
    return following.start() if following else len(data)


def _find_classes(data: bytes, classes: Iterable[str]) -> dict[str, str]:
    """Find the name of each class with its subclass ("0200"), or of the class alone where the subclass has none."""
    found: dict[str, str] = {}
    start = data.rfind(b"\nC 00  ")
    section = data[start:] if start >= 0 else b""
    for number in set(classes):
        if len(number) != 4 or not _HEX.issuperset(number):
            continue
        head = section.find(b"\nC " + number[:2].encode() + b"  ")
        if head < 0:
            continue
        tail = section.find(b"\nC ", head + 1)
        block = section[head + 7 : tail if tail >= 0 else len(section)]
        line = block.find(b"\n\t" + number[2:].encode() + b"  ")
        found[number] = _line_at(block, 0 if line < 0 else line + 6)
    return found


def _line_at(data: bytes, start: int) -> str:
    end = data.find(b"\n", start)
    return clean_text(data[start : end if end >= 0 else len(data)])

r"""What udev found on block devices: file system, labels, UUIDs, serial number, WWN.

udev reads superblocks and partition tables once, when a device appears, and keeps the result in /run/udev/data, a file
for each device; blkid(8) and lsblk(8) give the same values. No process is started and no disk is read here. Where no
udev runs, as in a container, nothing is known. Source: the database's format as in systemd's libsystemd/sd-device
("E:KEY=VALUE"); the keys of `udevadm info --query=property`; util-linux's encoding of unsafe characters ("\x20").
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mkcore.files import read_text_if_any
from mkctl.probe.texts import clean_text

_LIMIT_BYTES = 1 << 16
_NUMBER = re.compile(r"\d{1,9}:\d{1,9}", re.ASCII)
_SERIALS = ("SCSI_IDENT_SERIAL", "ID_SCSI_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL")  # as lsblk prefers them
_WWNS = ("ID_WWN_WITH_EXTENSION", "ID_WWN")


def read_udev(root: str, number: str) -> dict[str, str]:
    """Read the properties of a block device, e.g. {"ID_FS_TYPE": "ext4"}; number: "8:1". Empty where udev has none."""
    if not _NUMBER.fullmatch(number):
        return {}
    return parse_udev(read_text_if_any(f"{root}/run/udev/data/b{number}", _LIMIT_BYTES))


def parse_udev(text: str) -> dict[str, str]:
    """Parse a file of udev's database: its "E:" lines."""
    pairs = (line[2:].partition("=") for line in text.splitlines() if line.startswith("E:"))
    return {key: value for key, equals, value in pairs if equals}


def serial_of(properties: Mapping[str, str]) -> str:
    """Return the serial number as lsblk prints it, runs of blanks as one; "" for none."""
    return _first(properties, _SERIALS)


def wwn_of(properties: Mapping[str, str]) -> str:
    """Return the world wide name, e.g. "0x5000c500a1b2c3d4"; "" for none."""
    return _first(properties, _WWNS)


def decode(value: str) -> str:
    r"""Decode what udev encoded: "my\x20root" -> "my root"; bytes that are not UTF-8 become U+FFFD."""
    if "\\x" not in value:
        return clean_text(value)
    data = re.sub(rb"\\x([0-9a-fA-F]{2})", lambda match: bytes([int(match[1], 16)]), value.encode("utf-8", "replace"))
    return clean_text(data)


def _first(properties: Mapping[str, str], names: tuple[str, ...]) -> str:
    value = next((properties[name] for name in names if properties.get(name)), "")
    return " ".join(clean_text(value).split())

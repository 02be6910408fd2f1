"""SMBIOS types 7, 38 and 41: caches, the BMC's interface, and devices on the board.

The kernel knows these things better while their drivers are loaded; the table also tells of those without one. Apart
from the other types, as a collection does not need them. Source: SMBIOS 3.7 (DSP0134) sections 7.8, 7.39 and 7.42.
"""

from __future__ import annotations

from typing import NamedTuple

from mkctl.probe.smbios import Structure

CACHE, IPMI, ONBOARD = 7, 38, 41
_IPMI_INTERFACES = ("", "KCS", "SMIC", "BT", "SSIF")


class Cache(NamedTuple):
    """Type 7. level: 1 to 8; enabled: at boot; sizes: 0 for an empty socket."""

    designation: str
    level: int
    enabled: bool
    size_bytes: int
    max_size_bytes: int


class IpmiDevice(NamedTuple):
    """Type 38. interface: "KCS", "SMIC", "BT", "SSIF" or ""; specification: the IPMI version, "2.0"."""

    interface: str
    specification: str


class OnboardDevice(NamedTuple):
    """Type 41: a device soldered to the board. pci_address: "0000:00:1f.6"; instance: number among its kind."""

    designation: str
    kind: int
    enabled: bool
    instance: int
    pci_address: str


def parse_cache(structure: Structure) -> Cache:
    """Decode type 7; since version 3.1 the sizes stand in wider fields too."""
    configuration = structure.number(0x05, 2)
    return Cache(
        designation=structure.string(0x04),
        level=(configuration & 0x07) + 1,
        enabled=bool(configuration & 0x80),
        size_bytes=_cache_bytes(structure, 0x09, 0x17),
        max_size_bytes=_cache_bytes(structure, 0x07, 0x13),
    )


def _cache_bytes(structure: Structure, offset: int, wide_offset: int) -> int:
    """Read a size whose highest bit tells its unit: 0 for 1 KiB, 1 for 64 KiB."""
    size, bits = structure.number(offset, 2), 15
    if structure.has(wide_offset + 4):
        size, bits = structure.number(wide_offset, 4), 31
    return (size & ((1 << bits) - 1)) << (16 if size >> bits else 10)


def parse_ipmi_device(structure: Structure) -> IpmiDevice:
    """Decode type 38."""
    interface, revision = structure.number(0x04, 1), structure.number(0x05, 1)
    return IpmiDevice(
        interface=_IPMI_INTERFACES[interface] if interface < len(_IPMI_INTERFACES) else "",
        specification=f"{revision >> 4}.{revision & 0x0F}" if revision else "",
    )


def parse_onboard_device(structure: Structure) -> OnboardDevice:
    """Decode type 41; the highest bit of its kind tells whether the firmware enabled it."""
    kind, location = structure.number(0x05, 1), structure.number(0x0A, 1)
    domain, bus = structure.number(0x07, 2), structure.number(0x09, 1)
    return OnboardDevice(
        designation=structure.string(0x04),
        kind=kind & 0x7F,
        enabled=bool(kind & 0x80),
        instance=structure.number(0x06, 1),
        pci_address=f"{domain:04x}:{bus:02x}:{location >> 3:02x}.{location & 7}" if structure.has(0x0B) else "",
    )

"""SMBIOS types 38, 41 and 43: the BMC's interface, devices on the board, and the TPM.

Source: SMBIOS 3.7 (DSP0134) sections 7.39, 7.42 and 7.44.
"""

from __future__ import annotations

from typing import NamedTuple

from mkctl.probe.smbios import Structure
from mkctl.probe.texts import clean_text

IPMI, ONBOARD, TPM = 38, 41, 43
_IPMI_INTERFACES = ("", "KCS", "SMIC", "BT", "SSIF")
_TPM_VENDOR_BYTES = 4


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


class TpmDevice(NamedTuple):
    """Type 43. vendor: the four letters that the TCG gave it, "IFX"; version: of the specification, "2.0".

    firmware_version: "7.85", "" for unknown.
    """

    vendor: str
    version: str
    firmware_version: str


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


def parse_tpm_device(structure: Structure) -> TpmDevice:
    """Decode type 43. The firmware's version has its own form for TPM 1.2: two bytes in the middle of the field."""
    vendor = structure.area[0x04 : 0x04 + _TPM_VENDOR_BYTES]
    major, minor = structure.number(0x08, 1), structure.number(0x09, 1)
    first = structure.number(0x0A, 4)
    firmware = ""
    if first and major == 1:
        firmware = f"{first >> 16 & 0xFF}.{first >> 24}"
    elif first:
        firmware = build_tpm_firmware_version(first)
    return TpmDevice(clean_text(vendor.split(b"\0")[0]), f"{major}.{minor}" if major else "", firmware)


def build_tpm_firmware_version(first: int) -> str:
    """Write the first half of a TPM 2.0's firmware version as its makers do: 0x00070055 -> "7.85"."""
    return f"{first >> 16}.{first & 0xFFFF}"

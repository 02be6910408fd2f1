"""SMBIOS type 43: the TPM. Source: SMBIOS 3.7 (DSP0134) section 7.44."""

from __future__ import annotations

from typing import NamedTuple

from mkctl.probe.smbios import Structure
from mkctl.probe.texts import clean_text

TPM = 43
_VENDOR_BYTES = 4


class TpmDevice(NamedTuple):
    """Type 43. vendor: the four letters that the TCG gave it, "IFX"; version: of the specification, "2.0".

    firmware_version: "7.85", "" for unknown.
    """

    vendor: str
    version: str
    firmware_version: str


def parse_tpm_device(structure: Structure) -> TpmDevice:
    """Decode type 43. The firmware's version has its own form for TPM 1.2: two bytes in the middle of the field."""
    vendor = structure.area[0x04 : 0x04 + _VENDOR_BYTES]
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

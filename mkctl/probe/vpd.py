"""SCSI's vital product data pages, as the kernel hands them out below a disk.

Page 0x80 is the serial number, 0x83 holds the names that identify the unit world-wide, 0x89 is the whole ATA identity
of a SATA disk: SCSI's own fields cut an ATA model after 16 characters and a firmware version after 4. Sources: SPC-4
7.8.4 (page 83h), 7.8.15 (page 80h); SAT-3 12.4.2 (page 89h); ACS-3 7.12.7 for the ATA identity.
"""

from __future__ import annotations

from typing import NamedTuple

from mkctl.probe.texts import clean_text

_HEADER_BYTES = 4
_PAGE_SERIAL, _PAGE_NAMES, _PAGE_ATA = 0x80, 0x83, 0x89
_EUI64, _NAA = 2, 3
_BINARY = 1
_IDENTITY_START, _IDENTITY_BYTES = 60, 512


class AtaIdentity(NamedTuple):
    """What a SATA disk says of itself in full; "" where it says nothing."""

    model: str = ""
    serial: str = ""
    firmware: str = ""


def parse_serial_page(page: bytes) -> str:
    """Parse SCSI's page 0x80: four bytes of header with the length in the last two, then ASCII. "" for another page."""
    return clean_text(_body(page, _PAGE_SERIAL).decode("ascii", "replace").strip("\0 "))


def parse_names_page(page: bytes) -> str:
    """Return the unit's world-wide name in page 0x83, "naa.5000c500a1b2c3d4" or "eui.0025385b00000001", or "".

    A page holds names of the unit, of its port and of its target; only the unit's count, NAA before EUI-64.
    """
    body = _body(page, _PAGE_NAMES)
    found: dict[int, str] = {}
    while len(body) >= _HEADER_BYTES:
        length = body[3]
        value = body[_HEADER_BYTES : _HEADER_BYTES + length]
        code_set, association, kind = body[0] & 0x0F, (body[1] >> 4) & 0x03, body[1] & 0x0F
        if association == 0 and code_set == _BINARY and len(value) == length >= 8:
            found.setdefault(kind, value.hex())
        body = body[_HEADER_BYTES + length :]
    if _NAA in found:
        return f"naa.{found[_NAA]}"
    return f"eui.{found[_EUI64]}" if _EUI64 in found else ""


def parse_ata_page(page: bytes) -> AtaIdentity:
    """Parse page 0x89: the 512 bytes of IDENTIFY DEVICE behind 60 bytes; empty for another or a short page."""
    identity = page[_IDENTITY_START : _IDENTITY_START + _IDENTITY_BYTES]
    if len(page) < _HEADER_BYTES or page[1] != _PAGE_ATA or len(identity) < _IDENTITY_BYTES:
        return AtaIdentity()
    return AtaIdentity(
        model=_ata_text(identity, 27, 46), serial=_ata_text(identity, 10, 19), firmware=_ata_text(identity, 23, 26)
    )


def _body(page: bytes, number: int) -> bytes:
    if len(page) < _HEADER_BYTES or page[1] != number:
        return b""
    return page[_HEADER_BYTES : _HEADER_BYTES + int.from_bytes(page[2:4], "big")]


def _ata_text(identity: bytes, first: int, last: int) -> str:
    """Read a text of 16-bit words `first` to `last`, whose bytes ATA swaps."""
    raw = bytearray(identity[2 * first : 2 * last + 2])
    raw[0::2], raw[1::2] = raw[1::2], raw[0::2]
    return clean_text(bytes(raw).strip(b"\0 "))

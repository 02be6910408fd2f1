"""The contents of a FRU device: who made chassis, board and product of a machine, as its BMC tells it.

Source: Intel, "Platform Management FRU Information Storage Definition" 1.0 rev 1.3: 8 (header), 10 to 12 (areas), 13
(type/length bytes).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1996, 1, 1, tzinfo=timezone.utc)
_LATIN = 0xC0
_NO_MORE = b"\xc1"
_ENGLISH = 0
RACK_MOUNT = 0x17


@dataclass(frozen=True)
class Fru:
    """One FRU device; every text has at least two characters. ``made`` is the board's date, to the minute, UTC."""

    chassis_part_number: str
    chassis_serial: str
    made: datetime
    board_manufacturer: str
    board_product: str
    board_serial: str
    board_part_number: str
    product_manufacturer: str
    product_name: str
    product_part_number: str
    product_version: str
    product_serial: str
    product_asset_tag: str


def _texts(texts: Sequence[str]) -> bytes:
    return b"".join(bytes([_LATIN | len(text)]) + text.encode("ascii") for text in texts) + _NO_MORE


def _sum(data: bytes) -> bytes:
    return bytes([-sum(data) & 0xFF])


def _area(body: bytes) -> bytes:
    """Frame an area: version, length in units of 8 bytes, body, padding, check sum."""
    units = (2 + len(body) + 1 + 7) // 8
    data = (bytes([1, units]) + body).ljust(units * 8 - 1, b"\0")
    return data + _sum(data)


def build_fru(fru: Fru) -> bytes:
    """Build the whole storage: header, chassis, board and product areas."""
    minutes = (fru.made - _EPOCH) // timedelta(minutes=1)
    chassis = bytes([RACK_MOUNT]) + _texts((fru.chassis_part_number, fru.chassis_serial))
    texts = (fru.board_manufacturer, fru.board_product, fru.board_serial, fru.board_part_number, "")
    board = bytes([_ENGLISH]) + struct.pack("<I", minutes)[:3] + _texts(texts)
    product = [fru.product_manufacturer, fru.product_name, fru.product_part_number, fru.product_version]
    product += [fru.product_serial, fru.product_asset_tag, ""]
    areas = [_area(chassis), _area(board), _area(bytes([_ENGLISH]) + _texts(product))]
    header, offset = bytes([1, 0]), 1
    for area in areas:
        header += bytes([offset])
        offset += len(area) // 8
    header += bytes(2)
    return header + _sum(header) + b"".join(areas)

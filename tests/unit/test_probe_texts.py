"""Text from hardware: cleaned without loss, and known for junk."""

from __future__ import annotations

from typing import Union

import pytest

from mkctl.probe.junk import is_junk, without_junk
from mkctl.probe.texts import clean_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"PM981 \0\0", "PM981"),
        (b"  WD-40  ", "WD-40"),
        (b"\xff\xfeAB", "\ufffd\ufffdAB"),
        ("K\u00f6ln".encode(), "K\u00f6ln"),
        ("WD\t40\x1b[2J", "WD 40[2J"),
        ("one\r\ntwo", "one  two"),
        ("a\ud800b", "a\ufffdb"),
        ("a\u202eb\u2028c", "ab c"),
        (b"", ""),
        ("\x7f\x80", ""),
    ],
)
def test_clean_text(value: Union[bytes, str], text: str) -> None:
    assert clean_text(value) == text
    assert clean_text(text) == text, "cleaning twice changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "0", "00000000", "0x00000000", "FFFFFFFF", "XXXXXXXX", "........", "\ufffd\ufffd\ufffd",
        "To Be Filled By O.E.M.", "To be filled by O.E.M", "Default string", "Not Specified", "None", "N/A", "NULL",
        "System Serial Number", "System Product Name", "System manufacturer", "0123456789", "1234567890", "123456789",
        "012345678901234567890123456789", "0123456789ABCDEF", "03000200-0400-0500-0006-000700080009", "<BAD INDEX>",
        "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "Chassis Serial Number",
        "SerNum0", "DIMM_A1_SerNum", "A1_AssetTagNum0", "Manufacturer00", "ModulePartNumber02", "NO DIMM", "[Empty]",
        "Not Supported by CPU", "Manufacturer not set", "ChannelA_Dimm2_Manufacturer", "A1_Manufacturer1", "TBD By OEM",
        "Reserved for System Vendor", "(null)", "EEEEEEEE-EEEE-EEEE-EEEE-EEEEEEEEEEEE", "9876543210",
        "BSN12345678901234567", "ATN12345678901234567", "#A123456789", "OEM Define 3", "Array1_PartNumber0",
        "01234567890123456789AB", "FEDCBA9876543211FEDCBA9876543211", "111222-333",
        "NOT AVAILABLE", "MB Serial Number", "12345678-1234-5678-90AB-CDDEEFAABBCC",
    ],
)  # fmt: skip
def test_junk(text: str) -> None:
    assert is_junk(text)


@pytest.mark.parametrize(
    "text",
    [
        "1", "F4", "FF", "A00", "CZJ1234567", "Samsung", "OEM", "Dell Inc.", "M393A4K40CB2-CTD", "1234598765",
        "VMware",
        "4C4C4544-0042-3510-8056-B4C04F4D3032", "PowerEdge R630", "0987654321", "HP", "X", "100000",
        "PSN12345", "ATN0987", "Array Networks",
        "Empty Systems Ltd",        "Part 99", "Numanufacturer",
    ],
)  # fmt: skip
def test_no_junk(text: str) -> None:
    assert not is_junk(text)


def test_without_junk() -> None:
    values: dict[str, Union[str, int]] = {
        "serial": "Default string",
        "product": "R1",
        "rank": 0,
        "width": 64,
        "tag": "",
    }
    assert without_junk(values) == {"product": "R1", "width": 64}

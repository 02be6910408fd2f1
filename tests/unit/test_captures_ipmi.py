"""ipmitool of real machines: each listing parses, and the facts agree with the lines of the text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from capture_files import captures

from mkctl.probe.ipmi_facts import (
    BMC_KEYS,
    COMMUNITY,
    FRU_KEYS,
    LAN_KEYS,
    bmc_facts,
    build_bmc,
    build_fru,
    build_lan,
    fru_facts,
    lan_facts,
)
from mkctl.probe.ipmi_text import parse_fru, parse_lan6, parse_pairs, read_lines
from mkctl.probe.names import clean_key

OTHER = ("lan6", "fru", "lan-print", "bmc-info", "channel")


def plain_facts(text: str, prefix: str, keys: tuple[str, ...]) -> dict[str, str]:
    """The facts of a listing, by a search for each key in the raw text; of a repeated key the last value."""
    facts: dict[str, str] = {}
    for key in keys:
        spelling = re.escape(key).replace("Gratuitous", "Grat(?:uit|itu)ous")
        for match in re.finditer(rf"^[ \t]*{spelling}[ \t]*:(.*)$", text, re.MULTILINE):
            value = match.group(1).replace("\0", "").strip()
            if value:
                facts[f"{prefix}_{clean_key(key)}"] = value
    return facts


@pytest.mark.parametrize("path", captures("ipmitool/*bmc-info*", own="ipmi-sim-bmc-info.txt"))
def test_bmc_info(path: Path) -> None:
    pairs = parse_pairs(read_lines(path.read_bytes()))
    facts = bmc_facts(pairs)
    assert facts == plain_facts(path.read_text(encoding="utf-8"), "mk_ipmi", BMC_KEYS)
    assert len(facts) == len(BMC_KEYS)
    assert {"firmware_version", "ipmi_version", "manufacturer_id"} <= set(build_bmc(pairs))


@pytest.mark.parametrize("path", captures("ipmitool/*lan-print*", own="ipmi-sim-lan-print.txt"))
def test_lan_print(path: Path) -> None:
    pairs = parse_pairs(read_lines(path.read_bytes()))
    text = path.read_text(encoding="utf-8")
    assert lan_facts(pairs, with_community=True) == plain_facts(text, "mk_ipmi", LAN_KEYS)
    without = tuple(key for key in LAN_KEYS if key != COMMUNITY)
    assert lan_facts(pairs) == plain_facts(text, "mk_ipmi", without)
    lan = build_lan(pairs, [])
    unused = "IP Address              : 0.0.0.0" in text
    assert ("ipv4" in lan) is not unused
    assert not {"0.0.0.0", "00:00:00:00:00:00"} & {str(value) for value in lan.values()}


@pytest.mark.parametrize("path", captures("ipmitool/*lan6*"))
def test_lan6_print(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    blocks = re.split(r"^IPv6 ", text, flags=re.MULTILINE)
    active = [re.search(r"Address: +(\S+)/", each) for each in blocks if re.search(r"Status: +active", each)]
    assert parse_lan6(read_lines(path.read_bytes())) == [each.group(1).lower() for each in active if each]


@pytest.mark.parametrize("path", captures("ipmitool/*fru*", own="ipmi-sim-fru-print.txt"))
def test_fru_print(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    devices = parse_fru(read_lines(path.read_bytes()))
    blocks = re.split(r"^FRU Device Description", text, flags=re.MULTILINE)[1:]
    assert len(devices) == len(blocks)
    expected: dict[str, str] = {}
    for number, block in enumerate(blocks):
        expected.update(plain_facts(block, f"mk_ipmi_fru_{number}", FRU_KEYS))
    assert fru_facts(devices) == expected
    named = [
        block for block in blocks if re.search(r"^ (?:Chassis|Board|Product) [^:]*: *[^. \n]", block, re.MULTILINE)
    ]
    assert len(build_fru(devices)) == len(named)


@pytest.mark.parametrize("path", captures("ipmitool/*"))
def test_another_listing_gives_no_facts(path: Path) -> None:
    """What none of our questions is answered with."""
    if any(word in path.name for word in OTHER):
        return
    pairs = parse_pairs(read_lines(path.read_bytes()))
    assert bmc_facts(pairs) == lan_facts(pairs, with_community=True) == {}

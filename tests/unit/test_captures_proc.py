"""Single files of /proc of real machines: each parses, and counts agree with plain counting.

The plain counts here look at the raw texts and share nothing with the parsers.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest
from capture_files import captures

from mkcore.interfaces import parse_bonding, parse_if_inet6
from mkctl.cmdline import parse_cmdline
from mkctl.network import parse_ipv4_routes
from mkctl.probe.facter_mounts import parse_mounts


@pytest.mark.parametrize("path", captures("proc/bond0-*"))
def test_bonding(path: Path) -> None:
    """Each slave with its own permanent address."""
    text = path.read_text(encoding="utf-8")
    found = parse_bonding(text)
    assert list(found) == re.findall(r"^Slave Interface: (\S+)$", text, re.MULTILINE)
    assert list(found.values()) == re.findall(r"^Permanent HW addr: (\S+)$", text, re.MULTILINE)
    assert found


@pytest.mark.parametrize("path", captures("proc/route-*"))
def test_routes(path: Path) -> None:
    """A route for each line whose flags say that it is up, with as long a prefix as the mask has bits."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    up = [row for row in rows if int(row[3], 16) & 1]
    found = parse_ipv4_routes("\n".join("\t".join(row) for row in rows), "little")
    assert [each.interface for each in found] == [row[0] for row in up]
    assert [each.destination.prefixlen for each in found] == [bin(int(row[7], 16)).count("1") for row in up]
    assert [each.destination.num_addresses == 1 << 32 for each in found] == [int(row[1], 16) == 0 for row in up]


@pytest.mark.parametrize("path", captures("proc/if_inet6-*"))
def test_ipv6_addresses(path: Path) -> None:
    """Each line is an address of its interface."""
    text = path.read_text(encoding="utf-8")
    rows = [line.split() for line in text.splitlines() if line.strip()]
    found = [(name, str(each)) for name, addresses in parse_if_inet6(text).items() for each in addresses]
    wanted = [(row[5], f"{ipaddress.IPv6Address(int(row[0], 16))}/{int(row[2], 16)}") for row in rows]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("path", captures("proc/cmdline-*"))
def test_kernel_line(path: Path) -> None:
    """Words without a quotation mark are one parameter each."""
    text = path.read_text(encoding="utf-8")
    assert '"' not in text
    found = [f"{each.name}={each.value}" if each.has_value else each.name for each in parse_cmdline(text)]
    assert found == text.split()


@pytest.mark.parametrize("path", captures("block/*proc-mounts*"))
def test_mounts(path: Path) -> None:
    """A mount for each line, in its order."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    found = [(each.device, each.path, each.filesystem) for each in parse_mounts(path.read_bytes())]
    assert found == [tuple(row[:3]) for row in rows]

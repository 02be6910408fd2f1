"""The image's network files under its own systemd-networkd: leases, the boot card's routes, jumbo frames (row 3)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.machines.segments import Segments
from tests.machines.tree import BUILD, RELEASE, ROOT

MACHINE = ROOT / "tests/system/networkd_machine.py"
MACS = {"eno1": "02:4d:4b:00:00:01", "eno2": "02:4d:4b:00:00:02"}
NET = {"eno1": ("192.168.90.1/24", "fd00:90::1/64"), "eno2": ("192.168.91.1/24", "fd00:91::1/64")}
DEADLINE_S = 120.0

pytestmark = pytest.mark.skipif(RELEASE != "trixie", reason="the image, whose files these are, is Debian 13")


@pytest.fixture(scope="module")
def far() -> Iterator[Segments]:
    """The other ends of the cables."""
    with Segments("mk-networkd", BUILD / "system/networkd-far") as segments:
        yield segments


class Machine:
    """A running networkd with its cables."""

    def __init__(self, process: subprocess.Popen[str], far: Segments) -> None:
        self.process, self.far = process, far

    def ip(self, *words: str) -> str:
        """Return what ip(8) says inside."""
        command = ["nsenter", "--target", str(self.process.pid), "--net", "ip", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def wait_until(self, condition: Callable[[], Any], what: str) -> Any:
        """Ask until it is so; fail at the deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while not (found := condition()):
            said = self.ip("address") + self.ip("route") + "\n".join(self.far.leases("far-eno1"))
            assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}\n{said}"
            time.sleep(0.1)
        return found

    def leased(self, card: str) -> list[str]:
        """Wait for the addresses of both families that a DHCP server gave away, and return them."""

        def both() -> list[str]:
            lines = [line.split() for line in self.far.leases(f"far-{card}")]
            found = sorted(line[2] for line in lines if len(line) == 5)
            return found if any(":" in each for each in found) and any("." in each for each in found) else []

        found: list[str] = self.wait_until(both, f"leases on {card}")
        return found


@contextlib.contextmanager
def switch_on(
    base: list[Path],
    far: Segments,
    folder: Path,
    *,
    cards: tuple[str, ...],
    line: str = "",
    machine_id: str = "1" * 32,
    credential: str = "",
) -> Iterator[Machine]:
    """Start a machine with these cards, each with a DHCP server of its own at the other end of its cable."""
    command = ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, str(MACHINE)]
    command += [str(base[0]), machine_id, line, credential]
    environment = {**os.environ, "SYSTEMD_LOG_TARGET": "console"}
    with (
        (folder / "networkd.log").open("ab") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n", (folder / "networkd.log").read_text()
            for card in cards:
                start = [address.partition("/")[0] for address in NET[card]]
                cable = far.plug(card, process.pid, *NET[card], mac=MACS[card])
                v4 = start[0].rpartition(".")[0]
                ranges = (f"{v4}.100,{v4}.199,255.255.255.0,1h", f"{start[1]}00,{start[1]}ff,64,1h")
                options = [f"--dhcp-range={each}" for each in ranges]
                far.serve(cable, *options, "--enable-ra", "--dhcp-option=26,9000")
            process.stdin.write("go\n")
            process.stdin.flush()
            yield Machine(process, far)
        finally:
            process.stdin.close()
            process.wait(60)
            far.clear()


def test_two_boots_are_one_lease(base: list[Path], far: Segments, tmp_path: Path) -> None:
    """The machine ID is another one at each boot; DHCP servers see the same machine, for IPv4 and for IPv6."""
    seen = []
    for machine_id in ("1" * 32, "2" * 32):
        with switch_on(base, far, tmp_path, cards=("eno1",), machine_id=machine_id) as machine:
            seen.append(machine.leased("eno1"))
    assert len(seen[0]) == 2 and seen[0] == seen[1]


def test_the_boot_card_s_route_is_the_better_one(base: list[Path], far: Segments, tmp_path: Path) -> None:
    """BOOTIF= names the second of two cards; both get an address, and an MTU from the DHCP server."""
    line = f"quiet BOOTIF=01-{MACS['eno2'].replace(':', '-')}"
    with switch_on(base, far, tmp_path, cards=("eno1", "eno2"), line=line) as machine:
        assert machine.wait_until(lambda: _default_routes(machine, "-4"), "two IPv4 routes") == ["eno2", "eno1"]
        assert machine.wait_until(lambda: _default_routes(machine, "-6"), "two IPv6 routes") == ["eno2", "eno1"]
        machine.wait_until(lambda: machine.ip("link").count("mtu 9000") == 2, "jumbo frames")


def _default_routes(machine: Machine, family: str) -> list[str]:
    lines = [line.split() for line in machine.ip(family, "route", "show", "default").splitlines()]
    ranked = sorted((int(line[line.index("metric") + 1]), line[line.index("dev") + 1]) for line in lines)
    return [card for _, card in ranked] if len(ranked) == 2 else []


LINES = (
    "ip=eno1:dhcp",
    "vlan=vlan5:eno2 bond=bond0:eno3,eno4:mode=active-backup,miimon=100,updelay=200,min_links=1:9000 vlan=vlan6:bond0",
    "bond=bond1:eno3,eno4:mode=802.3ad,lacp_rate=fast,xmit_hash_policy=layer3+4,downdelay=200,ad_select=stable",
    "bond=bond2:eno3,eno4:mode=0,arp_interval=100,arp_ip_target=192.0.2.1,fail_over_mac=active,primary_reselect=better",
)


@pytest.mark.parametrize("line", LINES, ids=("ip", "vlan and bond", "lacp", "arp"))
def test_networkd_understands_what_is_made_of_a_line(
    base: list[Path], far: Segments, tmp_path: Path, line: str
) -> None:
    """The generator's files with ours beside them are without a fault to networkd, and the card has an address."""
    with switch_on(base, far, tmp_path, cards=("eno1",), line=line) as machine:
        machine.wait_until(lambda: "inet 192.168.90." in machine.ip("-4", "address"), "the address")
    said = (tmp_path / "networkd.log").read_text(encoding="utf-8")
    assert not [each for each in said.splitlines() if each.startswith("/run/systemd/network")], said


CREDENTIAL = "[Match]\nName=eno1\n[Network]\nAddress=192.168.90.50/24\nGateway=192.168.90.1\n"


@pytest.mark.parametrize(
    ("line", "credential"),
    [("ip=192.168.90.50::192.168.90.1:255.255.255.0::eno1:none", ""), ("quiet", CREDENTIAL)],
    ids=("kernel line", "credential"),
)
def test_a_static_address(base: list[Path], far: Segments, tmp_path: Path, line: str, credential: str) -> None:
    """Where a DHCP server is as well, it is not asked."""
    with switch_on(base, far, tmp_path, cards=("eno1",), line=line, credential=credential) as machine:
        machine.wait_until(lambda: "via 192.168.90.1" in machine.ip("-4", "route"), "the route")
        assert "inet 192.168.90.50/24" in machine.ip("-4", "address")
        assert machine.ip("-4", "address").count("inet 192.168.90.") == 1

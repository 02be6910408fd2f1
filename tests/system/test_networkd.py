"""The image's network files under its own systemd-networkd: leases, the boot card's routes, jumbo frames (row 3)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.machines.segments import Segments
from tests.machines.tree import BUILD, ROOT

MACHINE = ROOT / "tests/system/networkd_machine.py"
OWN = ROOT / "units/networkd/80-mk.network"
LINE = ROOT / "packaging/image/mkosi.extra/usr/lib/mk/network"
MACS = {"eno1": "02:4d:4b:00:00:01", "eno2": "02:4d:4b:00:00:02"}
NET = {"eno1": ("192.168.90.1/24", "fd00:90::1/64"), "eno2": ("192.168.91.1/24", "fd00:91::1/64")}
DEADLINE_S = 120.0


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
    base: list[Path], far: Segments, folder: Path, *, cards: tuple[str, ...], line: str = "", machine_id: str = "1" * 32
) -> Iterator[Machine]:
    """Start a machine with these cards, each with a DHCP server of its own at the other end of its cable."""
    networks = folder / f"network-{machine_id}"
    networks.mkdir()
    (folder / "line").write_text(f"{line}\n")
    shutil.copy(OWN, networks)
    text = (networks / OWN.name).read_text(encoding="utf-8").replace("Kind=!*", "Kind=veth")  # cables, not cards
    (networks / OWN.name).write_text(text, encoding="utf-8")
    words = ["sh", str(LINE), str(folder / "line"), str(networks), str(networks / OWN.name)]
    subprocess.run(words, check=True, timeout=60)
    made = networks / "71-boot.network"
    if made.exists():
        made.write_text(made.read_text().replace("Kind=!*", "Kind=veth"))
    command = ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, str(MACHINE)]
    command += [str(base[0]), machine_id, str(networks)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
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

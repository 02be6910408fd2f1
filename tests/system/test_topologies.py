"""A node on networks as they are (tests/machines/topologies.py): several cards, one protocol alone, things that come
late, words that are wrong. In each the node registers by itself.

Three run in `make test`, the others with MK_FULL=1 (rows 3, 15, 17, 18; B07, B11, B14).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import nspawn, topologies
from tests.machines.segments import Segments
from tests.machines.topologies import TOPOLOGIES
from tests.machines.tree import BUILD, RELEASE
from tests.system.test_grants import REFUSED

pytestmark = pytest.mark.skipif(RELEASE != "trixie", reason="networkd tells DHCP's options since 256")
FULL = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full has all topologies")


@pytest.fixture(scope="module")
def far() -> Iterator[Segments]:
    """The other ends of the cables."""
    with Segments("mk-topologies", BUILD / "system/topologies-far") as segments:
        yield segments


@pytest.fixture(scope="module")
def machine(installed: list[Path]) -> Iterator[nspawn.Machine]:
    """A machine without a card, nothing of the suite started."""
    with topologies.boot("topologies", installed) as machine:
        yield machine


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if each.in_make_test else [FULL]) for name, each in TOPOLOGIES.items()]
)
def test_it_registers(request: pytest.FixtureRequest, installed: list[Path], far: Segments, name: str) -> None:
    """Without help, at the server that the network names. What a machine's firmware says, it says from the start."""
    topology = TOPOLOGIES[name]
    with contextlib.ExitStack() as stack:
        if topology.credentials:
            machine = stack.enter_context(topologies.boot("topologies-firmware", installed, topology))
        else:
            machine = request.getfixturevalue("machine")
        place = stack.enter_context(topologies.settle(topology, machine, far))
        uri, source = place.registered()
        assert uri.startswith(topology.uri) and source.startswith(topology.source)
        assert machine.run("mkctl", "status").returncode == 0


def test_nobody_else_has_leases_renewed(machine: nspawn.Machine, far: Segments) -> None:
    """mkctl may, as where a server named too late is found shows; networkd and polkit refuse the others."""
    with topologies.settle(TOPOLOGIES["one-card"], machine, far) as place:
        place.registered()
        index = machine.run("cat", "/sys/class/net/eno1/ifindex").stdout.strip()
        manager = ("org.freedesktop.network1", "/org/freedesktop/network1", "org.freedesktop.network1.Manager")
        for user, granted in (("mkctl", True), ("mkweb", False), ("mkmirror", False), ("daemon", False)):
            asked = machine.run("busctl", "call", *manager, "RenewLink", "i", index, user=user, check=False)
            assert (asked.returncode == 0) == granted, (user, asked.stderr)
            assert granted or REFUSED.search(asked.stderr), (user, asked.stderr)

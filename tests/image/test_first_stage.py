"""The first stage: its downloads beside servers that misbehave, and a machine that it boots where the network is bad.

The machines are cells of make test-full (``MK_FIRST_STAGE``): under TCG each boots for minutes.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.conftest import CMDLINE, FOLDER, PASSWORD
from tests.machines.accel import choose_accel
from tests.machines.booted import record_booted
from tests.machines.first_stage import BUSYBOX, CONDITIONS, CUT_BYTES, Crowd, Fault, Outcome, fetch
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.network import Lab
from tests.machines.qemu import Machine, Nic, VirtualMachine
from tests.machines.server import IMAGE, PORT, ROOT, Server

BOOT_S = 1500.0
UUID = "5e0a9f1c-2b7d-4c38-9d41-7f6e5d4c3b2a"
DATA = random.Random(7).randbytes(2_500_000)
CROWD = 47
"""Downloads beside the machine's own."""
CHOSEN = os.environ.get("MK_FIRST_STAGE", "")


def run(tmp_path: Path, fault: Fault, before: str = "") -> Outcome:
    """Fetch by the shipped script."""
    assert BUSYBOX.exists(), "busybox is missing: run packaging/setup image"
    sys.path[:0] = [str(ROOT / "packaging/image/forms")]
    try:
        import first_stage  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(ROOT / "packaging/image/forms"))
    return fetch(tmp_path / "root", DATA, first_stage.PROGRAMS, fault, before=before)


def test_goes_on_where_a_connection_broke_off(tmp_path: Path) -> None:
    """Three connections that end early: each next one asks for the rest, and nothing is asked for twice."""
    outcome = run(tmp_path, Fault("cut", 3))
    assert (outcome.status, outcome.layer == DATA) == (0, True)
    assert outcome.ranges == ["", *(str(CUT_BYTES * number) for number in (1, 2, 3))]
    assert "root.squashfs: 0.7 MB so far (wget: connection closed prematurely); going on in 1 s" in outcome.log[0]
    assert outcome.log[-1].endswith("root.squashfs: 2.5 MB, as it was built")


@pytest.mark.parametrize("kind", ["wrong", "longer"])
def test_what_is_not_the_layer_is_thrown_away(tmp_path: Path, kind: str) -> None:
    """Other bytes, or more of them than memory may have to hold: the line says so, and the right ones are fetched."""
    outcome = run(tmp_path, Fault(kind, 1))
    assert (outcome.status, outcome.layer == DATA, outcome.ranges) == (0, True, ["", ""])
    assert "root.squashfs: is not the one that was built with this first stage" in outcome.log[0]


def test_a_second_address_is_tried(tmp_path: Path) -> None:
    outcome = run(tmp_path, Fault(), before="http://127.0.0.1:9/image")
    assert (outcome.status, outcome.layer == DATA) == (0, True)
    assert "Connection refused" in outcome.log[0]


def test_a_card_that_brings_nothing_is_left_for_the_next(tmp_path: Path) -> None:
    """An overloaded server is asked twice; then another card may do better."""
    outcome = run(tmp_path, Fault("503", 2))
    assert (outcome.status, len(outcome.ranges), outcome.layer) == (1, 2, b"")
    assert all("503" in line for line in outcome.log)


def test_kernel_and_first_stage_are_small(image: dict[str, str]) -> None:
    """At most 25 MB for what the firmware has to fetch by itself."""
    assert sum((IMAGE / name).stat().st_size for name in ("vmlinuz", "first-stage")) <= 25_000_000


def lose_packets(lab: Lab) -> None:
    """Lose one of a hundred packets of the network, in both directions."""
    rule = ["-m", "statistic", "--mode", "random", "--probability", "0.01", "-j", "DROP"]
    for chain, flag in (("INPUT", "-i"), ("OUTPUT", "-o")):
        subprocess.run([*lab.prefix, "iptables", "-A", chain, flag, "br0", *rule], check=True)


def count_lost(lab: Lab) -> int:
    """Return how many packets that rule has dropped."""
    argv = [*lab.prefix, "iptables", "--list", "--numeric", "--verbose", "--exact"]
    shown = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return sum(int(line.split()[0]) for line in shown.splitlines() if " DROP " in line)


def build_machine(lab: Lab) -> Machine:
    """Two cards, of which the second leads nowhere: its network has DHCP and no server."""
    nics = (Nic("52:54:00:4d:4b:e1", lab.add_tap()), Nic("52:54:00:4d:4b:e2", "user,restrict=on", "e1000e"))
    return Machine(
        uuid=UUID,
        nics=nics,
        memory_mib=512,
        accel=choose_accel(),
        credentials=build_credentials(),
        channels=CHANNELS,
    )


@pytest.mark.skipif(not CHOSEN, reason="machines that boot by the first stage are cells of make test-full")
def test_registers_over_a_bad_network(image: dict[str, str]) -> None:
    """iPXE brings kernel and first stage, this one the layers; the system registers, and nothing of it has failed."""
    place = FOLDER / f"first-stage-{CHOSEN}"
    with Lab("mk-first-stage", place / "lab") as lab:
        reach = {"prefix": lab.prefix, "where": lab.call}
        with Server(place / "server", address=lab.address, password=PASSWORD, cmdline=CMDLINE, **reach) as server:
            server.configure(boot_form="first-stage")
            lab.offer(server.bootstrap(f"{lab.address}:{PORT}"))
            if CHOSEN == "loss":
                lose_packets(lab)
            crowd = Crowd(
                f"http://{lab.address}:{PORT}/image/root.squashfs", CROWD if CHOSEN == "crowd" else 0, lab.prefix
            )
            with crowd, VirtualMachine(build_machine(lab), place / "machine", prefix=lab.prefix) as vm:
                channel = Channel(vm)
                vm.wait_until(lambda: bool((server.node(UUID) or {}).get("registered_ms")), "registered", BOOT_S)
                assert "mk: root.squashfs: " in vm.console()
                assert channel.run("systemctl", "--failed", "--no-legend", "--plain").stdout == ""
                left = channel.run("cat", "/proc/mounts").stdout
            lost = count_lost(lab) if CHOSEN == "loss" else 0
    assert "/drivers" not in left
    assert not crowd.failed, crowd.failed
    assert crowd.peak == (CROWD if CHOSEN == "crowd" else 0) and (lost > 50 or CHOSEN != "loss"), (crowd.peak, lost)
    record_booted(CONDITIONS[CHOSEN], "first-stage")

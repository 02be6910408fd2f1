"""How long machines take to register once DHCP has answered: the card that they booted from, a VLAN, a bond.

Virtual machines on the shipped image, as a kernel line with these words is nobody's in a container. Without KVM their
processors are emulated, and what follows an address there is the start of mkctl, which on a machine of today happens
meanwhile: the rows stand beside those of the containers, and no limit is asked of them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.rows import Row
from tests.machines.network import Lab
from tests.machines.segments import said
from tests.machines.switched import BONDED, FIRST, FOLDER, SECOND, switch_on
from tests.machines.trunk import Trunk

VLAN = 7
LOOK_S = 0.05
REMARK = "no peer: in a virtual machine, from its last DHCPACK before"


@contextmanager
def watch_leases(lab: Lab) -> Iterator[list[float]]:
    """Collect when DHCP answers with an address, by CLOCK_MONOTONIC, for as long as the `with` block lasts."""
    found: list[float] = []
    ended = threading.Event()
    log = lab.folder / "dnsmasq.log"
    before = log.read_bytes().count(b"DHCPACK")

    def look() -> None:
        while not ended.wait(LOOK_S):
            found.extend([time.monotonic()] * (log.read_bytes().count(b"DHCPACK") - before - len(found)))

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield found
    finally:
        ended.set()
        watch.join()


def measure(root: Path) -> list[Row]:
    """Return each machine's seconds. root: of the tree, whose build/image is booted."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with Lab("mk-bench-machines", root / "build/bench/network-machines", said(Lab.address)) as lab:
        for name in ("bootif", "vlan", "bond"):
            with ExitStack() as stack:
                acks = stack.enter_context(watch_leases(lab))
                line, netdevs, macs = f"BOOTIF=01-{SECOND.replace(':', '-')}", [], (FIRST, SECOND)
                if name == "vlan":
                    trunk = stack.enter_context(Trunk(lab.call, lab.plug_tap(), VLAN, FOLDER))
                    line, netdevs = f"net.ifnames=0 vlan=eth0.{VLAN}:eth0", [trunk.netdev]
                elif name == "bond":
                    line, macs = "net.ifnames=0 bond=bond0:eth0,eth1:mode=active-backup,miimon=100", BONDED
                netdevs = netdevs or [lab.add_tap(), lab.add_tap()]
                node = stack.enter_context(switch_on(lab, f"bench-{name}", line, *netdevs, macs=macs))
                registered_s = next(sent.at_s for sent in node.wire.requests() if "/node/register" in sent.line)
                taken_s = registered_s - max(at_s for at_s in acks if at_s < registered_s)
            print(f"bench: network: {name}: {taken_s:.1f} s in a machine", file=sys.stderr, flush=True)
            rows.append(Row(f"network.machine_{name}_s", round(taken_s, 1), "s", REMARK))
    return rows

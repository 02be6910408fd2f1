"""A declared machine, switched on with all that stands beside it: server, BMC, TPM, switch.

The kernel is given to QEMU and not fetched, which saves a minute; how a machine boots from the network is shown
elsewhere (tests/image/test_node.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .accel import choose_accel
from .companions import build_bmc, build_tpm
from .journal import CHANNELS, Channel, build_credentials
from .neighbour import Switch
from .network import Lab
from .node import Node
from .qemu import Disk, Machine, Nic, VirtualMachine
from .rich import Rich
from .rich_argv import build_machine
from .server import IMAGE, PORT, Server
from .wire import Wire

INTERVAL_S = 5
_SITE = f"[checkin]\ninterval_s = {INTERVAL_S}\n"
"""The server says the same, so that nothing is pushed to a machine that is still booting."""
_PASSWORD = "password of the lab"
_READ = """\
import json, subprocess
from pathlib import Path
from mkcore.uevents import is_newer, read_learnt, read_seqnum
from mkctl.probe.model import parse_facts_file
units = ["systemctl", "show", "--property=ActiveState", "--value", "mk-facts.service", "mk-facts-hotplug.timer"]
states = subprocess.run(units, capture_output=True, text=True, check=True).stdout.split()
found = parse_facts_file(open("/run/mk-facts/facts.json", "rb").read())
now = read_seqnum(Path("/sys")), read_learnt(Path("/run/udev"))
print(json.dumps({"inventory": found.inventory, "facts": found.facts, "generation": found.generation,
    "settled": states == ["inactive", "inactive"] and not is_newer((found.uevent_seqnum, found.udev_nsec), now),
    "problems": {name: state.error for name, state in found.collectors.items() if state.error}}))
"""


@dataclass(frozen=True)
class Declared:
    """The running machine. ``command_line`` is the kernel's."""

    rich: Rich
    node: Node
    lab: Lab
    folder: Path
    command_line: str

    def read(self) -> dict[str, Any]:
        """Return what mk-facts has found: "inventory", "facts", "generation", "problems" (collector -> its error).

        "settled": no collection is under way or due, and no hardware came or went since the last one.
        """
        said = self.node.channel.run("python3", "-I", "-c", _READ, timeout_s=60)
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    def wait_settled(self, timeout_s: float) -> dict[str, Any]:
        """Return what was found as soon as it is settled and the whole frame of each neighbour was heard, or at the
        deadline.
        """
        wanted = sum(1 for card in self.rich.cards if card.neighbour)
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.read()
            neighbours = found["inventory"].get("lldp_neighbors", {}).values()
            heard = sum("vlan_id" in each for of_one_card in neighbours for each in of_one_card)
            if (found["settled"] and heard >= wanted) or time.monotonic() > deadline:
                return found
            time.sleep(1)

    def plug_disk(self, port: int, serial: str, size_bytes: int) -> None:
        """Put a virtio disk into one of the free ports."""
        self.node.vm.plug_disk(port, Disk(self.folder / "disks" / serial, serial, size_bytes))

    def plug_nic(self, port: int, mac: str) -> None:
        """Put a network card, its cable in the lab's bridge, into one of the free ports."""
        self.node.vm.plug_nic(port, Nic(mac, self.lab.add_tap()))


def boot_interface(rich: Rich) -> str:
    """Return the MAC of the card that the kernel line says the machine booted from: the last one."""
    return rich.cards[-1].mac


@contextmanager
def switch_on(rich: Rich, folder: Path) -> Iterator[Declared]:
    """Switch the machine on, and off again in the end; nothing of it is waited for. ``folder`` is absolute."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("mk-declared", folder / "lab"))
        server = Server(folder / "server", address=lab.address, password=_PASSWORD, prefix=lab.prefix, where=lab.call)
        stack.enter_context(server)
        server.configure(mk_checkin_interval=INTERVAL_S)
        wire = stack.enter_context(Wire(lab.call, "br0", PORT))
        if rich.bmc:
            stack.enter_context(build_bmc(rich.bmc, folder / "bmc", lab.prefix, lab.call))
        if rich.tpm:
            stack.enter_context(build_tpm(folder / "tpm"))
        taps = [lab.add_tap() for _ in rich.cards]
        names = [tap.partition("ifname=")[2].partition(",")[0] for tap in taps]
        cables = {name: card.neighbour for name, card in zip(names, rich.cards) if card.neighbour}
        stack.enter_context(Switch(lab.call, cables))
        command_line = f"mk.ip={lab.address} console=ttyS0 BOOTIF=01-{boot_interface(rich).replace(':', '-')}"
        common = Machine(
            uuid=rich.uuid,
            nics=(),
            accel=choose_accel(),
            kernel=IMAGE / "vmlinuz",
            initrd=IMAGE / "initrd",
            cmdline=command_line,
            credentials=build_credentials({"mk.toml": _SITE.encode()}),
            channels=CHANNELS,
        )
        machine = build_machine(rich, folder, taps, common)
        vm = stack.enter_context(VirtualMachine(machine, folder / "machine", prefix=lab.prefix))
        yield Declared(rich, Node(vm, Channel(vm), server, wire), lab, folder, command_line)

"""Machines whose kernel line or firmware says what their network is: booted, and waited for until they have registered.

For tests and benchmarks alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any

from mkcore import events
from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.network import Lab
from tests.machines.node import Node
from tests.machines.qemu import Machine, Nic, VirtualMachine
from tests.machines.server import IMAGE, PORT, ROOT, Server
from tests.machines.wire import Wire

FOLDER = ROOT / "build/image-tests/kernel-line-network"
DEADLINE_S = 600.0
FIRST, SECOND = "52:54:00:4d:4b:e1", "52:54:00:4d:4b:e2"
BONDED = "52:54:00:4d:4b:e3", "52:54:00:4d:4b:e4"
UUID = "6d6b6c69-6e65-4563-8001-6b65726e656c"


@contextmanager
def switch_on(
    lab: Lab,
    name: str,
    line: str,
    *netdevs: str,
    macs: tuple[str, str] = (FIRST, SECOND),
    uuid: str = UUID,
    firmware: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Node]:
    """Boot a machine with these cards, this on its kernel line and these credentials, and wait until it has
    registered.
    """
    machine = Machine(
        uuid=uuid,
        nics=tuple(Nic(mac, netdev) for mac, netdev in zip(macs, netdevs)),
        accel=choose_accel(),
        kernel=IMAGE / "vmlinuz",
        initrd=IMAGE / "initrd",
        cmdline=f"console=ttyS0 quiet {line}",
        credentials=build_credentials({key: text.encode() for key, text in firmware.items()}),
        channels=CHANNELS,
    )
    with ExitStack() as stack:
        server = stack.enter_context(
            Server(
                FOLDER / f"{name}-server",
                address=lab.address,
                password="of the lab",
                cmdline="",
                prefix=lab.prefix,
                where=lab.call,
            )
        )
        wire = stack.enter_context(Wire(lab.call, "br0", PORT))
        vm = stack.enter_context(VirtualMachine(machine, FOLDER / name, prefix=lab.prefix))
        node = Node(vm, Channel(vm), server, wire)
        node.channel.wait_event(events.REGISTERED, DEADLINE_S)
        yield node


def list_links(node: Node) -> dict[str, dict[str, Any]]:
    """Return the machine's interfaces as ip(8) shows them, by name."""
    shown = json.loads(node.channel.run("ip", "-json", "-details", "address").stdout)
    return {each["ifname"]: each for each in shown}

"""A machine that nobody told where its server is: DHCP options, DNS service, DNS names, next-server, each alone.

One machine goes through all of them: the network says something else each time, the lease is renewed, mkctl begins
anew, and the server that it finds must come from that source. (Rows 4 to 8, 11, 12, 14.)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from mkcore import events
from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.network import Lab
from tests.machines.node import Node
from tests.machines.ntp import TimeServer
from tests.machines.qemu import Machine, Nic, VirtualMachine
from tests.machines.segments import said
from tests.machines.server import IMAGE, PORT, ROOT, Server
from tests.machines.wire import Wire

FOLDER = ROOT / "build/image-tests/server-from-network"
DEADLINE_S = 600.0
OPTIONS = said(Lab.address)
TIME = f"--dhcp-option=option:ntp-server,{Lab.address}"
SLOW_CLOCK_S = 3600
"""How far behind the machine's own clock is: more than any emulation loses."""
DNS = ("--port=53", "--no-resolv", "--no-hosts", "--domain=lab.test", "--local=/lab.test/")
SOURCES = {
    "DHCP option 224": OPTIONS,
    "DNS, _mk._tcp": (
        *DNS,
        f"--srv-host=_mk._tcp.lab.test,provision.lab.test,{PORT}",
        f"--host-record=provision.lab.test,{Lab.address}",
    ),
    "DNS name hanlon": (*DNS, f"--host-record=hanlon.lab.test,{Lab.address}", OPTIONS[1]),
    "DNS name razor": (*DNS, f"--host-record=razor.lab.test,{Lab.address}"),
    "next-server": (),
}

IN_FULL = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full asks every source: two minutes")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The network, which says nothing but next-server until it is told to."""
    with Lab("mk-server-from", FOLDER / "lab", (*OPTIONS, TIME)) as lab:
        yield lab


@pytest.fixture(scope="module")
def node(image: dict[str, str], lab: Lab) -> Iterator[Node]:
    """A machine that was just switched on, whose kernel line names no server."""
    reach = {"prefix": lab.prefix, "where": lab.call}
    machine = Machine(
        uuid="8f4a1c3e-52d7-4b0a-9c6e-0d1f2a3bd15c",
        nics=(Nic("52:54:00:4d:4b:d1", lab.add_tap()),),
        accel=choose_accel(),
        kernel=IMAGE / "vmlinuz",
        initrd=IMAGE / "initrd",
        cmdline="console=ttyS0 quiet",
        credentials=build_credentials(),
        channels=CHANNELS,
        extra=("-rtc", f"base={time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(time.time() - SLOW_CLOCK_S))}"),
    )
    with (
        Server(FOLDER / "server", address=lab.address, password="of the lab", cmdline="", **reach) as server,
        Wire(lab.call, "br0", PORT) as wire,
        TimeServer(lab.call, lab.address),
        VirtualMachine(machine, FOLDER / "machine", prefix=lab.prefix) as vm,
    ):
        yield Node(vm, Channel(vm), server, wire)


def test_registers_where_dhcp_says(node: Node) -> None:
    """Options 224 to 226 are enough."""
    node.channel.wait_event(events.REGISTERED, DEADLINE_S)
    assert str(node.property("ServerSource")).startswith("DHCP option 224, ")
    assert node.property("ServerUri") == f"http://{Lab.address}:{PORT}"
    assert node.known()["registrations"] == 1


def test_the_time_is_that_of_the_server_which_dhcp_names(node: Node) -> None:
    """timesyncd asks it, and the machine's clock, an hour late before, follows."""
    show = ("timedatectl", "show-timesync", "--property=ServerAddress", "--value")
    run, wait_until = node.channel.run, node.channel.machine.wait_until
    wait_until(lambda: run(*show).stdout == f"{Lab.address}\n", "timesyncd to ask", DEADLINE_S)

    def is_right() -> bool:
        return abs(int(run("date", "+%s").stdout) - time.time()) < SLOW_CLOCK_S / 10

    wait_until(is_right, "the clock to be right", DEADLINE_S)


@IN_FULL
@pytest.mark.parametrize("source", SOURCES)
def test_each_source_alone(node: Node, lab: Lab, source: str) -> None:
    """The network names the server in one way, and the node checks in there."""
    lab.serve(*SOURCES[source])
    (name,) = node.channel.run("sh", "-c", "cd /sys/class/net && ls -d e*").stdout.split()
    mark = node.channel.mark()
    node.channel.run("networkctl", "reconfigure", name)
    node.channel.run("systemctl", "restart", "mkctl.service")
    node.channel.wait_event(events.SERVER_FOUND, DEADLINE_S, mark)
    assert str(node.property("ServerSource")).startswith(source)


@IN_FULL
def test_a_server_that_moves_is_found_again(node: Node, lab: Lab) -> None:
    """The lease's option changes while the old address is silent: the next look finds the new one by itself."""
    lab.serve("--dhcp-option=224,192.168.88.77")
    (name,) = node.channel.run("sh", "-c", "cd /sys/class/net && ls -d e*").stdout.split()
    mark = node.channel.mark()
    node.channel.run("networkctl", "renew", name)
    node.channel.run("systemctl", "restart", "mkctl.service")
    lab.serve(*OPTIONS)
    node.channel.run("networkctl", "renew", name)
    node.channel.wait_event(events.SERVER_FOUND, DEADLINE_S, mark)
    assert str(node.property("ServerSource")).startswith("DHCP option 224, ")

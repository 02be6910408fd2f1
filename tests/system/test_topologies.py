"""A node on networks as they are: several cards, one protocol alone, things that come late, words that are wrong.

In each the node registers by itself. The image's own network file is used, on cables instead of cards; everything
else is as installed. Three run in `make test`, the others with MK_FULL=1 (rows 3, 15, 17, 18; B07, B11, B14).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore import events
from tests.machines import nspawn
from tests.machines.segments import BASE, PORT_HEX, Segments, said
from tests.machines.server import PORT
from tests.machines.tree import BUILD, ROOT

UUID = "4C4C4544-0042-4410-8051-C3C04F395933"
SERVER4, SERVER6 = "192.168.90.1", "fd00:90::1"
HERE4 = f"{SERVER4}/24"
RANGE4 = "--dhcp-range=192.168.90.100,192.168.90.199,255.255.255.0,1h"
RANGE6 = ("--dhcp-range=fd00:90::100,fd00:90::1ff,64,1h", "--enable-ra")
OTHER4, OTHER_RANGE4 = "192.168.91.1/24", "--dhcp-range=192.168.91.100,192.168.91.199,255.255.255.0,1h"
FOUND_S = 300.0
NETWORK = (ROOT / "units/networkd/80-mk.network").read_text(encoding="utf-8").replace("Kind=!*", "Kind=veth")
FULL = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full has all topologies")


def vendor_options(address: str) -> str:
    """Return dnsmasq's DHCPv6 option 17 with the sub-options 224 to 226; 32473 is the enterprise of examples."""
    parts = "".join(f"{int(part or '0', 16):04x}" for part in _full(address).split(":"))
    subs = f"00e00010{parts}00e10002{PORT_HEX.replace(':', '')}00e2{len(BASE):04x}{BASE.encode().hex()}"
    data = f"{32473:08x}{subs}"
    return f"--dhcp-option=option6:17,{':'.join(data[i : i + 2] for i in range(0, len(data), 2))}"


def _full(address: str) -> str:
    left, _, right = address.partition("::")
    middle = ["0"] * (8 - len(left.split(":")) - len(right.split(":")))
    return ":".join([*left.split(":"), *middle, *right.split(":")])


@pytest.fixture(scope="module")
def far() -> Iterator[Segments]:
    """The other ends of the cables."""
    with Segments("mk-topologies", BUILD / "system/topologies-far") as segments:
        yield segments


@pytest.fixture(scope="module")
def machine(installed: list[Path]) -> Iterator[nspawn.Machine]:
    """A machine without a card, nothing of the suite started."""
    files = {"/etc/systemd/network/80-mk.network": NETWORK, "/etc/hostname": ""}
    with nspawn.boot("topologies", installed, uuid=UUID, files=files) as machine:
        yield machine


class Place:
    """The node and its network, as if just switched on; `boot` starts it."""

    def __init__(self, machine: nspawn.Machine, far: Segments) -> None:
        self.machine, self.far, self.mark = machine, far, machine.mark()

    def plug(self, card: str, *addresses: str, mac: str = "", up: bool = True) -> str:
        """Plug a card in."""
        return self.far.plug(card, self.machine.leader, *addresses, mac=mac, up=up)

    def boot(self) -> None:
        """Start the network and the suite."""
        self.machine.run("systemctl", "start", "systemd-networkd.service")
        self.machine.run("systemctl", "start", "mk.target")

    def registered(self) -> tuple[str, str]:
        """Wait for the registration; return the server's address and the source of it."""
        self.machine.wait_event(events.REGISTERED.id, after=self.mark, timeout_s=FOUND_S)
        return self.machine.controller("ServerUri"), self.machine.controller("ServerSource")

    def waits(self, words: str, status: int) -> None:
        """Wait until `mkctl status` names what is awaited, and exits with this status."""

        def told() -> bool:
            done = self.machine.run("mkctl", "status", check=False)
            return words in done.stdout and done.returncode == status

        self.machine.wait_until(told, words, FOUND_S)


@pytest.fixture
def place(machine: nspawn.Machine, far: Segments) -> Iterator[Place]:
    """The node before it is switched on."""
    yield Place(machine, far)
    machine.run("systemctl", "stop", "mk.target", "systemd-networkd.socket", "systemd-networkd.service")
    machine.run("sh", "-c", "rm -rf /run/mkctl/* /run/systemd/netif/leases/* /run/systemd/netif/state")
    far.clear()


@pytest.fixture
def server4(far: Segments) -> Iterator[None]:
    """A server that listens wherever its address is; each test brings the card that has it."""
    yield from _server(far, "0.0.0.0")


@pytest.fixture
def server6(far: Segments) -> Iterator[None]:
    """The same for IPv6."""
    yield from _server(far, "::")


def _server(far: Segments, address: str) -> Iterator[None]:
    far.start_server(address)
    yield
    far.end(f"mkserver-{address}")


def test_three_cards_of_which_one_gets_an_address(place: Place, server4: None) -> None:
    """One has no carrier, one nobody who answers; neither is waited for."""
    place.plug("eno1", up=False)
    place.plug("eno2")
    place.far.serve(place.plug("eno3", HERE4), RANGE4, *said(SERVER4))
    place.boot()
    assert place.registered() == (f"http://{SERVER4}:{PORT}", "DHCP option 224, eno3")


def test_ipv6_alone(place: Place, server6: None) -> None:
    """Router advertisements and DHCPv6, whose vendor options name the server; there is no IPv4 at all."""
    place.far.serve(place.plug("eno1", f"{SERVER6}/64"), *RANGE6, vendor_options(SERVER6))
    place.boot()
    uri, source = place.registered()
    assert (uri, source.partition(",")[0]) == (f"http://[{SERVER6}]:{PORT}", "DHCPv6 vendor options")


def test_a_carrier_and_a_dhcp_server_that_come_late(place: Place, server4: None) -> None:
    """What is awaited is said, and by the exit status of the originals; then everything goes by itself."""
    cable = place.plug("eno1", HERE4, up=False)
    place.boot()
    place.waits("no carrier on eno1", 255)
    place.far.ip("link", "set", cable, "up")
    place.waits("no address on eno1", 255)
    place.far.serve(cable, RANGE4, *said(SERVER4))
    assert place.registered() == (f"http://{SERVER4}:{PORT}", "DHCP option 224, eno1")


@FULL
def test_one_card(place: Place, server4: None) -> None:
    place.far.serve(place.plug("eno1", HERE4), RANGE4, *said(SERVER4))
    place.boot()
    assert place.registered() == (f"http://{SERVER4}:{PORT}", "DHCP option 224, eno1")
    assert place.machine.run("mkctl", "status").returncode == 0


@FULL
def test_addresses_on_two_cards_and_the_server_on_the_second(place: Place, server4: None) -> None:
    """Both have a default route; the first card's network knows of no server."""
    place.far.serve(place.plug("eno1", OTHER4), OTHER_RANGE4)
    place.far.serve(place.plug("eno2", HERE4), RANGE4, *said(SERVER4))
    place.boot()
    assert place.registered() == (f"http://{SERVER4}:{PORT}", "DHCP option 224, eno2")


@FULL
def test_a_first_card_that_names_a_server_nobody_is(place: Place, server4: None) -> None:
    """DHCP servers disagree: each of their servers is tried, and the one that answers is kept."""
    place.far.serve(place.plug("eno1", OTHER4), OTHER_RANGE4, *said("192.168.91.77"))
    place.far.serve(place.plug("eno2", HERE4), RANGE4, *said(SERVER4))
    place.boot()
    assert place.registered() == (f"http://{SERVER4}:{PORT}", "DHCP option 224, eno2")

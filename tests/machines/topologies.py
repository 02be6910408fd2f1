"""Networks as they are, as a table: what a node in a container is plugged into, and the server that it must find there.

In each the node registers by itself. The image's own network file is used, on cables instead of cards; everything else
is as installed. A boot card that is named on the kernel line, VLAN and bond are machines of their own
(tests/image/test_kernel_line_network.py): a container has its host's kernel line, and not every kernel has the others.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from mkcore import events
from mkctl.renewal import RENEW_S
from tests.machines import nspawn
from tests.machines.segments import BASE, PORT_HEX, Segments, said
from tests.machines.server import PORT, ROOT

UUID = "4C4C4544-0042-4410-8051-C3C04F395933"
SERVER4, SERVER6 = "192.168.90.1", "fd00:90::1"
HERE4, HERE6 = f"{SERVER4}/24", f"{SERVER6}/64"
RANGE4 = "--dhcp-range=192.168.90.100,192.168.90.199,255.255.255.0,1h"
SHORT_RANGE4 = RANGE4.replace("1h", "2m")
"""The shortest lease that dnsmasq gives: it is renewed after a minute."""
RANGE6 = ("--dhcp-range=fd00:90::100,fd00:90::1ff,64,1h", "--enable-ra")
OTHER4, OTHER_RANGE4 = "192.168.91.1/24", "--dhcp-range=192.168.91.100,192.168.91.199,255.255.255.0,1h"
NOBODY4 = "192.168.90.77"
SILENT = f"--dhcp-boot=pxe,,{NOBODY4}"
"""A next-server that is none."""
BEFORE4 = "192.168.90.2"
"""Where the server was, which has moved."""
STATIC = "[Match]\nName=eno1\n[Network]\nAddress=192.168.90.50/24\n"
FOUND_S = 3 * RENEW_S
LOOK_S = 0.05
NETWORK = (ROOT / "units/networkd/80-mk.network").read_text(encoding="utf-8").replace("Kind=!*", "Kind=veth")
FILES = {
    "/etc/systemd/network/80-mk.network": NETWORK,
    "/etc/systemd/system/sysinit.target.d/network.conf": "[Unit]\nWants=systemd-network-generator.service\n",
    "/etc/hostname": "",
}
"""What the container has of the image's network, as that of credentials, and no host name."""
SITES, OWN = "/run/systemd/network", "/etc/mk/mk.toml.d/topology.toml"


class Place:
    """The node and its network, as if just switched on; `boot` starts it.

    ``possible`` holds from when the network has told the node what it has to know; ``possible_since`` is a reading of
    CLOCK_MONOTONIC: when the node could first have registered, 0.0 before.
    """

    def __init__(self, machine: nspawn.Machine, far: Segments) -> None:
        self.machine, self.far, self.mark = machine, far, machine.mark()
        self.possible: Callable[[], bool] = lambda: True
        self.possible_since = 0.0

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

    def serve(self, cable: str, *options: str) -> None:
        """Start the DHCP server of a cable that names the server: from its next acknowledgement on, all is possible."""
        log = self.far.folder / f"{cable}.log"
        begin = log.stat().st_size if log.exists() else 0
        word = b"DHCPREPLY" if any("option6" in option for option in options) else b"DHCPACK"
        self.far.serve(cable, *options)
        self.possible = lambda: word in log.read_bytes()[begin:]

    def clear(self) -> None:
        """Switch the node off, and pull its cables."""
        self.machine.run("systemctl", "stop", "mk.target", "systemd-networkd.socket", "systemd-networkd.service")
        left = f"/run/mkctl/* /run/systemd/netif/leases/* /run/systemd/netif/state {SITES} {OWN}"
        self.machine.run("sh", "-c", f"rm -rf {left}")
        self.far.clear()


def _plain(place: Place) -> None:
    place.serve(place.plug("eno1", HERE4), RANGE4, *said(SERVER4))
    place.boot()


def _three_cards(place: Place) -> None:
    """One has no carrier, one nobody who answers; neither is waited for."""
    place.plug("eno1", up=False)
    place.plug("eno2")
    place.serve(place.plug("eno3", HERE4), RANGE4, *said(SERVER4))
    place.boot()


def _second_card(place: Place) -> None:
    """Both have a default route; the first card's network knows of no server."""
    place.far.serve(place.plug("eno1", OTHER4), OTHER_RANGE4)
    place.serve(place.plug("eno2", HERE4), RANGE4, *said(SERVER4))
    place.boot()


def _disagreeing(place: Place) -> None:
    """DHCP servers disagree: each of their servers is tried, and the one that answers is kept."""
    place.far.serve(place.plug("eno1", OTHER4), OTHER_RANGE4, *said("192.168.91.77"))
    place.serve(place.plug("eno2", HERE4), RANGE4, *said(SERVER4))
    place.boot()


def _first_card_slowest(place: Place) -> None:
    """The second card has its address, long before the first, where the server is."""
    cable = place.plug("eno1", HERE4)
    place.serve(cable, RANGE4, "--dhcp-reply-delay=15", *said(SERVER4), SILENT)
    place.far.serve(place.plug("eno2", OTHER4), OTHER_RANGE4, SILENT)
    place.boot()


def _ipv6_alone(place: Place) -> None:
    """Router advertisements and DHCPv6, whose vendor options name the server; there is no IPv4 at all."""
    place.serve(place.plug("eno1", HERE6), *RANGE6, vendor_options(SERVER6))
    place.boot()


def _broken_ipv4(place: Place) -> None:
    """DHCP gives an address and names a server that nobody is; IPv6 works."""
    place.serve(place.plug("eno1", HERE4, HERE6), RANGE4, *said(NOBODY4), *RANGE6, vendor_options(SERVER6))
    place.boot()


def _static(place: Place) -> None:
    """Nobody answers on the cable but the server; its address and the machine's come as credentials."""
    place.plug("eno1", HERE4)
    place.boot()


def _static_file(place: Place) -> None:
    """The same, by files."""
    place.machine.write(f"{SITES}/50-static.network", STATIC)
    place.machine.write(OWN, f'server.uri = "http://{SERVER4}:{PORT}{BASE}"\n')
    place.plug("eno1", HERE4)
    place.boot()


def _late(place: Place, carrier_s: float = 0.0, dhcp_s: float = 0.0) -> None:
    """What is awaited is said, and by the exit status of the originals; then everything goes by itself."""
    began = time.monotonic()
    cable = place.plug("eno1", HERE4, up=False)
    place.boot()
    place.waits("no carrier on eno1", 255)
    time.sleep(max(0.0, carrier_s - (time.monotonic() - began)))
    place.far.ip("link", "set", cable, "up")
    place.waits("no address on eno1", 255)
    time.sleep(max(0.0, dhcp_s - (time.monotonic() - began)))
    place.serve(cable, RANGE4, *said(SERVER4))


def _carrier_after_45_s(place: Place) -> None:
    """A switch that takes its time with the link."""
    _late(place, carrier_s=45.0)


def _dhcp_after_3_min(place: Place) -> None:
    """Until then the machine gives itself an address of 169.254.0.0/16, with which nobody works."""
    place.machine.write(f"{SITES}/80-mk.network.d/50-link-local.conf", "[Network]\nLinkLocalAddressing=yes\n")
    began = time.monotonic()
    cable = place.plug("eno1", HERE4)
    place.boot()
    place.waits("only 169.254.", 254)
    time.sleep(max(0.0, 180.0 - (time.monotonic() - began)))
    place.serve(cable, RANGE4, *said(SERVER4))


def _slow_switch(place: Place) -> None:
    """There is a carrier at once, and no frame comes through for 45 s: portfast is off."""
    place.serve(place.far.plug_slow("eno1", place.machine.leader, HERE4, 45.0), RANGE4, *said(SERVER4))
    place.boot()


def _moving(place: Place) -> None:
    """The node is registered; then the server has another address, which the renewed lease names, and nobody helps."""
    cable = place.plug("eno1", f"{BEFORE4}/24")
    place.possible = lambda: False
    place.far.serve(cable, SHORT_RANGE4, *said(BEFORE4), SILENT)
    place.boot()
    assert place.registered()[0].startswith(f"http://{BEFORE4}:")
    place.mark = place.machine.mark()
    place.far.ip("addr", "del", f"{BEFORE4}/24", "dev", cable)  # first: one that is secondary to it would go as well
    place.far.ip("addr", "add", HERE4, "dev", cable)
    place.serve(cable, SHORT_RANGE4, *said(SERVER4), SILENT)


def _late_option(place: Place) -> None:
    """Somebody adds the option when the node has its lease already, of which half an hour is left."""
    cable = place.plug("eno1", HERE4)
    place.possible = lambda: False
    place.far.serve(cable, RANGE4, SILENT)
    place.boot()
    place.waits(NOBODY4, 0)
    place.serve(cable, RANGE4, *said(SERVER4), SILENT)


@dataclass(frozen=True)
class Topology:
    """One network. ``source``: what mkctl says of where it learnt the server's address; ``server``: that address;
    ``credentials``: what the machine's firmware says.
    """

    plug: Callable[[Place], None]
    source: str
    server: str = SERVER4
    in_make_test: bool = False
    credentials: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """How the node's ServerUri begins."""
        return f"http://[{self.server}]:{PORT}" if ":" in self.server else f"http://{self.server}:{PORT}"

    @property
    def listen(self) -> str:
        """Where the server listens: wherever its address will be; the network has the card that has it."""
        return "::" if ":" in self.server else "0.0.0.0"


TOPOLOGIES: Mapping[str, Topology] = {
    "one-card": Topology(_plain, "DHCP option 224, eno1"),
    "three-cards": Topology(_three_cards, "DHCP option 224, eno3", in_make_test=True),
    "server-on-the-second": Topology(_second_card, "DHCP option 224, eno2"),
    "disagreeing-servers": Topology(_disagreeing, "DHCP option 224, eno2"),
    "first-card-slowest": Topology(_first_card_slowest, "DHCP option 224, eno1"),
    "ipv6-alone": Topology(_ipv6_alone, "DHCPv6 vendor options", SERVER6, in_make_test=True),
    "broken-ipv4": Topology(_broken_ipv4, "DHCPv6 vendor options", SERVER6),
    "static-by-credential": Topology(
        _static,
        "credential mk.server",
        credentials={"network.network.50-static": STATIC, "mk.server": f"http://{SERVER4}:{PORT}{BASE}"},
    ),
    "static-by-file": Topology(_static_file, OWN),
    "late-carrier-late-dhcp": Topology(_late, "DHCP option 224, eno1", in_make_test=True),
    "carrier-after-45-s": Topology(_carrier_after_45_s, "DHCP option 224, eno1"),
    "dhcp-after-3-min": Topology(_dhcp_after_3_min, "DHCP option 224, eno1"),
    "slow-switch": Topology(_slow_switch, "DHCP option 224, eno1"),
    "option-added-later": Topology(_late_option, "DHCP option 224, eno1"),
    "server-moves": Topology(_moving, "DHCP option 224, eno1"),
}


def boot(
    name: str, layers: list[Path], topology: Optional[Topology] = None
) -> contextlib.AbstractContextManager[nspawn.Machine]:
    """Boot a machine without a card, nothing of the suite started, whose firmware says what this topology's does."""
    said_by_firmware = topology.credentials if topology else {}
    return nspawn.boot(name, layers, uuid=UUID, files=FILES, credentials=said_by_firmware)


@contextlib.contextmanager
def settle(topology: Topology, machine: nspawn.Machine, far: Segments) -> Iterator[Place]:
    """Give the node this network and its server, booted; take both away in the end."""
    place = Place(machine, far)
    far.start_server(topology.listen)
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(place, topology.server, ended), daemon=True)
    try:
        watch.start()
        topology.plug(place)
        yield place
    finally:
        ended.set()
        watch.join()
        try:
            place.clear()
        finally:
            far.end(f"mkserver-{topology.listen}")


def _watch(place: Place, server: str, ended: threading.Event) -> None:
    """Note when the node could first have registered: it reaches the listening server, and was told where that is."""
    nspawn.enter_network(place.machine.leader)
    while not ended.wait(LOOK_S):
        if place.possible() and _answers(server, PORT):
            place.possible_since = time.monotonic()
            return


def _answers(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=0.2):
        return True
    return False


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

"""Machines whose kernel line or firmware says what their network is: the card they booted from, a bond of two cards, a
VLAN, and a server that has a name, a port and a path of its own; and one that nobody tells anything, twice.

Each registers by itself, at the server that DHCP names there where the line names none. (Rows 3, 10, 14, 19, 45.)
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator

import pytest

from tests.machines.network import Lab
from tests.machines.relay import Relay
from tests.machines.segments import said
from tests.machines.server import PORT
from tests.machines.switched import BONDED, DEADLINE_S, FIRST, FOLDER, SECOND, UUID, list_links, switch_on
from tests.machines.trunk import Trunk

TWICE = "52:54:00:4d:4b:e5"
VLAN = 7
DHCP = "[Network]\nDHCP=yes\n[DHCPv4]\nRequestOptions=224 225 226\nClientIdentifier=mac\n"
NAME, ELSEWHERE, BASE = "provision.lab.test", 8080, "/site/v9"
DNS = ("--port=53", "--no-resolv", "--no-hosts", "--local=/lab.test/", f"--host-record={NAME},{Lab.address}")

pytestmark = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full boots a machine for each")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The network with the server's address in its leases."""
    with Lab("mk-kernel-line", FOLDER / "lab", said(Lab.address)) as lab:
        yield lab


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("bootif", f"BOOTIF=01-{SECOND.replace(':', '-')}"),
        ("bootif-credential", f"systemd.set_credential=mk.bootif:{SECOND}"),
    ],
)
def test_the_card_it_booted_from_is_preferred(image: dict[str, str], lab: Lab, name: str, line: str) -> None:
    """It is the second of two cards that both get an address: its routes count most, its address names it."""
    with switch_on(lab, name, line, lab.add_tap(), lab.add_tap()) as node:
        (boot,) = (name for name, link in list_links(node).items() if link["address"] == SECOND)
        routes = json.loads(node.channel.run("ip", "-json", "route", "get", lab.address).stdout)
        assert [route["dev"] for route in routes] == [boot]
        assert node.property("ServerSource") == f"DHCP option 224, {boot}"
        assert node.property("ServerUri") == f"http://{lab.address}:{PORT}"
        wanted = f"mk{SECOND.replace(':', '').upper()}\n"
        node.vm.wait_until(lambda: node.channel.run("hostnamectl", "hostname").stdout == wanted, wanted, DEADLINE_S)
        assert node.known()["facts"]["mk_hw_nic_count"] in (2, "2")


def test_the_card_it_booted_from_counts_although_it_is_the_slowest(image: dict[str, str], lab: Lab) -> None:
    """The other one has its address at once, in a network that names a server which is none."""
    lab.add_network("br1", "192.168.89.1", *said("192.168.89.77"))
    lab.serve("--dhcp-reply-delay=15", *said(Lab.address))
    line = f"BOOTIF=01-{SECOND.replace(':', '-')}"
    with switch_on(lab, "bootif-slow", line, lab.add_tap(bridge="br1"), lab.add_tap()) as node:
        (boot,) = (name for name, link in list_links(node).items() if link["address"] == SECOND)
        assert node.property("ServerSource") == f"DHCP option 224, {boot}"
        default = json.loads(node.channel.run("ip", "-json", "route", "show", "default").stdout)
        assert sorted(default, key=lambda route: route["metric"])[0]["dev"] == boot


def test_two_boots_are_one_lease(image: dict[str, str], lab: Lab) -> None:
    """Although the machine ID is another one: it follows the firmware's UUID in a virtual machine."""
    lab.serve(*said(Lab.address))
    tap, seen = lab.add_tap(), list[tuple[str, str]]()
    for number in (3, 4):
        with switch_on(lab, f"lease-{number}", "", tap, macs=(TWICE, ""), uuid=f"{UUID[:-1]}{number}") as node:
            (address,) = (
                each["local"]
                for link in list_links(node).values()
                for each in link["addr_info"]
                if link["address"] == TWICE and each["family"] == "inet"
            )
            seen.append((address, node.channel.run("cat", "/etc/machine-id").stdout))
    assert seen[0][0] == seen[1][0] and seen[0][1] != seen[1][1]
    leases = [line.split() for line in (lab.folder / "leases").read_text(encoding="ascii").splitlines()]
    assert [lease[1:3] for lease in leases if lease[1] == TWICE] == [[TWICE, seen[0][0]]]
    assert len([lease for lease in leases if lease[2] == seen[0][0]]) == 1


def test_a_bond_has_its_cards_own_addresses_and_one_lease(image: dict[str, str], lab: Lab) -> None:
    """Two cards are one, with DHCP on it; what the server learns of each is its permanent address.

    Two boots are one lease, although the machine ID, of which Debian's default makes a bond's address, is another one:
    it follows the firmware's UUID here.
    """
    line = "net.ifnames=0 bond=bond0:eth0,eth1:mode=active-backup,miimon=100"
    taps, machine_ids = (lab.add_tap(), lab.add_tap()), set[str]()
    for number in (1, 2):
        with switch_on(lab, f"bond-{number}", line, *taps, macs=BONDED, uuid=f"{UUID[:-1]}{number}") as node:
            links = list_links(node)
            assert {name for name, link in links.items() if link.get("master") == "bond0"} == {"eth0", "eth1"}
            assert links["bond0"]["address"] == BONDED[0]
            assert node.property("ServerSource") == "DHCP option 224, bond0"
            shown = json.loads(node.channel.run("mkctl", "status", "--json").stdout)
            assert sorted(shown["node_macs"]) == sorted(BONDED)
            assert node.channel.run("cat", "/sys/class/net/bond0/bonding/mode").stdout == "active-backup 1\n"
            machine_ids.add(node.channel.run("cat", "/etc/machine-id").stdout)
    assert len(machine_ids) == 2
    leases = [line.split() for line in (lab.folder / "leases").read_text(encoding="ascii").splitlines()]
    assert len([lease for lease in leases if lease[1] not in (FIRST, SECOND, TWICE)]) == 1, leases


def test_a_vlan(image: dict[str, str], lab: Lab) -> None:
    """The card's cable carries tagged frames alone; DHCP and the server are in the VLAN."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    line = f"net.ifnames=0 vlan=eth0.{VLAN}:eth0"
    with (
        Trunk(lab.call, lab.plug_tap(), VLAN, FOLDER) as trunk,
        switch_on(lab, "vlan", line, trunk.netdev) as node,
    ):
        assert node.property("ServerSource") == f"DHCP option 224, eth0.{VLAN}"
        assert list_links(node)[f"eth0.{VLAN}"]["link"] == "eth0"


def test_a_bond_by_credential(image: dict[str, str], lab: Lab) -> None:
    """systemd's own files, as firmware or a management controller hands them out, and nothing on the kernel line."""
    lab.serve(*said(Lab.address))
    firmware = {
        "network.netdev.50-bond7": "[NetDev]\nName=bond7\nKind=bond\n[Bond]\nMode=active-backup\nMIIMonitorSec=100ms\n",
        "network.network.50-ports": "[Match]\nType=ether\nKind=!*\n[Network]\nBond=bond7\n",
        "network.network.51-bond7": f"[Match]\nName=bond7\n{DHCP}",
    }
    with switch_on(lab, "bond-by-credential", "", lab.add_tap(), lab.add_tap(), firmware=firmware) as node:
        links = list_links(node)
        assert len([name for name, link in links.items() if link.get("master") == "bond7"]) == 2
        assert node.property("ServerSource") == "DHCP option 224, bond7"
        shown = json.loads(node.channel.run("mkctl", "status", "--json").stdout)
        assert sorted(shown["node_macs"]) == [FIRST, SECOND], "the ports' own addresses, not the bond's"


def test_a_vlan_by_credential(image: dict[str, str], lab: Lab) -> None:
    """Likewise."""
    lab.serve(*said(Lab.address))
    firmware = {
        "network.netdev.50-vlan7": f"[NetDev]\nName=vlan7\nKind=vlan\n[VLAN]\nId={VLAN}\n",
        "network.network.50-port": "[Match]\nType=ether\nKind=!*\n[Network]\nVLAN=vlan7\nLinkLocalAddressing=no\n",
        "network.network.51-vlan7": f"[Match]\nName=vlan7\n{DHCP}",
    }
    with (
        Trunk(lab.call, lab.plug_tap(), VLAN, FOLDER) as trunk,
        switch_on(lab, "vlan-by-credential", "", trunk.netdev, firmware=firmware) as node,
    ):
        assert node.property("ServerSource") == "DHCP option 224, vlan7"


def test_an_address_by_a_credential_of_the_kernel_line(image: dict[str, str], lab: Lab) -> None:
    """README's example: a file of networkd's for one card, where the boot loader's line is all that can be changed."""
    address = f"{lab.address.rpartition('.')[0]}.66"
    match = f"[Match]\nType=ether\nKind=!*\nMACAddress={FIRST}\n"
    text = f"{match}\n[Network]\nAddress={address}/24\nGateway={lab.address}\nDNS={lab.address}\n"
    file = base64.b64encode(text.encode()).decode()
    line = f"systemd.set_credential_binary=network.network.50-site:{file} mk.ip={lab.address}"
    with switch_on(lab, "address-by-line", line, lab.add_tap()) as node:
        shown = node.channel.run("ip", "-4", "-brief", "address", "show", "scope", "global").stdout
        assert [each for each in shown.split() if "/" in each] == [f"{address}/24"], "and none by DHCP"


def test_a_server_with_a_name_a_port_and_a_path(image: dict[str, str], lab: Lab) -> None:
    """The line counts more than DHCP, which names the server's usual place; every request goes below that path."""
    lab.serve(*DNS, *said(Lab.address))
    line = f"razor.server={NAME} razor.port={ELSEWHERE} razor.base_uri={BASE}"
    with (
        Relay(lab.call, (lab.address, PORT), ELSEWHERE, BASE, "/razor/api") as relay,
        switch_on(lab, "elsewhere", line, lab.add_tap()) as node,
    ):
        assert node.property("ServerUri") == f"http://{NAME}:{ELSEWHERE}"
        assert node.property("ServerSource") == "kernel line (razor.server=)"
        assert {path.partition("?")[0] for path in relay.asked} == {f"{BASE}/node/checkin", f"{BASE}/node/register"}

"""The network: addresses, VLANs and DHCP servers as facts, the interfaces as part of the inventory.

Facts have the names and formats of Facter 2.4 (protocol 6.8): `vlans` is a list of ids in one text ("2905,2906"), here
in numerical order and each once; `dhcp_servers` a map of interface to server, with `system` for the default route's.
Facter took the latter from NetworkManager; here systemd-networkd knows it.

Source: /proc/net/vlan/config of the kernel's 8021q; /proc/net/route; /run/systemd/netif/leases (KEY=value, one file for
each interface, named by its number).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mkcore.ethtool import DriverInfo, driver_info
from mkcore.files import read_line, read_text_if_any
from mkcore.interfaces import Interface, address_facts, choose_boot_nic, read_interfaces
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkctl.probe.collect import Collected
from mkctl.probe.nics import Vlan, read_nics

LEASES = "run/systemd/netif/leases"


def collect_network(paths: Paths, top: Path, only_files: bool = False) -> Collected:
    """Collect interfaces and addresses. only_files: of a tree; the running kernel is not asked about them."""
    proc = str(paths.proc)
    if only_files:
        interfaces = read_interfaces(paths.sys, proc, lambda _: "")
        facts = address_facts(interfaces, proc, lambda _: None)
    else:
        interfaces = read_interfaces(paths.sys, proc)
        facts = address_facts(interfaces, proc)
    vlans = read_vlans(proc)
    boot = choose_boot_nic(interfaces, facts, read_bootif(proc, paths.credentials))
    nics = read_nics(str(paths.sys), interfaces, vlans, boot, _no_driver_info if only_files else driver_info)
    facts.update(vlan_facts(vlans))
    facts.update(dhcp_facts(interfaces, top / LEASES, read_text_if_any(f"{proc}/net/route")))
    return Collected(facts, inventory={"nics": nics})


def _no_driver_info(_: str) -> DriverInfo:
    return DriverInfo()


def read_bootif(proc_root: str, credentials: Path = Path()) -> str:
    """Return the last value of BOOTIF= on the kernel line, else the credential `mk.bootif`, e.g.
    "01-52-54-00-12-34-56"; "" without one.
    """
    found = read_line(credentials / "mk.bootif") if credentials != Path() else ""
    for word in read_line(f"{proc_root}/cmdline").split():
        if word.startswith("BOOTIF="):
            found = word[7:].strip('"')
    return found


def read_vlans(proc_root: str) -> dict[str, Vlan]:
    """Return id and lower interface of each VLAN; none where the kernel has no VLANs or the reader is not root."""
    return parse_vlans(read_text_if_any(f"{proc_root}/net/vlan/config"))


def parse_vlans(text: str) -> dict[str, Vlan]:
    """Parse the text of /proc/net/vlan/config: "eth0.5 | 5 | eth0" -> {"eth0.5": (5, "eth0")}."""
    found: dict[str, Vlan] = {}
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == 3 and parts[1].isascii() and parts[1].isdigit() and len(parts[1]) < 5 and parts[0]:
            found[parts[0]] = (int(parts[1]), parts[2])
    return found


def vlan_facts(vlans: Mapping[str, Vlan]) -> dict[str, Json]:
    """Make the fact `vlans`; none where there is no VLAN."""
    return {"vlans": ",".join(map(str, sorted({number for number, _ in vlans.values()})))} if vlans else {}


def dhcp_facts(interfaces: Sequence[Interface], leases: Path, route: str) -> dict[str, Json]:
    """Make the fact `dhcp_servers`, e.g. {"system": "192.0.2.1", "eno1": "192.0.2.1"}; none without a lease.

    route: the text of /proc/net/route.
    """
    if not os.path.isdir(leases):
        return {}
    servers: dict[str, Json] = {}
    for each in interfaces:
        server = parse_lease(read_text_if_any(f"{leases}/{each.index}"))
        if server:
            servers[each.name] = server
    gateway = next((name for name in default_routes(route) if name in servers), "")
    if gateway:
        servers["system"] = servers[gateway]
    return {"dhcp_servers": servers} if servers else {}


def parse_lease(text: str) -> str:
    """Return the address of the server that gave a lease, "" where the text does not say."""
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "SERVER_ADDRESS":
            try:
                return str(ipaddress.IPv4Address(value.strip()))
            except ValueError:
                return ""
    return ""


def default_routes(route: str) -> Iterable[str]:
    """Return the interfaces of the default routes in the text of /proc/net/route, the preferred one first."""
    found: list[tuple[int, str]] = []
    for line in route.splitlines()[1:]:
        parts = line.split()
        if len(parts) >= 8 and parts[1] == parts[7] == "00000000" and parts[6].isdigit():
            found.append((int(parts[6]), parts[0]))
    return [name for _, name in sorted(found)]

"""Which DHCP server gave an interface its lease: `dhcp` in Facter 4's `networking`.

systemd-networkd, which the nodes run, keeps a file for each interface; dhclient and NetworkManager are read too, since
an installed machine may have these. Only the server's address is a fact; the times of a lease are none. Source:
systemd's lease files ("SERVER_ADDRESS="), dhclient.leases(5).
"""

from __future__ import annotations

import os
import re

from mkcore.files import list_names, read_text_if_any
from mkctl.probe.network import parse_lease

_NETWORKD = "run/systemd/netif/leases"
_NETWORK_MANAGER = "var/lib/NetworkManager"
_DHCLIENT = ("var/lib/dhclient", "var/lib/dhcp", "var/lib/dhcp3")


def read_dhcp_servers(root: str, indexes: dict[str, int]) -> dict[str, str]:
    """Return interface -> address of its DHCP server. indexes: interface -> its number, which names networkd's file."""
    servers: dict[str, str] = {}
    for folder in _DHCLIENT:
        for name in list_names(f"{root}/{folder}"):
            if "lease" in name:
                servers.update(parse_dhclient(read_text_if_any(f"{root}/{folder}/{name}")))
    for file in list_names(f"{root}/{_NETWORK_MANAGER}"):
        name = next((name for name in indexes if file.endswith((f"-{name}.lease", f"-{name}.lease.new"))), "")
        server = parse_lease(read_text_if_any(f"{root}/{_NETWORK_MANAGER}/{file}")) if name else ""
        if server:
            servers[name] = server
    if os.path.isdir(f"{root}/{_NETWORKD}"):
        for name, index in indexes.items():
            server = parse_lease(read_text_if_any(f"{root}/{_NETWORKD}/{index}"))
            if server:
                servers[name] = server
    return servers


def parse_dhclient(text: str) -> dict[str, str]:
    """Return interface -> server of the first lease of each in a file of dhclient."""
    found: dict[str, str] = {}
    for block in text.split("lease {")[1:]:
        interface = re.search(r'interface "([^"\n]+)"', block)
        server = re.search(r"option dhcp-server-identifier ([0-9.]+)", block)
        if interface and server:
            found.setdefault(interface[1], server[1])
    return found

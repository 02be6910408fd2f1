"""What the network says of the server: DHCP options 224 to 226, DHCPv6 vendor options, DNS, next-server. Pure.

systemd-networkd hands out the options that it was told to request (`RequestOptions=224 225 226`) as hexadecimal text in
its description of all interfaces. What has the wrong length, or names no place where a server can be, is one line, and
the rest counts. The network is no friend: whatever it says is checked like a stranger's input, and it is used only
where the site itself names no server.

Source: org.freedesktop.network1(5) (Describe), systemd.network(5); protocol 1.3 (the options and their types);
RFC 8415 section 21.17 (vendor options); DHCPv6 sub-options carry the same numbers, 224 as 16 bytes of IPv6.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Optional, Union

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, get_int, get_list, get_object, get_str, parse_object
from mkctl.addresses import build_name, parse_base
from mkctl.cloudconfig import CloudConfig

SERVER, PORT, BASE_URI = 224, 225, 226
LIMIT_BYTES = 4 << 20
SERVICES = 32
"""Answers to the SRV question that are looked at."""
NAMES = ("hanlon", "razor")
"""The names that the historic servers have in the DNS (protocol 1.2)."""
SERVICE = "_mk._tcp"


@dataclass(frozen=True)
class Lease:
    """What the DHCP answers on one interface say. `server` is a literal as in a URI, "" without; `port` 0 and
    `base_uri` "" where nothing is said; `domains` are the search domains."""

    interface: str
    mac: str = ""
    server: str = ""
    port: int = 0
    base_uri: str = ""
    domains: tuple[str, ...] = ()
    version: int = 4


@dataclass(frozen=True)
class Service:
    """One answer to the SRV question: host name in lower case, port 1 to 65535, priority (lowest first), weight."""

    host: str
    port: int
    priority: int = 0
    weight: int = 0


@dataclass(frozen=True)
class Hints:
    """All that was found, each kind in its order; `problems` are lines for the journal.

    `names`: those of NAMES that have a usable address; `silent_dns`: nobody answered for one. `next_server`: a literal
    as in a URI, from a lease. `links`: name and operational state (networkctl(1)) of each Ethernet NIC. `described`:
    networkd was there to be asked; `too_old`: the version of a systemd that keeps DHCP options to itself, 0 for one
    that tells them. `cloud`: what the cloud-config says that the kernel line names; `awaits`: what is being asked that
    counts more than a file, "" for nothing. `boot_index`: the interface index of the boot NIC, 0 where none is known;
    `leased`: indices of what DHCP gave a lease. `is_up`: some interface reaches beyond its link, or nobody says.
    `unasked`: the network was not asked yet, so what counts less than all that it can name waits.
    """

    leases: tuple[Lease, ...] = ()
    services: tuple[Service, ...] = ()
    names: tuple[str, ...] = ()
    next_server: str = ""
    problems: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    described: bool = False
    cloud: Optional[CloudConfig] = None
    awaits: str = ""
    boot_index: int = 0
    leased: tuple[int, ...] = ()
    is_up: bool = True
    silent_dns: bool = False
    too_old: int = 0
    unasked: bool = False

    @property
    def is_being_asked(self) -> bool:
        """Whether it is too early to say that a source names no server."""
        return bool(self.awaits) or (self.unasked and not self.described)

    @property
    def missing(self) -> tuple[str, ...]:
        """What is awaited where nobody wrote a server down, a phrase for each NIC and for the sources: `no carrier on
        eno1`."""
        if self.is_being_asked:
            return (self.awaits or "asking the network",)
        dns = "the DNS does not answer" if self.silent_dns else "the DNS names no server"
        if not self.described:
            return (f"systemd-networkd does not answer, so DHCP options are not known, and {dns}",)
        waits = [f"{_AWAITED[state]} on {name}" for name, state in self.links if state in _AWAITED]
        ready = ", ".join(name for name, state in self.links if state not in _AWAITED)
        if not self.is_up:
            return (*waits, "no NIC is up")
        options = f"DHCP{' on ' if ready else ''}{ready} names no server"
        asked = f"systemd {self.too_old} tells no DHCP options" if self.too_old else options
        return (*waits, asked, dns)

    @property
    def domains(self) -> tuple[str, ...]:
        """The search domains of all leases, each once, in their order."""
        return tuple(dict.fromkeys(domain for lease in self.leases for domain in lease.domains))


# Operational states that a NIC gets no further from by itself, in the words of somebody who stands before the machine.
_AWAITED = {
    "missing": "no device",
    "off": "no link",
    "no-carrier": "no carrier",
    "dormant": "no link",
    "degraded-carrier": "no address",
    "carrier": "no address",
    "degraded": "no address beyond the link",
}


def usable_address(data: Union[bytes, str]) -> str:
    """Return an address that a server can have as it stands in a URI: 4 or 16 bytes, or text.

    Raises BadInput for one that means no host or this one: unspecified, loopback, link-local, multicast, broadcast.
    """
    try:
        address = ipaddress.ip_address(data)
    except ValueError as error:
        raise BadInput(f"{data!r:.60} is no IP address") from error
    mapped = getattr(address, "ipv4_mapped", None) or address
    if (
        mapped.is_unspecified
        or mapped.is_loopback
        or mapped.is_link_local
        or mapped.is_multicast
        or (mapped.version == 4 and mapped.is_reserved)
        or "%" in str(address)
    ):
        raise BadInput(f"{address} is not the address of a server")
    return f"[{address}]" if address.version == 6 else str(address)


def why_unusable(address: str) -> str:
    """Say why an address cannot be a server's, "" for one that can."""
    try:
        usable_address(address)
    except BadInput as error:
        return str(error)
    return ""


def parse_describe(data: Union[bytes, str], boot_mac: str = "") -> Hints:
    """Parse what networkd's Describe() returns: leases, that of the boot NIC first, then by interface index.

    boot_mac: `52:54:00:12:34:56`, "" where nothing names it. Raises BadInput for what is no such document.
    """
    body = parse_object(data, "networkd's description")
    leases: list[tuple[tuple[bool, int, int], Lease]] = []
    links: list[tuple[str, str]] = []
    problems: list[str] = []
    boot_index, leased, is_up = 0, list[int](), False
    for item in get_list(body, "Interfaces", default=[]):
        if not isinstance(item, dict):
            raise BadInput("must be an object", "networkd's description: Interfaces")
        index, mac = get_int(item, "Index", default=0), _mac(item)
        is_boot = bool(boot_mac) and mac == boot_mac.lower()
        boot_index = boot_index or (index if is_boot else 0)
        if get_str(item, "Type", default="") == "ether" and not get_str(item, "Kind", default=""):
            links.append((get_str(item, "Name", default=""), get_str(item, "OperationalState", default="")))
        # whatever it is: a VLAN on a card has the address, and a container's card is none
        is_up = is_up or get_str(item, "OperationalState", default="") == "routable"
        leased += [index] if item.get("DHCPv4Client") else []
        for version, read in ((4, _options4), (6, _options6)):
            try:
                lease = _lease(item, mac, version, read(item), problems)
            except BadInput as error:
                problems.append(f"networkd's description of interface {index}: {error}: not used")
                continue
            if lease.server or lease.port or lease.base_uri or (version == 4 and lease.domains):
                leases.append(((not is_boot, index, version), lease))
    ordered = tuple(lease for _, lease in sorted(leases, key=lambda each: each[0]))
    problems += _disagreement(ordered)
    told = Hints(ordered, problems=tuple(problems), links=tuple(links), described=True)
    return replace(told, boot_index=boot_index, leased=tuple(leased), is_up=is_up)


def _mac(item: dict[str, Json]) -> str:
    parts = [
        part for part in get_list(item, "HardwareAddress", default=[]) if isinstance(part, int) and 0 <= part < 256
    ]
    return ":".join(f"{part:02x}" for part in parts) if len(parts) == 6 else ""


def _options4(item: dict[str, Json]) -> dict[int, bytes]:
    client = get_object(item, "DHCPv4Client", default={})
    return _options(get_list(client, "PrivateOptions", default=[]), "Option", "PrivateOptionData")


def _options6(item: dict[str, Json]) -> dict[int, bytes]:
    client = get_object(item, "DHCPv6Client", default={})
    return _options(get_list(client, "VendorSpecificOptions", default=[]), "SubOptionCode", "SubOptionData")


def _options(items: Iterable[Json], number: str, data: str) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for item in items:
        if isinstance(item, dict) and get_int(item, number, default=0) in (SERVER, PORT, BASE_URI):
            try:
                found.setdefault(get_int(item, number), bytes.fromhex(get_str(item, data, default="")))
            except ValueError as error:
                raise BadInput(f"option {get_int(item, number)} is not hexadecimal") from error
    return found


def _lease(item: dict[str, Json], mac: str, version: int, options: dict[int, bytes], problems: list[str]) -> Lease:
    interface = get_str(item, "Name", default="")
    where = f"DHCP{'v6' if version == 6 else ''} on {interface[:15]}"
    values: dict[int, Union[str, int]] = {}
    for number, read in ((SERVER, _read_server), (PORT, _read_port), (BASE_URI, _read_base)):
        if number not in options:
            continue
        try:
            values[number] = read(options[number], version)
        except BadInput as error:
            problems.append(f"{where}: option {number}: {error}: not used")
    return Lease(
        interface=interface,
        mac=mac,
        server=str(values.get(SERVER, "")),
        port=int(values.get(PORT, 0)),
        base_uri=str(values.get(BASE_URI, "")),
        domains=tuple(_domains(item)),
        version=version,
    )


def _read_server(data: bytes, version: int) -> str:
    wanted = 4 if version == 4 else 16
    if len(data) != wanted:
        raise BadInput(f"{len(data)} bytes instead of {wanted}")
    return usable_address(data)


def _read_port(data: bytes, version: int) -> int:  # one signature for the three
    if len(data) != 2 or not any(data):
        raise BadInput(f"{data[:8].hex() or 'nothing'} is no port (two bytes, not 0)")
    return int.from_bytes(data, "big")


def _read_base(data: bytes, version: int) -> str:
    try:
        text = data.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError as error:
        raise BadInput(f"the byte {data[error.start]:#04x} is not ASCII") from error
    return parse_base(text)


def _domains(item: dict[str, Json]) -> Iterable[str]:
    for entry in get_list(item, "SearchDomains", default=[]):
        if isinstance(entry, dict):
            try:
                yield build_name(get_str(entry, "Domain", default=""))
            except BadInput:  # resolved uses it or not; an SRV question is not made from it
                continue


def _disagreement(leases: Sequence[Lease]) -> Iterable[str]:
    """Say where servers of one family differ; one that has addresses of both is named by both kinds of DHCP."""
    for version in (4, 6):
        said: dict[str, str] = {}
        for lease in leases:
            if lease.server and lease.version == version:
                said.setdefault(lease.server, lease.interface)
        if len(said) > 1:
            named = ", ".join(f"{server} on {interface}" for server, interface in said.items())
            yield f"DHCP servers disagree about the server ({named}): each is tried, in this order"


def parse_next_server(text: str) -> str:
    """Return next-server of one of networkd's lease files, as in a URI; "" where it has none, which 0.0.0.0 means, too.

    Raises BadInput for one that can be no server's.
    Source: sd-dhcp-lease.c of systemd, which calls the file private: a test with a real networkd watches its form.
    """
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name == "NEXT_SERVER" and value.strip() != "0.0.0.0":
            return usable_address(value.strip())
    return ""


def parse_services(answers: Iterable[tuple[int, int, int, str]]) -> tuple[tuple[Service, ...], tuple[str, ...]]:
    """Sort the answers (priority, weight, port, host) to an SRV question; what cannot be a server is a line each.

    Within a priority the heavier one comes first: a node needs one server, and the draw of RFC 2782 would make two
    boots of one machine differ.
    """
    found: list[Service] = []
    problems: list[str] = []
    for priority, weight, port, host in itertools.islice(answers, SERVICES):
        try:
            name = build_name(host.rstrip("."))
        except BadInput as error:
            problems.append(f"DNS, {SERVICE}: {error}: not used")
            continue
        if 1 <= port <= 65535:
            found.append(Service(name, port, priority, weight))
        else:
            problems.append(f"DNS, {SERVICE}: port {port} of {name} is out of range: not used")
    return tuple(sorted(found, key=lambda each: (each.priority, -each.weight, each.host))), tuple(problems)

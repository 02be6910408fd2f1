"""The machine's network interfaces, as sysfs shows them, and the address facts made of them.

Shared by the controller, which needs the identity before any fact is collected and fresh addresses when it registers,
and by the probe. Source: Documentation/ABI/testing/sysfs-class-net, /proc/net/if_inet6, /proc/net/bonding; fact names
and formats: protocol 6.8 (Facter 2.4); which interfaces identify a node: protocol 6.1.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Optional, Union

from mkcore import ethtool
from mkcore.files import read_line, read_text
from mkcore.jsonfields import Json

ARPHRD_ETHER = 1
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_BOOTIF = r"(?:01-)?([0-9a-f][02468ace]([-:])[0-9a-f]{2}(?:\2[0-9a-f]{2}){4})"
_NO_MAC = "00:00:00:00:00:00"
_USB_INTERFACE = re.compile(r"[0-9]+-[0-9.]+:[0-9]+\.[0-9]+")


class Interface(NamedTuple):
    """One interface. MACs are lower-case with colons, "" for none; `carrier` is None while the interface is down."""

    name: str
    index: int  # type: ignore[assignment]  # of a tuple's methods nobody needs this one
    type: int
    mac: str
    permanent_mac: str
    physical: bool
    mtu: int
    operstate: str
    carrier: Optional[bool]
    speed_mbps: int
    duplex: str
    driver: str
    device: str
    bond_master: str

    @property
    def ethernet(self) -> bool:
        """True for a physical Ethernet NIC, one that can identify the machine."""
        return self.physical and self.type == ARPHRD_ETHER

    @property
    def plugged_in_by_bmc(self) -> bool:
        """True for a USB NIC with a locally administered address, which is the same in many machines (iLO, XCC)."""
        mac = self.permanent_mac or self.mac
        return bool(_USB_INTERFACE.fullmatch(self.device)) and bool(mac) and bool(int(mac[:2], 16) & 2)


def read_interfaces(
    sys_root: Union[str, Path] = "/sys",
    proc_root: Union[str, Path] = "/proc",
    permanent: Callable[[str], str] = ethtool.permanent_mac,
) -> list[Interface]:
    """Read all interfaces, sorted by name; an interface that vanishes meanwhile has empty fields."""
    base = f"{sys_root}/class/net"
    try:
        with os.scandir(base) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
    return [_read_interface(f"{base}/{name}", name, str(proc_root), permanent) for name in names]


def _read_interface(base: str, name: str, proc_root: str, permanent: Callable[[str], str]) -> Interface:
    master = _link_name(f"{base}/master") if os.path.exists(f"{base}/bonding_slave") else ""
    mac = _mac(read_line(f"{base}/address"))
    burnt_in = _mac(permanent(name)) or (_bonding_mac(proc_root, master, name) if master else "") or mac
    carrier = read_line(f"{base}/carrier")
    physical = os.path.exists(f"{base}/device")
    return Interface(
        name=name,
        index=_integer(read_line(f"{base}/ifindex")),
        type=_integer(read_line(f"{base}/type")),
        mac=mac,
        permanent_mac=burnt_in,
        physical=physical,
        mtu=_integer(read_line(f"{base}/mtu")),
        operstate=read_line(f"{base}/operstate"),
        carrier=carrier == "1" if carrier in ("0", "1") else None,
        speed_mbps=max(0, _integer(read_line(f"{base}/speed"))),
        duplex=read_line(f"{base}/duplex"),
        driver=_link_name(f"{base}/device/driver") if physical else "",
        device=_link_name(f"{base}/device") if physical else "",
        bond_master=master,
    )


def _integer(text: str) -> int:
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else 0


def _mac(text: str) -> str:
    mac = text.strip().lower()
    return mac if _MAC.fullmatch(mac) and mac != _NO_MAC else ""


def _link_name(path: str) -> str:
    """The last part of what a link leads to; "" when it leads nowhere or is no link."""
    try:
        return os.path.basename(os.readlink(path)) if os.path.exists(path) else ""
    except OSError:
        return ""


def _bonding_mac(proc_root: str, master: str, name: str) -> str:
    try:
        text = read_text(f"{proc_root}/net/bonding/{master}")
    except OSError:
        return ""
    return _mac(parse_bonding(text).get(name, ""))


def parse_bonding(text: str) -> dict[str, str]:
    """Return the permanent MAC of each slave in the text of /proc/net/bonding/BOND."""
    found: dict[str, str] = {}
    slave = ""
    for line in text.splitlines():
        label, _, value = line.partition(":")
        if label.strip() == "Slave Interface":
            slave = value.strip()
        elif label.strip() == "Permanent HW addr" and slave:
            found[slave] = value.strip().lower()
    return found


def identity_interfaces(interfaces: Iterable[Interface], pattern: str = "") -> list[Interface]:
    """Return the NICs that identify the machine, in order: physical Ethernet with an address, name found by `pattern`.

    `pattern` is a Ruby regular expression, "" for all but those that a BMC plugs in, as long as others are there;
    raises BadInput when it cannot be used.
    """
    usable = sorted((nic for nic in interfaces if nic.ethernet and nic.permanent_mac), key=lambda nic: nic.name)
    if not pattern:
        return [nic for nic in usable if not nic.plugged_in_by_bmc] or usable
    from mkcore.rubyregex import compile_ruby  # few sites restrict them

    search = compile_ruby(pattern).search
    return [nic for nic in usable if search(nic.name)]


def parse_bootif(text: str) -> str:
    """Return the address in BOOTIF= as `52:54:00:12:34:56`: of `01-52-54-00-12-34-56`; "" where it names none."""
    match = re.fullmatch(_BOOTIF, text, re.IGNORECASE)
    return match[1].replace("-", ":").lower() if match else ""


def choose_boot_nic(interfaces: Iterable[Interface], facts: Mapping[str, Json], bootif: str) -> str:
    """Return the name of the NIC that the machine booted from, "" where there is no physical Ethernet.

    bootif: the value of BOOTIF= on the kernel line (pxelinux, iPXE), which names it by address. Without one it is the
    first by name that has an IPv4 address among the address facts, else the first with a carrier, else the first.
    """
    nics = sorted((each for each in interfaces if each.ethernet), key=lambda each: (each.plugged_in_by_bmc, each.name))
    wanted = parse_bootif(bootif)
    ranked = [
        *(each.name for each in nics if wanted and wanted in (each.mac, each.permanent_mac)),
        *(each.name for each in nics if f"ipaddress_{fact_suffix(each.name)}" in facts),
        *(each.name for each in nics if each.carrier),
        *(each.name for each in nics),
    ]
    return ranked[0] if ranked else ""


def parse_if_inet6(text: str) -> dict[str, list[ipaddress.IPv6Interface]]:
    """Return the IPv6 addresses of each interface in the text of /proc/net/if_inet6, in its order."""
    found: dict[str, list[ipaddress.IPv6Interface]] = {}
    for line in text.splitlines():
        match = re.match(r"([0-9a-f]{32}) [0-9a-f]+ ([0-9a-f]+) [0-9a-f]+ [0-9a-f]+ +(\S+)$", line)
        if match and int(match.group(2), 16) <= 128:
            address = ipaddress.IPv6Interface((int(match.group(1), 16), int(match.group(2), 16)))
            found.setdefault(match.group(3), []).append(address)
    return found


def address_facts(
    interfaces: Sequence[Interface],
    proc_root: Union[str, Path] = "/proc",
    ipv4: Callable[[str], Optional[tuple[str, str]]] = ethtool.ipv4_address,
) -> dict[str, Json]:
    """Make the address facts: interfaces, ipaddress*, ipaddress6*, netmask*, network*, macaddress*, mtu_*.

    Per interface under its name with other characters than letters, digits and _ replaced. The bare names are of the
    first interface that has one: physical before virtual, then by name, loopback never. IPv6 addresses that exist
    on every link (fe80::/10, ::1) do not count. A bond's slave shows its permanent MAC. mtu_* are integers.
    """
    try:
        inet6 = parse_if_inet6(read_text(Path(proc_root) / "net/if_inet6"))
    except OSError:  # a kernel without IPv6
        inet6 = {}
    facts: dict[str, Json] = {"interfaces": ",".join(fact_suffix(each.name) for each in interfaces)}
    for each in sorted(interfaces, key=lambda nic: (not nic.physical, nic.name)):
        for name, value in _facts_of(each, inet6.get(each.name, []), ipv4(each.name)).items():
            facts[f"{name}_{fact_suffix(each.name)}"] = value
            if name != "mtu" and each.name != "lo":
                facts.setdefault(name, value)
    return facts


def fact_suffix(name: str) -> str:
    """Return an interface's name as facts carry it: `eth0.100` -> `eth0_100` (protocol 6.8)."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def _facts_of(
    interface: Interface, inet6: Sequence[ipaddress.IPv6Interface], inet4: Optional[tuple[str, str]]
) -> dict[str, Json]:
    facts: dict[str, Json] = {}
    if inet4 is not None:
        address, netmask = (int(ipaddress.IPv4Address(text)) for text in inet4)
        facts["ipaddress"], facts["netmask"] = inet4
        facts["network"] = str(ipaddress.IPv4Address(address & netmask))  # a mask may have holes
    wide = [address for address in inet6 if not (address.is_link_local or address.is_loopback)]
    if wide:
        facts["ipaddress6"] = str(wide[0].ip)
    mac = interface.permanent_mac if interface.bond_master else interface.mac
    if mac:
        facts["macaddress"] = mac
    if interface.mtu:
        facts["mtu"] = interface.mtu
    return facts

"""The node's names: hostname, domain, fqdn; from files alone, as the probe has no network to ask a resolver.

The host name is the kernel's, up to the first dot. The domain is, in this order: what follows that dot; what the
canonical name in /etc/hosts has more than the host name; `domain`, else the first word of `search`, of the resolver's
configuration. Facter asks the C library, which reads /etc/hosts first and may then ask the DNS: a node gets its full
name from its DHCP server, not from there. systemd-resolved writes "search ." where there is no domain. A final dot is
kept in Facter 4's form, as Facter keeps it, and dropped in the flat facts. Source: hosts(5), resolv.conf(5), protocol
6.8.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Optional

from mkcore.files import read_line, read_text_if_any
from mkcore.jsonfields import Json

_RESOLV_FILES = ("run/systemd/resolve/resolv.conf", "etc/resolv.conf")


class Names(NamedTuple):
    """The node's names, "" where it has none. address: the IPv4 address that /etc/hosts gives the name, or None."""

    hostname: str
    domain: str
    fqdn: str
    address: Optional[str] = None

    def structured(self) -> dict[str, Json]:
        """Return hostname, domain and fqdn, those there are."""
        parts = {"hostname": self.hostname, "domain": self.domain, "fqdn": self.fqdn}
        return {key: value for key, value in parts.items() if value}

    def flat(self) -> dict[str, Json]:
        """Return the same as facts of Facter 2.4."""
        parts = {"hostname": self.hostname, "domain": self.domain.strip("."), "fqdn": self.fqdn.strip(".")}
        return {key: value for key, value in parts.items() if value}


def read_names(root: Path, proc_root: Path) -> Names:
    """Read the names of the node, or of the tree below `root`."""
    hosts = parse_hosts(read_text_if_any(root / "etc/hosts"))
    texts = (read_text_if_any(root / name) for name in _RESOLV_FILES)
    return build_names(read_line(proc_root / "sys/kernel/hostname"), hosts, texts)


def build_names(kernel_name: str, hosts: list[list[str]], resolver_texts: Iterable[str]) -> Names:
    """Make the names of the kernel's, of the entries of /etc/hosts, and of resolv.conf texts, of which the first
    counts that has a domain."""
    hostname, _, domain = kernel_name.partition(".")
    canonical, address = find_host(hosts, kernel_name)
    fqdn = ""
    if not domain and canonical.startswith(f"{hostname}."):
        domain = canonical[len(hostname) + 1 :]
    elif not domain and "." in canonical:  # another name altogether, which is the full name and has no part in common
        fqdn = canonical
    if hostname and not domain and not fqdn:
        domain = next((found for text in resolver_texts if (found := parse_resolv_domain(text))), "")
    return Names(hostname, domain, fqdn or (f"{hostname}.{domain}" if hostname and domain else hostname), address)


def parse_resolv_domain(text: str) -> str:
    """Return the domain that resolv.conf(5) gives: `domain`, else the first of `search`; "" for none or the root."""
    found = {"domain": "", "search": ""}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] in found and not found[words[0]]:
            found[words[0]] = "" if words[1] == "." else words[1]
    return found["domain"] or found["search"]


def parse_hosts(text: str) -> list[list[str]]:
    """Return the entries of hosts(5): each a list of an address, the canonical name and aliases."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [words for words in lines if len(words) >= 2]


def find_host(hosts: Iterable[list[str]], name: str) -> tuple[str, Optional[str]]:
    """Return the canonical name of a host ("" for none) and its first IPv4 address (None without)."""
    canonical, address = "", None
    for words in hosts:
        if name in words[1:]:
            canonical = canonical or words[1]
            if address is None and _is_ipv4(words[0]):
                address = words[0]
    return canonical, address


def _is_ipv4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts)

"""By which way an address is reached: the site's HTTP proxy, but for what listens on this machine itself.

A proxy that was asked for http://localhost/ would ask itself. Other exceptions there are none: the site says for
servers and for mirrors whether there is a proxy at all, and nothing is taken from an environment.

Source: RFC 6761 section 6.3 (localhost), RFC 4291 section 2.5.5.2, inet(3) for numbers.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from urllib.parse import urlsplit


def proxy_to(uri: str, proxy: str) -> str:
    """Return by which proxy of the site an address is reached; "" for directly, as what listens on this machine."""
    host = host_of(uri)
    return "" if is_this_machine(host) or _means_loopback(host) else proxy


def by_way(uri: str, proxy: str) -> str:
    """Return how an address is named in an error: with the proxy by which it was asked, where there was one."""
    return f"{uri} by the proxy {proxy}" if proxy else uri


def host_of(uri: str) -> str:
    """Return the host of an address, without brackets and port; "" when there is none."""
    try:
        return urlsplit(uri).hostname or ""
    except ValueError:
        return ""


def is_this_machine(host: str) -> bool:
    """Tell whether `host`, a name or an address as it is usually written, is this machine itself."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    found = getattr(address, "ipv4_mapped", None) or address
    return bool(found.is_loopback)


def _means_loopback(host: str) -> bool:
    try:
        return parse_inet(host).is_loopback
    except ValueError:  # a name
        return False


def parse_inet(host: str) -> IPv4Address:
    """Return the address that numbers mean to a resolver, in all forms of inet(3); raise ValueError for a name."""
    bases = {"0x": 16, "0X": 16}
    *first, last = [int(part, bases.get(part[:2], 8 if part[:1] == "0" else 10)) for part in host.split(".")]
    if len(first) > 3 or any(not 0 <= number <= 255 for number in first):
        raise ValueError("no address")
    return IPv4Address(sum(number << (24 - 8 * at) for at, number in enumerate(first)) + last)

"""Where a mirror's name leads, when a server named the mirror: not back to this machine, and not to this link alone.

Clouds and management controllers give away secrets at addresses of the link, and services of a machine trust its own
loopback. Numbers are judged as they are written (`mkmirror.sources`), and those of loopback let pass: stock servers
push them, and nothing but GET and HEAD is asked there. What a name means is known only once a connection is there, and
may be something else the next time. So each connection is judged, before anything is sent over it. By the site's proxy
no name leads back here: the connection is the proxy's, and so is the judgement of where it may lead.

Source: RFC 3927 and RFC 4291 for the addresses; protocol 2.2 for who names mirrors.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Optional
from urllib.parse import urlsplit

from mkcore.http import Judge
from mkcore.proxy import proxy_to
from mkmirror.sources import is_number


@dataclass(frozen=True)
class Way:
    """How a mirror is reached. strict: a server named it; proxy: the site's, http://HOST:PORT, "" for none."""

    strict: bool = False
    proxy: str = ""

    def proxy_to(self, uri: str) -> str:
        """Return by which proxy an address is asked; "" for directly, as this machine's own mirror always is."""
        return proxy_to(uri, self.proxy)

    def judge_of(self, uri: str) -> Optional[Judge]:
        """Return what judges the connections to an address; None by a proxy, which the site chose."""
        return None if self.proxy_to(uri) else judge_of(uri, strict=self.strict)


DIRECT = Way()


def judge_of(uri: str, *, strict: bool) -> Optional[Judge]:
    """Return what judges the connections to `uri`; None for numbers, and where the site or the machine chose it."""
    try:
        host = urlsplit(uri).hostname or ""
    except ValueError:  # which the request says
        return None
    return refuse if strict and not is_number(host) else None


def refuse(peer: str) -> str:
    """Say why nothing may be sent to an address to which a server's name led; "" when it may."""
    found = ip_address(peer.partition("%")[0])
    address = getattr(found, "ipv4_mapped", None) or found
    if address.is_loopback or address.is_unspecified:
        return f"its name leads to this machine itself ({peer}), which a server may not name"
    return (
        f"its name leads to an address of this link ({peer}), which a server may not name"
        if address.is_link_local
        else ""
    )

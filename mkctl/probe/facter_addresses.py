"""Addresses and routes of the running kernel, parsed from rtnetlink's messages.

The order of addresses decides which one is an interface's first, and only rtnetlink has it. An IPv4 address may carry a
label ("eth0:1") that tools show as an interface of its own. Of routes, the interface of the default one and their
source addresses matter. Source: rtnetlink(7), Linux uapi linux/if_addr.h and linux/rtnetlink.h.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Union

_ADDRESS_BYTES = 8  # struct ifaddrmsg: family, prefix length, flags, scope, interface index
_ROUTE_BYTES = 12  # struct rtmsg: family, destination length, …, table at 4, type at 7, flags
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_FLAGS = 1, 2, 3, 8
_RTA_OIF, _RTA_PREFSRC = 4, 7
_MAIN_TABLE = 254
_UNICAST = 1
_LENGTHS = {2: 4, 10: 16}  # AF_INET, AF_INET6

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class Assigned(NamedTuple):
    """An address of an interface. label: "" or the name that IPv4 tools show; flags: IFA_F_*."""

    index: int  # type: ignore[assignment]  # of a tuple's methods nobody needs this one
    address: Address
    prefix: int
    label: str = ""
    flags: int = 0


class Route(NamedTuple):
    """A route of the main table. default: to everywhere. source: the address that packets are to have, or None."""

    version: int
    index: int  # type: ignore[assignment]  # of a tuple's methods nobody needs this one
    default: bool
    source: Union[Address, None] = None


def parse_addresses(messages: Iterable[bytes]) -> list[Assigned]:
    """Parse the answer to RTM_GETADDR, in its order; what is neither IPv4 nor IPv6, or is cut off, is left out."""
    found: list[Assigned] = []
    for message in messages:
        if len(message) >= _ADDRESS_BYTES and message[0] in _LENGTHS:
            values = dict(_attributes(message, _ADDRESS_BYTES))
            data = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS, b"")
            if len(data) != _LENGTHS[message[0]]:
                continue
            flags = values.get(_IFA_FLAGS, b"")
            found.append(
                Assigned(
                    index=struct.unpack_from("=I", message, 4)[0],
                    address=_address(data),
                    prefix=min(message[1], len(data) * 8),
                    label=values.get(_IFA_LABEL, b"").rstrip(b"\0").decode("utf-8", "replace"),
                    flags=struct.unpack("=I", flags)[0] if len(flags) == 4 else message[2],
                )
            )
    return found


def parse_routes(messages: Iterable[bytes]) -> list[Route]:
    """Parse the answer to RTM_GETROUTE: routes of the main table that lead out of one interface, in its order."""
    found: list[Route] = []
    for message in messages:
        known = len(message) >= _ROUTE_BYTES and message[0] in _LENGTHS
        if known and (message[4], message[7]) == (_MAIN_TABLE, _UNICAST):
            values = dict(_attributes(message, _ROUTE_BYTES))
            index, source = values.get(_RTA_OIF, b""), values.get(_RTA_PREFSRC, b"")
            if len(index) == 4:
                found.append(
                    Route(
                        version=4 if message[0] == 2 else 6,
                        index=struct.unpack("=I", index)[0],
                        default=message[1] == 0,
                        source=_address(source) if len(source) == _LENGTHS[message[0]] else None,
                    )
                )
    return found


def _attributes(message: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    while position + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, position)
        if length < 4:
            return
        yield kind & 0x3FFF, message[position + 4 : position + length]
        position += (length + 3) & ~3


def _address(data: bytes) -> Address:
    return ipaddress.IPv4Address(data) if len(data) == 4 else ipaddress.IPv6Address(data)

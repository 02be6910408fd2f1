"""What a network interface says of itself by ioctl: its permanent address, its IPv4 address.

/sys/class/net/*/address is the current MAC, which a bond or an administrator may have changed; identity needs the one
burnt in. Needs no privilege. Source: Linux uapi linux/ethtool.h (ETHTOOL_GPERMADDR), netdevice(7).
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import Optional

_SIOCETHTOOL = 0x8946
_SIOCGIFADDR = 0x8915
_SIOCGIFNETMASK = 0x891B
_ETHTOOL_GPERMADDR = 0x20
_MAX_ADDR_LEN = 32
_NAME_SIZE = 16
_IFREQ_SIZE = 40


def permanent_mac(ifname: str) -> str:
    """Return the permanent MAC, e.g. "52:54:00:12:34:56"; "" for no such interface or a driver that gives none."""
    request = array.array("B", struct.pack("II", _ETHTOOL_GPERMADDR, _MAX_ADDR_LEN) + bytes(_MAX_ADDR_LEN))
    pointer, _ = request.buffer_info()
    try:
        _ioctl(_SIOCETHTOOL, ifname, struct.pack("P", pointer))
    except OSError:
        return ""
    size = int(struct.unpack_from("II", request)[1])
    address = request.tobytes()[8 : 8 + size]
    if size != 6 or not any(address):
        return ""
    return ":".join(f"{octet:02x}" for octet in address)


def ipv4_address(ifname: str) -> Optional[tuple[str, str]]:
    """Return the first IPv4 address and its netmask, e.g. ("192.0.2.2", "255.255.255.0"); None without one."""
    try:
        address = _ioctl(_SIOCGIFADDR, ifname)
        netmask = _ioctl(_SIOCGIFNETMASK, ifname)
    except OSError:
        return None
    # struct sockaddr_in after the name: family, port, address
    return socket.inet_ntoa(address[20:24]), socket.inet_ntoa(netmask[20:24])


def _ioctl(number: int, ifname: str, argument: bytes = b"") -> bytes:
    name = ifname.encode("utf-8", "surrogateescape")[: _NAME_SIZE - 1]
    request = (name.ljust(_NAME_SIZE, b"\0") + argument).ljust(_IFREQ_SIZE, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        return fcntl.ioctl(any_socket.fileno(), number, request)

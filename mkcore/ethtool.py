"""What a network interface says of itself by ioctl: permanent address, driver and firmware, IPv4 address;
and rtnetlink's lists.

/sys/class/net/*/address is the current MAC, which a bond or an administrator may have changed; identity needs the one
burnt in. All addresses of an interface in the kernel's order, and the source addresses of routes, are to be had by
rtnetlink alone. Needs no privilege. Source: Linux uapi linux/ethtool.h (ETHTOOL_GPERMADDR; ETHTOOL_GDRVINFO with struct
ethtool_drvinfo), netdevice(7), rtnetlink(7).
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import NamedTuple, Optional

_SIOCETHTOOL = 0x8946
_SIOCGIFADDR = 0x8915
_SIOCGIFNETMASK = 0x891B
_ETHTOOL_GDRVINFO = 0x03
_ETHTOOL_GPERMADDR = 0x20
_DRVINFO_SIZE = 196
_MAX_ADDR_LEN = 32
_NAME_SIZE = 16
_IFREQ_SIZE = 40
RTM_GETADDR = 22
RTM_GETROUTE = 26
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NETLINK_LIMIT_BYTES = 4 << 20
_NETLINK_TIMEOUT_S = 2.0


class DriverInfo(NamedTuple):
    """Driver, its version and the firmware's, as the driver writes them: "igb", "6.1.0", "1.63"; "" for none."""

    driver: str = ""
    version: str = ""
    firmware_version: str = ""


def permanent_mac(ifname: str) -> str:
    """Return the permanent MAC, e.g. "52:54:00:12:34:56"; "" for no such interface or a driver that gives none."""
    answer = _ethtool(ifname, struct.pack("II", _ETHTOOL_GPERMADDR, _MAX_ADDR_LEN) + bytes(_MAX_ADDR_LEN))
    size = int(struct.unpack_from("I", answer, 4)[0]) if answer else 0
    address = answer[8 : 8 + size]
    return address.hex(":") if size == 6 and any(address) else ""


def driver_info(ifname: str) -> DriverInfo:
    """Return what the driver of an interface says of itself; empty for no such interface, or one without a driver."""
    answer = _ethtool(ifname, struct.pack("I", _ETHTOOL_GDRVINFO) + bytes(_DRVINFO_SIZE - 4))
    if not answer:
        return DriverInfo()
    driver, version, firmware = (answer[start : start + 32].split(b"\0")[0] for start in (4, 36, 68))
    return DriverInfo(*(text.decode("utf-8", "replace").strip() for text in (driver, version, firmware)))


def ipv4_address(ifname: str) -> Optional[tuple[str, str]]:
    """Return the first IPv4 address and its netmask, e.g. ("192.0.2.2", "255.255.255.0"); None without one."""
    try:
        address = _ioctl(_SIOCGIFADDR, ifname)
        netmask = _ioctl(_SIOCGIFNETMASK, ifname)
    except OSError:
        return None
    # struct sockaddr_in after the name: family, port, address
    return socket.inet_ntoa(address[20:24]), socket.inet_ntoa(netmask[20:24])


def _ethtool(ifname: str, request: bytes) -> bytes:
    """Return the filled request; b"" where the interface or its driver does not answer it."""
    buffer = array.array("B", request)
    try:
        _ioctl(_SIOCETHTOOL, ifname, struct.pack("P", buffer.buffer_info()[0]))
    except OSError:
        return b""
    return buffer.tobytes()


def dump_rtnetlink(kind: int, family: int = 0) -> list[bytes]:
    """Ask the kernel for a list; return the messages without their headers, in its order, 4 MiB of them at most.

    kind: RTM_GETADDR (struct ifaddrmsg) or RTM_GETROUTE (struct rtmsg). family: AF_INET (2), AF_INET6 (10), 0 for both.
    Raises OSError where the process may not open such a socket or the kernel refuses.
    """
    found: list[bytes] = []
    size = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as kernel:
        kernel.settimeout(_NETLINK_TIMEOUT_S)
        kernel.send(struct.pack("=IHHII", 28, kind, _NLM_F_REQUEST_DUMP, 1, 0) + bytes((family,)) + bytes(11))
        while size < _NETLINK_LIMIT_BYTES:
            data = kernel.recv(1 << 16)
            size += len(data)
            position = 0
            while position + 16 <= len(data):
                length, what = struct.unpack_from("=IH", data, position)
                body = data[position + 16 : position + length]
                if what == _NLMSG_DONE or length < 16:
                    return found
                if what == _NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", body)[0], "the kernel refused the request")
                found.append(body)
                position += (length + 3) & ~3
    return found


def _ioctl(number: int, ifname: str, argument: bytes = b"") -> bytes:
    name = ifname.encode("utf-8", "surrogateescape")[: _NAME_SIZE - 1]
    request = (name.ljust(_NAME_SIZE, b"\0") + argument).ljust(_IFREQ_SIZE, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        return fcntl.ioctl(any_socket.fileno(), number, request)

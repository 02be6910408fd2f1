"""A switch at the other end of a machine's cable: it sends LLDP frames, built here byte by byte.

A Linux bridge does not forward frames to 01:80:c2:00:00:0e, so each goes out of the machine's own tap, as from the port
that the cable is in. Nothing of the product's reading of LLDP is used.

Source: IEEE 802.1AB-2016, 8.4 to 8.6 and annexes D, E (802.1 and 802.3 organizationally specific TLVs).
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Callable, Optional

ETHERTYPE = 0x88CC
NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
CHASSIS_SUBTYPES: Mapping[str, int] = {"mac": 4, "interface_name": 6, "local": 7}
PORT_SUBTYPES: Mapping[str, int] = {"mac": 3, "interface_name": 5, "local": 7}
CAPABILITIES: Mapping[str, int] = {"bridge": 1 << 2, "router": 1 << 4, "station": 1 << 7}
_DOT1_PVID = bytes.fromhex("0080c201")
_DOT3_FRAME_SIZE = bytes.fromhex("00120f04")
_PERIOD_S = 2.0


@dataclass(frozen=True)
class Neighbour:
    """What one port of a switch says of itself."""

    chassis_id: str
    chassis_id_type: str
    port_id: str
    port_id_type: str
    port_description: str
    system_name: str
    system_description: str
    capabilities: tuple[str, ...]
    enabled_capabilities: tuple[str, ...]
    management_addresses: tuple[str, ...]
    vlan_id: int
    max_frame_bytes: int
    ttl_s: int = 120


def _tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!H", kind << 9 | len(value)) + value


def _id(kind: int, subtypes: Mapping[str, int], subtype: str, text: str) -> bytes:
    value = bytes.fromhex(text.replace(":", "")) if subtype == "mac" else text.encode()
    return _tlv(kind, bytes([subtypes[subtype]]) + value)


def _management(text: str) -> bytes:
    address = ipaddress.ip_address(text)
    family = 1 if address.version == 4 else 2
    number = bytes([1 + len(address.packed), family]) + address.packed
    return _tlv(8, number + bytes([2]) + struct.pack("!I", 7) + b"\0")  # interface number 7 by ifIndex, no object id


def _bits(names: tuple[str, ...]) -> int:
    return sum(CAPABILITIES[name] for name in names)


def build_frame(neighbour: Neighbour, source: str) -> bytes:
    """Build the whole Ethernet frame; ``source`` is the switch port's own address."""
    frame = NEAREST_BRIDGE + bytes.fromhex(source.replace(":", "")) + struct.pack("!H", ETHERTYPE)
    frame += _id(1, CHASSIS_SUBTYPES, neighbour.chassis_id_type, neighbour.chassis_id)
    frame += _id(2, PORT_SUBTYPES, neighbour.port_id_type, neighbour.port_id)
    frame += _tlv(3, struct.pack("!H", neighbour.ttl_s))
    for kind, text in ((4, neighbour.port_description), (5, neighbour.system_name), (6, neighbour.system_description)):
        frame += _tlv(kind, text.encode())
    frame += _tlv(7, struct.pack("!HH", _bits(neighbour.capabilities), _bits(neighbour.enabled_capabilities)))
    frame += b"".join(_management(address) for address in neighbour.management_addresses)
    frame += _tlv(127, _DOT1_PVID + struct.pack("!H", neighbour.vlan_id))
    frame += _tlv(127, _DOT3_FRAME_SIZE + struct.pack("!H", neighbour.max_frame_bytes))
    return frame + _tlv(0, b"")


class Switch:
    """Sends each neighbour's frame out of its interface every two seconds, until its `with` block is left."""

    def __init__(
        self,
        call: Callable[[Callable[[], list[socket.socket]]], list[socket.socket]],
        ports: Mapping[str, Neighbour],
    ) -> None:
        """``ports``: interface -> what is said there; ``call`` runs a function in the interfaces' namespace."""

        def connect() -> list[socket.socket]:
            made = []
            for interface in ports:
                one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
                one.bind((interface, ETHERTYPE))
                made.append(one)
            return made

        sockets = call(connect)
        frames = [build_frame(said, f"02:4c:4c:44:50:{number:02x}") for number, said in enumerate(ports.values())]
        self._sending = list(zip(sockets, frames))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True, name="switch")

    def __enter__(self) -> Switch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._ended.set()
        self._thread.join()
        for one, _ in self._sending:
            one.close()

    def _send(self) -> None:
        while not self._ended.is_set():
            for one, frame in self._sending:
                with suppress(OSError):  # the tap has no carrier before the machine is on
                    one.send(frame)
            self._ended.wait(_PERIOD_S)

"""Listening for LLDP frames: one raw socket for each NIC, until all neighbours were heard or half a minute has passed.

A neighbour sends every 30 s, so 31 s hear each of them once. The kernel hands over frames of this one ethertype; of
the three addresses that LLDP is sent to, a NIC passes up those that were asked for. The socket is bound to the NIC
itself, since a port of a bond or bridge gives such frames to sockets of its own alone. Nothing is ever sent.

Source: packet(7); IEEE 802.1AB-2016 clause 7.1 (addresses) and 9.2.5 (how often a neighbour sends).
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import struct
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Union

from mkcore.errors import BadInput
from mkctl.probe.lldp_facts import LIMIT_PER_NIC, LISTENER
from mkctl.probe.lldp_frames import ETHERTYPE_LLDP, Neighbor, parse_frame

log = logging.getLogger(__name__)

LIMIT_S = 31.0
GROUPS = ("0180c200000e", "0180c2000003", "0180c2000000")
FRAMES_PER_NIC = 500
_FRAME_LIMIT_BYTES = 1514  # the standard's largest, header included; of a larger one no more is even read
_SOL_PACKET, _ADD_MEMBERSHIP, _MR_MULTICAST = 263, 1, 0

Key = tuple[str, str]


@dataclass
class Ear:
    """A NIC that is listened to: what must still be heard, what was, and how many frames may still come."""

    name: str
    wanted: set[Key]
    heard: dict[Key, Neighbor] = field(default_factory=dict[Key, Neighbor])
    frames_left: int = FRAMES_PER_NIC

    @property
    def done(self) -> bool:
        """True when somebody was heard, and all who were known."""
        return self.frames_left <= 0 or (bool(self.heard) and self.wanted <= set(self.heard))


def listen(
    names: Sequence[str], known: Mapping[str, Collection[Key]], limit_s: float = LIMIT_S
) -> dict[str, list[Neighbor]]:
    """Listen on the interfaces `names`; return who was heard, an entry for every interface that could be listened to.

    known: neighbours that are expected, by interface; listening goes on until those have been heard, too. Raises
    OSError where no interface can be listened to at all (without CAP_NET_RAW, for one).
    """
    deadline = time.monotonic() + limit_s
    with contextlib.ExitStack() as stack:
        waiting: dict[int, tuple[socket.socket, Ear]] = {}
        ears: dict[str, Ear] = {}
        problems: list[OSError] = []
        for name in names:
            opened = _open(name)
            if isinstance(opened, OSError):
                problems.append(opened)
                continue
            stack.enter_context(opened)
            ears[name] = Ear(name, set(known.get(name, ())))
            waiting[opened.fileno()] = (opened, ears[name])
        if problems and not ears:
            raise problems[0]
        _wait(waiting, deadline)
    return {name: list(ear.heard.values()) for name, ear in ears.items()}


def _wait(waiting: dict[int, tuple[socket.socket, Ear]], deadline: float) -> None:
    poller = select.poll()
    for descriptor in waiting:
        poller.register(descriptor, select.POLLIN)
    while waiting and time.monotonic() < deadline:
        for descriptor, _ in poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            opened, ear = waiting[descriptor]
            if not _receive(opened, ear) or ear.done:
                poller.unregister(descriptor)
                del waiting[descriptor]


def _receive(opened: socket.socket, ear: Ear) -> bool:
    """Take one frame; False when the interface is gone."""
    try:
        frame, sender = opened.recvfrom(_FRAME_LIMIT_BYTES)
    except BlockingIOError:
        return True
    except OSError as error:
        log.debug("%s: %s", ear.name, error)
        return False
    ear.frames_left -= 1
    if sender[2] != socket.PACKET_OUTGOING:
        _take(ear, frame)
    return True


def _take(ear: Ear, frame: bytes) -> None:
    try:
        neighbor = parse_frame(frame)
    except BadInput as error:
        log.debug("%s: %s", ear.name, error)
        return
    if neighbor.ttl_s == 0:
        ear.heard.pop(neighbor.key, None)
        ear.wanted.discard(neighbor.key)
    elif neighbor.key in ear.heard or len(ear.heard) < LIMIT_PER_NIC:
        ear.heard[neighbor.key] = neighbor._replace(source=LISTENER)


def _open(name: str) -> Union[socket.socket, OSError]:
    """Open a socket for LLDP on one interface, or return why not.

    Its protocol is none until it is bound, so that nothing arrives from other interfaces.
    """
    try:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        return error
    try:
        index = socket.if_nametoindex(name)
        for group in GROUPS:
            address = bytes.fromhex(group)
            request = struct.pack("iHH8s", index, _MR_MULTICAST, len(address), address)
            opened.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
        opened.bind((name, ETHERTYPE_LLDP))
    except OSError as error:
        opened.close()
        return error
    return opened

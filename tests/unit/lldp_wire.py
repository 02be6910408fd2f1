"""LLDP frames made byte by byte, a veth pair to send them over, and a networkd that answers what a test says.

Nothing of the product's reading of LLDP is used. Source: IEEE 802.1AB-2016 clause 8 and annexes D, E; varlink.org.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, TypeVar

ETHERTYPE = 0x88CC
NEAREST_BRIDGE = "0180c200000e"
CLONE_NEWNET = 0x40000000
T = TypeVar("T")


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!H", kind << 9 | len(value)) + value


def header(group: str = NEAREST_BRIDGE, source: str = "001c730a0b0c") -> bytes:
    return bytes.fromhex(group) + bytes.fromhex(source) + struct.pack("!H", ETHERTYPE)


def chassis(kind: int, value: bytes) -> bytes:
    return tlv(1, bytes([kind]) + value)


def port(kind: int, value: bytes) -> bytes:
    return tlv(2, bytes([kind]) + value)


def ttl(seconds: int = 120) -> bytes:
    return tlv(3, struct.pack("!H", seconds))


def management(family: int, address: bytes) -> bytes:
    return tlv(8, bytes([len(address) + 1, family]) + address + b"\x02" + struct.pack("!I", 5) + b"\0")


def vlan(number: int) -> bytes:
    return tlv(127, bytes.fromhex("0080c201") + struct.pack("!H", number))


def frame_size(size: int) -> bytes:
    return tlv(127, bytes.fromhex("00120f04") + struct.pack("!H", size))


def frame(*tlvs: bytes, group: str = NEAREST_BRIDGE) -> bytes:
    return header(group) + b"".join(tlvs) + tlv(0, b"")


MAC = bytes.fromhex("001c730a0b0c")
SWITCH = frame(
    chassis(4, MAC),
    port(5, b"Ethernet12"),
    ttl(),
    tlv(4, b"Rack 12, server 3"),
    tlv(5, b"sw-rack12-MG-01.example.net"),
    tlv(6, b"Arista Networks EOS\nversion 4.21"),
    tlv(7, bytes.fromhex("00140004")),
    management(1, bytes([10, 0, 0, 12])),
    management(2, bytes.fromhex("20010db8000000000000000000000012")),
    management(6, MAC),
    vlan(100),
    frame_size(9236),
)
"""The neighbour of protocol 6.9's worked example; its VLAN TLV holds 0064, which is 100."""


def in_own_network(function: Callable[[], T]) -> T:
    """Run a function in a thread with a network of its own, which ends with the thread. Needs root."""

    def enter() -> T:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        return function()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


def make_cable(ours: str, theirs: str) -> None:
    """A veth pair with both ends up, in the network of the calling thread."""
    ip("link", "add", ours, "type", "veth", "peer", "name", theirs)
    for name in (ours, theirs):
        ip("link", "set", name, "up")


@contextlib.contextmanager
def sender(name: str, *frames: bytes, after_s: float = 0.0, every_s: float = 0.1) -> Iterator[None]:
    """Send the frames out of an interface of the calling thread's network, again and again, the first time later."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
        opened.bind((name, 0))
        ended = threading.Event()

        def send() -> None:
            ended.wait(after_s)
            while not ended.is_set():
                for each in frames:
                    opened.send(each)
                ended.wait(every_s)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextlib.contextmanager
def networkd(top: Path, answer: bytes, *, hang: bool = False, later: bytes = b"") -> Iterator[list[bytes]]:
    """A networkd below `top` that gives each caller one answer; yields the list of what it was asked.

    later: the answer to all callers but the first, where it is another one.
    """
    path = top / "run/systemd/netif/io.systemd.Network"
    path.parent.mkdir(parents=True, exist_ok=True)
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        ended = threading.Event()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # the test is over
                    return
                with connection, contextlib.suppress(BrokenPipeError):  # the caller had enough
                    asked.append(connection.recv(4096))
                    connection.sendall(later if later and len(asked) > 1 else answer)
                    if hang:
                        ended.wait(30)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink()

"""A switch's trunk port in user space: what comes from a machine's cable with the tag of one VLAN goes untagged into a
bridge, and back; anything else is dropped. For hosts whose kernel has no VLANs.

Source: IEEE 802.1Q (tag 0x8100), the kernel's networking/tuntap.rst.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import socket
import struct
import threading
from pathlib import Path
from typing import Callable, Optional

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
_TAG = 0x8100
_FRAME_BYTES = 65_536


def strip_tag(frame: bytes, vlan: int) -> Optional[bytes]:
    """Return an Ethernet frame of this VLAN without its tag; None for a frame of another one, or of none."""
    kind, tag = struct.unpack_from("!HH", frame, 12) if len(frame) >= 18 else (0, 0)
    return frame[:12] + frame[16:] if kind == _TAG and tag & 0x0FFF == vlan else None


def add_tag(frame: bytes, vlan: int) -> bytes:
    """Return an untagged Ethernet frame with the tag of this VLAN."""
    return frame[:12] + struct.pack("!HH", _TAG, vlan) + frame[12:]


def open_tap(name: str) -> int:
    """Return a descriptor of the tap ``name`` in the calling thread's network, made where there is none."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


class Trunk(threading.Thread):
    """The running port between a machine's card and the tap ``inner``; leaving its `with` block ends it.

    ``netdev`` is QEMU's option text for the card, whose frames are datagrams on sockets in ``folder``. ``call`` runs a
    function in the tap's network.
    """

    def __init__(self, call: Callable[[Callable[[], int]], int], inner: str, vlan: int, folder: Path) -> None:
        super().__init__(daemon=True)
        here, self._machine = folder / "trunk", folder / "card"
        for path in (here, self._machine):
            path.unlink(missing_ok=True)
        ends = {"local": self._machine, "remote": here}
        self.netdev = "dgram" + "".join(f",{end}.type=unix,{end}.path={path}" for end, path in ends.items())
        self.vlan = vlan
        self._outer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._outer.bind(str(here))
        self._inner = call(lambda: open_tap(inner))
        self._ended = threading.Event()

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._outer, selectors.EVENT_READ)
            selector.register(self._inner, selectors.EVENT_READ)
            while not self._ended.is_set():
                for key, _ in selector.select(0.2):
                    self._pass_on(from_machine=key.fileobj is self._outer)

    def _pass_on(self, *, from_machine: bool) -> None:
        if from_machine:
            plain = strip_tag(self._outer.recv(_FRAME_BYTES), self.vlan)
            if plain is not None:
                os.write(self._inner, plain)
        else:
            frame = add_tag(os.read(self._inner, _FRAME_BYTES), self.vlan)
            with contextlib.suppress(OSError):  # before the machine is there, a frame is lost as on any cable
                self._outer.sendto(frame, str(self._machine))

    def __enter__(self) -> Trunk:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self._outer.close()
        os.close(self._inner)

"""What is this machine itself: loopback peers, and the addresses that a service may bind when it is run by hand.

mkweb and mkmirror serve the machine that they run on and nobody else (defect B31).
"""

from __future__ import annotations

import argparse

HOSTS = ("127.0.0.1", "localhost", "::1")


def is_loopback(peer: str) -> bool:
    """Tell whether a peer's address, e.g. `127.0.0.1` or `::1`, is of this machine's loopback."""
    return peer == "::1" or peer.startswith(("127.", "::ffff:127."))


def parse_listen(text: str) -> tuple[str, int]:
    """Parse HOST:PORT for --listen, e.g. `127.0.0.1:2156` or `[::1]:0`; raise argparse.ArgumentTypeError."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if host not in HOSTS or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT with HOST one of {', '.join(HOSTS)}")
    return host, int(port)

"""Fixtures of the bus tier: a private bus, a fake systemd on it, a server, and a node to run mkctl in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bus.harness import FakeSystemd, Node, PrivateBus
from tests.bus.server import Server


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[PrivateBus]:
    """A private system bus with the shipped policy."""
    bus = PrivateBus(tmp_path)
    bus.start()
    yield bus
    bus.stop()


@pytest.fixture
def systemd(bus: PrivateBus) -> Iterator[FakeSystemd]:
    """systemd's name on that bus."""
    with FakeSystemd(bus.address) as systemd:
        yield systemd


@pytest.fixture
def server() -> Iterator[Server]:
    """A Hanlon server that acknowledges."""
    with Server() as server:
        yield server


@pytest.fixture
def node(tmp_path: Path, bus: PrivateBus, systemd: FakeSystemd, server: Server) -> Iterator[Node]:
    """A node with complete facts that knows the server."""
    node = Node(tmp_path, bus)
    node.configure(server.uri)
    node.facts()
    yield node
    node.close()

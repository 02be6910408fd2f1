"""mkctl and mkweb, both real, on one private bus: a push of the server goes the whole way, once.

Between them stands a systemd of a few lines that stops and starts the real mkctl when mkweb asks it to.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from mkcore.jsonfields import digest
from tests.bus.harness import Daemon, Node, PrivateBus, wait_until
from tests.bus.server import Server
from tests.bus.test_mkweb_restart import SYSTEMD, Machine, Mkweb

PUSHED: dict[str, Any] = {"mk_checkin_interval": 2, "mk_checkin_skew": 0}


class RealMachine(Machine):
    """systemd with the real mkctl as its unit."""

    names = (SYSTEMD,)

    def __init__(self, address: str, directory: Path, node: Node) -> None:
        super().__init__(address, directory)
        self._node = node
        self.daemon: Optional[Daemon] = None

    def start_mkctl(self) -> None:
        """Stop the daemon if it runs, start it, and wait as Type=notify does."""
        if self.daemon is not None and self.daemon.process.poll() is None:
            self.daemon.stop()
        ready = self._node.notified.count("READY=1")
        self.daemon = Daemon(self._node)
        wait_until(lambda: self._node.notified.count("READY=1") > ready, "READY=1")


@pytest.fixture
def mkweb(tmp_path: Path, bus: PrivateBus, server: Server) -> Iterator[Mkweb]:
    (tmp_path / "web").mkdir()
    mkweb = Mkweb(tmp_path / "web", bus)
    yield mkweb
    mkweb.close()


@pytest.fixture
def machine(tmp_path: Path, bus: PrivateBus, server: Server, mkweb: Mkweb) -> Iterator[RealMachine]:
    node = Node(tmp_path, bus)
    (node.root / "run/mkweb").rmdir()
    (node.root / "run/mkweb").symlink_to(mkweb.directory)
    node.mkweb_uri = f"http://127.0.0.1:{mkweb.port}"
    server.config = None
    checkin = "[checkin]\nskew_s = 0\ninterval_s = 1\nretry_ceiling_s = 1\n"
    node.write("etc/mk/mk.toml", f'[server]\nuri = "{server.uri}"\n{checkin}[log]\nlevel = "DEBUG"\n')
    (mkweb.root / "etc").symlink_to(node.root / "etc")
    node.facts()
    with RealMachine(bus.address, mkweb.directory, node) as machine:
        mkweb.start()
        machine.start_mkctl()
        yield machine
        assert machine.daemon is not None
        machine.daemon.kill()
        print("\n".join(machine.daemon.lines))
    node.close()


def test_a_pushed_configuration_is_confirmed_once_and_then_left_alone(
    mkweb: Mkweb, machine: RealMachine, server: Server
) -> None:
    server.config = PUSHED
    assert mkweb.wait_phase("confirmed")["digest"] == digest(PUSHED)
    assert machine.restarts == 1
    seen = len(server.checkins())
    wait_until(lambda: len(server.checkins()) >= seen + 2, "two more checkins")
    assert machine.restarts == 1


def test_an_invalid_push_changes_nothing(mkweb: Mkweb, machine: RealMachine, server: Server) -> None:
    server.config = {"mk_checkin_interval": 0}
    assert machine.daemon is not None
    machine.daemon.wait_for("mk_checkin_interval")
    seen = len(server.checkins())
    wait_until(lambda: len(server.checkins()) >= seen + 2, "two more checkins")
    assert (machine.restarts, mkweb.read()) == (0, {})

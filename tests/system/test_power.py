"""Power orders: obeyed where the site allows them, refused with an event where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mkcore import events
from tests.machines import nspawn
from tests.system import node as nodes

ALLOWED = {"mk.server": nodes.SERVER_URI, "mk.toml": "[actions]\nallow_power_orders = true\n"}
"""Everything that this node is told comes from its firmware or VMM: there is no file of a site."""


@pytest.mark.parametrize(("order", "status"), [("reboot", nspawn.REBOOTED), ("poweroff", nspawn.POWERED_OFF)])
def test_order_is_obeyed(installed: list[Path], order: str, status: int) -> None:
    """mkctl has systemd reboot or power off the machine; the container's own end tells which of them it was."""
    with nodes.boot(f"power-{order}", installed, site="", credentials=ALLOWED) as node:
        node.start_registered()
        origin = node.machine.output("mkctl", "config", "--origin")
        assert "credential" in next(line for line in origin.splitlines() if "allow_power_orders" in line)
        assert "mk.server" in node.machine.controller("ServerSource")
        node.server("order", nodes.UUID, order)
        node.check_in(check=False)
        assert node.machine.wait_end() == status


def test_order_is_refused_by_default(installed: list[Path]) -> None:
    """An installed machine does not power off because a server says so; it says that it was asked, and goes on."""
    with nodes.boot("power-refused", installed) as node:
        node.start_registered()
        start = node.machine.mark()
        node.server("order", nodes.UUID, "poweroff")
        node.check_in(check=False)
        node.machine.wait_event(events.POWER_ORDER_REFUSED.id, after=start)
        assert node.machine.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")
        node.check_in()

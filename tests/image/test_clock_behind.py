"""A machine whose clock is behind, and a server whose certificate is not valid before some time has passed.

mk-clock.service on the shipped image, with systemd, polkit and the capability as they are there. (Issue of dead
batteries; design 7.)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from mkcore import events
from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.network import Lab
from tests.machines.qemu import Machine, Nic, VirtualMachine
from tests.machines.server import IMAGE, ROOT
from tests.unit.tls_server import Authority, TlsServer

pytestmark = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full boots a machine for it")

FOLDER = ROOT / "build/image-tests/clock"
DEADLINE_S = 600.0
DAY_S = 86_400
ACKNOWLEDGE = b'{"errcode":0,"http_err_code":200,"response":{"command_name":"acknowledge","command_param":{}}}'


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("mk-clock", FOLDER / "lab") as lab:
        yield lab


def test_the_clock_is_stepped_once_to_the_server_s_time(image: dict[str, str], lab: Lab, tmp_path: Path) -> None:
    """Then the certificate is valid, and the node checks in."""
    now_s, ca = time.time(), Authority(tmp_path / "ca")
    since = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(now_s + 30 * DAY_S))
    chain, key = ca.issue("later", names=f"IP:{Lab.address}", since=since)
    date = formatdate(now_s + 31 * DAY_S, usegmt=True)
    with lab.call(lambda: TlsServer(chain, key, body=ACKNOWLEDGE, date=date, address=Lab.address)) as server:
        site = f'[server]\nuri = "{server.uri}"\ndialect = "hanlon"\n[clock]\nfrom_server = true\n'
        site += "[checkin]\ninterval_s = 1\nretry_ceiling_s = 1\nskew_s = 0\n"
        machine = Machine(
            uuid="8f4a1c3e-52d7-4b0a-9c6e-0d1f2a3bd1c0",
            nics=(Nic("52:54:00:4d:4b:c0", lab.add_tap()),),
            accel=choose_accel(),
            kernel=IMAGE / "vmlinuz",
            initrd=IMAGE / "initrd",
            cmdline="console=ttyS0 quiet",
            credentials=build_credentials({"mk.toml": site.encode(), "mk.ca": ca.root.read_bytes()}),
            channels=CHANNELS,
        )
        with VirtualMachine(machine, FOLDER / "machine", prefix=lab.prefix) as vm:
            channel = Channel(vm)
            told = channel.wait_event(events.CLOCK_STEPPED, DEADLINE_S)
            assert str(told["MESSAGE"]).endswith(f", as {server.uri}/ says")

            def checked_in() -> bool:
                return any(raw.startswith(b"GET /hanlon/api/v1/node/checkin?") for raw in server.requests)

            vm.wait_until(checked_in, "a checkin", DEADLINE_S)
            assert 31 * DAY_S - 2 < int(channel.run("date", "+%s").stdout) - now_s < 32 * DAY_S
            shown = channel.run("systemctl", "show", "mk-clock.service", "--property=Result,ExecMainStatus,NRestarts")
            assert set(shown.stdout.split()) == {"Result=success", "ExecMainStatus=0", "NRestarts=0"}
            # once per boot: whoever asks again is refused by the unit's own condition
            channel.run("systemctl", "start", "mk-clock.service")
            asked = channel.run("systemctl", "show", "mk-clock.service", "--property=ConditionResult")
            assert asked.stdout == "ConditionResult=no\n"

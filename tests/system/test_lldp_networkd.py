"""What real versions of systemd-networkd know of LLDP neighbours: this machine's, and that of Debian 13 (row 88)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.machines.tree import RELEASE

ROOT = Path(__file__).resolve().parent.parent.parent
NETWORKD = "usr/lib/systemd/systemd-networkd"
NAMES = {
    "lldp_neighbor_chassisid_ours": "00:1c:73:0a:0b:0c",
    "lldp_neighbor_portid_ours": "Ethernet12",
    "lldp_neighbor_sysname_ours": "sw-rack12-MG-01.example.net",
}
DETAILS = {
    "lldp_neighbor_mngaddr_ipv4_ours": "10.0.0.12",
    "lldp_neighbor_mngaddr_ipv6_ours": "2001:db8::12",
    "lldp_neighbor_pvid_ours": 100,
    "lldp_neighbor_mtu_ours": "9236",
}


def ask(root: Path) -> Any:
    command = ["unshare", "--mount", "--net", "--propagation", "private", sys.executable]
    command += [str(ROOT / "tests/system/networkd_lldp.py"), str(root)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/unit'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(got: Any, *, frames: bool) -> None:
    assert got["error"] == ""
    assert got["facts"] == ({**NAMES, **DETAILS} if frames else NAMES)
    (neighbor,) = got["inventory"]["lldp_neighbors"]["ours"]
    assert neighbor["system_description"] == "Arista Networks EOS version 4.21"
    assert neighbor["enabled_capabilities"] == ["bridge"]
    assert neighbor["source"] == "networkd"


def test_debian_s_networkd_answers_over_varlink_or_by_a_file_of_frames(base: list[Path]) -> None:
    """Debian 13's in the one way, Debian 12's in the other."""
    check(ask(base[0]), frames=RELEASE == "bookworm")


def test_this_machine_s_networkd_in_whichever_way_it_answers() -> None:
    if not Path("/", NETWORKD).exists():
        pytest.skip("this machine has no systemd-networkd")
    shown = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout
    check(ask(Path("/")), frames=int(shown.split()[1]) < 255)

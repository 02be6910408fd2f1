"""The image for arm64: built here by an emulated one, booted by UEFI firmware on an emulated machine until registered.

In make test-full: a first build downloads and configures a system under emulation, which takes some minutes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.image.conftest import FOLDER, PASSWORD
from tests.machines import arm
from tests.machines.booted import record_booted
from tests.machines.journal import Channel
from tests.machines.network import Lab
from tests.machines.qemu import VirtualMachine
from tests.machines.server import ROOT, Server

BUILD_S, BOOT_S = 3600.0, 900.0

pytestmark = pytest.mark.skipif("MK_ARM64" not in os.environ, reason="a cell of make test-full makes and boots it")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Server, VirtualMachine]]:
    """A server and a machine that has just been switched on."""
    subprocess.run(["make", "image", "ARCH=arm64"], cwd=ROOT, check=True, timeout=BUILD_S)
    place = FOLDER / "arm64"
    with Lab("mk-arm64", place / "lab") as lab:
        reach = {"prefix": lab.prefix, "where": lab.call}
        with Server(place / "server", address=lab.address, password=PASSWORD, **reach) as server:
            machine = arm.build_machine(place / "own", lab.add_tap(), lab.address)
            with VirtualMachine(machine, place / "machine", prefix=lab.prefix) as vm:
                yield server, vm


def test_an_arm64_machine_registers_what_it_is(server: tuple[Server, VirtualMachine]) -> None:
    mkserver, vm = server
    channel = Channel(vm)
    vm.wait_until(lambda: bool((mkserver.node(arm.UUID) or {}).get("registered_ms")), "registered", BOOT_S)
    facts = dict((mkserver.node(arm.UUID) or {})["facts"])
    assert (facts["architecture"], facts["hardwaremodel"]) == ("aarch64", "aarch64")
    assert facts["macaddress"].lower() == arm.MAC
    assert channel.run("uname", "--machine").stdout == "aarch64\n"
    assert channel.run("systemctl", "is-system-running", check=False).stdout in ("running\n", "starting\n")
    record_booted("arm64/UEFI", "vmlinuz", "initrd", folder=arm.IMAGE)

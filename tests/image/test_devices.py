"""The shipped image on a machine that has one of each network card and of each storage controller: a driver takes each.

All of them are in one machine, which is what a driver of the wrong one would show as well; the machine is booted from
kernel and initrd, as what the firmware reads is not what is tested.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machines import models
from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.models import Collection, Found, Model
from tests.machines.qemu import Machine, VirtualMachine
from tests.machines.server import IMAGE, ROOT

FOLDER = ROOT / "build/image-tests/devices"
BOOT_S = 600.0
"""From power on to systemd's word that all units have started, under TCG: about 60 s."""

pytestmark = pytest.mark.usefixtures("image")


def build_machine(collection: Collection) -> Machine:
    """Describe the machine with all models."""
    return Machine(
        uuid="6d6b6465-7669-4365-8001-6d6f64656c73",
        nics=collection.build_nics("user,restrict=on,ipv6=off"),
        accel=choose_accel(),
        kernel=IMAGE / "vmlinuz",
        initrd=IMAGE / "initrd",
        cmdline="console=ttyS0",
        credentials=build_credentials(),
        channels=CHANNELS,
        extra=collection.build_argv(FOLDER / "disks"),
    )


@pytest.fixture(scope="module")
def found() -> Iterator[Found]:
    """What the machine has, once udev has settled."""
    with VirtualMachine(build_machine(Collection()), FOLDER / "machine") as vm:
        channel = Channel(vm)
        channel.run("systemctl", "is-system-running", "--wait", timeout_s=BOOT_S, check=False)
        channel.run("udevadm", "settle", "--timeout=120", timeout_s=150)
        yield models.look(channel)


def need(model: Model) -> None:
    """Skip where this host's QEMU has no such device."""
    if not models.is_known(model):
        pytest.skip(f"this QEMU has no {model.name}")


@pytest.mark.parametrize("model", models.NICS, ids=lambda model: model.name)
def test_driver_takes_the_card(found: Found, model: Model) -> None:
    """The card of this address is a network interface of its driver."""
    need(model)
    drivers = found.nics.get(Collection().mac(model))
    assert drivers, f"{model.name} is no network interface; there are {found.nics}"
    assert model.driver in [name.replace("-", "_") for name in drivers] or model.driver in drivers


@pytest.mark.parametrize("model", models.STORAGE, ids=lambda model: model.name)
def test_driver_takes_the_disk(found: Found, model: Model) -> None:
    """The disk of this size is a block device below its controller's driver (row 25 of the protocol: SCSI drivers)."""
    need(model)
    drivers = found.disks.get(Collection().size_bytes(model))
    assert drivers, f"the disk on {model.name} is no block device; there are {found.disks}"
    assert model.driver in drivers


def test_no_network_or_storage_device_is_without_a_driver(found: Found) -> None:
    """Whatever else the machine has of these classes is taken, too."""
    assert not found.bare

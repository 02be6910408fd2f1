"""The extension with the drivers of InfiniBand cards on the shipped image: merged at boot, and taken by its kernel.

QEMU has no such card, so the loader has to find none, and the drivers are then loaded by hand: each finds its symbols
in this kernel and the image's own modules, under the signature that Debian gave it. A cell of make test-full.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mkcore import events
from tests.machines import mirrors
from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.qemu import Machine, MachineError, Nic, VirtualMachine
from tests.machines.server import IMAGE, ROOT, read_manifest

FOLDER = ROOT / "build/image-tests/infiniband"
UNIT = "infiniband-drivers.service"
BOOT_S = 600.0
DRIVERS = ("ib_core", "ib_uverbs", "mlx4_ib", "mlx5_ib", "ib_mthca", "rdmavt", "ib_qib", "ib_umad", "ib_cm", "ib_ipoib")
"""Each after what it needs."""

pytestmark = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full boots a machine for it")


@pytest.fixture(scope="module")
def channel(image: dict[str, str]) -> Iterator[Channel]:
    """A machine whose initrd has the extension in a site's mirror, with the list of what is installed."""
    mirror = FOLDER / "mirror"
    command = [str(ROOT / "packaging/extensions/build"), "--base", str(IMAGE / "dpkg-status"), "--out", str(mirror)]
    subprocess.run(["/usr/bin/python3", *command, "infiniband"], check=True)
    words = ["index", str(mirror), "--install", "infiniband.raw", "--quiet"]
    subprocess.run([sys.executable, "-m", "mkmirror", *words], cwd=ROOT, check=True)
    mirrors.append_mirror(IMAGE / "initrd", mirror, "var/lib/mk/mirror", FOLDER / "initrd", {})
    machine = Machine(
        uuid="6d6b6962-6d6f-4563-8001-696e66696e69",
        nics=(Nic("52:54:00:4d:4b:1b", "user,ipv6=off"),),
        accel=choose_accel(),
        kernel=IMAGE / "vmlinuz",
        initrd=FOLDER / "initrd",
        cmdline="console=ttyS0 quiet",
        credentials=build_credentials(),
        channels=CHANNELS,
    )
    with VirtualMachine(machine, FOLDER / "machine") as vm:
        yield Channel(vm)


def test_nothing_is_loaded_where_no_such_card_is(channel: Channel) -> None:
    try:
        channel.wait_event(events.EXTENSION_INSTALLED, BOOT_S, MK_EXTENSION="infiniband.raw")
    except MachineError as error:
        said = channel.run("journalctl", "--no-pager", "-o", "cat", "-u", "mk-fetch", "-u", "mk-extensions").stdout
        raise AssertionError(f"{error}\n{said}") from error
    show = ("systemctl", "show", "--property=ActiveState", "--value", UNIT)
    channel.machine.wait_until(lambda: channel.run(*show).stdout in ("active\n", "failed\n"), UNIT, BOOT_S)
    assert channel.run(*show).stdout == "active\n", channel.run("journalctl", "-u", UNIT).stdout
    said = channel.run("journalctl", "--unit", UNIT, "--output=cat").stdout
    assert "no device of this machine is for a driver of this extension: nothing is loaded\n" in said
    assert "ib_core" not in channel.run("lsmod").stdout


def test_the_kernel_takes_each_driver(channel: Channel) -> None:
    folder = f"/usr/lib/modules/{read_manifest()['kernel']}/updates/infiniband"
    channel.run("modprobe", "--all", "mlx4_core", "mlx5_core", "dca")
    for name in DRIVERS:
        channel.run("insmod", f"{folder}/{name}.ko")
    loaded = {line.split()[0] for line in channel.run("lsmod").stdout.splitlines()}
    assert set(DRIVERS) <= loaded
    assert int(channel.run("cat", "/proc/sys/kernel/tainted").stdout) & (1 << 13) == 0, "one without a good signature"
    assert channel.run("ls", "/sys/class/infiniband").stdout == ""

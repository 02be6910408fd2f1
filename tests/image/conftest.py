"""The image tier's machine: the shipped image, booted from the network by firmware, in a namespace of its own.

One machine serves all tests of a module, in their order: a boot takes a minute under TCG. The image is read before and
after: what was tested is what is shipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.network import Lab
from tests.machines.node import Node
from tests.machines.qemu import Disk, Machine, Nic, VirtualMachine
from tests.machines.server import IMAGE, PORT, ROOT, Server, ServerError, read_manifest
from tests.machines.wire import Wire

FOLDER = ROOT / "build/image-tests"
CMDLINE = "mk.ip={host} console=ttyS0"
"""The neutral name: which dialect the server speaks is left to the node to find out."""
PASSWORD = "password of the lab"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the machine's journal with the failure of a test."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    node = getattr(item, "funcargs", {}).get("node")
    if report.failed and isinstance(node, Node):
        lines = [f"{entry.get('SYSLOG_IDENTIFIER')}: {entry.get('MESSAGE')}" for entry in node.channel.entries()[-60:]]
        report.sections.append(("the machine's journal", "\n".join(lines)))


def _digests() -> dict[str, str]:
    return {name: hashlib.sha256((IMAGE / name).read_bytes()).hexdigest() for name in ("vmlinuz", "initrd")}


@pytest.fixture(scope="session")
def image() -> Iterator[dict[str, str]]:
    """SHA-256 of kernel and initrd, equal to the manifest's before the first test and after the last."""
    try:
        manifest = read_manifest()
    except ServerError as error:
        pytest.fail(str(error), pytrace=False)
    shipped = {name: manifest["files"][name]["sha256"] for name in ("vmlinuz", "initrd")}
    assert _digests() == shipped, "build/image is not what its manifest says: run make image"
    yield shipped
    assert _digests() == shipped, "a test changed the image"


def build_machine(taps: list[str]) -> Machine:
    """Describe the machine under test: two ports of two makes, three disks on three kinds of bus."""
    disks = FOLDER / "disks"
    return Machine(
        uuid="8f4a1c3e-52d7-4b0a-9c6e-0d1f2a3b4c5d",
        nics=(Nic("52:54:00:4d:4b:01", taps[0]), Nic("52:54:00:4d:4b:02", taps[1], "e1000e")),
        disks=(
            Disk(disks / "scsi", "SCSI-7F3A", 64 << 20, "scsi"),
            Disk(disks / "nvme", "NVME-01C9", 96 << 20, "nvme"),
            Disk(disks / "sata", "SATA-55E2", 32 << 20, "sata"),
        ),
        accel=choose_accel(),
        credentials=build_credentials(),
        channels=CHANNELS,
    )


@pytest.fixture(scope="module")
def node(image: dict[str, str]) -> Iterator[Node]:
    """A machine that was just switched on; nothing of it was waited for."""
    with Lab("mk-image-tests", FOLDER / "lab") as lab:
        reach = {"prefix": lab.prefix, "where": lab.call}
        with (
            Server(FOLDER / "server", address=lab.address, password=PASSWORD, cmdline=CMDLINE, **reach) as server,
            Wire(lab.call, "br0", PORT) as wire,
        ):
            lab.offer(server.bootstrap(f"{lab.address}:{PORT}"))
            machine = build_machine([lab.add_tap(), lab.add_tap()])
            machine = replace(machine, extra=(*machine.extra, "-rtc", "base=2001-02-03T04:05:06"))  # an empty battery
            with VirtualMachine(machine, FOLDER / "machine", prefix=lab.prefix) as vm:
                yield Node(vm, Channel(vm), server, wire)

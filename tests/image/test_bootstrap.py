"""The script that tries eight network cards (protocol 1.1), in iPXE itself: both dialects, each node's own kernel line.

The machine has eight cards of which DHCP answers on the last ones alone, and hands out the address of mkserver's
script, as README says. iPXE is the one in the card's ROM. (Rows 2, 9, 105.)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.network import Lab
from tests.machines.qemu import Machine, Nic, VirtualMachine
from tests.machines.server import PORT, ROOT, Server
from tests.machines.wire import Wire

pytestmark = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full waits for eight cards, twice")

FOLDER = ROOT / "build/image-tests/bootstrap"
UUID = "6f1d0c52-7be4-4c0d-9d57-2f3a4b5c6d7e"
MACS = [f"52:54:00:4d:4c:{number:02x}" for number in range(8)]
SCRIPT_S, BOOT_S = 600.0, 900.0
CMDLINE, FOR_ALL = "{dialect}.ip={host}", "console=tty0 lab.all={dialect}"
FOR_ONE = "lab.own=1 console=ttyS1,115200"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("mk-bootstrap", FOLDER / "lab") as lab:
        yield lab


@pytest.fixture(scope="module")
def server(image: dict[str, str], lab: Lab) -> Iterator[Server]:
    """A server that adds arguments to every node's kernel line."""
    reach = {"prefix": lab.prefix, "where": lab.call}
    with Server(FOLDER / "server", address=lab.address, password="of the lab", cmdline=CMDLINE, **reach) as server:
        server.configure(boot_kernel_args=FOR_ALL)
        yield server


@contextmanager
def boot(lab: Lab, dialect: str, answered: Sequence[int]) -> Iterator[tuple[VirtualMachine, Wire]]:
    """Switch the machine on where DHCP names the script of a dialect, on these of its cards."""
    lab.serve(f"--dhcp-boot=http://{lab.address}:{PORT}/ipxe/{dialect}")
    kinds = {True: "virtio-net-pci", False: "virtio-net-pci,romfile="}
    there = [number in answered for number in range(len(MACS))]
    nics = [Nic(mac, lab.add_tap(alone=not each), kinds[each]) for mac, each in zip(MACS, there)]
    second = ("-chardev", "file,id=second,path=second.log", "-serial", "chardev:second")
    machine = Machine(
        uuid=UUID,
        nics=tuple(nics),
        accel=choose_accel(),
        credentials=build_credentials(),
        channels=CHANNELS,
        extra=second,
    )
    with (
        Wire(lab.call, "br0", PORT) as wire,
        VirtualMachine(machine, FOLDER / dialect, prefix=lab.prefix) as vm,
    ):
        yield vm, wire


def wait_kernel(vm: VirtualMachine, wire: Wire, since_s: float = 0.0) -> dict[str, str]:
    """Wait until the script of this node has had its kernel fetched; return what the server was asked for the script.

    iPXE asks for its script, goes through its cards, and asks for what this node boots, in this order.
    """

    def asked() -> list[str]:
        return [sent.line.split(" ")[1] for sent in wire.requests(since_s)]

    vm.wait_until(lambda: any(path.endswith("/vmlinuz") for path in asked()), "the kernel is fetched", SCRIPT_S)
    script, question, kernel = (urlsplit(path) for path in asked()[:3])
    assert script.path.startswith("/ipxe/") and question.path.endswith("/boot") and kernel.path.endswith("/vmlinuz")
    return {name: values[0] for name, values in parse_qs(question.query).items()}


def card(number: int) -> str:
    """Return how iPXE names the card that it goes on by."""
    return f"01-{MACS[number].replace(':', '-')}"


def test_hanlons(lab: Lab, server: Server) -> None:
    """All cards are named, and the last that has an address is the one that it goes on by."""
    with boot(lab, "hanlon", (5, 6)) as (vm, wire):
        assert wait_kernel(vm, wire) == {"uuid": UUID, "mac_id": "_".join(MACS), "dhcp_mac": card(6)}
        known = server.node(UUID)
        assert known is not None and known["boots"] == 1


def test_razors_with_arguments_for_this_node(lab: Lab, server: Server) -> None:
    """The serial console that a person asked for, once this node was seen, is used at its next boot; it registers."""
    question = {"hw_id": "_".join(MACS), "dhcp_mac": card(7)}
    with boot(lab, "razor", (7,)) as (vm, wire):
        assert wait_kernel(vm, wire) == question
        node = server.node(MACS[0])
        assert node is not None and node["dialect"] == "razor"
        server.send("PATCH", "/api/config", {"node": node["id"], "set": {"boot_kernel_args": FOR_ONE}})
        since_s = time.monotonic()
        vm.qmp.execute("system_reset")
        assert wait_kernel(vm, wire, since_s) == question
        vm.wait_until(lambda: bool((server.node(node["id"]) or {}).get("registrations")), "it registers", BOOT_S)
        words = Channel(vm).run("cat", "/proc/cmdline").stdout.split()
        assert [word for word in words if word.startswith("lab.")] == ["lab.all=razor", "lab.own=1"]
        assert f"razor.ip={lab.address}" in words
        assert words.index("console=tty0") < words.index("console=ttyS1,115200")
        said = (vm.folder / "second.log").read_text(encoding="utf-8", errors="replace")
        assert "Linux version" in said and "MK Loaded: v" in said
        assert "Linux version" not in vm.console()

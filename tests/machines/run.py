"""``make run``: a machine boots from its firmware over the network, registers, and is shown.

Starts mkserver on 127.0.0.1:8026, boots NODES machines (1) by TFTP, iPXE and HTTP over QEMU's user networking, which
needs no root, and prints each node's inventory as the server's API tells it. On a terminal the machines stay until
Ctrl-C. With ONCE=1, and without a terminal, each is switched off by an order instead, what it said of itself is
compared with QEMU's command line, and the exit status tells the result.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, TextIO

from .accel import choose_accel
from .qemu import Disk, Machine, MachineError, Nic, VirtualMachine
from .server import PORT, ROOT, Server, ServerError, read_manifest
from .stages import STAGES, build_truth, clean, count_stages, inventory_lines, read_download, read_truth

FOLDER = ROOT / "build/run"
SERVER_FOR_NODES = "10.0.2.2"
"""The host's loopback interface, as QEMU's user networking shows it to the guest."""
CMDLINE = "hanlon.ip={host} console=tty0 console=ttyS0"
INTERVAL_S = 10
BOOT_LIMIT_S = 600.0
POWEROFF_LIMIT_S = 180.0


def build_machine(number: int, folder: Path, accel: str) -> Machine:
    """Describe node ``number`` (from 1): two ports, of which the first boots, and two disks; the same at each run."""
    first = f"user,net=10.0.2.0/24,tftp={folder},bootfile=boot.ipxe"
    nics = (
        Nic(f"52:54:00:6d:6b:{number:02x}", first),
        Nic(f"52:54:00:6d:6c:{number:02x}", "user,net=10.0.3.0/24,restrict=on", "e1000e"),
    )
    disks = (
        Disk(folder / f"node{number}.scsi", f"MKSCSI{number:04}", 4 << 30, "scsi"),
        Disk(folder / f"node{number}.nvme", f"MKNVME{number:04}", 8 << 30, "nvme"),
    )
    return Machine(uuid=f"6d6b7375-6974-4e6f-8465-{number:012x}", nics=nics, disks=disks, accel=accel)


class Screen:
    """What the person sees: finished stages as lines, and on a terminal one line below that moves."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._moving = out, out.isatty()
        self._began = time.monotonic()

    def line(self, text: str = "") -> None:
        """Write a line that stays."""
        self._out.write(("\r\x1b[K" if self._moving else "") + text + "\n")
        self._out.flush()

    def stage(self, who: str, text: str) -> None:
        """Write a stage with the seconds since the start."""
        self.line(f"{time.monotonic() - self._began:7.1f} s  {who:8} {text}")

    def moving(self, text: str) -> None:
        """Show what happens at this moment; nothing without a terminal."""
        if self._moving:
            width = shutil.get_terminal_size().columns - 1
            self._out.write("\r\x1b[K" + f"{time.monotonic() - self._began:7.1f} s  {text}"[:width])
            self._out.flush()


@dataclass
class Boot:
    """One machine on its way."""

    name: str
    vm: VirtualMachine
    stages: int = 0
    node: Optional[Any] = None

    @property
    def registered(self) -> bool:
        """Whether the server has its facts."""
        return self.stages == len(STAGES)

    def look(self, server: Server, screen: Screen) -> None:
        """Read console and server, and show each stage that was passed since the last look."""
        self.node = server.node(self.vm.machine.uuid)
        reached = max(self.stages, count_stages(self.vm.console(), self.node))
        for number in range(self.stages, reached):
            screen.stage(self.name, STAGES[number])
        self.stages = reached

    def now(self) -> str:
        """Say in a few words what it is doing."""
        name, percent = read_download(self.vm.console())
        if name:
            return f"{self.name} {name} [{'#' * (percent // 4):25}] {percent} %"
        return f"{self.name} waiting for: {STAGES[self.stages]}" if not self.registered else ""


def watch(boots: list[Boot], server: Server, screen: Screen) -> None:
    """Show the way of all machines until each has registered. Raises MachineError when one ends or takes too long."""
    deadline = time.monotonic() + BOOT_LIMIT_S
    while not all(boot.registered for boot in boots):
        for boot in boots:
            boot.look(server, screen)
            if boot.vm.process.poll() is not None:
                raise boot.vm.fail(f"{boot.name}: the machine ended before it registered")
            if time.monotonic() > deadline and not boot.registered:
                raise boot.vm.fail(
                    f"{boot.name}: not registered after {BOOT_LIMIT_S:.0f} s; waited for: {STAGES[boot.stages]}"
                )
        screen.moving("   ".join(filter(None, (boot.now() for boot in boots))))
        time.sleep(0.3)


def show(boot: Boot, screen: Screen) -> None:
    """Print one node as the server's API describes it."""
    assert boot.node is not None
    screen.line()
    screen.line(f"{boot.name}: {clean(boot.node['inventory']['hostname'])}, node {clean(boot.node['id'])}")
    for text in inventory_lines(boot.node):
        screen.line(f"  {text}")


def compare(boot: Boot) -> list[str]:
    """Return a line for each thing that the node registered otherwise than QEMU's command line has it."""
    assert boot.node is not None
    machine, said = boot.vm.machine, read_truth(boot.node["inventory"])
    made = build_truth(machine.uuid, machine.macs, machine.serials)
    pairs = (
        ("UUID", said.uuid, made.uuid),
        ("MACs", said.macs, made.macs),
        ("disk serials", said.serials, made.serials),
    )
    return [
        f"{boot.name}: {what} registered as {ours}, on QEMU's command line {theirs}"
        for what, ours, theirs in pairs
        if ours != theirs
    ]


def switch_off(boots: list[Boot], server: Server, screen: Screen) -> None:
    """Order every node off and wait for QEMU's end. Raises MachineError when one stays on."""
    for boot in boots:
        server.order(boot.vm.machine.uuid, "poweroff")
        screen.stage(boot.name, "poweroff ordered")
    for boot in boots:
        boot.vm.wait_event("SHUTDOWN", POWEROFF_LIMIT_S)
        boot.vm.wait_end(30)
        screen.stage(boot.name, "off")


def stay(boots: list[Boot], screen: Screen) -> None:
    """Wait for Ctrl-C; say which machine went off meanwhile, and end when the last has."""
    screen.line("Ctrl-C ends it." if len(boots) == 1 else "Ctrl-C ends them all.")
    on = list(boots)
    while on:
        for boot in list(on):
            if boot.vm.process.poll() is not None:
                screen.stage(boot.name, "off")
                on.remove(boot)
        time.sleep(0.3)


def check_port() -> None:
    """Raise ServerError when another program serves the port already."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            raise ServerError(
                f"port {PORT} of 127.0.0.1 is taken: another make run, or an mkserver that is already running?"
            )


def run(number: int, once: bool, screen: Screen) -> int:
    """Do all of it; returns the exit status. Raises ServerError, MachineError."""
    check_port()
    manifest, accel = read_manifest(), choose_accel()
    size_mb = sum(manifest["files"][name]["size_bytes"] for name in ("vmlinuz", "initrd")) / 1e6
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        server = stack.enter_context(Server(FOLDER / "server", cmdline=CMDLINE))
        server.configure(mk_checkin_interval=INTERVAL_S)
        (FOLDER / "boot.ipxe").write_text(server.bootstrap(f"{SERVER_FOR_NODES}:{PORT}"), encoding="ascii")
        screen.stage(
            "server", f"http://127.0.0.1:{PORT}/ serves an image of {size_mb:.1f} MB, version {manifest['version']}"
        )
        boots = []
        for each in range(1, number + 1):
            machine = build_machine(each, FOLDER, accel)
            boot = Boot(f"node{each}", stack.enter_context(VirtualMachine(machine, FOLDER / f"node{each}")))
            boots.append(boot)
            screen.stage(
                boot.name,
                f"power on: {machine.cpus} CPUs, {machine.memory_mib} MiB, {accel}, console in {boot.vm.folder}",
            )
        watch(boots, server, screen)
        for boot in boots:
            show(boot, screen)
        screen.line(f"\npage: http://127.0.0.1:{PORT}/\n")
        if not once:
            stay(boots, screen)
            return 0
        differences = [line for boot in boots for line in compare(boot)]
        for line in differences:
            screen.line(f"WRONG: {line}")
        switch_off(boots, server, screen)
        screen.line(
            "What the nodes registered equals QEMU's command line."
            if not differences
            else "The nodes registered wrong things."
        )
        return 1 if differences else 0


def main() -> int:
    """Read NODES and ONCE from the environment; ``--check`` only says whether they and the port allow a run.

    Status 0, also after Ctrl-C; 1 with the reason; 64 for a NODES that is no number.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    once = os.environ.get("ONCE", "") not in ("", "0") or not sys.stdout.isatty()
    screen = Screen(sys.stdout)
    try:
        number = int(os.environ.get("NODES") or 1)
        if not 1 <= number <= 16:
            raise ValueError
    except ValueError:
        print("make run: NODES must be a number from 1 to 16", file=sys.stderr)
        return 64
    try:
        if "--check" in sys.argv[1:]:
            check_port()
            return 0
        return run(number, once, screen)
    except (ServerError, MachineError, OSError) as error:
        screen.line()
        print(f"make run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        screen.line()
        return 0


if __name__ == "__main__":
    sys.exit(main())

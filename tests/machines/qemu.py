"""QEMU as a real machine: firmware, network cards, disks with serial numbers, power.

What a machine is made of is data (`Machine`), its command line a pure function of it, so that a test can compare what a
node registered with exactly what it was given. Starting is thin: one process, whose serial console goes into a file and
whose power events come over QMP.

TCG is the default: `/dev/kvm` may be there and still not work (see `accel`). `-cpu max,-cx16` because QEMU 7.2 crashes
guests that have two processors and cmpxchg16b under multi-threaded TCG.

Source: qemu(1), QEMU's docs/interop/qmp-spec; systemd.system-credentials(7) for SMBIOS type 11.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Optional

from .qmp import Qmp

PROGRAM = "qemu-system-x86_64"
CONSOLE = "console.log"
_PANIC = "Kernel panic - not syncing"
ACCELERATORS = {"tcg": ("-accel", "tcg,thread=multi", "-cpu", "max,-cx16"), "kvm": ("-accel", "kvm", "-cpu", "host")}
ARM_PROGRAM = "qemu-system-aarch64"
ARM_ACCELERATOR = ("-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on")
"""Signing pointers as the architecture has it costs an emulator half of its time; this way to sign them does not."""


class MachineError(Exception):
    """A machine did not do what was waited for; the text ends with the last lines of its console."""


@dataclass(frozen=True)
class Disk:
    """One disk: an empty file is made at `path` if there is none. ``bus`` is virtio, scsi, sata or nvme."""

    path: Path
    serial: str
    size_bytes: int = 64 << 20
    bus: str = "virtio"
    throw_away: bool = False
    """What the machine writes is lost with it, so that one file serves many machines."""


@dataclass(frozen=True)
class Nic:
    """One network card.

    ``netdev`` is QEMU's option text less the id, for example "user" or "tap,ifname=mk1,script=no".
    """

    mac: str
    netdev: str
    model: str = "virtio-net-pci"


@dataclass(frozen=True)
class Machine:
    """All that the command line is made of. Without a kernel it boots its cards in their order, then again after a
    reset.

    ``credentials`` reach the guest's systemd by SMBIOS; ``channels`` are virtio-serial ports, sockets of the same name
    outside.
    """

    uuid: str
    nics: tuple[Nic, ...]
    disks: tuple[Disk, ...] = ()
    memory_mib: int = 1024
    cpus: int = 2
    accel: str = "tcg"
    arm: bool = False
    """An arm64 server (QEMU's machine "virt"), emulated whatever ``accel`` says; its firmware is in ``extra``."""
    kernel: Optional[Path] = None
    initrd: Optional[Path] = None
    cmdline: str = ""
    credentials: Mapping[str, bytes] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    smbios: tuple[str, ...] = ()
    ports: int = 0
    """PCI Express ports with nothing in them, for `VirtualMachine.plug_nic` and `plug_disk`."""
    cpu_options: str = ""
    """What comes after the accelerator's processor: ",model-id=..."."""
    extra: tuple[str, ...] = ()
    """Further words of the command line (see `rich_argv`)."""

    @property
    def program(self) -> str:
        """QEMU for its architecture."""
        return ARM_PROGRAM if self.arm else PROGRAM

    @property
    def macs(self) -> tuple[str, ...]:
        """MAC addresses in the order of the cards, lower case with colons."""
        return tuple(nic.mac for nic in self.nics)

    @property
    def serials(self) -> tuple[str, ...]:
        """Serial numbers of the disks, in their order."""
        return tuple(disk.serial for disk in self.disks)


def build_argv(machine: Machine) -> list[str]:
    """Build QEMU's command line; it is run in a folder of its own, where its sockets and its console's log go."""
    board = "virt" if machine.arm else "q35,graphics=off"
    argv = [machine.program, "-nodefaults", "-no-user-config", "-machine", board, "-display", "none"]
    *accelerator, processor = ARM_ACCELERATOR if machine.arm else ACCELERATORS[machine.accel]
    argv += [*accelerator, processor + machine.cpu_options]
    argv += ["-m", str(machine.memory_mib), "-uuid", machine.uuid]
    argv += [] if "-smp" in machine.extra else ["-smp", str(machine.cpus)]
    argv += ["-chardev", f"file,id=console,path={CONSOLE},append=on", "-serial", "chardev:console"]
    argv += ["-chardev", "socket,id=qmp,path=qmp,server=on,wait=off", "-mon", "chardev=qmp,mode=control"]
    argv += ["-device", "virtio-rng-pci,bus=pcie.0"]
    argv += machine.extra
    for number, nic in enumerate(machine.nics):
        argv += ["-netdev", _with_id(nic.netdev, f"net{number}")]
        boot = "" if machine.kernel else f",bootindex={number + 1}"
        argv += ["-device", f"{nic.model},netdev=net{number},mac={nic.mac}{boot}"]
    for number, disk in enumerate(machine.disks):
        argv += _disk_argv(number, disk)
    for number in range(machine.ports):
        argv += ["-device", f"pcie-root-port,id=port{number},chassis={number + 1}"]
    if machine.channels:
        argv += ["-device", "virtio-serial-pci,bus=pcie.0"]
    for name in machine.channels:
        argv += ["-chardev", f"socket,id={name},path={name},server=on,wait=off"]
        argv += ["-device", f"virtserialport,chardev={name},name={name}"]
    if machine.kernel:
        argv += ["-kernel", str(machine.kernel), "-initrd", str(machine.initrd), "-append", machine.cmdline]
    for text in [*machine.smbios, *(_credential(name, value) for name, value in machine.credentials.items())]:
        argv += ["-smbios", text]
    return argv


def _with_id(netdev: str, name: str) -> str:
    kind, _, rest = netdev.partition(",")
    return f"{kind},id={name}" + (f",{rest}" if rest else "")


def _credential(name: str, value: bytes) -> str:
    return f"type=11,value=io.systemd.credential.binary:{name}={base64.b64encode(value).decode()}"


def _disk_argv(number: int, disk: Disk) -> list[str]:
    drive = ["-drive", f"if=none,id=disk{number},format=raw,cache=unsafe,file={disk.path}"]
    drive[1] += ",snapshot=on" if disk.throw_away else ""
    identity = f"drive=disk{number},serial={disk.serial}"
    if disk.bus == "scsi":
        return [
            *drive,
            "-device",
            f"virtio-scsi-pci,id=scsi{number}",
            "-device",
            f"scsi-hd,bus=scsi{number}.0,{identity}",
        ]
    device = {"virtio": "virtio-blk-pci", "nvme": "nvme", "sata": f"ide-hd,bus=ide.{number}"}[disk.bus]
    return [*drive, "-device", f"{device},{identity}"]


def make_disks(machine: Machine) -> None:
    """Make the disks' files that are not there yet: sparse, empty."""
    for disk in machine.disks:
        _make_disk(disk)


def _make_disk(disk: Disk) -> None:
    if not disk.path.exists():
        disk.path.parent.mkdir(parents=True, exist_ok=True)
        with disk.path.open("wb") as file:
            file.truncate(disk.size_bytes)


def find_panic(console: str) -> str:
    """Return the line with which the machine's kernel gave up, as the console has it; "" when it did not."""
    at = console.find(_PANIC)
    return console[at:].splitlines()[0].strip() if at >= 0 else ""


class VirtualMachine:
    """A started machine. Leaving its `with` block ends it, however far it got."""

    def __init__(self, machine: Machine, folder: Path, *, prefix: Sequence[str] = ()) -> None:
        """Start QEMU in ``folder`` (made anew); ``prefix`` is a command that runs it, for example ("ip", "netns",
        "exec", "lab").

        Raises MachineError when QEMU is missing or refuses its command line.
        """
        self.machine, self.folder = machine, folder
        if not shutil.which(machine.program):
            purpose = "arm64" if machine.arm else "run"
            raise MachineError(f"{machine.program} is not installed: run packaging/setup {purpose}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make_disks(machine)
        self.argv = build_argv(machine)
        with (folder / "qemu.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, *self.argv], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.began = time.monotonic()
        try:
            self.qmp = Qmp(self._connect("qmp"))
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> VirtualMachine:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.kill()

    def _connect(self, name: str, timeout_s: float = 20.0) -> socket.socket:
        """Connect to one of QEMU's sockets, through a short path whatever the folder's is called (a socket's may have
        107 bytes).
        """
        folder = os.open(self.folder, os.O_PATH)
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                connection = socket.socket(socket.AF_UNIX)
                try:
                    connection.connect(f"/proc/self/fd/{folder}/{name}")
                    return connection
                except OSError as error:
                    connection.close()
                    if self.process.poll() is not None or time.monotonic() > deadline:
                        raise MachineError(f"QEMU did not start: {self._last_words()}") from error
                    time.sleep(0.02)
        finally:
            os.close(folder)

    def channel(self, name: str) -> socket.socket:
        """Connect to a virtio-serial port, by the name in ``Machine.channels``; once."""
        return self._connect(name)

    def plug_nic(self, port: int, nic: Nic) -> None:
        """Put a card into one of ``Machine.ports`` while the machine runs."""
        kind, *options = nic.netdev.split(",")
        values: dict[str, Any] = dict(option.partition("=")[::2] for option in options)
        values.update(type=kind, id=f"plugged{port}")
        self.qmp.execute("netdev_add", **values)
        device: dict[str, Any] = {"driver": nic.model, "netdev": f"plugged{port}", "mac": nic.mac}
        self.qmp.execute("device_add", bus=f"port{port}", id=f"device{port}", **device)

    def plug_disk(self, port: int, disk: Disk) -> None:
        """Put a virtio disk into one of ``Machine.ports`` while the machine runs."""
        _make_disk(disk)
        file = {"driver": "file", "filename": str(disk.path)}
        node: dict[str, Any] = {"driver": "raw", "node-name": f"plugged{port}", "file": file}
        self.qmp.execute("blockdev-add", **node)
        device: dict[str, Any] = {"driver": "virtio-blk-pci", "drive": f"plugged{port}", "serial": disk.serial}
        self.qmp.execute("device_add", bus=f"port{port}", id=f"device{port}", **device)

    def _last_words(self) -> str:
        return (self.folder / "qemu.log").read_text(encoding="utf-8", errors="replace").strip() or "it said nothing"

    def console(self) -> str:
        """Return all that the machine wrote to its serial port up to now."""
        path = self.folder / CONSOLE
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def fail(self, message: str) -> MachineError:
        """Build the error that says what was waited for, with what QEMU and the console said last."""
        lines = [line for line in self.console().replace("\r", "\n").splitlines() if line.strip()][-30:]
        return MachineError(
            "\n".join([message, "--- the console's last lines ---", *lines, f"--- QEMU: {self._last_words()}"])
        )

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait until ``condition`` holds, looking five times a second.

        Raises MachineError at the deadline, or at once when QEMU has ended or the machine's kernel has given up.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.process.poll() is not None and not condition():
                raise self.fail(f"the machine ended before {what}")
            self.require_sane(what)
            if time.monotonic() > deadline:
                raise self.fail(f"{what}: not within {timeout_s:.0f} s")
            time.sleep(0.2)

    def require_sane(self, what: str) -> None:
        """Raise MachineError at once where the kernel gave up, as nothing that is waited for comes any more."""
        if panic := find_panic(self.console()):
            raise self.fail(f"{what}: does not come any more: {panic}")

    def wait_event(self, name: str, timeout_s: float, since: float = 0.0) -> None:
        """Wait for a QMP event ("RESET", "SHUTDOWN", …) that came after ``since`` (monotonic seconds).

        Raises MachineError.
        """
        self.wait_until(lambda: self.qmp.has_event(name, since), f"QEMU's event {name}", timeout_s)

    def wait_end(self, timeout_s: float) -> int:
        """Wait until QEMU has ended and return its status. Raises MachineError at the deadline."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self.fail(f"the machine is still on after {timeout_s:.0f} s") from None

    def kill(self) -> None:
        """End QEMU at once; nothing happens when it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

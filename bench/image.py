"""The image: its size, how long a node takes from the kernel to its registration, what the suite holds in memory.

The node is the shipped image in a VM that boots the kernel directly; the server is mkserver on the host's loopback,
reached through QEMU's user network. The denominator of the boot is the same image with mk.target masked, up to
network-online.target. Boots alternate, and the medians are compared: these machines are noisy.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.rows import Row, against
from mkcore import events
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.qemu import Machine, Nic, VirtualMachine

BOOTS = 3
CLI_RUNS = 15
IDLE_S = 60.0
USUAL_MIB = 2048
DEADLINE_S = 600.0
ONLINE = "systemd.mask=mk.target systemd.wants=network-online.target systemd.wants=systemd-networkd-wait-online.service"

# Sums the proportional set size of every process below mk.slice, in kB, one line a process.
PSS = """
import pathlib, re
for procs in pathlib.Path("/sys/fs/cgroup/mk.slice").rglob("cgroup.procs"):
    for pid in procs.read_text().split():
        rollup = pathlib.Path("/proc", pid, "smaps_rollup").read_text()
        comm = pathlib.Path("/proc", pid, "comm").read_text().strip()
        print(re.search(r"^Pss:\\s+(\\d+)", rollup, re.M)[1], comm, procs.parent.name)
"""
# A process with the imports alone beside the one whose PID is given; PSS in kB of that one and of the bare one. Both
# are alive when they are measured, because each page that they share counts half for either: measured one after the
# other, the first would pay for what the second then shares.
BESIDE = """
import re, subprocess, sys

def pss(pid):
    return re.search(r"^Pss:\\s+(\\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M)[1]

bare = "import asyncio, requests, dbus_next, sys; print(flush=True); sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-I", "-c", bare], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(pss(sys.argv[1]), pss(child.pid))
child.communicate()
"""


def size(root: Path) -> list[Row]:
    """Kernel and initrd together, kernel and first stage, the ISO, the container's archive with compressed layers."""
    folder = root / "build/image"
    total = sum((folder / name).stat().st_size for name in ("vmlinuz", "initrd"))
    first_stage = sum((folder / name).stat().st_size for name in ("vmlinuz", "first-stage"))
    iso, container = ((folder / name).stat().st_size for name in ("mk.iso", "mk-oci.tar"))
    return [
        Row("image.kernel_plus_initrd_mb", round(total / 1e6, 2), "MB"),
        Row("image.first_stage_mb", round(first_stage / 1e6, 2), "MB"),
        Row("image.iso_mb", round(iso / 1e6, 2), "MB"),
        Row("image.container_mb", round(container / 1e6, 2), "MB"),
    ]


def cli(root: Path) -> list[Row]:
    """``mkctl status`` as a person waits for it, on this host with the system's Python; beside it bare Python."""

    def median_ms(argv: list[str]) -> float:
        """Milliseconds that a command takes, as median of all runs."""
        took = []
        for _ in range(CLI_RUNS):
            began = time.perf_counter()
            subprocess.run(argv, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            took.append((time.perf_counter() - began) * 1e3)
        return statistics.median(took)

    path = f"import sys; sys.path.insert(0, {str(root)!r}); sys.argv = ['mkctl', 'status']; "
    ours = median_ms(["/usr/bin/python3", "-I", "-c", path + "from mkctl.__main__ import main; sys.exit(main())"])
    bare = median_ms(["/usr/bin/python3", "-I", "-c", "pass"])
    return [against("cli.status_ms", ours, "ms", "python3 -I -c pass", bare)]


def boot(root: Path) -> list[Row]:
    """Kernel to registration against kernel to network-online, and the memory after it."""
    registered: list[float] = []
    userspace: list[float] = []
    online: list[float] = []
    suite_mb = mkctl_mb = bare_mb = 0.0
    for number in range(BOOTS):
        with server(root) as port, node(root, f"node{number}", f"hanlon.ip=10.0.2.2 hanlon.port={port}") as channel:
            entry = channel.wait_event(events.REGISTERED, DEADLINE_S)
            registered.append(int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6)
            userspace.append(userspace_s(channel))
            if number == BOOTS - 1:
                suite_mb, mkctl_mb, bare_mb = memory(channel)
        with node(root, f"bare{number}", ONLINE) as channel:
            online.append(online_s(channel))
    ours, theirs = statistics.median(registered), statistics.median(online)
    return [
        against("boot.kernel_to_registered_over_online", ours, "s", "network-online without mk.target", theirs),
        Row("boot.kernel_to_registered_s", round(ours, 2), "s"),
        Row("boot.kernel_to_online_s", round(theirs, 2), "s"),
        Row("boot.userspace_s", round(statistics.median(userspace), 2), "s"),
        Row("memory.suite_idle_pss_mb", round(suite_mb, 2), "MB"),
        against("memory.mkctl_over_bare_imports", mkctl_mb, "MB", "the imports alone", bare_mb),
    ]


def userspace_s(channel: Channel) -> float:
    """Seconds from systemd's start to the end of the start job of the default target."""
    deadline = time.monotonic() + DEADLINE_S
    names = ("UserspaceTimestampMonotonic", "FinishTimestampMonotonic")
    while time.monotonic() < deadline:
        began, ended = (int(channel.run("systemctl", "show", "-P", name).stdout or 0) for name in names)
        if ended:
            return (ended - began) / 1e6
        time.sleep(1)
    raise TimeoutError("the boot did not finish")


def online_s(channel: Channel) -> float:
    """Seconds from the kernel's start to network-online.target."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        shown = channel.run("systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", "network-online.target")
        if int(shown.stdout or 0):
            return int(shown.stdout) / 1e6
        time.sleep(1)
    raise TimeoutError("network-online.target was not reached")


def memory(channel: Channel) -> tuple[float, float, float]:
    """MB of PSS, 60 s after the registration: of all below mk.slice; of mkctl and of a bare process, side by side."""
    time.sleep(IDLE_S)  # the figure is defined so: 60 s after the registration
    held: dict[str, int] = {}
    for line in channel.run("/usr/bin/python3", "-I", "-c", PSS, timeout_s=120).stdout.splitlines():
        kib, _, unit = line.split(maxsplit=2)
        held[unit] = held.get(unit, 0) + int(kib)
    print(f"bench: PSS in kB by unit: {json.dumps(held)}", file=sys.stderr)
    pid = channel.run("systemctl", "show", "-P", "MainPID", "mkctl.service").stdout.strip()
    both = channel.run("/usr/bin/python3", "-I", "-c", BESIDE, pid, timeout_s=120).stdout.split()
    return sum(held.values()) * 1024 / 1e6, int(both[0]) * 1024 / 1e6, int(both[1]) * 1024 / 1e6


@contextlib.contextmanager
def server(root: Path) -> Iterator[int]:
    """A fresh mkserver on a free port of the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = root / "build/bench/server"
    subprocess.run(["rm", "-rf", str(data)], check=True)
    data.mkdir(parents=True)
    argv = [sys.executable, "-m", "mkserver", "run", "--listen", f"127.0.0.1:{port}", "--data", str(data)]
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=root, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/version", timeout=5):
                    break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError(f"mkserver did not start: {(data / 'log').read_text()}") from None
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def node(root: Path, name: str, words: str) -> Iterator[Channel]:
    """A VM that boots the shipped image directly, with the test channel open."""
    machine = build_machine(root, sum(name.encode()), f"quiet {words}")
    with VirtualMachine(machine, root / "build/bench" / name) as vm:
        yield Channel(vm)


def build_machine(
    root: Path, number: int, words: str, memory_mib: int = USUAL_MIB, extra: tuple[str, ...] = ()
) -> Machine:
    """Describe a machine with one card that boots the shipped image directly, with these words on its kernel line.

    number: what tells it from others. extra: further words for QEMU.
    """
    folder = root / "build/image"
    return Machine(
        uuid=f"00000000-0000-4000-8000-{number:012d}",
        nics=(Nic("52:54:00:be:4c:01", "user"),),
        kernel=folder / "vmlinuz",
        initrd=folder / "initrd",
        cmdline=f"console=ttyS0 {words}",
        credentials=build_credentials(),
        channels=CHANNELS,
        memory_mib=memory_mib,
        extra=extra,
    )

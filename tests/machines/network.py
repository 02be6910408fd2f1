"""A network of its own for test machines: bridge, DHCP, TFTP, one tap for each; nothing of it leaves its namespace.

Needs root. Programs are put into the namespace by ``ip netns exec``; a function of the test's own process is run there
by a thread that has entered it, since setns(2) concerns the calling thread alone.

Source: ip-netns(8), setns(2), dnsmasq(8).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Optional, TypeVar

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


class Lab:
    """A started network: namespace, bridge with ``address``, dnsmasq that sends PXE clients to ``boot.ipxe`` in
    ``folder``.

    Leaving its `with` block takes all of it down, programs that still run in the namespace included.
    """

    address = "192.168.88.1"

    def __init__(self, name: str, folder: Path, options: Sequence[str] = ()) -> None:
        """Prepare the namespace ``name`` plus this process's id, so that two runs on one machine leave each other
        alone; what processes left that have ended is removed. ``options`` are further ones of dnsmasq.
        """
        self._options = options
        self._family, self.name, self.folder = name, f"{name}-{os.getpid()}", folder
        self.prefix = ("ip", "netns", "exec", self.name)
        self._taps = 0
        self._dnsmasq: Optional[subprocess.Popen[bytes]] = None
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tftp").mkdir(parents=True)

    def __enter__(self) -> Lab:
        for left in find_leftovers(Path("/run/netns"), self._family):
            remove_namespace(left)
        remove_namespace(self.name)
        ip("netns", "add", self.name)
        try:
            self._in("link", "set", "lo", "up")
            self._in("link", "add", "br0", "type", "bridge", "forward_delay", "0")
            self._in("addr", "add", f"{self.address}/24", "dev", "br0")
            self._in("link", "set", "br0", "up")
            self._start_dnsmasq()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_dnsmasq()
        remove_namespace(self.name)

    def serve(self, *options: str) -> None:
        """Start dnsmasq anew with other further options; leases live on."""
        self._stop_dnsmasq()
        (self.folder / "pid").unlink(missing_ok=True)
        self._options = options
        self._start_dnsmasq()

    def _stop_dnsmasq(self) -> None:
        if self._dnsmasq and self._dnsmasq.poll() is None:
            self._dnsmasq.terminate()
            self._dnsmasq.wait(10)

    def _in(self, *arguments: str) -> None:
        ip("-n", self.name, *arguments)

    def _start_dnsmasq(self) -> None:
        network = self.address.rpartition(".")[0]
        command = [*self.prefix, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root"]
        command += [] if any(each.startswith("--port=") for each in self._options) else ["--port=0"]  # no DNS
        command += ["--interface=br0", "--bind-interfaces", "--dhcp-authoritative", "--no-ping", "--log-dhcp"]
        command += [f"--dhcp-range={network}.100,{network}.199,255.255.255.0,1h", f"--dhcp-option=3,{self.address}"]
        command += ["--enable-tftp", f"--tftp-root={self.folder / 'tftp'}", "--dhcp-boot=boot.ipxe"]
        command += [
            f"--dhcp-leasefile={self.folder / 'leases'}",
            "--log-facility=-",
            f"--pid-file={self.folder / 'pid'}",
            *self._options,
        ]
        with (self.folder / "dnsmasq.log").open("wb") as log:
            self._dnsmasq = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not (self.folder / "pid").exists():  # written when its sockets are open
            if self._dnsmasq.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dnsmasq did not start: {(self.folder / 'dnsmasq.log').read_text()}")
            time.sleep(0.02)

    def offer(self, script: str) -> None:
        """Put the iPXE script that the machines of this network boot into its TFTP server."""
        (self.folder / "tftp/boot.ipxe").write_text(script, encoding="ascii")

    def add_network(self, bridge: str, address: str, *options: str) -> None:
        """Add another network beside the first: a bridge with this address, and a DHCP server of its own on it.

        ``options`` are further ones of dnsmasq. It lasts as long as the lab.
        """
        self._in("link", "add", bridge, "type", "bridge", "forward_delay", "0")
        self._in("addr", "add", f"{address}/24", "dev", bridge)
        self._in("link", "set", bridge, "up")
        files = [f"--dhcp-leasefile={self.folder / bridge}.leases", f"--pid-file={self.folder / bridge}.pid"]
        span = f"--dhcp-range={address.rpartition('.')[0]}.100,{address.rpartition('.')[0]}.199,255.255.255.0,1h"
        command = [*self.prefix, "dnsmasq", "--conf-file=/dev/null", "--user=root", "--port=0", "--no-ping"]
        command += [f"--interface={bridge}", "--bind-interfaces", "--except-interface=lo", "--dhcp-authoritative"]
        subprocess.run([*command, span, *files, *options], check=True)  # in the background once its sockets are open

    def add_tap(self, *, alone: bool = False, bridge: str = "br0") -> str:
        """Make a tap on a bridge and return QEMU's option text for it; alone: a cable on which nobody answers."""
        return f"tap,ifname={self.plug_tap(alone=alone, bridge=bridge)},script=no,downscript=no"

    def plug_tap(self, *, alone: bool = False, bridge: str = "br0") -> str:
        """Make a tap on a bridge and return its name, for a program of the test's own; alone: on no bridge."""
        self._taps += 1
        name = f"mk{self._taps}"
        self._in("tuntap", "add", name, "mode", "tap")
        self._in("link", "set", name, *(() if alone else ("master", bridge)), "up")
        return name

    def call(self, function: Callable[[], T]) -> T:
        """Run a function inside the namespace and return its result or raise its error."""
        return enter_and_call(self.name, function)


def enter_and_call(namespace: str, function: Callable[[], T]) -> T:
    """Run a function inside a namespace of this name and return its result or raise its error."""

    def enter() -> T:
        _enter(Path("/run/netns", namespace))
        return function()

    with ThreadPoolExecutor(1) as thread:  # its one thread ends with it, and never leaves the namespace
        return thread.submit(enter).result()


def find_leftovers(folder: Path, family: str, processes: Path = Path("/proc")) -> list[str]:
    """Return the namespaces of a family whose processes have ended: "lab-4711" where there is no process 4711."""
    names = sorted(path.name for path in folder.glob(f"{family}-*"))
    numbers = {name: name[len(family) + 1 :] for name in names}
    return [name for name, number in numbers.items() if number.isdecimal() and not (processes / number).exists()]


def remove_namespace(name: str) -> None:
    """Remove a namespace with every process in it; nothing happens when there is none of that name."""
    if not Path("/run/netns", name).exists():
        return
    listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True).stdout
    for pid in listed.split():
        subprocess.run(["kill", "-9", pid], capture_output=True, check=False)
    ip("netns", "delete", name)


def _enter(namespace: Path) -> None:
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    finally:
        os.close(descriptor)


def ip(*arguments: str) -> None:
    """Run ip(8). Raises RuntimeError with its words."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")

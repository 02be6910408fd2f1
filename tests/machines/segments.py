"""Networks for a node in a container: a cable of its own for each card, with a DHCP server and a router's words on it.

The far ends are in a namespace of their own, and so is the server that the node shall find; the near ends are in the
node's, where they appear as if plugged in. Needs root. Source: ip-link(8), dnsmasq(8).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, TypeVar

from tests.machines.network import enter_and_call, find_leftovers, ip, remove_namespace
from tests.machines.server import PORT, ROOT, find_python

BASE = "/hanlon/api/v1"
PASSWORD = "of the topologies"
START_S = 60.0
PORT_HEX = f"{PORT >> 8:02x}:{PORT & 255:02x}"

T = TypeVar("T")


def said(address: str) -> tuple[str, ...]:
    """Return dnsmasq's options that name the server by DHCP: address, port and base path (protocol 1.3)."""
    return (f"--dhcp-option=224,{address}", f"--dhcp-option=225,{PORT_HEX}", f"--dhcp-option=226,{BASE}")


class Segments:
    """The far side. Leaving its `with` block ends all that runs there and removes the namespace."""

    def __init__(self, name: str, folder: Path) -> None:
        self._family, self.name, self.folder = name, f"{name}-{os.getpid()}", folder
        self.prefix = ("ip", "netns", "exec", self.name)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._cards: list[str] = []
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def __enter__(self) -> Segments:
        for left in (*find_leftovers(Path("/run/netns"), self._family), self.name):
            remove_namespace(left)
        ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._processes):
            self.end(name)
        remove_namespace(self.name)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function on the far side and return its result or raise its error."""
        return enter_and_call(self.name, function)

    def ip(self, *arguments: str) -> None:
        """Run ip(8) on the far side."""
        ip("-n", self.name, *arguments)

    def plug(self, card: str, leader: int, *addresses: str, mac: str = "", up: bool = True) -> str:
        """Plug a card into the node whose process 1 is ``leader``; return the name of the cable's far end.

        ``addresses`` are those of the far end, with their prefix lengths. ``up``: whether there is a carrier.
        """
        far = f"far-{card}"
        near = ["peer", "name", card, "netns", str(leader)]
        self.ip("link", "add", far, "type", "veth", *near[:3], *(["address", mac] if mac else []), *near[3:])
        self._cards.append(card)
        for address in addresses:
            self.ip("addr", "add", address, "dev", far, *(["nodad"] if ":" in address else []))
        if up:
            self.ip("link", "set", far, "up")
        return far

    def plug_slow(self, card: str, leader: int, address: str, quiet_s: float) -> str:
        """Plug a card into a switch that has a carrier at once and forwards nothing for ``quiet_s`` (4 to 60): a port
        of the spanning tree that listens and learns first. Return the name of the far end.
        """
        far, switch = self.plug(card, leader, up=False), f"far-sw-{card}"
        delay = str(round(quiet_s * 100 / 2))  # centiseconds of each of the two
        self.ip("link", "add", switch, "type", "bridge", "stp_state", "1", "forward_delay", delay)
        self._cards.append(f"sw-{card}")
        self.ip("addr", "add", address, "dev", switch)
        self.ip("link", "set", far, "master", switch)
        self.ip("link", "set", switch, "up")
        self.ip("link", "set", far, "up")
        return switch

    def clear(self) -> None:
        """Pull all cables, and end the DHCP servers."""
        for name in [name for name in self._processes if name.startswith("far-")]:
            self.end(name)
        while self._cards:
            with contextlib.suppress(RuntimeError):  # the node's end may be gone, and this one with it
                self.ip("link", "delete", f"far-{self._cards.pop()}")

    def end(self, name: str) -> None:
        """End a program of this side."""
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self, name: str, command: Sequence[str], cwd: Path = ROOT) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.prefix, *command], cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._processes[name] = process
        return process

    def serve(self, far: str, *options: str) -> None:
        """Start dnsmasq on a cable's far end (anew, with its leases, where it runs); DNS only where an option says
        so."""
        if far in self._processes:
            self.end(far)
        pid = self.folder / f"{far}.pid"
        pid.unlink(missing_ok=True)
        command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", f"--interface={far}"]
        command += [] if any(each.startswith("--port=") for each in options) else ["--port=0"]
        command += ["--bind-interfaces", "--except-interface=lo", "--dhcp-authoritative", "--no-ping", "--log-dhcp"]
        command += [f"--dhcp-leasefile={self.folder / f'{far}.leases'}", "--log-facility=-", f"--pid-file={pid}"]
        process = self._start(far, [*command, *options])
        self._await(process, far, pid.exists)

    def start_server(self, address: str) -> None:
        """Start mkserver on one of the far side's addresses."""
        data = self.folder / f"mkserver-{address.replace(':', '-')}"
        shutil.rmtree(data, ignore_errors=True)  # of a server before, which knew other nodes
        data.mkdir(mode=0o750)
        python = [find_python(), "-m", "mkserver"]
        subprocess.run(
            [*python, "password", "--stdin", "--data", str(data)],
            cwd=ROOT,
            input=PASSWORD + "\n",
            text=True,
            capture_output=True,
            timeout=60,
            check=True,
        )
        listen = f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"
        name = f"mkserver-{address}"
        process = self._start(name, [*python, "run", "--data", str(data), "--listen", listen])

        def answers() -> bool:
            with contextlib.suppress(OSError), socket.create_connection((address, PORT), timeout=5):
                return True
            return False

        self._await(process, name, lambda: enter_and_call(self.name, answers))

    def _await(self, process: subprocess.Popen[bytes], name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_S
        while not ready():
            log = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
            assert process.poll() is None and time.monotonic() < deadline, f"{name} did not start: {log[-2000:]}"
            time.sleep(0.05)

    def leases(self, far: str) -> list[str]:
        """Return the lines of a DHCP server's lease file."""
        file = self.folder / f"{far}.leases"
        return file.read_text(encoding="ascii").splitlines() if file.exists() else []

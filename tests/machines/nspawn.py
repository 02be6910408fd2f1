"""Test machines in containers: systemd as process 1, the real bus, polkit and packages, booted in a second.

``systemd-nspawn --boot`` of a directory tree, not registered with any systemd of the host, because the host may
have none; commands go into it by its namespaces. Where the host still mounts cgroup v1, nspawn is told to give the
container the unified hierarchy. The container ends with 133 when its systemd was asked to reboot and with 0 when it
powered off.

Source: systemd-nspawn(1), its environment variables (systemd's docs/ENVIRONMENT.md), sd_notify(3), nsenter(1).
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from tests.machines.tree import BUILD, overlay

REBOOTED, POWERED_OFF = 133, 0
BOOT_S, STOP_S, COMMAND_S, EVENT_S = 60.0, 60.0, 120.0, 120.0
"""Deadlines that bound hanging, ten times of what is typical and more.

Some kernels tell late that a unit's last process is gone (seen with 6.18: its group stays "populated" without one); the
unit then ends by its TimeoutStopSec=, which is 30 s.
"""
CLONE_NEWNET = 0x40000000
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
"""What every installer writes and a bare bookworm lacks."""
FIRMWARE = Path(__file__).parent / "firmware.service"


class Machine:
    """A booted container. Made by `boot`; every method works on the running machine."""

    def __init__(self, name: str, root: Path, process: subprocess.Popen[bytes], leader: int, place: Path) -> None:
        self.name, self.root, self.place, self.leader = name, root, place, leader
        self.process = process

    # --- commands -----------------------------------------------------------------------------------------------------
    def command(self, argv: Sequence[str], user: str = "") -> list[str]:
        """Return the command line that runs ``argv`` inside, as ``user`` (root when empty) environment empty."""
        inside = ["nsenter", "--target", str(self.leader), "--all", "--", "/usr/bin/env", "-i", f"PATH={PATH}"]
        if user:
            inside += [
                "setpriv",
                f"--reuid={user}",
                f"--regid={user}",
                "--init-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
            ]
        return [*inside, *argv]

    def run(self, *argv: str, user: str = "", check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command inside and return what it said; a status other than 0 fails the test if checked."""
        done = subprocess.run(
            self.command(argv, user),
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            input=stdin,
            errors="replace",
        )
        assert not check or done.returncode == 0, (
            f"{' '.join(argv)}: status {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def output(self, *argv: str, user: str = "") -> str:
        """Return the stripped standard output of a command that succeeds."""
        return self.run(*argv, user=user).stdout.strip()

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file inside, with the folders above it."""
        self.run(
            "/bin/sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1" && chmod "$2" "$1"', "sh", path, f"{mode:o}", stdin=text
        )

    def read_json(self, path: str) -> Any:
        """Return the JSON document in a file inside."""
        return json.loads(self.run("cat", path).stdout)

    # --- units and the bus --------------------------------------------------------------------------------------------
    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit, as `systemctl show` prints them."""
        lines = self.output("systemctl", "show", f"--property={','.join(properties)}", unit).splitlines()
        return dict(line.partition("=")[::2] for line in lines)

    def property(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.show(unit, name)[name]

    def controller(self, name: str) -> Any:
        """Return a property of the controller's D-Bus object."""
        words = ("org.mksuite.Controller1", "/org/mksuite/Controller1", "org.mksuite.Controller1", name)
        return json.loads(self.run("busctl", "--json=short", "get-property", *words).stdout)["data"]

    def drop_in(self, unit: str, text: str, name: str = "test") -> None:
        """Give a unit a drop-in, or with an empty text take it away."""
        path = f"/run/systemd/system/{unit}.d/{name}.conf"
        if text:
            self.write(path, text)
        else:
            self.run("rm", "-f", path)
        self.run("systemctl", "daemon-reload")

    # --- the journal --------------------------------------------------------------------------------------------------
    def mark(self) -> str:
        """Return the time just after the journal's last entry, for what looks for newer ones.

        Not a cursor: journalctl of systemd 252 leaves out the first match after a cursor that is no match itself.
        """
        self.run("journalctl", "--sync")
        last = json.loads(self.run("journalctl", "--lines=1", "--output=json").stdout)
        return f"@{(int(last['__REALTIME_TIMESTAMP']) + 1) / 1e6:.6f}"

    def journal(self, *matches: str, after: str = "") -> list[dict[str, Any]]:
        """Return the journal's entries that match, oldest first: options and matches of journalctl."""
        since = [f"--since={after}"] if after else []
        self.run("journalctl", "--sync")
        done = self.run("journalctl", "--output=json", "--all", "--no-pager", "--quiet", *since, *matches, check=False)
        assert not done.stderr, done.stderr  # its status says whether there was something to show
        return [json.loads(line) for line in done.stdout.splitlines()]

    def wait_event(
        self, message_id: str, *, after: str = "", timeout_s: float = EVENT_S, **fields: str
    ) -> dict[str, Any]:
        """Wait for an entry with this MESSAGE_ID and these fields after the mark; return it."""
        since = [f"--since={after}"] if after else []
        wanted = [f"MESSAGE_ID={message_id}", *(f"{name}={value}" for name, value in fields.items())]
        argv = ["journalctl", "--output=json", "--all", "--follow", "--lines=all", *since, *wanted]
        deadline = time.monotonic() + timeout_s
        with subprocess.Popen(self.command(argv), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as follow:
            assert follow.stdout is not None
            try:
                line = _read_line(follow.stdout.fileno(), deadline)
            finally:
                _end(follow.pid)
        assert line, f"no event {' '.join(wanted)} within {timeout_s:g} s; the journal's end:\n{self.tail()}"
        found: dict[str, Any] = json.loads(line)
        return found

    def tail(self, lines: int = 40) -> str:
        """Return the end of the journal for a person."""
        return self.run("journalctl", f"--lines={lines}", "--output=short-monotonic", "--no-pager", check=False).stdout

    def wait_until(self, condition: Callable[[], Any], what: str, timeout_s: float = EVENT_S) -> Any:
        """Ask until ``condition`` returns something true and return that; fail at the deadline with the journal"""
        deadline = time.monotonic() + timeout_s
        while True:
            found = condition()
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}; the journal's end:\n{self.tail()}"
            time.sleep(0.05)

    # --- the network --------------------------------------------------------------------------------------------------
    def connect(self, port: int, timeout_s: float = 20.0) -> socket.socket:
        """Return a connection to a port of the machine's loopback interface: a socket belongs to where it was made."""
        made: list[socket.socket] = []

        def make() -> None:
            enter_network(self.leader)
            made.append(socket.socket())

        thread = threading.Thread(target=make)  # a namespace belongs to a thread, and this one ends
        thread.start()
        thread.join()
        made[0].settimeout(timeout_s)
        made[0].connect(("127.0.0.1", port))
        return made[0]

    def http(
        self,
        method: str,
        port: int,
        path: str,
        body: Optional[bytes] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Make a request to a port of the machine's loopback interface; return status, headers in lower case, body."""
        connection = http.client.HTTPConnection("localhost", port)
        connection.sock = self.connect(port)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Host": f"localhost:{port}", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    # --- the end ------------------------------------------------------------------------------------------------------
    def wait_end(self, timeout_s: float = STOP_S) -> int:
        """Wait until the machine has ended by itself, and return its status: REBOOTED or POWERED_OFF."""
        return self.process.wait(timeout_s)

    def power_off(self) -> None:
        """End the machine, and keep its journal beside its console."""
        if self.process.poll() is None:
            self.run("journalctl", "--sync", check=False)
            journal = self.run(
                "journalctl", "--output=short-precise", "--no-hostname", "--no-pager", check=False
            ).stdout
            (self.place / "journal.txt").write_text(journal, encoding="utf-8")
            self.run("systemctl", "poweroff", "--no-block", check=False)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def enter_network(leader: int) -> None:
    """Put the calling thread, and no other, into the network of a machine, for good. Source: setns(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{leader}/ns/net", "rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def _end(nsenter: int) -> None:
    """End the command that a running nsenter waits for, and so nsenter: its own end would leave the command behind."""
    for child in Path(f"/proc/{nsenter}/task/{nsenter}/children").read_text(encoding="ascii").split():
        os.kill(int(child), signal.SIGKILL)


def _read_line(descriptor: int, deadline: float) -> bytes:
    """Return the next line of a pipe, nothing when the deadline or the end comes first."""
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while b"\n" not in data:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return b""
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return b""
            data += piece
    return data.partition(b"\n")[0]


def _wait_ready(notify: socket.socket, process: subprocess.Popen[bytes], console: Path) -> int:
    """Wait for the container's own READY=1 (its boot is complete) and return its process 1 as the host numbers it."""
    leader, deadline = 0, time.monotonic() + BOOT_S
    notify.settimeout(0.5)
    while True:
        assert process.poll() is None, (
            f"the container ended with {process.returncode}: {console.read_text(errors='replace')[-4000:]}"
        )
        assert time.monotonic() < deadline, (
            f"no boot within {BOOT_S:g} s: {console.read_text(errors='replace')[-4000:]}"
        )
        try:
            words = notify.recv(4096).decode(errors="replace").splitlines()
        except TimeoutError:
            continue
        for word in words:
            name, _, value = word.partition("=")
            if name == "X_NSPAWN_LEADER_PID":
                leader = int(value)
        if "READY=1" in words and leader:
            notify.settimeout(None)
            return leader


def _drain(notify: socket.socket) -> None:
    """Take what else is said until the socket is shut down: every reload says it, and a full socket stops process 1."""
    while notify.recv(4096):
        pass


@contextlib.contextmanager
def boot(
    name: str,
    layers: list[Path],
    *,
    credentials: Optional[Mapping[str, str]] = None,
    files: Optional[Mapping[str, str]] = None,
    uuid: str = "",
    environment: Optional[Mapping[str, str]] = None,
    options: Sequence[str] = (),
) -> Iterator[Machine]:
    """Boot a machine from the layers of a tree and yield it when its boot is complete; power it off in the end.

    credentials: system credentials, as firmware or a VMM would pass them. files: path -> text, written before the boot.
    uuid: the SMBIOS UUID of the machine; empty for a machine without.
    Its writable layer, console and journal stay in build/system/NAME until the next machine of that name.
    """
    place = BUILD / "system" / name
    with overlay(layers, place) as root, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        firmware = {
            "/etc/systemd/system/test-firmware.service": FIRMWARE.read_text(encoding="utf-8").replace("@UUID@", uuid),
            "/etc/systemd/system/sysinit.target.d/test.conf": "[Unit]\nWants=test-firmware.service\n",
        }
        hosts = {} if (root / "etc/hosts").exists() else {"/etc/hosts": HOSTS}
        for path, text in {**hosts, **(firmware if uuid else {}), **(files or {})}.items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        notify.bind(str(place / "notify"))
        argv = [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--notify-ready=yes",
        ]
        argv += [
            "--console=pipe",
            f"--machine=mk-{os.getpid()}-{name.replace('_', '-')}",
            f"--directory={root}",
            "--link-journal=no",
        ]
        argv += [f"--set-credential={key}:{value}" for key, value in (credentials or {}).items()]
        variables = {
            **os.environ,
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            "NOTIFY_SOCKET": str(place / "notify"),
            **(environment or {}),
        }
        console = place / "console.log"
        with (
            console.open("wb") as output,
            subprocess.Popen(
                [*argv, *options], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=variables
            ) as process,
        ):
            try:
                machine = Machine(name, root, process, _wait_ready(notify, process, console), place)
                drain = threading.Thread(target=_drain, args=(notify,))
                drain.start()
                try:
                    yield machine
                finally:
                    machine.power_off()
                    notify.shutdown(socket.SHUT_RD)
                    drain.join()
            finally:
                if process.poll() is None:
                    process.kill()

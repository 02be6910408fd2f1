"""The test channel of a machine, seen from outside: its journal as it is written, and commands run in it.

Tests wait for journal entries by MESSAGE_ID, never for an amount of time. See `guest` for the other end.

Source: systemd.system-credentials(7): systemd.extra-unit.*, systemd.unit-dropin.*; systemd.journal-fields(7).
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from mkcore.events import Event

from .qemu import VirtualMachine

CHANNELS = ("journal", "bus")
_UNIT = """\
[Unit]
Description=Test Channel
DefaultDependencies=no
After=systemd-journald.socket
[Service]
Type=exec
LoadCredential=mk-test.guest
ExecStart=/usr/bin/python3 -I %d/mk-test.guest
Restart=always
"""
_START = "[Unit]\nWants=mk-test.service\n"

Entry = Mapping[str, str]


def build_credentials(extra: Mapping[str, bytes] = {}) -> dict[str, bytes]:
    """Build the credentials that open the channel in a guest, with others beside them (a service's drop-in, our
    mk.toml, …).
    """
    return {
        "mk-test.guest": (Path(__file__).parent / "guest.py").read_bytes(),
        "systemd.extra-unit.mk-test.service": _UNIT.encode(),
        "systemd.unit-dropin.sysinit.target~50-mk-test": _START.encode(),
        **extra,
    }


@dataclass(frozen=True)
class Result:
    """What a command in the guest did."""

    argv: Sequence[str]
    status: int
    stdout: str
    stderr: str


class Channel:
    """The open channel of one machine; it outlives the machine's reboots."""

    def __init__(self, machine: VirtualMachine) -> None:
        """Connect both ports; at once after the machine's start, so that nothing of the journal is missed."""
        self.machine = machine
        self._entries: list[Entry] = []
        self._changed = threading.Condition()
        self._journal = machine.channel("journal").makefile("rb")
        self._bus = machine.channel("bus")
        self._requests = 0
        threading.Thread(target=self._listen, daemon=True, name="journal").start()

    def _listen(self) -> None:
        for line in self._journal:
            try:
                entry = json.loads(line)
            except ValueError:  # the line that a reset cut short
                continue
            with self._changed:
                self._entries.append(entry)
                self._changed.notify_all()

    def mark(self) -> int:
        """Return the place after the newest entry, for ``since``."""
        with self._changed:
            return len(self._entries)

    def entries(self, since: int = 0) -> list[Entry]:
        """Return the entries after a mark."""
        with self._changed:
            return self._entries[since:]

    def find(self, event: Event, since: int = 0) -> list[Entry]:
        """Return the entries of one event after a mark."""
        return [entry for entry in self.entries(since) if entry.get("MESSAGE_ID") == event.id]

    def wait(self, condition: Callable[[Entry], bool], what: str, timeout_s: float, since: int = 0) -> Entry:
        """Return the first entry after a mark that fulfils a condition.

        As soon as it is there. Raises MachineError at the deadline, at once where the machine has ended or given up.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            looked = since
            while True:
                for entry in self._entries[looked:]:
                    if condition(entry):
                        return entry
                looked = len(self._entries)
                if time.monotonic() > deadline or self.machine.process.poll() is not None:
                    break
                if not self._changed.wait(0.5):
                    self.machine.require_sane(what)
            last = [str(entry.get("MESSAGE")) for entry in self._entries[-15:]]
        raise self.machine.fail(
            "\n".join([f"{what}: not within {timeout_s:.0f} s", "--- the journal's last entries ---", *last])
        )

    def wait_event(self, event: Event, timeout_s: float, since: int = 0, **fields: str) -> Entry:
        """Wait for an event, with these fields (``MK_NODE="…"``) if any are given."""

        def matches(entry: Entry) -> bool:
            return entry.get("MESSAGE_ID") == event.id and all(entry.get(key) == value for key, value in fields.items())

        return self.wait(matches, event.name, timeout_s, since)

    def run(self, *argv: str, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Result:
        """Run a command in the guest as root.

        Raises AssertionError for a status other than 0 (unless told not to check).
        """
        self._requests += 1
        request = {"id": self._requests, "argv": argv, "stdin": stdin, "timeout_s": timeout_s}
        self._bus.settimeout(timeout_s + 60)
        self._bus.sendall(json.dumps(request).encode() + b"\n")
        answer = self._receive(self._requests)
        result = Result(argv, answer["status"], answer["stdout"], answer["stderr"])
        if check:
            assert result.status == 0, f"{' '.join(argv)}: status {result.status}: {result.stderr or result.stdout}"
        return result

    def _receive(self, request: int) -> dict[str, Any]:
        data = b""
        while True:
            try:
                received = self._bus.recv(65536)
            except socket.timeout:
                raise self.machine.fail("the guest's command channel does not answer") from None
            if not received:
                raise self.machine.fail("the machine ended while a command ran in it")
            data += received
            *lines, data = data.split(b"\n")
            for line in lines:
                answer = _parse(line)
                if answer and answer.get("id") == request:
                    return answer


def _parse(line: bytes) -> Optional[dict[str, Any]]:
    try:
        return dict(json.loads(line))
    except ValueError:
        return None

"""QEMU's control channel: power events as they happen, and commands.

Source: QEMU, docs/interop/qmp-spec.rst: JSON objects, one a line; an object with "event" may come between any two
others.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any


class Qmp:
    """A connection to one QEMU. Events are kept with the time at which they were read."""

    def __init__(self, connection: socket.socket) -> None:
        """Leave negotiation mode and begin to listen.

        ``connection`` is QEMU's monitor socket, and is closed with QEMU.
        """
        self._file = connection.makefile("rwb", buffering=0)
        connection.close()
        self._events: list[tuple[str, dict[str, Any], float]] = []
        self._answers: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, daemon=True, name="qmp").start()
        self.execute("qmp_capabilities")

    def _listen(self) -> None:
        try:
            for line in self._file:
                message = json.loads(line)
                with self._changed:
                    if "event" in message:
                        self._events.append((message["event"], message.get("data", {}), time.monotonic()))
                    elif "QMP" not in message:
                        self._answers.append(message)
                    self._changed.notify_all()
        except OSError:
            return

    def execute(self, command: str, timeout_s: float = 30.0, **arguments: Any) -> Any:
        """Run one command and return its "return".

        Raises RuntimeError with QEMU's words, or when it does not answer.
        """
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        with self._changed:
            self._file.write(json.dumps(request).encode() + b"\n")
            if not self._changed.wait_for(lambda: bool(self._answers), timeout_s):
                raise RuntimeError(f"QEMU did not answer {command}")
            answer = self._answers.pop(0)
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error'].get('desc')}")
        return answer["return"]

    def has_event(self, name: str, since: float = 0.0) -> bool:
        """Whether an event of that name was read after ``since`` (monotonic seconds)."""
        with self._changed:
            return any(kind == name and at > since for kind, _, at in self._events)

"""What mkweb does to and learns of mkctl: restart it through systemd, look at its unit and its properties, fetch its
last words.

This is the only part of mkweb that uses the bus. The bus library costs a third of the process, so it is loaded at the
first use: a mkweb that only answers requests never pays for it.

Source: org.freedesktop.systemd1(5); design 6 (org.mksuite.Controller1); journalctl(1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mkcore import proc
from mkcore.errors import BusFailed

UNIT = "mkctl.service"
BUS_NAME = "org.mksuite.Controller1"
OBJECT_PATH = "/org/mksuite/Controller1"
RESTART_TIMEOUT_S = 120.0
"""Longer than mkctl's stop and start limits together, after which systemd itself ends the job."""
JOURNAL_TIMEOUT_S = 5.0
JOURNAL_LIMIT_BYTES = 64 << 10
MAX_WORDS = 300


@dataclass(frozen=True)
class Look:
    """The unit's state and, where mkctl answered, its properties; empty text where nobody answered."""

    active: str = ""
    sub: str = ""
    result: str = ""
    status_text: str = ""
    invocation_id: str = ""
    in_use: str = ""
    config_error: str = ""


class Controller(Protocol):
    """How the apply reaches mkctl. Injected, so that the state machine runs against any systemd."""

    def restart(self) -> str:
        """Restart mkctl and return the job's result, e.g. `done`; raise NotAuthorized or BusFailed when no job came
        about.
        """
        ...

    def look(self) -> Look:
        """Return the state of the unit and of mkctl; what does not answer is empty. Raises nothing."""
        ...

    def last_words(self, look: Look) -> str:
        """Return what a failed start left behind, one line, e.g. `STATUS: Reading the configuration; journal: ...`;
        may be empty.
        """
        ...


class SystemdController:
    """mkctl.service of the machine's own systemd, over the system bus."""

    def restart(self) -> str:
        """Restart mkctl.service; see Controller."""
        from mkcore import systemd1  # costs 60 ms and 6 MB: only when it is needed

        return systemd1.restart_unit_blocking(UNIT, RESTART_TIMEOUT_S).value

    def look(self) -> Look:
        """Ask systemd for the unit and mkctl for its digest; see Controller."""
        from mkcore import systemd1

        try:
            state = systemd1.unit_state_blocking(UNIT)
        except BusFailed:
            return Look()
        if state.active != "active":  # asking would make the bus wait for a name that nobody owns yet
            return Look(state.active, state.sub, state.result, state.status_text, state.invocation_id)
        return Look(
            state.active,
            state.sub,
            state.result,
            state.status_text,
            state.invocation_id,
            self._property("ConfigDigest"),
            self._property("ConfigError"),
        )

    def last_words(self, look: Look) -> str:
        """Join the unit's result, its STATUS and the journal's last line of that start; see Controller."""
        parts = [f"result {look.result}"] if look.result not in ("", "success") else []
        if look.status_text:
            parts.append(f"STATUS: {look.status_text}")
        line = self._journal(f"_SYSTEMD_INVOCATION_ID={look.invocation_id}") if look.invocation_id else ""
        line = line or self._journal("-u", UNIT)
        if line:
            parts.append(f"journal: {line}")
        return "; ".join(parts)

    def _property(self, name: str) -> str:
        from mkcore import systemd1

        try:
            return str(systemd1.get_property_blocking(BUS_NAME, OBJECT_PATH, BUS_NAME, name))
        except BusFailed:
            return ""

    def _journal(self, *match: str) -> str:
        argv = ["journalctl", *match, "-n", "1", "-o", "cat", "-q", "--no-pager"]
        done = proc.run(argv, timeout_s=JOURNAL_TIMEOUT_S, limit_bytes=JOURNAL_LIMIT_BYTES)
        if done.outcome is not proc.Outcome.OK:
            return ""
        return " ".join(done.stdout.decode("utf-8", "replace").split())[:MAX_WORDS]

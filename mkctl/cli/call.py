"""`mkctl checkin` and `mkctl register`: one D-Bus call to the daemon, made by busctl so that no bus library has to be
loaded."""

from __future__ import annotations

import json

from mkcore import proc
from mkcore.errors import BusFailed, MkError, NotReady
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkctl.cli.status import NOT_RUNNING, read_status
from mkctl.status import Status, is_alive

NAME = "org.mksuite.Controller1"
PATH = "/org/mksuite/Controller1"
TIMEOUT_S = 90.0
"""Two exchanges of 20 s and a wait for facts fit in; a caller that is cut off would not know what happened."""


class CallFailed(MkError):
    """The daemon answered with an error, whose exit status the command takes over."""


def exit_statuses() -> dict[str, int]:
    """Exit status by the last part of an org.mksuite.Error.* name."""
    found: dict[str, int] = {}
    pending: list[type[MkError]] = [MkError]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        found.setdefault(kind.bus_name, kind.exit_status)
    return found


def call(paths: Paths, method: str, as_json: bool) -> int:
    """Call CheckIn or Register and print the outcome in one line. Returns the exit status."""
    try:
        before = read_status(paths)
    except NotReady:
        before = Status()
    if not is_alive(before):
        print(
            json.dumps({"ok": False, "error": "mkctl is not running"})
            if as_json
            else "mkctl: not running (systemctl status mkctl)"
        )
        return NOT_RUNNING
    argv = ["busctl", f"--timeout={TIMEOUT_S:.0f}", "call", NAME, PATH, NAME, method]
    finished = proc.run(argv, timeout_s=TIMEOUT_S + 5)
    after = read_status(paths)
    if finished.outcome is proc.Outcome.MISSING:
        raise BusFailed(f"busctl {finished.stderr.strip() or 'is missing'}: it belongs to systemd")
    if not finished.ok:
        return _show_failure(_error_text(finished.stderr), after, as_json)
    if as_json:
        document: dict[str, Json] = {
            "ok": True,
            "command": after.last_command,
            "registered_digest": after.registered_digest,
        }
        print(json.dumps(document))
    elif method == "CheckIn":
        print(f"checked in with {after.server_uri}: {after.last_command}")
    else:
        print(f"registered with {after.server_uri}: digest {after.registered_digest[:12]}")
    return 0


def _error_text(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    return lines[-1].partition("Call failed: ")[2] or lines[-1] if lines else "the call failed"


def _show_failure(text: str, after: Status, as_json: bool) -> int:
    # busctl prints an error's text but not its name; the daemon keeps the name of its last error beside the same text.
    name = after.last_error_name if after.last_error == text else ""
    if as_json:
        print(json.dumps({"ok": False, "error": text, "error_name": name}))
        return exit_statuses().get(name, MkError.exit_status)
    error = CallFailed(text)
    error.exit_status = 77 if text == "Access denied" else exit_statuses().get(name, MkError.exit_status)
    raise error

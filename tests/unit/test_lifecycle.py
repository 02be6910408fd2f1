"""mkcore.lifecycle: a real notification socket, real inherited descriptors."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mkcore.lifecycle import Notifier, inherited_sockets

ROOT = Path(__file__).resolve().parent.parent.parent


def test_notifications_are_one_sentence_and_repeated_status_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notifier = Notifier()
        notifier.ready("Up\nand running.")
        notifier.status("Up and running.")
        notifier.status("Waiting.")
        notifier.watchdog()
        notifier.stopping("Done.")
        got = [systemd.recv(4096).decode() for _ in range(4)]
    assert got == [
        "READY=1\nSTATUS=Up and running.",
        "STATUS=Waiting.",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=Done.",
    ]


def test_outside_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"):
        monkeypatch.delenv(name, raising=False)
    notifier = Notifier()
    notifier.ready("x")
    notifier.watchdog()
    assert notifier.watchdog_interval_s is None
    assert inherited_sockets() == []


@pytest.mark.parametrize(
    ("usec", "pid", "interval_s"),
    [("30000000", "", 15.0), ("30000000", "own", 15.0), ("30000000", "1", None), ("0", "", None), ("x", "", None)],
)
def test_the_watchdog_wants_half_its_time(
    usec: str, pid: str, interval_s: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert Notifier().watchdog_interval_s == interval_s


CHILD = """
import os
if os.environ.pop("OWN_PID"):
    os.environ["LISTEN_PID"] = str(os.getpid())
from mkcore.lifecycle import inherited_sockets
for name, each in inherited_sockets():
    print(name, each.getsockname()[1], os.get_inheritable(each.fileno()))
print(sorted(key for key in os.environ if key.startswith("LISTEN")))
"""


def run_child(names: str, own_pid: str, count: int) -> list[str]:
    """Run CHILD with listening sockets on 3, 4, …, where systemd puts them; ports are written as port0, port1, …"""
    environment = {**os.environ, "LISTEN_FDS": str(count), "LISTEN_PID": "1", "LISTEN_FDNAMES": names}
    environment["OWN_PID"] = own_pid
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        high = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD, 50) for each in listeners]
        for descriptor in high:
            stack.callback(os.close, descriptor)
        moves = " ".join(f"{3 + place}<&{descriptor}" for place, descriptor in enumerate(high))
        done = subprocess.run(
            ["bash", "-c", f'exec "$0" -c "$1" {moves}', sys.executable, CHILD],
            cwd=ROOT, env=environment, pass_fds=high, capture_output=True, text=True, check=True,
        )  # fmt: skip
        text = done.stdout
        for place, each in enumerate(listeners):
            text = text.replace(str(each.getsockname()[1]), f"port{place}")
    return text.splitlines()


def test_sockets_come_with_their_names() -> None:
    assert run_child("extensions:packages", "1", 2) == ["extensions port0 False", "packages port1 False", "[]"]
    assert run_child("", "1", 1) == ["unknown port0 False", "[]"]


def test_sockets_for_another_process_are_left_alone() -> None:
    assert run_child("a", "", 1) == ["[]"]

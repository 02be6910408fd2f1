"""mkcore.wsgi without threads: the loop itself runs the application."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent.parent
DEADLINE_S = 20.0
SIZE = 20 << 20
PROGRAM = r"""
import sys, threading
from mkcore import wsgi
from mkmirror.partial import Part

def app(environ, start_response):
    assert threading.current_thread() is threading.main_thread()
    if environ["PATH_INFO"] == "/boom":
        raise RuntimeError("a fault of the application")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(int(sys.argv[2])))])
    return environ["wsgi.file_wrapper"](Part(open(sys.argv[1], "rb"), 0, int(sys.argv[2])))

listener = wsgi.bind("127.0.0.1", 0)
print(listener.getsockname()[1], flush=True)
print(wsgi.serve(app, [listener], idle_s=float(sys.argv[3]), threads=0), flush=True)
"""


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    data = os.urandom(1 << 20) * (SIZE >> 20)
    (tmp_path / "file").write_bytes(data)
    return data


@pytest.fixture
def process(tmp_path: Path, content: bytes) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", PROGRAM, str(tmp_path / "file"), str(len(content)), "1.5"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPO),
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "600000",
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(DEADLINE_S)
        started = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)
        assert systemd.recv(4096).startswith(b"READY=1")
        assert systemd.recv(4096) == b"WATCHDOG=1"
    yield started
    started.terminate()
    started.wait(DEADLINE_S)


def connect(process: subprocess.Popen[str]) -> socket.socket:
    assert process.stdout is not None
    return socket.create_connection(("127.0.0.1", int(process.stdout.readline())), DEADLINE_S)


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(min(1 << 20, size - len(data)))
        assert more, f"{len(data)} of {size} bytes came"
        data += more
    return data


def test_requests_in_one_packet_are_answered_one_after_another(process: subprocess.Popen[str], content: bytes) -> None:
    """More than waitress holds back for: the second answer waits until the first has left."""
    with connect(process) as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        for _ in range(3):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(1)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert read(connection, len(content)) == content


def test_a_fault_costs_its_request_alone_and_the_end_comes_when_idle(process: subprocess.Popen[str]) -> None:
    with connect(process) as connection:
        connection.sendall(b"GET /boom HTTP/1.0\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.0 500")
    assert process.stdout is not None
    began = time.monotonic()
    assert process.stdout.readline() == "No requests for a while, ending.\n"
    assert time.monotonic() - began < DEADLINE_S

"""mkcore.wsgi: a real service process with real sockets; clients that are good, slow and stuck."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DEADLINE_S = 30.0

SERVICE = """
import sys, threading, time
from mkcore import wsgi
idle, hung, slow, busy_s = map(float, sys.argv[1:5])
began = time.monotonic()

class Closing:
    def __iter__(self):
        for number in range(60):
            time.sleep(0.1)
            yield b"x" * 10
    def close(self):
        print("closed", flush=True)

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise RuntimeError("a fault of the application")
    body = [b"hello"]
    if path == "/hang":
        print("hanging", flush=True)
        threading.Event().wait()
    if path == "/sleep":
        print("sleeping", flush=True)
        time.sleep(1.5)
    if path == "/stream":
        body = Closing()
    if path == "/big":
        body = [b"x" * 30_000_000]
    if path == "/file":
        body = environ["wsgi.file_wrapper"](open(sys.argv[5], "rb"))
    if path == "/echo":
        body = [str(len(environ["wsgi.input"].read())).encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return body

sockets = [wsgi.bind("127.0.0.1", 0), wsgi.bind("127.0.0.1", 0)]
print(*(each.getsockname()[1] for each in sockets), flush=True)
print(wsgi.serve(app, sockets, idle_s=idle, hung_s=hung, slow_s=slow, limit_bytes=1 << 20,
                 busy=lambda: time.monotonic() - began < busy_s, status=lambda: "Serving."), flush=True)
"""


class Service:
    """The service process; `told` are the notifications so far."""

    def __init__(self, process: subprocess.Popen[str], systemd: socket.socket, began: float) -> None:
        self.process = process
        self.systemd = systemd
        self.began = began
        self.told: list[str] = []
        self.ports = [int(text) for text in self.line().split()]

    def line(self) -> str:
        """The next line that the service prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def wait_for(self, message: str, deadline_s: float = DEADLINE_S) -> bool:
        """Wait for one further notification that contains `message`; False at the deadline."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            self.systemd.settimeout(max(0.01, until - time.monotonic()))
            try:
                self.told.append(self.systemd.recv(4096).decode())
            except socket.timeout:
                return False
            if message in self.told[-1]:
                return True
        return False

    def connect(self, port: int = 0) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.ports[port]), DEADLINE_S)
        connection.settimeout(DEADLINE_S)
        return connection

    def get(self, path: str, port: int = 0) -> bytes:
        """The whole answer to one GET."""
        with self.connect(port) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    parts: list[bytes] = []
    while True:
        try:
            part = connection.recv(1 << 20)
        except ConnectionResetError:
            return b"".join(parts)
        if not part:
            return b"".join(parts)
        parts.append(part)


@contextlib.contextmanager
def service(
    tmp_path: Path, *, idle: float = 1e9, hung: float = 60, slow: float = 60, busy: float = 0, watchdog_s: float = 0
) -> Iterator[Service]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "PYTHONPATH": str(ROOT)}
        environment.pop("WATCHDOG_PID", None)
        if watchdog_s:
            environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        command = [sys.executable, "-c", SERVICE, *map(str, (idle, hung, slow, busy)), str(tmp_path / "big")]
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        running = Service(process, systemd, began)
        try:
            assert running.wait_for("READY=1\nSTATUS=Serving.")
            yield running
        finally:
            process.kill()
            process.wait(DEADLINE_S)
            assert process.stdout is not None
            process.stdout.close()


def test_requests_are_answered_on_all_sockets_and_a_fault_is_contained(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        assert running.get("/", 0).endswith(b"\r\n\r\nhello")
        assert running.get("/", 1).endswith(b"\r\n\r\nhello")
        assert running.get("/boom").startswith(b"HTTP/1.0 500 ")
        answer = running.get("/")
        assert b"Server: mksuite" in answer
        assert b"waitress" not in answer.lower()


def test_sigterm_lets_a_request_end(tmp_path: Path) -> None:
    with service(tmp_path) as running, running.connect() as connection:
        connection.sendall(b"GET /sleep HTTP/1.0\r\n\r\n")
        assert running.line() == "sleeping"
        running.process.send_signal(signal.SIGTERM)
        assert read_all(connection).endswith(b"hello")
        assert running.wait_for("STOPPING=1\nSTATUS=Ending as ordered.")
        assert running.process.wait(DEADLINE_S) == 0


def test_a_hanging_request_does_not_hold_up_sigterm(tmp_path: Path) -> None:
    with service(tmp_path) as running, running.connect() as connection:
        connection.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
        assert running.line() == "hanging"
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0


def test_idle_exit_counts_from_the_last_use(tmp_path: Path) -> None:
    with service(tmp_path, idle=2) as running:
        with running.connect() as connection:  # an open connection is use
            assert not running.wait_for("STOPPING", 3)
            asked = time.monotonic()
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert read_all(connection).endswith(b"hello")
        assert running.wait_for("STOPPING=1\nSTATUS=No requests for a while")
        assert time.monotonic() - asked > 1.9
        assert running.process.wait(DEADLINE_S) == 0
        assert running.line() == "No requests for a while, ending."


def test_no_idle_exit_while_busy(tmp_path: Path) -> None:
    with service(tmp_path, idle=0.5, busy=1.5) as running:
        assert running.wait_for("STOPPING")
        assert time.monotonic() - running.began > 1.5
        assert running.process.wait(DEADLINE_S) == 0


def test_clients_that_drip_are_closed_and_others_are_served(tmp_path: Path) -> None:
    with service(tmp_path, slow=2) as running, contextlib.ExitStack() as stack:
        began = time.monotonic()
        drips = [stack.enter_context(running.connect()) for _ in range(80)]  # more than there are connections
        for connection in drips:
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        closed: set[int] = set()
        while len(closed) < 40 and time.monotonic() - began < DEADLINE_S:
            for number, connection in enumerate(drips):
                if number not in closed and not drip(connection):
                    closed.add(number)
        assert len(closed) >= 40
        assert time.monotonic() - began > 1.5
        assert running.get("/").endswith(b"hello")


def drip(connection: socket.socket) -> bool:
    """Send one byte; False when the server has closed the connection."""
    try:
        connection.send(b"x")
        connection.settimeout(0.005)
        return connection.recv(1) != b""
    except socket.timeout:
        return True
    except OSError:
        return False


@pytest.mark.parametrize("begin", [b"", b"GET", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"])
def test_silent_clients_are_closed(tmp_path: Path, begin: bytes) -> None:
    with service(tmp_path, slow=1) as running, running.connect() as connection:
        connection.sendall(begin)
        assert read_all(connection) == b""


def test_a_quick_request_after_another_on_one_connection_is_not_called_slow(tmp_path: Path) -> None:
    with service(tmp_path, slow=10) as running, running.connect() as connection:
        for _ in range(8):
            connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
            assert running.get("/").endswith(b"hello")  # a round trip while the request is half
            connection.sendall(b"cd")
            answer = b""
            while not answer.endswith(b"\r\n\r\n4"):
                part = connection.recv(4096)
                assert part, answer
                answer += part


def test_large_requests_get_413(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        for head in (b"Content-Length: 10000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
            with running.connect() as connection:
                body = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n" if b"chunked" in head else b"x" * 100_000
                connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + head)
                with contextlib.suppress(OSError):
                    connection.sendall(body * 3)
                assert read_all(connection).startswith(b"HTTP/1.1 413 ")
        with running.connect() as connection:
            connection.sendall(b"POST /echo HTTP/1.0\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
            assert read_all(connection).endswith(b"\r\n\r\n1000000")


@pytest.mark.parametrize("path", ["/big", "/file"])
def test_a_reader_that_takes_nothing_is_closed_and_a_steady_one_gets_all(tmp_path: Path, path: str) -> None:
    with open(tmp_path / "big", "wb") as stream:
        stream.truncate(30_000_000)
    with service(tmp_path, slow=3) as running:
        with running.connect() as stuck:
            stuck.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            until = time.monotonic() + DEADLINE_S
            while not established(running.ports[0]) and time.monotonic() < until:
                os.sched_yield()
            while established(running.ports[0]) and time.monotonic() < until:
                assert running.get("/").endswith(b"hello")
            assert time.monotonic() < until
            assert len(read_all(stuck)) < 30_000_000
        assert len(running.get(path)) > 30_000_000


def established(port: int) -> bool:
    """Whether the server holds an open connection with pending output (/proc/net/tcp: port, state 01, queues)."""
    with open("/proc/net/tcp", encoding="ascii") as stream:
        rows = [line.split() for line in stream.readlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "01" and not row[4].startswith("00000000") for row in rows)


def test_the_watchdog_is_fed_while_idle_and_while_bodies_stream(tmp_path: Path) -> None:
    with service(tmp_path, hung=2, watchdog_s=1) as running, running.connect() as connection:
        assert running.wait_for("WATCHDOG=1")
        connection.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 4:  # longer than a hang may last, but each part of the stream is progress
            assert running.wait_for("WATCHDOG=1", 3)
        assert read_all(connection).endswith(b"x" * 600)
        assert running.line() == "closed"
        assert running.wait_for("WATCHDOG=1")


@pytest.mark.parametrize("count", [1, 4])
def test_a_hang_and_a_deadlocked_pool_end_the_watchdog(tmp_path: Path, count: int) -> None:
    hung_s = 1.0 if count == 1 else 1000.0  # with all workers stuck, the pool itself shows it
    with service(tmp_path, hung=hung_s, watchdog_s=1) as running, contextlib.ExitStack() as stack:
        assert running.wait_for("WATCHDOG=1")
        for _ in range(count):
            stack.enter_context(running.connect()).sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            assert running.line() == "hanging"
        while running.wait_for("WATCHDOG=1", 2.5):
            assert time.monotonic() - running.began < DEADLINE_S
        assert running.process.poll() is None


def test_a_port_in_use_is_an_error() -> None:
    from mkcore.wsgi import bind

    with bind("127.0.0.1", 0) as first, pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", first.getsockname()[1])

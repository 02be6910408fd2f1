"""The real processes: mkmirror's two sockets by name as systemd hands them over, idle exit, both command lines."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent.parent
DEADLINE_S = 30.0
LAUNCH = (  # what systemd does between fork and exec of a service with sockets
    "import fcntl, os, sys; fds, names = sys.argv[1].split(','), sys.argv[2]; "
    "moved = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 20) for fd in fds]; "
    "[os.dup2(fd, 3 + at) for at, fd in enumerate(moved)]; "
    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names); "
    "os.execv(sys.executable, [sys.executable, '-m', 'mkmirror', *sys.argv[3:]])"
)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPO)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in (
        ("usr/share/mk/mirror/tinycorelinux/tce-install-list.yaml", "- a.tcz\n"),
        ("usr/share/mk/mirror/gem-mirror/gems/gem.list", "image\n"),
        ("var/lib/mk/mirror/gem-mirror/gems/gem.list", "admin\n"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    yield sockets
    for each in sockets:
        each.close()


def start(listeners: list[socket.socket], names: str, *options: str) -> subprocess.Popen[str]:
    numbers = [each.fileno() for each in listeners]
    command = [sys.executable, "-c", LAUNCH, ",".join(map(str, numbers)), names, *options]
    return subprocess.Popen(command, env=environment(), pass_fds=numbers, stderr=subprocess.PIPE, text=True)


def ask(listener: socket.socket, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=DEADLINE_S)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


@pytest.mark.parametrize("names", ["extensions:packages", "packages:extensions"])
def test_each_socket_serves_its_own_paths(root: Path, listeners: list[socket.socket], names: str) -> None:
    process = start(listeners, names, "--root", str(root))
    by_name = dict(zip(names.split(":"), listeners))
    try:
        assert ask(by_name["extensions"], "/tinycorelinux/tce-install-list") == (200, b'["a.tcz"]')
        assert ask(by_name["packages"], "/gem-mirror/gems/gem.list") == (200, b"admin\n")
        assert ask(by_name["extensions"], "/gem-mirror/gems/gem.list")[0] == 404
        assert ask(by_name["packages"], "/tinycorelinux/tce-install-list")[0] == 404
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


def test_it_ends_when_idle_and_a_later_request_is_answered_by_the_next_start(
    root: Path, listeners: list[socket.socket]
) -> None:
    for _ in range(2):
        process = start(listeners, "extensions:packages", "--root", str(root), "--idle", "0.5")
        assert ask(listeners[0], "/tinycorelinux/kmod-install-list") == (200, b"[]")
        assert process.wait(DEADLINE_S) == 0


def test_a_socket_of_another_name_is_a_clear_error(root: Path, listeners: list[socket.socket]) -> None:
    process = start(listeners, "extensions:other", "--root", str(root))
    assert process.stderr is not None
    assert process.wait(DEADLINE_S) == 78
    assert "other" in process.stderr.read()


@pytest.mark.parametrize(("program", "usage_status"), [("mkweb", 2), ("mkmirror", 64)])
def test_usage(program: str, usage_status: int) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", program, *options]
        return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)

    assert "--listen HOST:PORT" in run("--help").stdout
    assert run("--version").stdout.startswith(f"{program} ")
    assert run().returncode == 71
    wrong = run("--listen", "0.0.0.0:2156")
    assert wrong.returncode == usage_status
    assert "HOST:PORT" in wrong.stderr


@pytest.mark.parametrize("program", ["mkweb", "mkmirror"])
def test_help_loads_no_server(program: str) -> None:
    heavy = "{'werkzeug', 'waitress', 'dbus_next'}"
    code = f"import sys, {program}.__main__ as m; m.build_parser(); print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_serving_loads_no_bus() -> None:
    code = "import sys, mkweb.app, mkweb.controller; print('dbus_next' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize(("program", "option"), [("mkweb", "--listen"), ("mkmirror", "--listen-packages")])
def test_by_hand(tmp_path: Path, program: str, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        taken = subprocess.run(
            [sys.executable, "-m", program, option, address],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert taken.returncode == 71
    assert "cannot listen" in taken.stderr
    command = [sys.executable, "-m", program, option, address, "--root", str(tmp_path), "--idle", "0.5"]
    assert subprocess.run(command, env=environment(), timeout=60, check=False).returncode == 0

"""The command line against the real process: `mkserver run` started, used by the other verbs, and ended by SIGTERM."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mkcore.http import exchange
from mkserver.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0


@contextlib.contextmanager
def _own_process(stdin: str) -> Iterator[None]:
    """What a verb changes in its process, put back: standard input and logging."""
    root = logging.getLogger()
    before = (sys.stdin, root.handlers[:], root.level, logging.raiseExceptions)
    sys.stdin = io.StringIO(stdin)
    try:
        yield
    finally:
        sys.stdin, root.handlers[:], level, logging.raiseExceptions = before
        root.setLevel(level)


@dataclass
class Command:
    """Runs mkserver's verbs against one running server."""

    data: Path
    server: str

    def run(self, *words: str, stdin: str = "", status: int = 0) -> str:
        """Run a verb; returns its standard output, or standard error when another exit status than 0 is expected."""
        talks = words[0] not in ("password", "version", "ipxe")
        where = ["--server", self.server, "--data", str(self.data)] if talks else []
        said, complained = io.StringIO(), io.StringIO()
        with _own_process(stdin), contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            ended = main([*words, *where])
        assert ended == status, (words, said.getvalue(), complained.getvalue())
        return complained.getvalue() if status else said.getvalue()

    def json(self, *words: str) -> Any:
        """Run a verb with --json."""
        return json.loads(self.run(*words, "--json"))

    def node(self, path: str, body: bytes = b"") -> Any:
        """A node's request."""
        method, headers = ("POST", {"Content-Type": "text/json"}) if body else ("GET", {})
        return json.loads(exchange(method, self.server + path, headers=headers, body=body or None).body)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(data: Path, port: int, *words: str) -> subprocess.Popen[bytes]:
    listen = ["--listen", f"127.0.0.1:{port}", "--data", str(data)]
    process = subprocess.Popen([sys.executable, "-m", "mkserver", "run", *listen, *words], cwd=ROOT)
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError("mkserver did not start")


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """A server process and its command line."""
    port = _free_port()
    process = _start(tmp_path / "data", port)
    try:
        yield Command(tmp_path / "data", f"http://127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


REGISTRATION = (
    b'{"uuid":"N-1","mac_id":"","last_state":"idle","attributes_hash":{"hostname":"web1","manufacturer":"ACME\x7f",'
    b'"mk_hw_cpu_count":"2","mk_hw_mem_size":"8GiB"}}'
)
CHECKIN = "/hanlon/api/v1/node/checkin?uuid=N-1&mac_id=&last_state=idle"


def test_a_day_with_the_command_line(command: Command) -> None:
    assert "No nodes yet" in command.run("nodes")
    command.node("/hanlon/api/v1/node/register", REGISTRATION)
    listed = command.run("nodes")
    assert "web1" in listed
    assert "ACME\ufffd" in listed
    assert command.json("nodes")["nodes"][0]["inventory"]["memory"] == "8GiB"
    assert command.json("nodes", "--state", "expired")["nodes"] == []
    assert command.json("show", "web1")["facts"]["mk_hw_cpu_count"] == "2"
    assert "mk_hw_cpu_count = 2" in command.run("show", "N-1", "--facts")
    assert "reboot at its next checkin" in command.run("order", "web1", "reboot")
    assert command.node(CHECKIN)["response"]["command_name"] == "reboot"
    assert "no order waits" in command.run("order", "web1", "withdraw", status=77)
    assert "Told to" not in command.run("show", "web1")
    assert command.json("bind", "web1", "poweroff")["binding"] == "poweroff"
    assert command.json("bind", "web1", "none")["binding"] is None
    assert "forgotten" in command.run("forget", "web1")
    assert "no such node" in command.run("show", "web1", status=77)


def test_configuration(command: Command) -> None:
    command.node("/hanlon/api/v1/node/register", REGISTRATION)
    command.run("config", "set", "mk_checkin_interval=30", "boot_kernel_args=quiet debug")
    assert command.run("config", "get", "mk_checkin_interval", "boot_kernel_args") == "30\nquiet debug\n"
    assert command.node(CHECKIN)["client_config"]["mk_checkin_interval"] == 30
    command.run("config", "set", "--node", "web1", "mk_checkin_interval=10", "mk_new:=[1]")
    assert command.json("config", "--node", "web1")["set"] == {"mk_checkin_interval": 10, "mk_new": [1]}
    assert command.json("config")["set"] == {"boot_kernel_args": "quiet debug", "mk_checkin_interval": 30}
    assert "1 to 3600" in command.run("config", "set", "mk_checkin_interval=0", status=65)
    assert command.node(CHECKIN)["client_config"]["mk_checkin_interval"] == 10
    command.run("config", "set", "--force", "mk_checkin_interval=0", "--node", "web1")
    assert command.node(CHECKIN)["client_config"]["mk_checkin_interval"] == 0
    command.run("config", "unset", "mk_checkin_interval", "mk_new", "--node", "web1")
    assert command.node(CHECKIN)["client_config"]["mk_checkin_interval"] == 30
    assert "not for one" in command.run("config", "set", "register_timeout=5", "--node", "web1", status=65)


def test_password(command: Command, tmp_path: Path) -> None:
    assert "at least 8" in command.run("password", "--stdin", "--data", str(command.data), stdin="short\n", status=65)
    command.run("password", "--stdin", "--data", str(command.data), stdin="correct horse\n")
    assert "No nodes yet" in command.run("nodes"), "who may read the data directory needs no password"
    elsewhere = Command(tmp_path / "nothing", command.server)
    assert "wants its password" in elsewhere.run("nodes", status=77)
    (tmp_path / "password").write_text("correct horse\n")
    assert "No nodes yet" in elsewhere.run("nodes", "--password-file", str(tmp_path / "password"))
    command.run("password", "--remove", "--data", str(command.data))
    assert "No nodes yet" in elsewhere.run("nodes")


def test_what_needs_no_server(tmp_path: Path) -> None:
    command = Command(tmp_path, f"http://127.0.0.1:{_free_port()}")
    assert command.run("version").startswith("mkserver ")
    assert json.loads(command.run("version", "--json"))["name"] == "mkserver"
    script = command.run("ipxe", "192.0.2.1:8026", "--dialect", "razor")
    assert "chain http://192.0.2.1:8026/razor/api/boot?hw_id=${net0/mac}_" in script
    assert "refused" in command.run("nodes", status=69).lower()


def test_help_of_the_real_command() -> None:
    words = [sys.executable, "-m", "mkserver", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert all(verb in done.stdout for verb in ("run", "nodes", "show", "order", "bind", "config", "password"))


def test_refusals_at_the_start_are_one_line(tmp_path: Path) -> None:
    command = Command(tmp_path, "")
    port = _free_port()
    for words, status, text in (
        (["--listen", f"0.0.0.0:{port}"], 78, "without a password"),
        (["--listen", "nonsense"], 78, "HOST:PORT"),
        (["--kernel", "/nope"], 78, "belong together"),
        (["--kernel", "/nope", "--initrd", "/nope"], 78, "/nope: no such file"),
        (["--database", "nosuch://x", "--listen", f"127.0.0.1:{port}"], 78, "database URL"),
        (["--log-level", "loud"], 65, "log level"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "mkserver", "run", "--data", str(command.data), *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert text in done.stderr


def test_killed_in_the_middle_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    data, port = tmp_path / "data", _free_port()
    command = Command(data, f"http://127.0.0.1:{port}")
    process = _start(data, port)
    command.node("/hanlon/api/v1/node/register", REGISTRATION)
    command.run("order", "web1", "poweroff")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(DEADLINE_S)
    process = _start(data, port)
    try:
        assert command.node(CHECKIN)["response"]["command_name"] == "poweroff"
    finally:
        process.terminate()
        process.wait(DEADLINE_S)

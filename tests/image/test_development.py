"""The development image lets in whoever has a key that the machine was given at its boot, and nobody else; the debug
image is a root shell at every console as well.

In the full run alone: both are built for it, which takes minutes. The client is OpenSSH's, as people use it.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.qemu import Machine, Nic, VirtualMachine
from tests.machines.server import ROOT

FOLDER = ROOT / "build/image-tests/development"
BOOT_S = 600.0
SCREEN_S = 60.0
KEYS = ("credential", "address", "line", "cloud", "stranger")

pytestmark = [
    pytest.mark.usefixtures("image"),
    pytest.mark.skipif("MK_FULL" not in os.environ, reason="images with a login are built in make test-full"),
]


def build_image(profile: str) -> Path:
    """Have the image of a profile built; return its folder."""
    command = ["make", "--no-print-directory", "image", f"PROFILE={profile}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / f"build/image-{profile}"


def find_port() -> int:
    """Return a port of loopback that nobody serves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Files(http.server.BaseHTTPRequestHandler):
    """Hands out what the server has; the first request for it is answered with 503, as by a server that starts."""

    def do_GET(self) -> None:
        files = self.server.files  # type: ignore[attr-defined]
        asked = self.server.asked  # type: ignore[attr-defined]
        asked.append(self.path)
        body = files.get(self.path, b"")
        self.send_response(200 if body and asked.count(self.path) > 1 else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve(files: dict[str, bytes]) -> Iterator[int]:
    """Serve files on loopback; gives the port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    server.files, server.asked = files, []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Client:
    """The machine's sshd as somebody on the network meets it."""

    port: int
    channel: Channel

    def log_in(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Try to run a command by ssh."""
        command = [
            "ssh",
            "-F",
            "none",
            "-p",
            str(self.port),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "ConnectTimeout=60",
        ]
        command += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", *options]
        command += ["root@127.0.0.1", "id -un; hostname"]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    def log_in_with(self, name: str) -> subprocess.CompletedProcess[str]:
        """Try it with one key alone."""
        return self.log_in("-i", str(FOLDER / "keys" / name), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none")

    def scan(self) -> str:
        """Return the fingerprints of its host keys, one a line."""
        command = f"ssh-keyscan -T 60 -p {self.port} 127.0.0.1 2>/dev/null | ssh-keygen -l -f -"
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False).stdout

    def wait_for_keys(self) -> None:
        """Return when every address on the kernel line was read."""
        self.channel.run("systemctl", "is-system-running", "--wait", timeout_s=BOOT_S, check=False)
        machine = self.channel.machine
        machine.wait_until(lambda: self._is_read(), "the keys to be fetched", BOOT_S)

    def _is_read(self) -> bool:
        said = self.channel.run("systemctl", "show", "--property=SubState", "--value", "mk-authorized-keys.service")
        return said.stdout.strip() == "exited"


def make_keys() -> dict[str, str]:
    """Make a key for each way in, and a stranger's; return the public ones."""
    folder = FOLDER / "keys"
    folder.mkdir(parents=True, exist_ok=True)
    for name in KEYS:
        if not (folder / name).exists():
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name} key", "-f", str(folder / name)]
            subprocess.run(command, check=True)
    return {name: (folder / f"{name}.pub").read_text(encoding="ascii").strip() for name in KEYS}


def build_machine(image: Path, port: int, cmdline: str, credentials: dict[str, bytes]) -> Machine:
    """Describe a machine whose port 22 is a port of loopback here."""
    return Machine(
        uuid="6d6b6465-7600-4563-8001-646576656c6f",
        nics=(Nic("52:54:00:64:65:01", f"user,ipv6=off,hostfwd=tcp:127.0.0.1:{port}-:22"),),
        accel=choose_accel(),
        kernel=image / "vmlinuz",
        initrd=image / "initrd",
        cmdline=f"console=ttyS0 {cmdline}",
        credentials=build_credentials(credentials),
        channels=CHANNELS,
    )


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """The machine of the development image; it was told of four keys, each in another way."""
    folder, keys, port = build_image("development"), make_keys(), find_port()
    cloud = f"#cloud-config\nwrite_files:\n  - path: /x\nssh_authorized_keys:\n  - {keys['cloud']}\n"
    files = {"/keys": f"# ours\n{keys['address']}\n".encode(), "/mk/cloud-config": cloud.encode()}
    with serve(files) as http_port:
        base = f"http://10.0.2.2:{http_port}"
        line = f'mk.sshkey={base}/keys "sshkey={keys["line"]}" rancher.password=secret '
        line += f"rancher.cloud_init.datasources=['url:{base}/mk/cloud-config']"
        given = {"ssh.authorized_keys.root": f"{keys['credential']}\n".encode()}
        with VirtualMachine(build_machine(folder, port, line, given), FOLDER / "machine") as vm:
            made = Client(port, Channel(vm))
            made.wait_for_keys()
            yield made


@pytest.mark.parametrize("name", KEYS[:-1])
def test_key_that_the_machine_was_given_opens_it(client: Client, name: str) -> None:
    """Rows 91 and 94: by credential, by an address and a key on the kernel line, by Hanlon 3's cloud-config."""
    said = client.log_in_with(name)
    assert said.stdout.startswith("root\n"), said.stderr


def test_stranger_is_refused(client: Client) -> None:
    """A key that it was not given does not."""
    said = client.log_in_with("stranger")
    assert said.returncode == 255 and "Permission denied (publickey)" in said.stderr


def test_no_password_is_asked_for(client: Client) -> None:
    """Nor is there any other way: the server offers keys alone, to root and to others; the password was no password."""
    for user in ("root", "rancher", "mkctl"):
        options = ("-o", "PreferredAuthentications=password,keyboard-interactive,none", "-o", f"User={user}")
        said = client.log_in(*options)
        assert said.returncode == 255 and "Permission denied (publickey)" in said.stderr, user
    for line in client.channel.run("cat", "/etc/shadow").stdout.splitlines():
        assert line.split(":")[1] in ("*", "!", "!*", "!!"), line


def test_sshd_alone_listens(client: Client) -> None:
    """No other door was opened with it, also none on vsock."""
    listed = client.channel.run("systemctl", "list-sockets", "--plain", "--no-legend", "--all").stdout
    assert "sshd" not in listed


def test_screen_has_the_fingerprint(client: Client) -> None:
    """What stands on the console is what a client sees."""
    client.channel.run("systemctl", "start", "mk-console.service")
    (fingerprint,) = re.findall(r"SHA256:[A-Za-z0-9+/]+", client.scan())
    machine = client.channel.machine
    machine.wait_until(lambda: fingerprint in machine.console(), "the fingerprint to stand on the console", SCREEN_S)


def test_host_key_is_this_boots(client: Client) -> None:
    """B60: a machine that starts anew is not the same; no key is in the image, where all machines would share it."""
    before = client.scan()
    assert before
    client.channel.machine.qmp.execute("system_reset")  # by its button: who is asked inside may not live to answer
    client.channel.machine.wait_until(lambda: client.scan() not in ("", before), "another host key", BOOT_S)


def test_debug_image_is_a_shell_at_each_console() -> None:
    """Row 93: root's shell answers on the serial port, without a question."""
    folder = build_image("debug")
    machine = build_machine(folder, find_port(), "", {})
    with VirtualMachine(machine, FOLDER / "debug") as vm:
        channel = Channel(vm)
        channel.run("systemctl", "is-system-running", "--wait", timeout_s=BOOT_S, check=False)
        for unit in ("getty@tty1.service", "serial-getty@ttyS0.service"):
            said = channel.run("systemctl", "show", "--property=ActiveState", "--value", unit).stdout
            assert said.strip() == "active", unit
        vm.wait_until(lambda: "root@" in vm.console(), "a shell's prompt on the serial port", BOOT_S)
        assert '"DEBUG"' in channel.run("mkctl", "config", "--json").stdout

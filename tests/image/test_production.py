"""The production image lets nobody in: not from the network, not at a console, not by a password; and a person who
stands before the machine sees what it is and what it does.

The machine has a screen and a serial console, one of each model of network card and of each storage controller that
QEMU has, and has registered. It is booted from kernel and initrd: what the firmware reads is not what is tested here.
"""

from __future__ import annotations

import ipaddress
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore import events
from tests.machines import models
from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.models import Collection, Found, Model
from tests.machines.qemu import Machine, VirtualMachine
from tests.machines.server import IMAGE, ROOT, Server, read_manifest

FOLDER = ROOT / "build/image-tests/production"
CMDLINE = "mk.ip=10.0.2.2 console=ttyS0 console=tty0"
BOOT_S = 600.0
SCREEN_S = 60.0
"""From the news to the screen: about 2 s."""
DEVICES = Collection()
ELEVATED: dict[str, str] = {}
"""Files whose setuid or setgid bit is wanted -> why. There is nobody here to whom a program had to give more rights."""
HOLDERS = {"systemd", "console", "systemd-logind"}
"""Who may have a terminal open: PID 1, what fills the screen while it writes, and logind, which keeps terminals that
somebody changed to from others and would start a login there if there were a unit for it."""
UDP_OF_CLIENTS = {68: "the DHCP client hears answers", 546: "the DHCPv6 client hears answers"}

pytestmark = pytest.mark.usefixtures("image")

_LISTENING = """\
import json, socket
def address(text, family):
    raw = bytes.fromhex(text)
    words = b"".join(raw[at:at + 4][::-1] for at in range(0, len(raw), 4))
    return socket.inet_ntop(family, words)
found = []
for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6), ("udp", socket.AF_INET),
                     ("udp6", socket.AF_INET6), ("udplite", socket.AF_INET), ("udplite6", socket.AF_INET6)):
    with open("/proc/net/" + name) as file:
        for line in file.read().splitlines()[1:]:
            words = line.split()
            local, port = words[1].split(":")
            # 0A is LISTEN of TCP, 07 a socket of UDP that is not connected
            if words[3] == ("0A" if name.startswith("tcp") else "07"):
                found.append([name, address(local, family), int(port, 16)])
print(json.dumps(found))
"""
_HOLDERS = """\
import glob, json, os, re
found = []
for path in glob.glob("/proc/[0-9]*/fd/*"):
    try:
        target, name = os.readlink(path), open(path.split("/fd/")[0] + "/comm").read().strip()
    except OSError:
        continue
    if re.fullmatch(r"/dev/(tty\\w*|console|hvc\\d+)", target):
        found.append([name, target])
print(json.dumps(found))
"""
_SCREEN = """\
import struct
with open("/dev/vcsa1", "rb") as file:
    data = file.read()
lines, columns = data[0], data[1]
text = data[4::2].decode("cp437")
for at in range(lines):
    print(text[at * columns:(at + 1) * columns].rstrip())
"""


def build_machine() -> Machine:
    """Describe the machine."""
    return Machine(
        uuid="6d6b7072-6f64-4563-8001-70726f64756b",
        nics=DEVICES.build_nics("user,ipv6=off"),
        accel=choose_accel(),
        kernel=IMAGE / "vmlinuz",
        initrd=IMAGE / "initrd",
        cmdline=CMDLINE,
        credentials=build_credentials(),
        channels=CHANNELS,
        extra=("-device", "VGA", *DEVICES.build_argv(FOLDER / "disks"), "-device", "usb-kbd,bus=usb.0"),
    )


@pytest.fixture(scope="module")
def channel() -> Iterator[Channel]:
    """The machine, registered, and all that starts with it started."""
    with Server(FOLDER / "server"), VirtualMachine(build_machine(), FOLDER / "machine") as vm:
        channel = Channel(vm)
        channel.wait_event(events.REGISTERED, BOOT_S)
        channel.run("systemctl", "is-system-running", "--wait", timeout_s=BOOT_S)
        yield channel


@pytest.fixture(scope="module")
def found(channel: Channel) -> Found:
    """What the machine has, once udev has settled."""
    channel.run("udevadm", "settle", "--timeout=120", timeout_s=150)
    return models.look(channel)


def need(model: Model) -> None:
    """Skip where this host's QEMU has no such device."""
    if not models.is_known(model):
        pytest.skip(f"this QEMU has no {model.name}")


@pytest.mark.parametrize("model", models.NICS, ids=lambda model: model.name)
def test_driver_takes_the_card(found: Found, model: Model) -> None:
    """The card of this address is a network interface of its driver."""
    need(model)
    drivers = found.nics.get(DEVICES.mac(model))
    assert drivers, f"{model.name} is no network interface; there are {found.nics}"
    assert model.driver in [name.replace("-", "_") for name in drivers] or model.driver in drivers


@pytest.mark.parametrize("model", models.STORAGE, ids=lambda model: model.name)
def test_driver_takes_the_disk(found: Found, model: Model) -> None:
    """The disk of this size is a block device below its controller's driver (row 25 of the protocol: SCSI drivers)."""
    need(model)
    drivers = found.disks.get(DEVICES.size_bytes(model))
    assert drivers, f"the disk on {model.name} is no block device; there are {found.disks}"
    assert model.driver in drivers


def test_no_network_or_storage_device_is_without_a_driver(found: Found) -> None:
    """Whatever else the machine has of these classes is taken, too."""
    assert not found.bare


def press(channel: Channel, keys: list[str]) -> None:
    """Press keys of the machine's keyboard, all at once."""
    channel.machine.qmp.execute("send-key", keys=[{"type": "qcode", "data": key} for key in keys])


def write_png(path: Path, width: int, height: int, pixels: bytes) -> None:
    """Write what was on a screen as a picture that people can look at."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    rows = b"".join(b"\0" + pixels[at * width * 3 : (at + 1) * width * 3] for at in range(height))
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def python(channel: Channel, text: str) -> str:
    """Run a program in the machine; return what it prints."""
    return channel.run("python3", "-I", "-c", text).stdout


def test_nothing_listens_beyond_loopback(channel: Channel) -> None:
    """Every socket that waits for strangers is on loopback; those of DHCP's clients are for answers to their own."""
    found = json.loads(python(channel, _LISTENING))
    assert found, "nothing was read"
    open_ = [
        (kind, address, port)
        for kind, address, port in found
        if not ipaddress.ip_address(address).is_loopback
        and not (kind.startswith("udp") and port in UDP_OF_CLIENTS and address not in ("0.0.0.0", "::"))
    ]
    assert not open_


def test_no_program_waits_at_a_console(channel: Channel) -> None:
    """No process holds a terminal but those that write, and no unit that would start a login can."""
    assert {name for name, _ in json.loads(python(channel, _HOLDERS))} <= HOLDERS
    for unit in ("getty@tty1", "getty@tty2", "serial-getty@ttyS0", "console-getty", "container-getty@1", "autovt@tty3"):
        said = channel.run("systemctl", "show", "--property=LoadState,ActiveState", "--value", f"{unit}.service").stdout
        assert said.split() == ["masked", "inactive"], unit


def test_keys_bring_no_login(channel: Channel) -> None:
    """What a person types at the screen, and changing to another terminal, start nothing."""
    before = channel.run("systemctl", "list-units", "--plain", "--no-legend", "--type=service,scope").stdout
    for keys in (["ret"], ["alt", "f2"], ["ret"], ["alt", "f6"], ["ctrl", "alt", "f3"], ["ret"], ["alt", "f1"]):
        press(channel, keys)
    channel.run("udevadm", "settle")
    after = channel.run("systemctl", "list-units", "--plain", "--no-legend", "--type=service,scope").stdout
    started = {line.split()[0] for line in after.splitlines()} - {line.split()[0] for line in before.splitlines()}
    assert not [unit for unit in started if "getty" in unit or "session" in unit or "user@" in unit]
    assert {name for name, _ in json.loads(python(channel, _HOLDERS))} <= HOLDERS


def test_no_password_and_no_key(channel: Channel) -> None:
    """No account has a password, not even an empty one, and there is nothing that asks for one or takes a key."""
    for path in ("/etc/passwd", "/etc/shadow"):
        for line in channel.run("cat", path).stdout.splitlines():
            name, password, *_ = line.split(":")
            assert password in (("x", "*", "!", "!*") if path == "/etc/passwd" else ("*", "!", "!*", "!!")), name
    for program in ("sshd", "dropbear", "telnetd"):
        assert channel.run("sh", "-c", f"command -v {program}", check=False).stdout == "", program
    found = channel.run("find", "/", "-xdev", "-name", "authorized_keys*", check=False).stdout
    assert found == ""


def test_no_program_gives_rights(channel: Channel) -> None:
    """No setuid or setgid file but those of a list, each with its reason; no file with capabilities."""
    found = channel.run("find", "/", "-xdev", "-type", "f", "-perm", "/6000").stdout.split()
    assert set(found) == set(ELEVATED)
    look = "import os\nfor top, _, names in os.walk('/usr'):\n for name in names:\n  path = os.path.join(top, name)\n"
    look += "  if not os.path.islink(path) and 'security.capability' in os.listxattr(path): print(path)"
    assert python(channel, look) == ""


def test_screen_says_what_the_machine_is(channel: Channel) -> None:
    """Version, kernel, address and what mkctl is doing, in words; the same went to the serial console."""
    manifest = read_manifest()
    screens: list[str] = []

    def is_waiting() -> bool:
        screens.append(python(channel, _SCREEN))
        return "nextcheckin" in "".join(screens[-1].split())  # long lines go on in the next

    channel.machine.wait_until(is_waiting, "the screen to say that the machine waits for its next checkin", SCREEN_S)
    text = screens[-1]
    shown = "".join(text.split())
    assert f"kernel{manifest['kernel']}" in shown
    assert "10.0.2." in text and "6d6b7072-6f64-4563-8001-70726f64756b" in text
    assert "State" in shown, text
    machine = channel.machine
    own = machine.console().partition("  mksuite ")[2].partition("  State")[0].replace("\r", "").splitlines()
    assert "The system lies in memory" in machine.console() and max(map(len, own)) < 80, own
    machine.qmp.execute("screendump", filename=str(FOLDER / "screen.ppm"))
    kind, size, depth, pixels = (FOLDER / "screen.ppm").read_bytes().split(b"\n", 3)
    assert (kind, depth) == (b"P6", b"255") and len(set(pixels)) > 1, "the screen is empty"
    write_png(FOLDER / "screen.png", *(int(word) for word in size.split()), pixels)


def test_news_get_to_the_screen(channel: Channel) -> None:
    """Whatever mkctl says next stands there without anybody's doing."""
    channel.run("sh", "-c", "printf '\\033c' > /dev/tty1")
    assert "mksuite" not in python(channel, _SCREEN)
    call = ("org.mksuite.Controller1", "/org/mksuite/Controller1", "org.mksuite.Controller1", "CheckIn")
    channel.run("busctl", "call", "--timeout=60", *call, timeout_s=90)
    channel.machine.wait_until(lambda: "mksuite" in python(channel, _SCREEN), "the screen to be written", SCREEN_S)


def test_news_while_the_screen_is_written_get_there(channel: Channel) -> None:
    """A path unit looks away while its service runs: the service itself looks for news before it ends.

    Its systemctl, by which it asks for the state, waits here for the test, which writes a new status meanwhile.
    """
    script = """\
set -e
mkdir -p /run/slow /run/systemd/system/mk-console.service.d
cat > /run/slow/systemctl <<'END'
#!/bin/sh
echo asked >> /run/slow/asked
while [ ! -e /run/slow/go ]; do sleep 0.1; done
exec /usr/bin/systemctl "$@"
END
chmod +x /run/slow/systemctl
printf '[Service]\\nEnvironment=PATH=/run/slow:/usr/bin\\n' > /run/systemd/system/mk-console.service.d/slow.conf
systemctl daemon-reload
systemctl stop mk-console.path mk-console.service
systemctl start mk-console.service
until [ -e /run/slow/asked ]; do sleep 0.1; done
cp -p /run/mkctl/status.json /run/mkctl/status.new
mv /run/mkctl/status.new /run/mkctl/status.json
touch /run/slow/go
while systemctl --quiet is-active mk-console.service; do sleep 0.1; done
wc -l < /run/slow/asked
rm -r /run/slow /run/systemd/system/mk-console.service.d
systemctl daemon-reload
systemctl start mk-console.path
"""
    assert int(channel.run("sh", "-c", script, timeout_s=2 * SCREEN_S).stdout) >= 2


def test_nothing_failed(channel: Channel) -> None:
    """Without its logins the system is whole."""
    assert channel.run("systemctl", "--failed", "--no-legend", "--plain").stdout == ""

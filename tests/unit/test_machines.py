"""The test machines' own pure parts: command lines, stages of a boot, frames on the wire, the injected channel."""

from __future__ import annotations

import base64
import dataclasses
import struct
from pathlib import Path

import pytest

from tests.machines.accel import BOOT_SECTOR
from tests.machines.guest import UNITS
from tests.machines.journal import CHANNELS, build_credentials
from tests.machines.network import find_leftovers
from tests.machines.qemu import Disk, Machine, Nic, build_argv, find_panic
from tests.machines.run import build_machine
from tests.machines.stages import (
    STAGES,
    build_truth,
    clean,
    count_stages,
    inventory_lines,
    read_download,
    read_truth,
)
from tests.machines.wire import parse_frame

MACHINE = Machine(
    uuid="00000000-0000-0000-0000-000000000001",
    nics=(Nic("52:54:00:00:00:01", "user,net=10.0.2.0/24"), Nic("52:54:00:00:00:02", "user", "e1000e")),
    disks=(Disk(Path("/d/a"), "A1"), Disk(Path("/d/b"), "B2", bus="scsi"), Disk(Path("/d/c"), "C3", bus="nvme")),
)
NODE = {
    "registered_ms": 1,
    "checkins": 1,
    "inventory": {
        "vendor": "QEMU",
        "product": "Standard PC\x1b[31m",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "cpu_count": "1",
        "cpu_model": "QEMU",
        "logical_cpus": "2",
        "memory": "1GiB",
        "disks": [
            {"name": "sda", "serial": "B2", "size": "4GiB", "model": "QEMU HARDDISK"},
            {"name": "sr0", "serial": "", "size": "", "model": "DVD"},
        ],
        "nics": [{"name": "enp0s2", "mac": "52:54:00:00:00:01", "address": ""}],
    },
}


def values(argv: list[str], option: str) -> list[str]:
    """Return what follows each occurrence of an option."""
    return [after for before, after in zip(argv, argv[1:]) if before == option]


def test_command_line_names_what_identifies_a_machine() -> None:
    argv = build_argv(MACHINE)
    devices = " ".join(values(argv, "-device"))
    assert values(argv, "-uuid") == [MACHINE.uuid]
    assert all(f"mac={mac}" in devices for mac in MACHINE.macs)
    assert all(f"serial={serial}" in devices for serial in MACHINE.serials)
    assert values(argv, "-netdev") == ["user,id=net0,net=10.0.2.0/24", "user,id=net1"]


def test_another_runs_namespace_is_left_alone(tmp_path: Path) -> None:
    processes, names = tmp_path / "proc", tmp_path / "netns"
    (processes / "20").mkdir(parents=True)
    for name in ("lab-10", "lab-20", "lab-x", "other-10", "lab"):
        (names / name).mkdir(parents=True)
    assert find_leftovers(names, "lab", processes) == ["lab-10"]
    assert find_leftovers(tmp_path / "none", "lab", processes) == []


def test_firmware_boots_the_cards_in_their_order_unless_a_kernel_is_given() -> None:
    devices = values(build_argv(MACHINE), "-device")
    assert [device.rpartition("bootindex=")[2] for device in devices if "bootindex" in device] == ["1", "2"]
    direct = dataclasses.replace(MACHINE, kernel=Path("/k"), initrd=Path("/i"), cmdline="quiet")
    argv = build_argv(direct)
    assert "bootindex" not in " ".join(argv)
    assert (values(argv, "-kernel"), values(argv, "-append")) == (["/k"], ["quiet"])


def test_emulation_avoids_the_instruction_that_crashes_guests() -> None:
    assert values(build_argv(MACHINE), "-cpu") == ["max,-cx16"]


def test_credentials_reach_the_firmware_tables() -> None:
    machine = dataclasses.replace(MACHINE, credentials=build_credentials({"mk.toml": b"a,b"}), channels=CHANNELS)
    argv = build_argv(machine)
    tables = dict(text.partition("binary:")[2].split("=", 1) for text in values(argv, "-smbios"))
    assert base64.b64decode(tables["mk.toml"]) == b"a,b"
    assert b"ExecStart=" in base64.b64decode(tables["systemd.extra-unit.mk-test.service"])
    assert all(f"virtserialport,chardev={name},name={name}" in argv for name in CHANNELS)


def test_nodes_of_make_run_differ() -> None:
    first, second = (build_machine(number, Path("/f"), "tcg") for number in (1, 2))
    for ours, theirs in zip((first.uuid, *first.macs, *first.serials), (second.uuid, *second.macs, *second.serials)):
        assert ours != theirs


def test_boot_sector_is_one() -> None:
    assert len(BOOT_SECTOR) == 512
    assert BOOT_SECTOR.endswith(b"\x55\xaa")


CONSOLE = [
    ("", ""),
    ("SeaBIOS (version 1.16.2-debian-1.16.2-1)\r\n", "firmware"),
    ("iPXE initialising devices...ok\r\n", "iPXE"),
    ("tftp://10.0.2.2/boot.ipxe... ok\r\n", "boot script from TFTP"),
    ("http://10.0.2.2:8026/hanlon/api/v1/image/mk/5GS2/vmlinuz... 3%\x08\x08  \x08\x08 ok\r\n", "kernel over HTTP"),
    (
        "http://10.0.2.2:8026/hanlon/api/v1/image/mk/5GS2/initrd... 68%\x08\x08\x08   \x08\x08\x08 ok\n",
        "initrd over HTTP",
    ),
    ("[    0.000000] Linux version 6.12.0\r\n", "kernel"),
    ("[    8.1] systemd[1]: systemd 257.13 running in system mode\r\n", "systemd"),
]


def test_a_kernel_that_gave_up() -> None:
    line = "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"
    assert find_panic(f"[    1.0] Run /init\r\n[    1.2] {line}\r\n[    1.3] CPU: 0 PID: 1\r\n") == line
    assert find_panic("[    0.0] Command line: panic=60\r\n") == ""


def test_stages_follow_the_console() -> None:
    console = ""
    for text, stage in CONSOLE:
        console += text
        reached = count_stages(console, None)
        assert (STAGES[reached - 1] if reached else "") == stage


def test_server_knows_the_last_stages() -> None:
    assert count_stages("", {"checkins": 1, "registered_ms": None}) == STAGES.index("first checkin") + 1
    assert count_stages("", NODE) == len(STAGES)
    assert count_stages("", {"checkins": 0, "registered_ms": None}) == 0


@pytest.mark.parametrize(
    ("console", "expected"),
    [
        ("http://10.0.2.2:8026/image/mk/5GS2/initrd... 68%", ("initrd", 68)),
        ("http://10.0.2.2:8026/image/mk/5GS2/initrd... 9%\x08\x08  \x08\x08 10%", ("initrd", 10)),
        ("http://10.0.2.2:8026/image/mk/5GS2/initrd... ok\n", ("", 0)),
        ("", ("", 0)),
    ],
)
def test_download_progress(console: str, expected: tuple[str, int]) -> None:
    assert read_download(console) == expected


def test_truth_compares_any_spelling() -> None:
    ours = build_truth("abc-1", ["52:54:00:AA:00:02", "52:54:00:aa:00:01"], ["B", "A"])
    assert ours == build_truth("ABC-1", ["52:54:00:aa:00:01", "52:54:00:aa:00:02"], ["A", "B"])


def test_inventory_is_read_and_shown_without_escapes() -> None:
    assert read_truth(NODE["inventory"]) == build_truth(MACHINE.uuid, MACHINE.macs[:1], ["B2"])  # type: ignore[arg-type]
    lines = inventory_lines(NODE)
    assert all(line.isprintable() for line in lines)
    assert any("sda" in line and "B2" in line for line in lines)


def test_clean_cuts_and_strips() -> None:
    assert clean("a\x1b[31mb\x07c\n") == "ab c"
    assert clean("x" * 500, 10) == "x" * 10


def frame(port: int, flags: int, data: bytes = b"", *, protocol: int = 6, options: bytes = b"") -> bytes:
    """Build an Ethernet frame with IPv4 and TCP headers."""
    ethernet = b"\0" * 12 + b"\x08\x00"
    ip = bytes([0x45, 0]) + struct.pack("!HHHBBH", 40 + len(data), 0, 0, 64, protocol, 0) + b"\0" * 8
    tcp = struct.pack("!HHIIBBHHH", 40000, port, 0, 0, (5 + len(options) // 4) << 4, flags, 0, 0, 0) + options
    return ethernet + ip + tcp + data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            frame(8026, 0x18, b"GET /hanlon/api/v1/node/checkin?uuid=1 HTTP/1.1\r\nHost: x\r\n"),
            "GET /hanlon/api/v1/node/checkin?uuid=1 HTTP/1.1",
        ),
        (frame(8026, 0x18, b"POST /a HTTP/1.1\r\n", options=b"\1" * 12), "POST /a HTTP/1.1"),
        (frame(8026, 0x02), ""),
        (frame(8026, 0x12), None),
        (frame(8026, 0x18, b"rest of a body"), None),
        (frame(80, 0x02), None),
        (frame(8026, 0x02, protocol=17), None),
        (b"\0" * 20, None),
        (b"", None),
    ],
)
def test_frames(data: bytes, expected: str | None) -> None:
    assert parse_frame(data, 8026) == expected
    assert parse_frame(data, 8026, "0.0.0.0") == expected
    assert parse_frame(data, 8026, "192.0.2.1") is None


def test_channel_names_every_service_whose_journal_it_brings() -> None:
    """journalctl's pattern mk* stands for what is in the journal when it is opened: a fast boot had no mkctl in it."""
    root = Path(__file__).resolve().parents[2]
    extra = root / "packaging/image/mkosi.extra/usr/lib/systemd/system"
    services = {path.stem for folder in (root / "units/systemd", extra) for path in folder.glob("mk*.service")}
    assert services - {"mkserver"} <= set(UNITS)

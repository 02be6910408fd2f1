"""The TPM: sysfs of all kernels, the one command and its answers, a hanging device; a software TPM is the truth."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_tree import make_tree
from smbios_tables import make_server

from mkcore.errors import BadInput
from mkcore.paths import paths_under
from mkctl.probe.machine import collect_tpm
from mkctl.probe.model import Status
from mkctl.probe.tpm import ask_tpm, build_get_capability, parse_get_capability, parse_tpm_caps, read_tpm

Files = dict[str, Union[str, bytes]]


def answer(*pairs: tuple[int, int], code: int = 0, more: bytes = b"") -> bytes:
    """An answer to TPM2_GetCapability, as the TPM library's part 3 has it."""
    body = struct.pack(">BII", 0, 6, len(pairs)) + b"".join(struct.pack(">II", *pair) for pair in pairs)
    body = b"" if code else body
    return struct.pack(">HII", 0x8001, 10 + len(body) + len(more), code) + body + more


IBM = answer((0x105, int.from_bytes(b"IBM\0", "big")), (0x106, 0), (0x10B, 0x2019_1023))


def test_get_capability() -> None:
    assert build_get_capability().hex() == "8001" + "00000016" + "0000017a" + "00000006" + "00000105" + "00000007"
    assert parse_get_capability(IBM) == {"vendor": "IBM", "firmware_version": "8217.4131"}
    assert parse_get_capability(answer()) == {}


@pytest.mark.parametrize(
    "data",
    [b"", IBM[:9], IBM[:18], IBM[:-1], IBM + b"\0", answer(code=0x100), answer((1, 2), code=0x922), b"\0" * 40],
)
def test_other_answers_of_a_tpm(data: bytes) -> None:
    with pytest.raises(BadInput, match="TPM2_GetCapability"):
        parse_get_capability(data)


def test_more_properties_announced_than_sent() -> None:
    data = bytearray(answer((0x105, 1)))
    data[18] = 9
    with pytest.raises(BadInput, match="too short"):
        parse_get_capability(bytes(data))


@given(st.binary(max_size=80))
def test_a_tpm_that_answers_anything(data: bytes) -> None:
    try:
        parse_get_capability(data)
    except BadInput as error:
        assert str(error)


@given(st.text(max_size=80))
def test_caps_of_any_text(text: str) -> None:
    parse_tpm_caps(text)


CAPS = "Manufacturer: 0x49465800\nTCG version: 1.2\nFirmware version: 3.17\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, {}),
        ({"class/tpm/": ""}, {}),
        ({"class/tpm/tpm0/tpm_version_major": "2\n"}, {"present": True, "version": "2.0"}),
        ({"class/tpm/tpm0/": "", "class/tpmrm/tpmrm0/": ""}, {"present": True, "version": "2.0"}),
        (
            {"class/tpm/tpm0/tpm_version_major": "1\n", "class/tpm/tpm0/caps": CAPS},
            {"present": True, "version": "1.2", "vendor": "IFX", "firmware_version": "3.17"},
        ),
        (
            {"class/tpm/tpm0/device/caps": CAPS},
            {"present": True, "version": "1.2", "vendor": "IFX", "firmware_version": "3.17"},
        ),
        ({"class/tpm/tpm0/tpm_version_major": "1\n"}, {"present": True, "version": "1.2"}),
        ({"class/tpm/tpm0/caps": "Manufacturer: 0xzz\n"}, {"present": True}),
    ],
)
def test_tpm_of_sysfs(tmp_path: Path, files: Files, expected: dict[str, Any]) -> None:
    assert read_tpm(make_tree(tmp_path, files)) == expected
    for name in ("class/tpm", "class/tpmrm"):
        assert not files or expected or not list((tmp_path / name).glob("*"))


TPM_2: Files = {"sys/class/tpm/tpm0/tpm_version_major": "2\n"}


def collect_tpm_in(root: Path, files: Files) -> tuple[dict[str, Any], str]:
    make_tree(root, files)
    collected = collect_tpm(paths_under(str(root)), root)
    assert collected.status is Status.OK
    return dict(collected.inventory), collected.error


def test_a_tpm_that_smbios_describes_is_not_asked(tmp_path: Path) -> None:
    inventory, remark = collect_tpm_in(tmp_path, {**TPM_2, "sys/firmware/dmi/tables/DMI": make_server()})
    expected = {"present": True, "version": "2.0", "vendor": "IFX", "firmware_version": "7.85"}
    assert (inventory, remark) == ({"tpm": expected}, "")


def test_a_tpm_without_its_device(tmp_path: Path) -> None:
    inventory, remark = collect_tpm_in(tmp_path, {**TPM_2, "sys/firmware/dmi/tables/DMI/": ""})
    assert inventory == {"tpm": {"present": True, "version": "2.0"}}
    assert "tpmrm0" in remark
    assert "not a device" in collect_tpm_in(tmp_path, {"dev/tpmrm0": "a file"})[1]
    assert collect_tpm_in(tmp_path / "empty", {"sys/": ""}) == ({}, "")


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """A character device of our own, which stands for the TPM's: what is written to it is read here."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_a_tpm_is_asked(tmp_path: Path, terminal: tuple[int, str]) -> None:
    ours, name = terminal
    asked: list[bytes] = []

    def play_tpm() -> None:
        asked.append(os.read(ours, 4096))
        os.write(ours, IBM)

    thread = threading.Thread(target=play_tpm)
    thread.start()
    inventory, remark = collect_tpm_in(tmp_path, {**TPM_2, "dev/tpmrm0": f"-> {name}"})
    thread.join()
    assert asked == [build_get_capability()]
    expected = {"present": True, "version": "2.0", "vendor": "IBM", "firmware_version": "8217.4131"}
    assert (inventory, remark) == ({"tpm": expected}, "")


def test_a_tpm_that_hangs(terminal: tuple[int, str]) -> None:
    with pytest.raises(TimeoutError, match="does not answer within"):
        ask_tpm(Path(terminal[1]), build_get_capability(), timeout_s=0.05)


@pytest.mark.skipif(shutil.which("swtpm") is None, reason="swtpm is not installed")
def test_a_software_tpm_understands_the_command(tmp_path: Path) -> None:
    """The independent truth: swtpm calls itself IBM."""
    path, state = tmp_path / "tpm", tmp_path / "state"
    state.mkdir()
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--server", f"type=unixio,path={path}"]
    with subprocess.Popen([*command, "--flags", "not-need-init,startup-clear"]) as process:
        try:
            with connect(path, process) as connection:
                connection.sendall(build_get_capability())
                found = parse_get_capability(connection.recv(4096))
        finally:
            process.terminate()
    assert found["vendor"] == "IBM"
    assert str(found["firmware_version"]).count(".") == 1


def connect(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    """Connect as soon as the socket is there."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    deadline_s = time.monotonic() + 30
    while connection.connect_ex(str(path)):
        assert process.poll() is None, "swtpm ended"
        assert time.monotonic() < deadline_s, "swtpm makes no socket"
        time.sleep(0.02)
    return connection

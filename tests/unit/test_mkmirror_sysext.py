"""Native extensions: the release file by systemd's rules, and what an image's first bytes say."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkmirror.formats import sysext
from mkmirror.formats.sysext import Kind

DEBIAN = {"ID": "debian", "VERSION_ID": "13"}
ROLLING = {"ID": "arch"}
LEVELLED = {"ID": "fedora", "VERSION_ID": "41", "SYSEXT_LEVEL": "2"}


@pytest.mark.parametrize(
    ("release", "system", "machine", "reason"),
    [
        ({"ID": "_any"}, DEBIAN, "x86_64", ""),
        ({"ID": "_any", "ARCHITECTURE": "x86-64"}, DEBIAN, "x86_64", ""),
        ({"ID": "_any", "ARCHITECTURE": "_any"}, DEBIAN, "riscv64", ""),
        ({"ID": "_any", "ARCHITECTURE": "arm64"}, DEBIAN, "x86_64", "architecture arm64, not x86-64"),
        (DEBIAN, DEBIAN, "x86_64", ""),
        ({"ID": "debian", "VERSION_ID": "12"}, DEBIAN, "x86_64", "VERSION_ID=12, not 13"),
        ({"ID": "debian"}, DEBIAN, "x86_64", "VERSION_ID=none, not 13"),
        ({"ID": "fedora"}, DEBIAN, "x86_64", "for fedora, not debian"),
        ({}, DEBIAN, "x86_64", "no ID"),
        (ROLLING, ROLLING, "x86_64", ""),
        ({"ID": "arch", "VERSION_ID": "1"}, ROLLING, "x86_64", ""),
        ({"ID": "fedora", "SYSEXT_LEVEL": "2", "VERSION_ID": "40"}, LEVELLED, "x86_64", ""),
        ({"ID": "fedora", "SYSEXT_LEVEL": "1", "VERSION_ID": "41"}, LEVELLED, "x86_64", "SYSEXT_LEVEL=1, not 2"),
        ({"ID": "fedora", "VERSION_ID": "41"}, LEVELLED, "x86_64", ""),
        ({"ID": "linux"}, {}, "x86_64", ""),
    ],
)
def test_which_system_an_extension_is_for(
    release: dict[str, str], system: dict[str, str], machine: str, reason: str
) -> None:
    found = sysext.mismatch(release, system, machine)
    assert found.endswith(reason)
    assert bool(found) == bool(reason)


def test_release_files() -> None:
    text = "# x\n\nID=debian\nVERSION_ID=\"13\"\nNAME='A \\ b'\nX=\"a \\\"b\\\"\"\nEMPTY=\n"
    assert sysext.parse_release(text, "f") == {
        "ID": "debian",
        "VERSION_ID": "13",
        "NAME": "A \\ b",
        "X": 'a "b"',
        "EMPTY": "",
    }
    for line in ("ID=$(reboot)", "ID=`x`", "ID=a b", "id=x", "ID", "ID=a;b", 'ID="a', 'ID="$HOME"', "export ID=a"):
        with pytest.raises(BadInput, match=r"^f:2"):
            sysext.parse_release(f"A=b\n{line}\n", "f")


def test_building_release_files() -> None:
    assert sysext.build_release({}) == "ID=_any\nEXTENSION_RELOAD_MANAGER=1\n"
    made = sysext.build_release({**DEBIAN, "NAME": "Debian GNU/Linux"}, "x86_64", scopes="system initrd")
    assert sysext.parse_release(made, "f") == {
        **DEBIAN,
        "ARCHITECTURE": "x86-64",
        "SYSEXT_SCOPE": "system initrd",
        "EXTENSION_RELOAD_MANAGER": "1",
    }
    assert sysext.mismatch(sysext.parse_release(made, "f"), DEBIAN, "x86_64") == ""
    with pytest.raises(BadInput):
        sysext.build_release({"ID": "a\nB=c"})


def test_names_and_places() -> None:
    assert sysext.extension_name("debug-tools.raw") == "debug-tools"
    assert sysext.release_path("x") == "usr/lib/extension-release.d/extension-release.x"
    assert sysext.release_path("x", Kind.CONFEXT) == "etc/extension-release.d/extension-release.x"


def test_real_squashfs_and_its_truncation(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/x").write_bytes(bytes(range(256)) * 64)
    image = tmp_path / "x.raw"
    subprocess.run(["mksquashfs", str(tmp_path / "tree"), str(image), "-quiet", "-no-progress"], check=True)
    data = image.read_bytes()
    head = sysext.require_whole(data[: sysext.HEAD_BYTES], len(data), "x.raw")
    assert (head.file_system, head.inodes) == ("squashfs", 2)
    assert head.size_bytes <= len(data)
    with pytest.raises(BadInput, match=r"^x\.raw: is truncated"):
        sysext.require_whole(data[: sysext.HEAD_BYTES], head.size_bytes - 1, "x.raw")


def test_other_images() -> None:
    erofs = bytearray(4096)
    erofs[1024:1028] = b"\xe2\xe1\xf5\xe0"
    erofs[1036] = 12
    struct.pack_into("<Q", erofs, 1040, 7)
    struct.pack_into("<I", erofs, 1060, 9)
    assert sysext.parse_head(bytes(erofs), "f") == sysext.Head("erofs", 9 * 4096, 7)
    assert sysext.parse_head(bytes(512) + b"EFI PART" + bytes(600), "f") == sysext.Head("gpt")
    erofs[1036] = 60
    for data in (b"", b"hsqs", b"hsqs" + bytes(92), bytes(2048), bytes(erofs), b"<html>" * 300):
        with pytest.raises(BadInput, match=r"^f: "):
            sysext.parse_head(data, "f")


def refuses_in_one_line(call: Callable[[], object]) -> None:
    """Call; a refusal is fine when it is one line of printable characters."""
    try:
        call()
    except BadInput as error:
        assert str(error).isprintable()


@given(st.binary(max_size=sysext.HEAD_BYTES), st.text(max_size=100))
def test_any_bytes(head: bytes, text: str) -> None:
    for call in (
        lambda: sysext.parse_head(b"hsqs" + head, "f"),
        lambda: sysext.require_whole(head, 0, "f"),
        lambda: sysext.parse_release(text, "f"),
    ):
        refuses_in_one_line(call)

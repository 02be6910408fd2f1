"""Images with partitions, made by sfdisk: which part is looked at, and what is refused."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from mkcore.errors import BadInput
from mkmirror import merge
from mkmirror.formats import gpt
from tests.unit.mirror_trees import make_squashfs

ROOT, VERITY = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"
SWAP = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"


def make_disk(path: Path, *types: str) -> Path:
    """Make a disk of 8 MiB with partitions of 1 MiB."""
    path.write_bytes(bytes(8 << 20))
    script = "label: gpt\n" + "".join(f"size=1MiB, type={each}\n" for each in types)
    subprocess.run(["sfdisk", "--quiet", str(path)], input=script, text=True, check=True, capture_output=True)
    return path


def test_the_file_system_is_found(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "a.raw", VERITY, ROOT)
    partitions = gpt.parse_partitions(disk.read_bytes()[: gpt.HEAD_BYTES], "a.raw")
    assert [each.type for each in partitions] == [VERITY, ROOT]
    root = gpt.find_root(partitions, 8 << 20, "a.raw")
    assert root == gpt.Partition(ROOT, 2 << 20, 1 << 20)
    image = make_squashfs(tmp_path / "x.squashfs", {"usr/a": "a"}).read_bytes()
    with disk.open("r+b") as stream:
        stream.seek(root.offset_bytes)
        stream.write(image)
    assert merge.require_image(disk, "a.raw") == ("squashfs", ("offset=2097152", "sizelimit=1048576"))


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        ((ROOT, ROOT), "has 2 partitions with a root file system"),
        ((VERITY,), "has 0 partitions with a root file system"),
        ((ROOT, SWAP), f"has a partition of the type '{SWAP}'"),
    ],
)
def test_other_partitions(tmp_path: Path, types: tuple[str, ...], reason: str) -> None:
    """systemd chooses by type; only an image that leaves no choice is used."""
    with pytest.raises(BadInput) as caught:
        merge.require_image(make_disk(tmp_path / "a.raw", *types), "a.raw")
    assert reason in str(caught.value) and str(caught.value).startswith("a.raw: ")


def test_damaged_tables(tmp_path: Path) -> None:
    head = bytearray(make_disk(tmp_path / "a.raw", ROOT).read_bytes()[: gpt.HEAD_BYTES])
    for offset, value in ((72, 1 << 40), (80, 1 << 30), (84, 0), (84, 1 << 30)):
        broken = bytearray(head)
        struct.pack_into("<Q" if offset == 72 else "<I", broken, 512 + offset, value)
        with pytest.raises(BadInput, match="a damaged partition table"):
            gpt.parse_partitions(bytes(broken), "a.raw")
    struct.pack_into("<QQ", head, 1024 + 32, 9, 3)
    with pytest.raises(BadInput, match="a damaged partition table"):
        gpt.parse_partitions(bytes(head), "a.raw")
    with pytest.raises(BadInput, match="has no partition table"):
        gpt.parse_partitions(b"x" * 600, "a.raw")


def test_truncated(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "a.raw", VERITY, ROOT)
    disk.write_bytes(disk.read_bytes()[: 5 << 19])
    with pytest.raises(BadInput, match=r"a\.raw: is truncated: 2621440 of 3145728 bytes"):
        merge.require_image(disk, "a.raw")

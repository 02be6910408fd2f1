"""What the mirrors of test machines are made with: hash trees of dm-verity, and an archive behind an initrd."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from pathlib import Path

import pytest

from tests.machines import verity
from tests.machines.mirrors import append_mirror
from tests.unit.mirror_trees import write_tree


@pytest.mark.parametrize(("blocks", "levels"), [(1, 0), (2, 1), (128, 1), (129, 3), (256, 3)])
def test_hash_tree_has_a_level_for_each_128_blocks(blocks: int, levels: int) -> None:
    """In blocks: none for a single one; one for up to 128; two and the root's above them beyond."""
    root, tree = verity.build_tree(bytes(verity.BLOCK) * blocks)
    assert len(tree) == levels * verity.BLOCK
    top = tree[: verity.BLOCK] or bytes(verity.BLOCK)
    assert root == hashlib.sha256(bytes(32) + top).digest()


def test_superblock_says_what_is_hashed() -> None:
    block = verity.build_superblock(7)
    assert len(block) == verity.BLOCK
    assert block.startswith(b"verity\0\0")
    assert struct.unpack_from("<IIQH", block, 64) == (4096, 4096, 7, 32)


def test_site_archive_follows_the_shipped_one(tmp_path: Path) -> None:
    """The image's bytes stay, and what follows is unpacked to where the site wants it."""
    shipped, made = tmp_path / "shipped", tmp_path / "made"
    shipped.write_bytes(b"shipped!")
    mirror = write_tree(tmp_path / "mirror", {"tinycorelinux/list": "[]"})
    append_mirror(shipped, mirror, "var/lib/mk/mirror", made, {"mk.toml": b"[checkin]"})
    assert made.read_bytes().startswith(b"shipped!")
    packed = subprocess.run(["zstd", "-dc"], input=made.read_bytes()[8:], capture_output=True, check=True).stdout
    names = subprocess.run(["cpio", "--list", "--quiet"], input=packed, capture_output=True, check=True).stdout
    assert {b"site/var/lib/mk/mirror/tinycorelinux/list", b".extra/credentials/mk.toml.cred"} <= set(names.split())

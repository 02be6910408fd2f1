"""A signed image with dm-verity data, as systemd-repart makes one, for hosts whose systemd-repart cannot yet.

Three partitions: a file system, the tree of hashes over it, and the signature of that tree's root.

Source: the kernel's Documentation/admin-guide/device-mapper/verity.rst; cryptsetup's wiki page DMVerity for the
superblock; The Discoverable Partitions Specification (UAPI.2) for types, UUIDs and the signature's JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import subprocess
from pathlib import Path

BLOCK = 4096
SECTOR = 512
START = 2048
"""First sector of the first partition."""
ROOT, VERITY, SIGNATURE = (
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
    "41092b05-9fc8-4523-994f-2def0408b176",
)
"""Types of a root file system for x86-64, and of what belongs to it."""
_SALT = bytes(32)


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key and a certificate signed by it; return their paths."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "36500", "-subj", f"/CN={name}/"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return key, certificate


def sign_image(source: Path, target: Path, key: Path, certificate: Path) -> None:
    """Make a signed image of a file system's image."""
    data = _pad(source.read_bytes(), BLOCK)
    root, tree = build_tree(data)
    parts = [data, build_superblock(len(data) // BLOCK) + tree, _pad(_sign(root, key, certificate), BLOCK)]
    uuids = [root[:16].hex(), root[16:].hex(), hashlib.sha256(root).hexdigest()[:32]]
    lines, sector = ["label: gpt"], START
    for content, kind, uuid in zip(parts, (ROOT, VERITY, SIGNATURE), uuids):
        size = len(content) // SECTOR
        lines.append(f"start={sector}, size={size}, type={kind}, uuid={_dashes(uuid)}")
        sector += size
    with target.open("wb") as image:
        image.truncate((sector + START) * SECTOR)
    subprocess.run(["sfdisk", "--quiet", str(target)], input="\n".join(lines).encode(), check=True, capture_output=True)
    with target.open("r+b") as image:
        image.seek(START * SECTOR)
        for content in parts:
            image.write(content)


def build_tree(data: bytes) -> tuple[bytes, bytes]:
    """Build the tree of hashes over blocks; return the root's digest and the levels, the root's first."""
    levels: list[bytes] = []
    below = data
    while True:
        digests = [hashlib.sha256(_SALT + below[at : at + BLOCK]).digest() for at in range(0, len(below), BLOCK)]
        if len(digests) == 1:
            return digests[0], b"".join(reversed(levels))
        below = _pad(b"".join(digests), BLOCK)
        levels.append(below)


def build_superblock(blocks: int) -> bytes:
    """Build the block before the tree."""
    uuid = hashlib.sha256(b"verity").digest()[:16]
    head = struct.pack("<8sII16s32sIIQH6x256s168x", b"verity", 1, 1, uuid, b"sha256", BLOCK, BLOCK, blocks, 32, _SALT)
    return _pad(head, BLOCK)


def _sign(root: bytes, key: Path, certificate: Path) -> bytes:
    text = root.hex().encode()
    command = ["openssl", "smime", "-sign", "-nocerts", "-noattr", "-binary", "-outform", "der"]
    command += ["-inkey", str(key), "-signer", str(certificate)]
    signature = subprocess.run(command, input=text, check=True, capture_output=True).stdout
    der = subprocess.run(
        ["openssl", "x509", "-in", str(certificate), "-outform", "der"], check=True, capture_output=True
    )
    document = {
        "rootHash": root.hex(),
        "certificateFingerprint": hashlib.sha256(der.stdout).hexdigest(),
        "signature": base64.b64encode(signature).decode(),
    }
    return json.dumps(document).encode()


def _pad(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)


def _dashes(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

"""Sign apk packages and make the signed index of a repository: apk's older format, which each apk-tools reads.

A package is three gzip streams one after the other: signature, control, data. The signature is that of the control
stream's bytes, which hold the sum of the data. An index is a signature and one stream, and names each package by the
SHA-1 of its control stream: that is the format's word for it; what is trusted is the signature, an RSA one of SHA-256.

Source: apk-package(5) and apk-repositories(5) of apk-tools; abuild-sign(1) and abuild-tar(1) of abuild.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import subprocess
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

FIELDS = (
    ("P", "pkgname"),
    ("V", "pkgver"),
    ("A", "arch"),
    ("S", ""),
    ("I", "size"),
    ("T", "pkgdesc"),
    ("U", "url"),
    ("L", "license"),
    ("o", "origin"),
    ("m", "maintainer"),
    ("t", "builddate"),
    ("D", "depend"),
    ("p", "provides"),
)
"""Of an index entry, in the order that apk writes them, and what .PKGINFO calls them."""


def split_streams(data: bytes) -> list[bytes]:
    """Return the gzip streams that a file consists of. Raises ValueError when it consists of something else."""
    streams = []
    while data:
        decoder = zlib.decompressobj(wbits=31)
        try:
            decoder.decompress(data)
        except zlib.error as error:
            raise ValueError(f"not gzip: {error}") from error
        if not decoder.eof:
            raise ValueError("a gzip stream ends early")
        rest = decoder.unused_data
        streams.append(data[: len(data) - len(rest)])
        data = rest
    return streams


def _tar(files: Mapping[str, bytes], *, ends: bool) -> bytes:
    """Pack files with the mode 0644, owner root and no time; ``ends`` tells whether the archive has its end mark."""
    out = io.BytesIO()
    for name, content in files.items():
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.uname, entry.gname = len(content), 0o644, "root", "root"
        out.write(entry.tobuf(tarfile.USTAR_FORMAT))
        out.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))
    return out.getvalue() + (bytes(2 * tarfile.BLOCKSIZE) if ends else b"")


def build_signature(signed: bytes, key: Path, public_name: str) -> bytes:
    """Return the stream that goes before ``signed``. Raises CalledProcessError where openssl cannot use the key.

    key: RSA in PEM, private. public_name: of the public key's file in /etc/apk/keys, e.g. `site.rsa.pub`.
    """
    command = ["openssl", "dgst", "-sha256", "-sign", str(key)]
    made = subprocess.run(command, input=signed, capture_output=True, check=True).stdout
    return gzip.compress(_tar({f".SIGN.RSA256.{public_name}": made}, ends=False), 9, mtime=0)


def sign_package(package: bytes, key: Path, public_name: str) -> bytes:
    """Return the package with this signature alone. Raises ValueError for what is no package."""
    streams = split_streams(package)
    if len(streams) not in (2, 3):
        raise ValueError(f"{len(streams)} gzip streams instead of control and data")
    control, data = streams[-2:]
    return build_signature(control, key, public_name) + control + data


def parse_info(package: bytes) -> dict[str, list[str]]:
    """Return the lines of a package's .PKGINFO by their names. Raises ValueError for what is no package."""
    control = split_streams(package)[-2]
    # A control stream need not have tar's end mark.
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(control) + bytes(2 * tarfile.BLOCKSIZE))) as archive:
        member = archive.extractfile(".PKGINFO")
        if member is None:
            raise ValueError("no .PKGINFO")
        text = member.read().decode()
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, equals, value = line.partition(" = ")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def build_entry(package: bytes, arch: str) -> str:
    """Return a package's entry of an index. arch: of the folder that it lies in, which stands for `noarch` too."""
    info = {**parse_info(package), "arch": [arch], "": [str(len(package))]}
    digest = hashlib.sha1(split_streams(package)[-2]).digest()
    lines = [f"C:Q1{base64.b64encode(digest).decode()}"]
    lines += [f"{letter}:{' '.join(info[name])}" for letter, name in FIELDS if name in info]
    return "\n".join(lines) + "\n"


def build_index(packages: Iterable[bytes], arch: str, about: str, key: Path, public_name: str) -> bytes:
    """Return APKINDEX.tar.gz of the packages, signed. about: one line that apk shows of the repository."""
    text = "\n".join(build_entry(package, arch) for package in packages) + "\n"
    files = {"DESCRIPTION": about.encode(), "APKINDEX": text.encode()}
    index = gzip.compress(_tar(files, ends=True), 9, mtime=0)
    return build_signature(index, key, public_name) + index

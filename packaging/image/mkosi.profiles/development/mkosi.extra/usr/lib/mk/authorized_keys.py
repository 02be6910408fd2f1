"""Fetch the keys of those who may log in to a development image, and hand them to sshd.

They come from the kernel line, which is the word of whoever boots the machine: ``mk.sshkey=`` or ``sshkey=`` with a key
or the address of a file of keys, and the cloud-config of a Hanlon 3 server. The latter is read for its list of keys
alone; a password is none of them. What is no plain key, with options for instance, is left out and named.

Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT; protocol 1.1, 1.6 (cloud-config).
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mkcore.errors import MkError
from mkcore.files import write_atomic
from mkcore.http import exchange
from mkctl.cmdline import Token, read_cmdline, values

KEYS = Path("/run/mk-ssh/authorized_keys")
NAMES = ("mk.sshkey", "sshkey")
DATASOURCES = "rancher.cloud_init.datasources"
LIMIT_BYTES = 256_000
TRY_AGAIN = 75
_TYPES = r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
_KEY = re.compile(rf"(?P<type>{_TYPES}) (?P<data>[A-Za-z0-9+/]+={{0,2}})(?: (?P<comment>[ -~]*))?")
_SOURCE = re.compile(r"url:(https?://[^'\"\s,\]]+)")
_SAID_LIMIT = 60


def say(text: str) -> None:
    """Write a line to the journal."""
    print(text, file=sys.stderr)


def is_key(line: str) -> bool:
    """Whether a line is one public key without options, whose data is of the type that stands before it."""
    match = _KEY.fullmatch(line)
    if not match:
        return False
    try:
        data = base64.b64decode(match["data"], validate=True)
    except binascii.Error:
        return False
    kind = match["type"].encode()
    return data.startswith(len(kind).to_bytes(4, "big") + kind)


def parse_cloud_config(text: str) -> list[str]:
    """Return what stands in ssh_authorized_keys, a list of strings at the document's top level; quotes are removed."""
    found: list[str] = []
    inside = False
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        item = re.fullmatch(r"\s*-\s+(.*?)\s*", line)
        if inside and item:
            found.append(re.sub(r"""^(["'])(.*)\1$""", r"\2", item[1]))
        elif not line[0].isspace():
            inside = re.fullmatch(r"ssh_authorized_keys:\s*", line) is not None
    return found


def parse_keys(text: str) -> list[str]:
    """Return the lines that may be keys: of a cloud-config its list, of any other file all but comments."""
    if text.startswith("#cloud-config"):
        return parse_cloud_config(text)
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def find_sources(tokens: Sequence[Token]) -> tuple[list[str], list[str]]:
    """Return what the kernel line names: keys themselves, and addresses of files with keys."""
    given = [value for name in NAMES for value in values(tokens, name)]
    uris = [value for value in given if value.startswith(("http://", "https://"))]
    clouds = [uri for value in values(tokens, DATASOURCES) for uri in _SOURCE.findall(value)]
    return [value for value in given if value not in uris], uris + clouds


def choose(lines: Sequence[str], where: str) -> Iterator[str]:
    """Yield the lines that are keys; say which are not."""
    for line in lines:
        if is_key(line):
            yield line
        else:
            say(f"{where}: {line[:_SAID_LIMIT]!r} is no public key (type, base64, comment): left out")


def fetch(uri: str) -> str:
    """Return a file of keys. MkError when the server does not answer or refuses."""
    answer = exchange("GET", uri, limit_bytes=LIMIT_BYTES, component="mk-authorized-keys")
    if answer.status != 200:
        raise MkError(f"{uri}: status {answer.status}")
    return answer.body.decode("ascii", "replace")


def main() -> int:
    """Write the keys that there are; 0 when all sources were read, 75 when one has to be asked again."""
    given, uris = find_sources(read_cmdline(Path("/proc")))
    keys, failed = list(choose(given, "kernel line")), 0
    for uri in uris:
        try:
            keys += choose(parse_keys(fetch(uri)), uri)
        except MkError as error:  # noqa: PERF203 - a handful
            say(f"no keys from there yet, tried again in 10 s: {error}")
            failed += 1
    write_atomic(KEYS, "".join(f"{key}\n" for key in dict.fromkeys(keys)).encode(), mode=0o600)
    say(f"{len(set(keys))} keys from {len(uris) - failed} of {len(uris)} addresses and the kernel line")
    return TRY_AGAIN if failed else 0


if __name__ == "__main__":
    sys.exit(main())

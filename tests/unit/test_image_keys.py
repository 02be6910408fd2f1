"""The development image's program that fetches the keys of those who may log in."""

from __future__ import annotations

import base64
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from mkctl.cmdline import parse_cmdline

PROGRAM = (
    Path(__file__).resolve().parent.parent.parent
    / "packaging/image/mkosi.profiles/development/mkosi.extra/usr/lib/mk/authorized_keys.py"
)


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("authorized_keys", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_key(kind: str = "ssh-ed25519", comment: str = "me@example.org") -> str:
    data = len(kind).to_bytes(4, "big") + kind.encode() + (32).to_bytes(4, "big") + bytes(range(32))
    return f"{kind} {base64.b64encode(data).decode()} {comment}".strip()


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com"])
def test_keys(program: ModuleType, kind: str) -> None:
    assert program.is_key(make_key(kind))
    assert program.is_key(make_key(kind, ""))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-dss " + make_key().split()[1],
        "ssh-rsa " + make_key().split()[1],
        "ssh-ed25519 " + make_key().split()[1][1:],
        'command="/bin/sh" ' + make_key(),
        make_key() + "\nssh-rsa AAAA",
        make_key(comment="\x1b[2J"),
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_no_keys(program: ModuleType, line: str) -> None:
    assert not program.is_key(line)


def test_cloud_config_of_a_hanlon_3_server(program: ModuleType) -> None:
    """Its keys, quoted or not; what other lists and scripts hold is none of them."""
    one, two = make_key(), make_key("ssh-rsa", "two words")
    text = f"""#cloud-config
ssh_authorized_keys:
  - {one}
  - "{two}"
write_files:
  - path: /opt/rancher/bin/start.sh
    content: |
      ssh_authorized_keys:
        - {make_key(comment="of a script")}
"""
    assert program.parse_keys(text) == [one, two]
    assert program.parse_keys(text.replace("  - ", "- ")) == [one, two]


def test_file_of_keys(program: ModuleType) -> None:
    assert program.parse_keys(f"# ours\n\n{make_key()}\r\n") == [make_key()]


def test_kernel_line(program: ModuleType) -> None:
    """A key in quotes, addresses under both names, Hanlon 3's; a password is none of ours."""
    line = f'quiet "sshkey={make_key()}" mk.sshkey=http://192.0.2.1/keys rancher.password=secret xsshkey=http://no '
    line += "rancher.cloud_init.datasources=['url:http://192.0.2.2:8026/hanlon/api/v1/image/mk/abc/cloud-config']"
    given, uris = program.find_sources(parse_cmdline(line))
    assert given == [make_key()]
    assert uris == ["http://192.0.2.1/keys", "http://192.0.2.2:8026/hanlon/api/v1/image/mk/abc/cloud-config"]


def test_what_is_no_key_is_named_and_left_out(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(program.choose([make_key(), "no key"], "kernel line")) == [make_key()]
    said = capsys.readouterr().err
    assert said.startswith("kernel line: 'no key' is no public key") and said.count("\n") == 1

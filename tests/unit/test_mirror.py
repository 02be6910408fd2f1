"""packaging/mirror: apt's two formats, and which of many archives is Debian's own."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "packaging/mirror"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def load() -> ModuleType:
    """Import the script, whose name ends in no .py."""
    loader = importlib.machinery.SourceFileLoader("mirror", str(SCRIPT))
    spec = importlib.util.spec_from_loader("mirror", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mirror"] = module  # dataclasses look their module up
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = dont_write
    return module


mirror = load()

DEB822 = f"""\
Types: deb deb-src
# a comment in between
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEYRING}

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
"""

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/vendor.gpg] https://vendor.example/debian bookworm main
deb http://mirror.example/debian bookworm main non-free-firmware # trailing words
deb http://security.example/debian-security bookworm-security main
"""


def make_host(root: Path, **files: str) -> Path:
    """Make a directory that looks like a Debian 12, with these files in sources.list.d (a name has _ for its dot)."""
    (root / "etc/apt/sources.list.d").mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (root / f"etc/apt/sources.list.d/{stem}.{suffix}").write_text(text)
    return root


def ask(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script as people do."""
    command = [sys.executable, str(SCRIPT), "--root", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_deb822() -> None:
    found = list(mirror.parse_deb822(DEB822))
    assert [(s.uri, s.suite) for s in found] == [
        ("http://mirror.example/debian", "bookworm"),
        ("http://mirror.example/debian", "bookworm-updates"),
        ("http://security.example/debian-security", "bookworm-security"),
    ]
    assert found[0].components == ("main", "contrib")
    assert found[0].signed_by == KEYRING


def test_one_line() -> None:
    found = list(mirror.parse_one_line(ONE_LINE))
    assert [s.uri for s in found] == [
        "https://vendor.example/debian",
        "http://mirror.example/debian",
        "http://security.example/debian-security",
    ]
    assert found[0].signed_by == "/usr/share/keyrings/vendor.gpg"
    assert found[1].components == ("main", "non-free-firmware")


@pytest.mark.parametrize("files", [{"debian_sources": DEB822}, {"debian_list": ONE_LINE}])
def test_addresses(tmp_path: Path, files: dict[str, str]) -> None:
    root = make_host(tmp_path, **files)
    assert ask(root).stdout == "http://mirror.example/debian\n"
    assert ask(root, "security").stdout == "http://security.example/debian-security\n"


def test_sources_of_another_release(tmp_path: Path) -> None:
    made = ask(make_host(tmp_path, debian_sources=DEB822), "sources", "trixie").stdout
    again = list(mirror.parse_deb822(made))
    assert [(s.uri, s.suite) for s in again] == [
        ("http://mirror.example/debian", "trixie"),
        ("http://mirror.example/debian", "trixie-updates"),
        ("http://security.example/debian-security", "trixie-security"),
    ]
    assert {s.signed_by for s in again} == {KEYRING}
    assert {s.components for s in again} == {("main",)}
    root = tmp_path / "firmware"
    made = ask(make_host(root, debian_sources=DEB822), "sources", "--components", "main", "non-free-firmware").stdout
    assert {s.components for s in mirror.parse_deb822(made)} == {("main", "non-free-firmware")}


def test_debians_own_key_wins(tmp_path: Path) -> None:
    files = {
        "a_list": "deb http://unsigned.example/debian bookworm main\n",
        "b_list": f"deb [signed-by={KEYRING}] http://signed.example/debian bookworm main\n",
    }
    assert ask(make_host(tmp_path, **files)).stdout == "http://signed.example/debian\n"


def test_mirror_list(tmp_path: Path) -> None:
    root = make_host(tmp_path, debian_list="deb mirror+file:/etc/apt/mirrors/debian.list bookworm main\n")
    (root / "etc/apt/mirrors").mkdir()
    (root / "etc/apt/mirrors/debian.list").write_text("# near\nhttps://near.example/debian/\tpriority:1\n")
    assert ask(root).stdout == "https://near.example/debian\n"


def test_host_without_a_security_archive(tmp_path: Path) -> None:
    root = make_host(tmp_path, debian_list="deb http://mirror.example/debian bookworm main\n")
    assert "security" not in ask(root, "sources").stdout
    asked = ask(root, "security")
    assert (asked.returncode, asked.stdout) == (1, "")


def test_host_without_debian(tmp_path: Path) -> None:
    asked = ask(make_host(tmp_path, vendor_list="deb https://vendor.example/apt nodistro main\n"))
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr.count("\n") == 1

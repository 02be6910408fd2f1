"""packaging/split.py and packaging/apk: which package takes which file, what scripts say, signatures and indexes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.machinery
import importlib.util
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "packaging"))
sys.path.insert(0, str(ROOT / "packaging/apk"))

import signing  # noqa: E402
import split  # noqa: E402

SITELIB = "/usr/share/mk/python"
ZIPPED = gzip.compress(b"x", mtime=0)
TREE = {
    "etc": True,
    "etc/mk": True,
    "usr": True,
    "usr/share": True,
    "usr/share/mk": True,
    "usr/share/mk/python": True,
    "usr/share/mk/python/mkctl": True,
    "usr/share/mk/python/mkctl/a.py": False,
    "usr/share/mk/python/mkcore": True,
    "usr/share/mk/python/mkcore/a.py": False,
    "usr/share/man": True,
    "usr/share/man/mkctl.1.gz": False,
}
WANTED = {
    "mk-core": ["usr/share/mk/python/mkcore", "etc/mk"],
    "mkctl": ["usr/share/mk/python/mkctl", "usr/share/man/mkctl.1"],
}


def load_build() -> ModuleType:
    """Load packaging/apk/build, whose name has no ending."""
    loader = importlib.machinery.SourceFileLoader("apk_build", str(ROOT / "packaging/apk/build"))
    spec = importlib.util.spec_from_loader("apk_build", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules["apk_build"] = module
    loader.exec_module(module)
    return module


def package(info: str, data: bytes = b"data") -> bytes:
    """Return what nfpm writes: a control and a data stream, unsigned."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo(".PKGINFO")
        member.size = len(info)
        archive.addfile(member, io.BytesIO(info.encode()))
    return gzip.compress(out.getvalue(), mtime=0) + gzip.compress(data, mtime=0)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An RSA key in PEM."""
    path = tmp_path_factory.mktemp("key") / "site.rsa"
    subprocess.run(["openssl", "genrsa", "-out", str(path), "2048"], check=True, capture_output=True)
    return path


def test_each_file_has_one_package() -> None:
    found = split.split(TREE, WANTED, SITELIB)
    assert "usr/share/mk/python/mkctl/a.py" in found["mkctl"]
    assert "usr/share/man/mkctl.1.gz" in found["mkctl"]
    # Folders above several packages' parts are the shared package's; those of the distribution are nobody's.
    assert {"etc/mk", "usr/share/mk", "usr/share/mk/python"} <= set(found["mk-core"])
    assert not {path for paths in found.values() for path in paths} & {"usr", "usr/share", "usr/share/man", "etc"}


@pytest.mark.parametrize(
    ("more", "wanted", "message"),
    [
        ({"usr/bin/x": False}, WANTED, "no package takes usr/bin/x"),
        ({}, {**WANTED, "mkweb": ["usr/bin/mkweb"]}, "mkweb: nothing is at usr/bin/mkweb"),
        ({}, {**WANTED, "mkweb": ["usr/share/mk/python/mkctl"]}, "both mkctl and mkweb take it"),
    ],
)
def test_a_mistake_is_named(more: dict[str, bool], wanted: dict[str, list[str]], message: str) -> None:
    with pytest.raises(split.Mismatch, match=message):
        split.split({**TREE, **more}, wanted, SITELIB)


def test_apk_knows_each_package() -> None:
    """packages.toml names exactly the packages of debian/control, and its scripts are valid shell."""
    build = load_build()
    table = build.tomllib.loads((ROOT / "packaging/apk/packages.toml").read_text(encoding="utf-8"))
    assert set(table) == set(split.read_packages())
    assert set(build.read_descriptions((split.DEBIAN / "control").read_text(encoding="utf-8"))) == set(table)
    for name, entry in table.items():
        for script, text in build.build_scripts(entry).items():
            done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False)
            assert done.returncode == 0, (name, script, done.stderr)
            if shutil.which("shellcheck"):
                checked = subprocess.run(["shellcheck", "-"], input=text, text=True, capture_output=True, check=False)
                assert checked.returncode == 0, (name, script, checked.stdout)


def test_the_signature_is_of_the_control_stream(key: Path, tmp_path: Path) -> None:
    """openssl verifies it; a package that was signed before has one signature after."""
    plain = package("pkgname = a\npkgver = 1-r0\n")
    signed = signing.sign_package(signing.sign_package(plain, key, "old.rsa.pub"), key, "site.rsa.pub")
    streams = signing.split_streams(signed)
    assert len(streams) == 3 and b"".join(streams[1:]) == plain
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(streams[0]) + bytes(1024))) as archive:
        assert archive.getnames() == [".SIGN.RSA256.site.rsa.pub"]
        member = archive.extractfile(archive.getnames()[0])
        assert member
        (tmp_path / "signature").write_bytes(member.read())
    (tmp_path / "control").write_bytes(streams[1])
    public = tmp_path / "site.rsa.pub"
    subprocess.run(["openssl", "rsa", "-in", str(key), "-pubout", "-out", str(public)], check=True, capture_output=True)
    command = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(tmp_path / "signature")]
    subprocess.run([*command, str(tmp_path / "control")], check=True, capture_output=True)


def test_the_index_has_what_apk_asks_for(key: Path) -> None:
    info = (
        "# comment\npkgname = a\npkgver = 1-r0\narch = noarch\nsize = 7\npkgdesc = about a\ndepend = b\ndepend = c>=2\n"
    )
    data = package(info)
    index = signing.split_streams(signing.build_index([data], "x86_64", "site", key, "site.rsa.pub"))
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(index[1]))) as archive:
        member = archive.extractfile("APKINDEX")
        assert member
        lines = member.read().decode().split("\n")
    digest = base64.b64encode(hashlib.sha1(signing.split_streams(data)[0]).digest()).decode()
    assert lines == [
        f"C:Q1{digest}",
        "P:a",
        "V:1-r0",
        "A:x86_64",
        f"S:{len(data)}",
        "I:7",
        "T:about a",
        "D:b c>=2",
        "",
        "",
    ]


@pytest.mark.parametrize(
    "data", [b"no gzip", ZIPPED[:-3], ZIPPED, ZIPPED + b"y"], ids=["not zipped", "cut", "one stream", "followed"]
)
def test_what_is_no_package_is_said(data: bytes, key: Path) -> None:
    with pytest.raises(ValueError, match="gzip"):
        signing.sign_package(data, key, "site.rsa.pub")


def test_repo_says_what_is_missing(tmp_path: Path) -> None:
    """One line each: no packages, no such kind, no such key."""
    for words, message in (
        (["--build", str(tmp_path)], "no packages in"),
        (["--apk-key", str(tmp_path / "none"), "--build", str(tmp_path)], "no such key of apk's"),
        (["tar"], "there is no tar; there are deb, rpm, apk"),
    ):
        command = [
            str(ROOT / "packaging/repo"),
            *words,
            "--out",
            str(tmp_path / "out"),
            "--keys",
            str(tmp_path / "keys"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0 and message in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()

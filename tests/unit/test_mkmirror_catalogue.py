"""`mkmirror index` and `mkmirror verify`: a folder becomes a mirror of static files; what is wrong with one is said."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import Client

from mkmirror.app import MirrorApp
from tests.unit.mirror_trees import StaticServer, make_squashfs, make_wheel, run_mkmirror
from tests.unit.pgp_keys import Gpg

TCZ, RAW, WHEELS = "tinycorelinux/15.x/x86_64/tcz", "tinycorelinux/sysext/x86_64", "gem-mirror/wheels"


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    with tempfile.TemporaryDirectory() as folder:
        made = Gpg(Path(folder))
        made.make_key("site")
        (Path(folder) / "site.asc").write_bytes(made.export("site", armor=True))
        yield made
        made.close()


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror with three levels of dependencies, a kernel's module, a native extension and three wheels."""
    root = tmp_path / "mirror"
    needs = {"a": "b.tcz\nmods-KERNEL.tcz\n", "b": "c.tcz", "c": "", "mods-6.6.8-tinycore64": ""}
    for name, dep in needs.items():
        make_squashfs(root / TCZ / f"{name}.tcz", {f"usr/local/share/{name}": name})
        if dep:
            (root / TCZ / f"{name}.tcz.dep").write_text(dep)
    make_squashfs(root / RAW / "tools.raw", {"usr/lib/extension-release.d/extension-release.tools": "ID=_any\n"})
    make_wheel(root / WHEELS, "alpha", "1.0", "beta>=1")
    make_wheel(root / WHEELS, "beta", "1.5")
    make_wheel(root / WHEELS, "beta", "1.10")
    return root


def key_of(gpg: Gpg) -> Path:
    return gpg.home.parent / "site.asc"


def index(gpg: Gpg, mirror: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run_mkmirror("index", mirror, "--sign", "site@mk.example", "--homedir", gpg.home, *more)


def test_a_folder_becomes_a_mirror_that_is_verified(gpg: Gpg, mirror: Path) -> None:
    done = index(gpg, mirror, "--install", "a.tcz", "tools.raw", "--packages", "alpha", "beta >= 1")
    assert done.stderr.count("signed by site@mk.example") == 3
    assert "warning" not in done.stderr
    for folder in (TCZ, RAW, WHEELS):
        check = ["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"]
        subprocess.run(check, cwd=mirror / folder, check=True)
        subprocess.run(["gpg", "--verify", "SHA256SUMS.gpg", "SHA256SUMS"], cwd=mirror / folder, check=True,
                       env=gpg.environment, capture_output=True)
    for name in ("a", "b", "c"):
        subprocess.run(["md5sum", "--check", "--quiet", f"{name}.tcz.md5.txt"], cwd=mirror / TCZ, check=True)
    assert json.loads((mirror / "tinycorelinux/tce-install-list").read_text()) == ["a.tcz", "tools.raw"]
    assert (mirror / "gem-mirror/gems/gem.list").read_text() == "alpha\nbeta >= 1\n"
    verified = run_mkmirror("verify", mirror, "--key", key_of(gpg))
    assert verified.stdout == ""
    assert verified.stderr.count("signed by site <site@mk.example>, 0 problems") == 3


def test_signed_sums_are_for_their_folder(gpg: Gpg, mirror: Path) -> None:
    """Moved to another folder, they are one problem of it."""
    index(gpg, mirror)
    for name in ("SHA256SUMS", "SHA256SUMS.gpg"):
        (mirror / TCZ / name).write_bytes((mirror / RAW / name).read_bytes())
    assert any("SHA256SUMS was signed for the folder" in each for each in problems(mirror, "--key", str(key_of(gpg))))


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".gpg"}


def test_indexing_again_changes_nothing_and_keeps_the_signature(gpg: Gpg, mirror: Path) -> None:
    index(gpg, mirror)
    before, signature = snapshot(mirror), (mirror / TCZ / "SHA256SUMS.gpg").read_bytes()
    done = run_mkmirror("index", mirror)
    assert snapshot(mirror) == before
    assert (mirror / TCZ / "SHA256SUMS.gpg").read_bytes() == signature
    assert "signed before" in done.stderr
    make_squashfs(mirror / TCZ / "new.tcz", {"usr/local/x": "x"})
    assert "not signed" in run_mkmirror("index", mirror).stderr
    assert not (mirror / TCZ / "SHA256SUMS.gpg").exists()
    assert (mirror / RAW / "SHA256SUMS.gpg").exists()


def problems(mirror: Path, *options: str, status: int = 77) -> list[str]:
    return run_mkmirror("verify", mirror, "--quiet", *options, status=status).stdout.splitlines()


def test_each_problem_is_one_line(mirror: Path) -> None:
    run_mkmirror("index", mirror)
    by_sum = ("--verify", "checksum")
    assert problems(mirror, *by_sum, status=0) == []
    folder = mirror / TCZ
    data = (folder / "c.tcz").read_bytes()
    (folder / "c.tcz").write_bytes(data[:-1] + b"x")
    found = problems(mirror, *by_sum)
    assert found == [
        f"{folder}: c.tcz is not what SHA256SUMS says",
        f"{folder}: c.tcz is not what c.tcz.md5.txt says",
    ]
    (folder / "c.tcz").write_bytes(data[:100])
    assert f"{folder}: c.tcz: is truncated: 100 of" in problems(mirror, *by_sum)[2][: len(str(folder)) + 40]
    (folder / "c.tcz").unlink()
    assert problems(mirror, *by_sum) == [
        f"{folder}: c.tcz is in SHA256SUMS and not there",
        f"{folder}: b.tcz needs c.tcz, which is not there",
    ]
    assert problems(mirror, *by_sum, "--partial") == [f"{folder}: b.tcz needs c.tcz, which is not there"]
    (folder / "c.tcz").write_bytes(data)
    (folder / "c.tcz.dep").write_text("a.tcz\n")
    run_mkmirror("index", mirror)
    assert problems(mirror, *by_sum) == [
        f"{folder}: extensions need each other: a.tcz -> b.tcz -> c.tcz -> a.tcz"
    ]
    (folder / "c.tcz.dep").write_text("../../etc/passwd\n")
    assert "warning" in run_mkmirror("index", mirror).stderr
    assert problems(mirror, *by_sum) == [
        f"{folder}: c.tcz.dep:1: '../../etc/passwd.tcz' is not the name of an extension"
    ]


def test_a_mirror_without_a_trusted_signature(gpg: Gpg, mirror: Path) -> None:
    run_mkmirror("index", mirror)
    done = run_mkmirror("verify", mirror, "--key", key_of(gpg), status=77)
    assert done.stderr == f"mkmirror: {mirror / WHEELS}: SHA256SUMS: it is not signed\n"
    index(gpg, mirror)
    assert "no key is trusted here" in run_mkmirror("--root", mirror, "verify", mirror, status=77).stderr
    trusted = mirror / "etc/mk/trust.d"
    trusted.mkdir(parents=True)
    (trusted / "site.asc").write_bytes(key_of(gpg).read_bytes())
    run_mkmirror("--root", mirror, "verify", mirror)


def test_what_cannot_be_a_mirror(gpg: Gpg, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in (["index", tmp_path / "empty"], ["index", tmp_path / "none"], ["verify", tmp_path / "empty"]):
        assert run_mkmirror(*arguments, status=65).stderr.count("\n") == 1
    bad = tmp_path / "bad"
    make_squashfs(bad / "a b.tcz", {"x": "x"})
    assert "'a b.tcz' cannot be offered" in run_mkmirror("index", bad, status=65).stderr
    whl = tmp_path / "whl"
    make_wheel(whl, "alpha", "1.0").rename(whl / "alpha-2.0-py3-none-any.whl")
    assert "calls itself alpha 1.0 inside" in run_mkmirror("index", whl, status=65).stderr
    (whl / "alpha-2.0-py3-none-any.whl").write_bytes(b"PK no zip")
    assert "is no wheel" in run_mkmirror("index", whl, status=65).stderr
    flat = tmp_path / "flat"
    make_squashfs(flat / "a.raw", {"usr/x": "x"})
    assert "No secret key" in run_mkmirror("index", flat, "--sign", "nobody", "--homedir", gpg.home, status=70).stderr
    assert sorted(path.name for path in flat.iterdir()) == ["a.raw"]


def test_lists_that_are_kept_by_hand(mirror: Path) -> None:
    by_hand = mirror / "tinycorelinux/tce-install-list.yaml"
    by_hand.write_text("---\n# what\n- a.tcz\n")
    run_mkmirror("index", mirror, "--modules", "drivers/net/vmxnet.ko")
    assert json.loads((mirror / "tinycorelinux/tce-install-list").read_text()) == ["a.tcz"]
    assert json.loads((mirror / "tinycorelinux/kmod-install-list").read_text()) == ["drivers/net/vmxnet.ko"]
    assert "kept by hand" in run_mkmirror("index", mirror, "--install", "b.tcz", status=65).stderr
    assert "is not the name" in run_mkmirror("index", mirror, "--modules", "../x", status=65).stderr
    assert "requirement" in run_mkmirror("index", mirror, "--packages", "a ?? b", status=65).stderr
    by_hand.write_text("a: b\n")
    assert "tce-install-list.yaml:1" in run_mkmirror("index", mirror, status=65).stderr


def ask(mirror: Path, port: str, path: str) -> tuple[int, str, bytes]:
    client = Client(MirrorApp((mirror,), {"2157": "extensions", "2158": "packages"}))
    answer = client.get(path, base_url=f"http://localhost:{port}", environ_overrides={"REMOTE_ADDR": "127.0.0.1"})
    return answer.status_code, answer.content_type, answer.data


def test_mkmirror_serves_what_was_indexed(gpg: Gpg, mirror: Path) -> None:
    index(gpg, mirror, "--install", "a.tcz")
    for port, path in (
        ("2157", f"/{TCZ}/SHA256SUMS"),
        ("2157", f"/{TCZ}/SHA256SUMS.gpg"),
        ("2157", f"/{RAW}/tools.raw"),
        ("2158", f"/{WHEELS}/SHA256SUMS"),
        ("2158", "/gem-mirror/simple/index.html"),
    ):
        assert ask(mirror, port, path)[::2] == (200, (mirror / path[1:]).read_bytes())
    assert ask(mirror, "2157", "/tinycorelinux/tce-install-list")[2] == b'["a.tcz"]'
    status, kind, page = ask(mirror, "2158", "/packages/simple/beta/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert page.index(b"beta-1.10") < page.index(b"beta-1.5")
    for port, path in (("2157", f"/{RAW}/"), ("2157", "/tinycorelinux/sysext/../x"), ("2158", "/gem-mirror//")):
        assert ask(mirror, port, path)[0] == 404


@pytest.fixture
def static_server(mirror: Path) -> Iterator[str]:
    with StaticServer(mirror) as server:
        yield server.uri


@pytest.mark.parametrize(
    ("wanted", "versions"), [(["alpha"], {"alpha": "1.0", "beta": "1.10"}), (["beta<1.10"], {"beta": "1.5"})]
)
def test_pip_installs_from_the_index(
    mirror: Path, static_server: str, tmp_path: Path, wanted: list[str], versions: dict[str, str]
) -> None:
    """A package, the newest version of what it needs, and requirements, from a stock web server by a stock pip."""
    run_mkmirror("index", mirror)
    target = tmp_path / "target"
    command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--quiet"]
    command += ["--no-cache-dir", "--index-url", f"{static_server}/gem-mirror/simple/", "--target", str(target)]
    subprocess.run([*command, *wanted], check=True, timeout=120)
    found = {path.stem: path.read_text().splitlines()[0] for path in target.glob("*.py")}
    assert found == {name: f"version = {version!r}" for name, version in versions.items()}


def test_pages_of_packages_that_are_gone_go(mirror: Path) -> None:
    run_mkmirror("index", mirror)
    for path in (mirror / WHEELS).glob("alpha-*"):
        path.unlink()
    run_mkmirror("index", mirror)
    assert sorted(path.name for path in (mirror / "gem-mirror/simple").iterdir()) == ["beta", "index.html"]


def test_metadata_lies_beside_each_wheel(mirror: Path) -> None:
    run_mkmirror("index", mirror)
    beside = (mirror / WHEELS / "alpha-1.0-py3-none-any.whl.metadata").read_text()
    assert "Requires-Dist: beta>=1\n" in beside
    page = (mirror / "gem-mirror/simple/alpha/index.html").read_text()
    assert page.count("data-core-metadata") == 1

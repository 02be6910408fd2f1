"""`mkmirror mirror`: a part of a remote mirror with all that it needs, from a stock web server."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore.errors import MkError, ServerRefused, Untrusted
from mkmirror import remote, trust
from mkmirror.remote import Fetching, Sums
from tests.fakes import Play, Reset, WireServer, in_turn
from tests.unit.mirror_trees import StaticServer, make_squashfs, make_wheel, run_mkmirror
from tests.unit.pgp_keys import Gpg
from tests.unit.test_download import answer, rest
from tests.unit.test_download import parse_request as parse

KERNEL = "6.6.8-tinycore64"
TCZ, RAW, WHEELS = "tinycorelinux/15.x/x86_64/tcz", "tinycorelinux/sysext/x86_64", "gem-mirror/wheels"
TINY = ("--release", "15.x", "--build", "x86_64", "--kernel", KERNEL)


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    with tempfile.TemporaryDirectory() as folder:
        made = Gpg(Path(folder))
        made.make_key("site")
        (Path(folder) / "site.asc").write_bytes(made.export("site", armor=True))
        yield made
        made.close()


def make_tiny_core(root: Path) -> Path:
    """A mirror as Tiny Core's are: images, MD5 sums, dependencies, no SHA256SUMS."""
    needs = {"a": "b.tcz\nmods-KERNEL.tcz\n", "b": "c.tcz", "c": "", f"mods-{KERNEL}": "", "alone": "", "x": "y.tcz"}
    needs |= {"loop": "pool.tcz", "pool": "loop.tcz"}
    for name, dep in needs.items():
        image = make_squashfs(root / TCZ / f"{name}.tcz", {f"usr/local/share/{name}": name})
        digest = trust.digest_file(image, "md5")
        image.with_name(f"{name}.tcz.md5.txt").write_text(f"{digest}  {name}.tcz\n")
        if dep:
            image.with_name(f"{name}.tcz.dep").write_text(dep)
    (root / TCZ / "a.tcz.when").write_text("virtualization none\n")
    return root


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return make_tiny_core(tmp_path / "origin")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_part_of_a_tiny_core_mirror_with_its_dependencies(origin: Path, tmp_path: Path) -> None:
    """Three levels, one of them the kernel's own, by the mirror's MD5 sums."""
    copy = tmp_path / "copy"
    with StaticServer(origin) as server:
        command = ("mirror", f"{server.uri}/tinycorelinux/", copy, "a", *TINY, "--verify", "checksum")
        done = run_mkmirror(*command)
        asked = len(server.asked)
        again = run_mkmirror(*command)
        assert not [path for path in server.asked[asked:] if path.endswith(".tcz")]
    assert done.stdout.split() == ["c.tcz", "b.tcz", f"mods-{KERNEL}.tcz", "a.tcz"]
    assert done.stderr.count("copied") == again.stderr.count("is there") == 4
    for name in ("a", "b", "c", f"mods-{KERNEL}"):
        assert (copy / TCZ / f"{name}.tcz").read_bytes() == (origin / TCZ / f"{name}.tcz").read_bytes()
        subprocess.run(["md5sum", "--check", "--quiet", f"{name}.tcz.md5.txt"], cwd=copy / TCZ, check=True)
    assert (copy / TCZ / "a.tcz.dep").is_file()
    assert (copy / TCZ / "a.tcz.when").is_file()
    assert not [name for name in names(copy / TCZ) if name.startswith((".", "alone"))]
    run_mkmirror("index", copy)
    run_mkmirror("verify", copy, "--verify", "checksum")


@pytest.mark.parametrize(
    ("wanted", "status", "said"),
    [
        ("x.tcz", 65, "y.tcz is not in the mirror; x.tcz needs it"),
        ("none.tcz", 65, "none.tcz is not in the mirror"),
        ("loop.tcz", 65, "extensions need each other: loop.tcz -> pool.tcz -> loop.tcz"),
        ("../alone.tcz", 65, "'../alone.tcz' is not the name of an extension"),
        ("/etc/passwd", 65, "is not the name of an extension"),
        ("a\0b", 65, "is not the name"),
    ],
)
def test_nothing_is_copied_when_something_is_missing(
    origin: Path, tmp_path: Path, wanted: str, status: int, said: str
) -> None:
    copy = tmp_path / "copy"
    (tmp_path / "list").write_text(f"alone.tcz\n{wanted}\n")
    with StaticServer(origin) as server:
        command = ("mirror", f"{server.uri}/tinycorelinux", copy, "--list", tmp_path / "list", *TINY)
        done = run_mkmirror(*command, "--verify", "checksum", "--quiet", status=status)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not copy.exists()


def test_a_mirror_of_tiny_core_is_not_signed(origin: Path, tmp_path: Path) -> None:
    with StaticServer(origin) as server:
        done = run_mkmirror("mirror", f"{server.uri}/tinycorelinux", tmp_path / "c", "alone.tcz", *TINY, status=77)
    assert "has no SHA256SUMS, and so no signature" in done.stderr
    assert not (tmp_path / "c").exists()


def test_a_damaged_file_is_tried_once_more_and_then_refused(origin: Path, tmp_path: Path) -> None:
    image = origin / TCZ / "alone.tcz"
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    with StaticServer(origin) as server:
        command = ("mirror", f"{server.uri}/tinycorelinux", tmp_path / "c", "alone.tcz", *TINY)
        done = run_mkmirror(*command, "--verify", "checksum", status=77)
        assert server.asked.count(f"/{TCZ}/alone.tcz") == 2
    assert "its md5 is" in done.stderr.splitlines()[-1]
    assert not [name for name in names(tmp_path / "c" / TCZ) if name.endswith((".tcz", ".part", ".from"))]


@pytest.fixture
def signed(gpg: Gpg, tmp_path: Path) -> Path:
    """A signed mirror of all kinds."""
    root = make_tiny_core(tmp_path / "origin")
    for name in ("x", "loop", "pool"):
        for path in (root / TCZ).glob(f"{name}.tcz*"):
            path.unlink()
    make_squashfs(root / RAW / "base.raw", {"usr/share/base": "b"})
    make_squashfs(root / RAW / "tools.raw", {"usr/share/tools": "t"})
    (root / RAW / "tools.raw.dep").write_text("base\n")
    make_wheel(root / WHEELS, "alpha", "1.0", "beta>=1,<2", "never; python_version < '3'")
    make_wheel(root / WHEELS, "beta", "1.5")
    make_wheel(root / WHEELS, "beta", "2.0")
    make_wheel(root / WHEELS, "gamma", "1.0", "beta>=2")
    run_mkmirror("index", root, "--sign", "site@mk.example", "--homedir", gpg.home, "--quiet")
    return root


def key(gpg: Gpg) -> tuple[str, Path]:
    return "--key", gpg.home.parent / "site.asc"


def test_a_signed_mirror_stays_signed(gpg: Gpg, signed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with StaticServer(signed) as server:
        base = f"{server.uri}/tinycorelinux"
        done = run_mkmirror("mirror", base, copy, "tools.raw", "a.tcz", *TINY, *key(gpg))
        assert done.stdout.split()[:2] == ["base.raw", "tools.raw"]
        run_mkmirror("mirror", f"{server.uri}/gem-mirror", copy, "--packages", "alpha", *key(gpg))
    assert (copy / RAW / "SHA256SUMS.gpg").read_bytes() == (signed / RAW / "SHA256SUMS.gpg").read_bytes()
    run_mkmirror("verify", copy, "--partial", *key(gpg))
    assert run_mkmirror("verify", copy, *key(gpg), status=77).stdout.count("is in SHA256SUMS and not there") > 1


@pytest.mark.parametrize("name", ["tools.raw", "tools.raw.dep"])
def test_who_controls_the_mirror_gets_nothing_copied(gpg: Gpg, signed: Path, tmp_path: Path, name: str) -> None:
    """An attacker changes an image, or what it needs, and all sums that he can make."""
    target = signed / RAW / name
    target.write_bytes(target.read_bytes()[:-2] + b"x\n")
    with StaticServer(signed) as server:
        command = ("mirror", f"{server.uri}/tinycorelinux", tmp_path / "c", "tools.raw", *TINY, *key(gpg), "--quiet")
        assert f"{name}: " in run_mkmirror(*command, status=77).stderr
        sums = trust.parse_sums((signed / RAW / "SHA256SUMS").read_text())
        sums[name] = trust.digest_file(target)
        (signed / RAW / "SHA256SUMS").write_text(trust.build_sums(sums))
        assert "does not fit the content" in run_mkmirror(*command, status=77).stderr
        (signed / RAW / "SHA256SUMS.gpg").unlink()
        assert "it is not signed" in run_mkmirror(*command, status=77).stderr
    assert not (tmp_path / "c" / RAW / "tools.raw").exists()


def test_a_copy_beside_other_files_is_not_given_a_signature_that_does_not_fit(
    gpg: Gpg, signed: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    make_squashfs(copy / RAW / "own.raw", {"usr/share/own": "o"})
    with StaticServer(signed) as server:
        done = run_mkmirror("mirror", f"{server.uri}/tinycorelinux", copy, "base.raw", *TINY, *key(gpg))
    assert "sign it anew with mkmirror index" in done.stderr
    assert not (copy / RAW / "SHA256SUMS").exists()


def test_packages_with_what_they_need(gpg: Gpg, signed: Path, tmp_path: Path) -> None:
    """Row 99; the newest version that satisfies everybody who needs it, in the order of the list."""
    copy = tmp_path / "copy"
    (tmp_path / "gem.list").write_text("# packages\n\nalpha  ~> 1.0  # first\n")
    with StaticServer(signed) as server:
        base = f"{server.uri}/gem-mirror"
        command = ("mirror", base, copy, "--packages", *key(gpg))
        done = run_mkmirror(*command, "--list", tmp_path / "gem.list")
        assert done.stdout.split() == ["alpha-1.0-py3-none-any.whl", "beta-1.5-py3-none-any.whl"]
        assert "alpha-1.0-py3-none-any.whl.metadata" in names(copy / WHEELS)
        conflict = run_mkmirror(*command, "alpha", "gamma", status=65)
        assert "beta >=2 is wanted by gamma-1.0-py3-none-any.whl, but beta-1.5" in conflict.stderr
        missing = run_mkmirror(*command, "alpha > 1", status=65)
        assert "alpha >1 is wanted, and the mirror has no such package" in missing.stderr


def test_packages_from_any_index_that_pip_reads(signed: Path, tmp_path: Path) -> None:
    """By the pages alone, where the mirror has no SHA256SUMS."""
    for path in (signed / WHEELS).glob("SHA256SUMS*"):
        path.unlink()
    with StaticServer(signed) as server:
        base, copy = f"{server.uri}/gem-mirror", tmp_path / "copy"
        done = run_mkmirror("mirror", base, copy, "--packages", "Alpha", "--verify", "checksum")
    assert done.stdout.split() == ["alpha-1.0-py3-none-any.whl", "beta-1.5-py3-none-any.whl"]


DATA = bytes(range(256)) * 2000
SUMS = Sums(sha256=trust.digest_bytes(DATA))
CUT = answer(DATA[:100_000], 'ETag: "v1"', length=len(DATA))


def fetch(server: WireServer, target: Path, waits: list[float], sums: Sums = SUMS) -> bool:
    return remote.fetch(f"{server.uri}/a.tcz", target, sums, Fetching(limit_bytes=1_000_000, wait=waits.append))


def test_a_broken_download_goes_on_by_itself(tmp_path: Path) -> None:
    waits: list[float] = []
    plays = iter([CUT, Reset(), answer(b"", status="503 Busy")])
    with WireServer(lambda raw: next(plays, None) or rest(parse(raw))) as server:
        assert fetch(server, tmp_path / "a.tcz", waits)
        assert parse(server.requests[-1]).header("range") is not None
        assert not fetch(server, tmp_path / "a.tcz", waits)
    assert len(waits) == 3
    assert max(waits) <= 20
    assert names(tmp_path) == ["a.tcz"]


@pytest.mark.parametrize(
    ("play", "kind", "requests"),
    [
        (answer(b"", status="404 Not Found"), ServerRefused, 1),
        (answer(b"", status="500 Oops"), ServerRefused, 4),
        (answer(b"", length=2_000_000), MkError, 1),
        (Reset(), MkError, 4),
        (answer(b"another"), Untrusted, 2),
    ],
)
def test_what_cannot_be_fetched_ends(tmp_path: Path, play: Play, kind: type[MkError], requests: int) -> None:
    with WireServer(in_turn(play)) as server:
        with pytest.raises(kind):
            fetch(server, tmp_path / "a.tcz", [])
        assert len(server.requests) == requests
    assert not (tmp_path / "a.tcz").exists()


def test_addresses() -> None:
    assert remote.join("http://m/t/", "15.x/x86_64/tcz", "a+b.tcz") == "http://m/t/15.x/x86_64/tcz/a+b.tcz"
    assert remote.join("http://m/t", "a%b?c#d") == "http://m/t/a%25b%3Fc%23d"


def test_usage(tmp_path: Path) -> None:
    assert "nothing is named" in run_mkmirror("mirror", "http://127.0.0.1:1/", tmp_path, status=65).stderr
    unreachable = ("mirror", "http://127.0.0.1:1/", tmp_path, "a.tcz", *TINY)
    assert run_mkmirror(*unreachable, status=69).stderr.count("\n") == 1
    assert "is not of the form" in run_mkmirror(*unreachable, "--release", "..", status=65).stderr
    assert json.dumps(names(tmp_path)) == "[]"

"""packaging/image/forms: what the ISO and the unified kernel image say of themselves, without making either."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "packaging/image"), str(ROOT / "packaging/image/forms")]

import common  # noqa: E402
import iso  # noqa: E402
import table  # noqa: E402
import uki  # noqa: E402
from lib.places import BuildError  # noqa: E402
from lib.settings import Settings  # noqa: E402

# Protocol 8.5, its example, with digests in place of "64 hex digits".
EXAMPLE = f"""\
iso_version: 0.12.0+4-g104a9bc
kernel: boot/vmlinuz
initrd: boot/core.gz
hash_description: {{type: "Digest::SHA2", bitlen: 256}}
kernel_hash: {"a1" * 32}
initrd_hash: {"b2" * 32}
iso_build_time: 2013-10-09 22:34:23 Z
"""
KNOWN: dict[str, Any] = {
    "version": "0.12.0+4-g104a9bc",
    "source_date_epoch": 1381358063,
    "files": {"vmlinuz": {"sha256": "a1" * 32}, "initrd": {"sha256": "b2" * 32}},
}


def test_the_metadata_are_the_protocols() -> None:
    assert iso.build_metadata(KNOWN) == EXAMPLE


def test_the_shipped_files_keep_times_and_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server tells one build from another by size and time of its files."""
    image, tree = tmp_path / "image", tmp_path / "tree"
    image.mkdir()
    monkeypatch.setattr(iso, "ISOLINUX", ())
    for name in ("vmlinuz", "initrd"):
        (image / name).write_text(name)
        (image / name).chmod(0o640)
        os.utime(image / name, (1_700_000_000, 1_700_000_000))
    iso.write_tree(image, tree, KNOWN, "quiet")
    iso._flatten(tree, KNOWN["source_date_epoch"])
    assert (tree / "boot/core.gz").read_text() == "initrd"
    for name in ("vmlinuz", "initrd"):
        found = (image / name).stat()
        assert (found.st_mtime, found.st_mode & 0o777) == (1_700_000_000, 0o640), name


def load_build() -> ModuleType:
    """Load the program packaging/image/build."""
    loader = importlib.machinery.SourceFileLoader("image_build", str(ROOT / "packaging/image/build"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader) or pytest.fail())
    loader.exec_module(module)
    return module


def test_a_form_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mk.iso").write_bytes(bytes(11))
    common.check_size(tmp_path / "mk.iso", 11)
    with pytest.raises(BuildError, match=r"^mk\.iso: 11 bytes are more than the 10 allowed$"):
        common.check_size(tmp_path / "mk.iso", 10)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="these scripts run on the Python of a Debian host")
def test_a_large_image_is_refused_whenever_it_is_looked_at() -> None:
    """The same check serves a fresh image and one that is there; a site's extensions are its own business."""
    build = load_build()
    files = {"vmlinuz": {"size_bytes": 10}, "initrd": {"size_bytes": build.LIMIT_BYTES - 10}}
    build.check_size({"files": files}, Settings())
    files["initrd"]["size_bytes"] += 1
    with pytest.raises(BuildError, match="60000001 bytes are more than the 60000000 allowed"):
        build.check_size({"files": files}, Settings())
    build.check_size({"files": files}, Settings("debug"))
    build.check_size({"files": {**files, "extensions.squashfs": {"size_bytes": 1}}}, Settings())


def test_the_kernel_image_says_what_the_system_in_it_says() -> None:
    """As /etc/os-release has it: the same name, and a version in the characters that os-release(5) permits."""
    lines = uki.build_os_release(KNOWN).splitlines()
    assert "IMAGE_ID=mk" in lines and 'IMAGE_VERSION="0.12.0_4-g104a9bc"' in lines


def test_the_volume_id_fits() -> None:
    """32 characters are all that ISO 9660 has; the version is cut at 22 (protocol 8.5)."""
    argv = iso.build_argv(Path("tree"), Path("mk.iso"), "0.12.0+4-g104a9bc-dirty-and-more")
    assert argv[argv.index("-V") + 1] == "Razor MK 0.12.0+4-g104a9bc-dirt"
    assert len(argv[argv.index("-V") + 1]) <= 32


@pytest.mark.parametrize("words", ["mk.ip=192.0.2.1", "x" * (iso.PLACE_BYTES - 3)])
def test_a_place_holds_words_and_stays_one_comment(words: str) -> None:
    filled = iso.fill_place(words)
    line, rest = filled.split(b"\n")
    assert (len(filled), line) == (iso.PLACE_BYTES, f" {words}".encode())
    assert rest == b"#" * len(rest) and rest


@pytest.mark.parametrize("words", ["x" * (iso.PLACE_BYTES - 2), "a\nb", "ümlaut", "\x1b[2J"])
def test_words_that_would_leave_the_line_are_refused(words: str) -> None:
    with pytest.raises(BuildError, match="--site"):
        iso.fill_place(words)


@pytest.mark.parametrize("missing", [0, 1])
def test_an_iso_without_its_places_is_refused(tmp_path: Path, missing: int) -> None:
    (tmp_path / "mk.iso").write_bytes(b"x" * 5000 + iso.EMPTY_PLACE * missing)
    with pytest.raises(BuildError, match=f"{missing} places"):
        iso.find_places(tmp_path / "mk.iso")


def test_the_kernel_line_hides_no_processor() -> None:
    """Neither does it carry a server's address of its own (B02; a site's words come at its end)."""
    assert "maxcpus" not in common.KERNEL_LINE and "mk." not in common.KERNEL_LINE
    assert common.build_kernel_line("mk.ip=192.0.2.1") == f"{common.KERNEL_LINE} mk.ip=192.0.2.1"
    with pytest.raises(BuildError, match="--cmdline"):
        common.build_kernel_line("a\nb")


def test_a_key_has_its_certificate_beside_it(tmp_path: Path) -> None:
    key = tmp_path / "site.key"
    with pytest.raises(BuildError, match=r"site\.key is not there"):
        uki.find_certificate(key)
    key.write_text("")
    with pytest.raises(BuildError, match=r"site\.crt, the certificate of site\.key, is not there"):
        uki.find_certificate(key)
    (tmp_path / "site.pem").write_text("")
    assert uki.find_certificate(key) == tmp_path / "site.pem"
    (tmp_path / "site.crt").write_text("")
    assert uki.find_certificate(key) == tmp_path / "site.crt"


def test_the_table_has_what_each_form_was_booted_with() -> None:
    files = {
        "mk.iso": {"size_bytes": 64_400_000, "sha256": "c3" * 32},
        "initrd": {"size_bytes": 47_000_000, "sha256": "b2" * 32},
        "vmlinuz": {"size_bytes": 12_171_200, "sha256": "a1" * 32},
    }
    booted = {"c3" * 32: ["ISO/BIOS", "USB/UEFI"]}
    head, *rows = [line.split() for line in table.build_table(files, booted)]
    assert head == ["form", "MB", "SHA-256", "booted", "with"]
    assert rows == [
        ["initrd", "47.00", "b2" * 32, "-"],
        ["vmlinuz", "12.17", "a1" * 32, "-"],
        ["mk.iso", "64.40", "c3" * 32, "ISO/BIOS,", "USB/UEFI"],
    ]


def test_a_broken_record_of_boots_is_one_line(tmp_path: Path) -> None:
    assert table.read_booted(tmp_path) == {}
    (tmp_path / "booted.json").write_text("{")
    with pytest.raises(BuildError, match="remove it"):
        table.read_booted(tmp_path)


@pytest.mark.parametrize("form", ["iso", "first_stage"])
def test_form_of_pcs_is_not_made_of_another_architecture(form: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"architecture": "arm64", "files": {}}')
    command = ["/usr/bin/python3", "-B", str(ROOT / f"packaging/image/forms/{form}.py"), "--image", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    name = {"iso": "mk.iso", "first_stage": "first-stage"}[form]
    assert (done.returncode, done.stderr) == (
        1,
        f"packaging/image/forms/{form}.py: {tmp_path} is an image of arm64: {name} is made of amd64's alone\n",
    ), "and the folder is named whole, wherever it was asked from"


@pytest.mark.parametrize("said", ["command line", "environment", "file"])
def test_make_makes_media_for_pcs_alone(said: str, tmp_path: Path) -> None:
    """Whichever way the architecture was asked for."""
    (tmp_path / "conf").write_text("MK_IMAGE_ARCH=arm64\n")
    words = {"command line": ["ARCH=arm64"], "file": [f"CONFIG={tmp_path / 'conf'}"]}.get(said, [])
    plain = {name: value for name, value in os.environ.items() if "MAKE" not in name}  # this test may be make's
    environment = {**plain, **({"MK_IMAGE_ARCH": "arm64"} if said == "environment" else {})}
    command = ["make", "--dry-run", "--no-print-directory", "image"]
    planned = [
        subprocess.run(argv, cwd=ROOT, env=where, capture_output=True, text=True, timeout=120, check=True).stdout
        for argv, where in ((command, plain), ([*command, *words], environment))
    ]
    for program in ("iso.py", "uki.py", "first_stage.py"):
        assert [program in plan for plan in planned] == [True, False]
    assert ["setup arm64" in plan for plan in planned] == [False, True]
    assert "build/image-arm64'" in planned[1]

"""The mirror that an image's settings ask for: lists of recipes, of files, of drivers (rows 24, 96 and 98)."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PACKAGING = Path(__file__).resolve().parent.parent.parent / "packaging/image"
KERNEL = "6.12.1+mk-amd64"

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="these scripts run on the Python of a Debian host")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with a place of its own for what it makes."""
    monkeypatch.syspath_prepend(str(PACKAGING))
    module = importlib.import_module("lib.site")
    monkeypatch.setattr(module, "STATE", tmp_path / "state")
    (tmp_path / "state").mkdir()
    return module


def make_module(kernel: str = KERNEL) -> bytes:
    return b"\x7fELF" + bytes(60) + f"\0license=GPL\0vermagic={kernel} SMP mod_unload\0".encode() + bytes(4000)


def make_extension(path: Path, files: dict[str, bytes]) -> Path:
    """Make an extension as Tiny Core's are: a squashfs of a tree."""
    tree = path.parent / f"{path.name}.tree"
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    command = ["mksquashfs", str(tree), str(path), "-noappend", "-quiet", "-no-progress"]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(tree)
    return path


def test_drivers_become_an_extension_of_the_images_kernel(site: ModuleType, tmp_path: Path) -> None:
    """Row 24: what the list calls TARGET lies below the kernel's updates, and each node loads it."""
    make_extension(tmp_path / "old.tcz", {"usr/local/lib/foo.ko": make_module(), "usr/local/lib/bar.ko": make_module()})
    listed = tmp_path / "drivers"
    listed.write_text("# ours\nold.tcz usr/local/lib/foo.ko scsi/foo.ko\nold.tcz /usr/local/lib/bar.ko net/x/bar.ko\n")
    folder = site.make_site(site.Settings(drivers=listed), tmp_path / "none", KERNEL, 1)
    top = folder / "tinycorelinux"
    image = top / "sysext/x86_64/image-drivers.raw"
    inside = subprocess.run(["unsquashfs", "-lls", str(image)], capture_output=True, text=True, check=True).stdout
    for name in ("scsi/foo.ko", "net/x/bar.ko"):
        assert f"usr/lib/modules/{KERNEL}/updates/{name}" in inside
    assert json.loads((top / "tce-install-list").read_text()) == ["image-drivers.raw"]
    assert json.loads((top / "kmod-install-list").read_text()) == ["updates/scsi/foo.ko", "updates/net/x/bar.ko"]
    assert (top / "sysext/x86_64/SHA256SUMS").exists()


def test_files_of_extensions_join_a_mirror_that_is_there(site: ModuleType, tmp_path: Path) -> None:
    """Row 98: both kinds of extensions, with their dependencies; what the mirror had installed still is."""
    mirror = tmp_path / "mirror"
    native = mirror / "tinycorelinux/sysext/x86_64"
    native.mkdir(parents=True)
    make_extension(native / "first.raw", {"usr/share/first": b"1"})
    (mirror / "tinycorelinux/tce-install-list").write_text('["first.raw"]')
    make_extension(tmp_path / "own.tcz", {"usr/local/share/own": b"1"})
    (tmp_path / "own.tcz.dep").write_text("other.tcz\n")
    listed = tmp_path / "files"
    listed.write_text("own.tcz\n")
    folder = site.make_site(site.Settings(extensions=mirror, local_extensions=listed), tmp_path / "none", KERNEL, 1)
    top = folder / "tinycorelinux"
    assert json.loads((top / "tce-install-list").read_text()) == ["first.raw", "own.tcz"]
    assert {path.name for path in (top / "15.x/x86_64/tcz").iterdir()} >= {"own.tcz", "own.tcz.dep", "own.tcz.md5.txt"}
    assert not (mirror / "tinycorelinux/15.x").exists()


def test_image_of_another_architecture_has_a_mirror_of_its_own(site: ModuleType, tmp_path: Path) -> None:
    """What its nodes ask for lies where they look, and recipes are made of that architecture's packages."""
    make_extension(tmp_path / "old.tcz", {"foo.ko": make_module()})
    make_extension(tmp_path / "own.raw", {"usr/share/own": b"1"})
    (tmp_path / "drivers").write_text("old.tcz foo.ko scsi/foo.ko\n")
    (tmp_path / "files").write_text("own.raw\nold.tcz\n")
    lists = {"drivers": tmp_path / "drivers", "local_extensions": tmp_path / "files"}
    top = site.make_site(site.Settings(**lists, architecture="arm64"), tmp_path, KERNEL, 1) / "tinycorelinux"
    assert (top / "sysext/aarch64/own.raw").exists() and (top / "15.x/aarch64/tcz/old.tcz").exists()
    release = "usr/lib/extension-release.d/extension-release.image-drivers"
    words = ["unsquashfs", "-cat", str(top / "sysext/aarch64/image-drivers.raw"), release]
    assert "ARCHITECTURE=arm64\n" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert not list(top.rglob("x86_64"))


def test_mirror_alone_is_taken_as_it_is(site: ModuleType, tmp_path: Path) -> None:
    assert site.make_site(site.Settings(extensions=tmp_path), tmp_path / "none", KERNEL, 1) == tmp_path


@pytest.mark.parametrize(
    "line, said",
    [
        ("old.tcz lib/foo.ko", "not of the form 'EXTENSION MODULE TARGET': old.tcz lib/foo.ko"),
        ("none.tcz lib/foo.ko scsi/foo.ko", "none.tcz is not there"),
        ("old.tcz lib/../foo.ko scsi/foo.ko", "lib/../foo.ko is no path of a module"),
        ("old.tcz lib/foo.ko ../foo.ko", "../foo.ko is no path of a module"),
        ("old.tcz lib/none.ko scsi/foo.ko", "old.tcz does not hold lib/none.ko"),
        ("old.tcz lib/text.ko scsi/foo.ko", "lib/text.ko of old.tcz is no kernel module"),
        ("old.tcz lib/other.ko scsi/foo.ko", f"is of kernel 3.0-tinycore, the image's is {KERNEL}"),
        ("old.tcz lib/foo.ko a/foo.ko\nold.tcz lib/foo.ko a/foo.ko", "a/foo.ko is there twice"),
    ],
)
def test_driver_that_cannot_be_is_one_line(site: ModuleType, tmp_path: Path, line: str, said: str) -> None:
    content = {"lib/foo.ko": make_module(), "lib/other.ko": make_module("3.0-tinycore"), "lib/text.ko": b"text"}
    make_extension(tmp_path / "old.tcz", content)
    listed = tmp_path / "drivers"
    listed.write_text(line)
    with pytest.raises(site.BuildError) as raised:
        site.make_site(site.Settings(drivers=listed), tmp_path / "none", KERNEL, 1)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_all_that_is_listed_is_an_input(site: ModuleType, tmp_path: Path) -> None:
    """A changed driver makes the image anew."""
    make_extension(tmp_path / "old.tcz", {"lib/foo.ko": make_module()})
    listed = tmp_path / "drivers"
    listed.write_text("old.tcz lib/foo.ko scsi/foo.ko")
    assert site.digest_names(site.Settings(drivers=listed)) == [listed, tmp_path / "old.tcz"]


def test_copy_for_mkosi_has_all_of_the_trees(site: ModuleType, tmp_path: Path) -> None:
    """The programs at the top are left out, the trees' usr/lib is not."""
    mkosi = importlib.import_module("lib.mkosi")
    copy = mkosi.copy_plainly(PACKAGING, tmp_path / "recipe")
    assert not (copy / "lib").exists() and not (copy / "forms").exists()
    for trees in ("mkosi.extra", "mkosi.profiles"):
        files = [path for path in (PACKAGING / trees).rglob("*") if not path.is_dir()]
        there = {path.relative_to(PACKAGING) for path in files if path.parent.name != "__pycache__"}
        assert there == {path.relative_to(copy) for path in (copy / trees).rglob("*") if not path.is_dir()}

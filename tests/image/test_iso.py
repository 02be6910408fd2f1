"""The ISO and the unified kernel image as files: what servers, firmware and people find in them. Nothing is booted."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.machines import firmware
from tests.machines.forms import FOLDER
from tests.machines.server import IMAGE, ROOT, read_manifest

ISO_LIMIT_BYTES = 67_000_000
FORMS = ROOT / "packaging/image/forms"
CHECK = Path(__file__).with_name("check_iso.rb")
PVD = 16 * 2048


@pytest.fixture(scope="module")
def tree(image: dict[str, str]) -> Path:
    """What is in the ISO, unpacked; kept as it comes out."""
    folder = FOLDER / "iso-tree"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    argv = ["xorriso", "-osirrox", "on", "-indev", str(IMAGE / "mk.iso"), "-extract", "/", str(folder)]
    subprocess.run(argv, check=True, capture_output=True)
    return folder


def run_form(name: str, folder: Path, *options: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    """Run a form's program on a folder."""
    argv = ["/usr/bin/python3", str(FORMS / name), "--image", str(folder), *options]
    before = os.umask(umask)
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False)
    finally:
        os.umask(before)


@pytest.fixture
def other(image: dict[str, str], tmp_path: Path) -> Path:
    """A second folder with the same kernel, initrd and manifest, at another path, without any form."""
    for name in ("vmlinuz", "initrd"):
        shutil.copyfile(IMAGE / name, tmp_path / name)
    shutil.copyfile(IMAGE / "manifest.json", tmp_path / "manifest.json")
    return tmp_path


def file_entry(name: str) -> dict[str, Any]:
    """Return what the manifest says of a file."""
    return dict(read_manifest()["files"][name])


def weigh(version: str) -> float:
    """Return a version's weight by protocol 8.7, by which a server chooses the image that it boots."""
    release, _, count = version.removeprefix("v").partition("-")[0].replace("_", "+").partition("+")
    parts = release.split(".")
    whole = int("".join(part.rjust(3, "0") for part in parts[:3]))
    return whole + float(f"0.{''.join(parts[3:4]) or 0}") + float(f"0.000{count or 0}")


@pytest.mark.parametrize(
    ("version", "weight"),
    [
        ("v0.9.3.0", 9003.0),
        ("v0.9.3.0+48-g104a9bc", 9003.00048),
        ("0.10.0+4-g104a9bc", 10000.0004),
        ("2.0.1_13-g3eade33-dirty", 2000001.00013),
    ],
)
def test_weights_are_the_protocols(version: str, weight: float) -> None:
    """Its examples."""
    assert weigh(version) == pytest.approx(weight, abs=1e-9)


def test_a_razor_server_takes_the_iso(tree: Path) -> None:
    """All keys are there, both files are, with their hashes, and version, weight and time can be read."""
    if not shutil.which("ruby"):
        pytest.fail("ruby is not installed: run packaging/setup test", pytrace=False)
    done = subprocess.run(["ruby", str(CHECK), str(tree)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    version, weight, built = done.stdout.splitlines()
    known = read_manifest()
    assert version == known["version"]
    assert float(weight) == pytest.approx(weigh(version), abs=1e-9)
    assert int(built) == known["source_date_epoch"]


def test_the_metadata_has_the_form_of_the_protocol(tree: Path) -> None:
    """Keys, their order, quotes and the form of the time are those of the protocol's example."""
    digest = "[0-9a-f]{64}"
    assert re.fullmatch(
        r"iso_version: \S+\nkernel: boot/vmlinuz\ninitrd: boot/core\.gz\n"
        r'hash_description: \{type: "Digest::SHA2", bitlen: 256\}\n'
        rf"kernel_hash: {digest}\ninitrd_hash: {digest}\niso_build_time: \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d Z\n",
        (tree / "iso-metadata.yaml").read_text(encoding="ascii"),
    )


def test_the_volume_says_what_the_originals_did(image: dict[str, str]) -> None:
    """Volume, system, application, preparer and copyright file, as they are spelt."""
    with (IMAGE / "mk.iso").open("rb") as file:
        file.seek(PVD)
        described = file.read(2048)
    version = read_manifest()["version"]
    assert described[1:6] == b"CD001"
    assert described[8:40].decode().rstrip() == "LINUX"
    assert described[40:72].decode().rstrip() == f"Razor MK {version[:22]}"
    assert described[446:574].decode().rstrip() == "mksuite: discovers bare-metal machines"
    assert described[574:702].decode().rstrip() == "Razor Microkernel"
    assert described[702:739].decode().rstrip() == "LICENSE"


def test_one_kernel_and_one_initrd(tree: Path) -> None:
    """Kernel and initrd are in it once, and both loaders start them with the same kernel line."""
    found = [path for path in tree.rglob("*") if path.is_file() and path.stat().st_size > 5_000_000]
    assert sorted(path.name for path in found) == ["core.gz", "vmlinuz"]
    assert (tree / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "/usr/share/doc/" in (tree / "COPYING").read_text(encoding="ascii")
    words = [line.split("vmlinuz ")[-1] for line in (tree / "boot/grub/grub.cfg").read_text().splitlines()]
    isolinux = (tree / "boot/isolinux/isolinux.cfg").read_text()
    assert [line for line in words if f"APPEND {line}\n" in isolinux and "console" in line]
    assert "TIMEOUT 100\n" in isolinux


def test_it_is_small(image: dict[str, str]) -> None:
    """What it has beside kernel and initrd are a few megabytes; a site's own extensions are not counted here."""
    assert (IMAGE / "mk.iso").stat().st_size <= ISO_LIMIT_BYTES


def test_it_is_a_disk_as_well(image: dict[str, str]) -> None:
    """Its first sectors are those of a disk: code for BIOS, and a partition table whose EFI partition is a FAT."""
    with (IMAGE / "mk.iso").open("rb") as file:
        assert file.read(512)[510:] == b"\x55\xaa"
        header = file.read(512)
        assert header[:8] == b"EFI PART"
        first, count = struct.unpack_from("<QI", header, 72)
        file.seek(first * 512)
        entries = [file.read(128) for _ in range(count)]
        starts = [struct.unpack_from("<Q", entry, 32)[0] for entry in entries if any(entry[:16])]
        signatures = []
        for start in starts:
            file.seek(start * 512)
            signatures.append(file.read(512)[54:62])
    assert b"FAT12   " in signatures


def test_a_site_writes_its_words_into_it(other: Path) -> None:
    """The copy has the words at the end of both kernel lines, and differs from the shipped ISO nowhere else."""
    shutil.copyfile(IMAGE / "mk.iso", other / "mk.iso")
    addressed = other / "site.iso"
    done = run_form("iso.py", other, "--site", "mk.ip=192.0.2.7", "--out", str(addressed))
    assert done.returncode == 0, done.stderr
    ours, theirs = (IMAGE / "mk.iso").read_bytes(), bytearray(addressed.read_bytes())
    places = file_entry("mk.iso")["places"]
    assert len(places) == 2
    for place in places:
        start, end = place["offset"], place["offset"] + place["length"]
        assert theirs[start:end].startswith(b" mk.ip=192.0.2.7\n#")
        assert theirs[start:end].count(b"\n") == 1
        theirs[start:end] = ours[start:end]
    assert bytes(theirs) == ours


def test_a_site_keeps_the_kernel_line_that_was_built_in(other: Path) -> None:
    """An ISO with words of its own on the kernel line is not made anew for a copy, which has both."""
    assert run_form("iso.py", other, "--cmdline", "mk.one=1").returncode == 0
    before = hashlib.sha256((other / "mk.iso").read_bytes()).digest()
    done = run_form("iso.py", other, "--site", "mk.two=2", "--out", str(other / "site.iso"))
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256((other / "mk.iso").read_bytes()).digest() == before
    addressed = (other / "site.iso").read_bytes()
    assert addressed.count(b" mk.one=1") == 2 and addressed.count(b" mk.two=2\n#") == 2
    asked = "--cmdline", "mk.three=3", "--site", "mk.two=2", "--out", str(other / "site.iso")
    assert run_form("iso.py", other, *asked).returncode == 0
    addressed = (other / "site.iso").read_bytes()
    assert addressed.count(b" mk.three=3") == 2 and b"mk.one=1" not in addressed


@pytest.mark.parametrize("words", ["x" * 600, "mk.ip=1.2.3.4\nroot", "mk.ip=ä"])
def test_words_that_do_not_fit_are_refused(other: Path, words: str) -> None:
    """One line says why, and no file is written."""
    shutil.copyfile(IMAGE / "mk.iso", other / "mk.iso")
    done = run_form("iso.py", other, "--site", words, "--out", str(other / "site.iso"))
    assert done.returncode == 1
    assert done.stderr.startswith("packaging/image/forms/iso.py: --site ") and done.stderr.count("\n") == 1
    assert not (other / "site.iso").exists()


@pytest.mark.parametrize("name", ["mk.iso", "mk.efi"])
def test_a_second_one_is_the_same(other: Path, name: str) -> None:
    """Made again at another path and time, by somebody with another umask, it has the same bytes."""
    program = {"mk.iso": "iso.py", "mk.efi": "uki.py"}[name]
    done = run_form(program, other, umask=0o077)
    assert done.returncode == 0 and name in done.stdout, done.stderr
    assert hashlib.sha256((other / name).read_bytes()).hexdigest() == file_entry(name)["sha256"]


def read_sections(path: Path) -> dict[str, bytes]:
    """Return the sections of a PE program by their names (Microsoft's PE format: file header, section table)."""
    content = path.read_bytes()
    header = struct.unpack_from("<I", content, 0x3C)[0] + 4
    count, optional_bytes = struct.unpack_from("<H12xH", content, header + 2)
    found = {}
    for number in range(count):
        name, size, _, _, start = struct.unpack_from("<8sIIII", content, header + 20 + optional_bytes + 40 * number)
        found[name.rstrip(b"\0").decode()] = content[start : start + size]
    return found


def test_the_kernel_image_holds_the_shipped_files(image: dict[str, str]) -> None:
    """Kernel and initrd of the program are those of the manifest, byte for byte; its kernel line and version, too."""
    found, known = read_sections(IMAGE / "mk.efi"), read_manifest()
    for section, name in ((".linux", "vmlinuz"), (".initrd", "initrd")):
        assert hashlib.sha256(found[section]).hexdigest() == known["files"][name]["sha256"]
    assert found[".cmdline"].decode().rstrip("\0 ") == known["files"]["mk.efi"]["kernel_line"]
    assert found[".uname"].decode().rstrip("\0") == known["kernel"]
    assert f'IMAGE_VERSION="{known["version"].replace("+", "_")}"' in found[".osrel"].decode()


def test_a_signed_one_is_signed(other: Path, tmp_path: Path) -> None:
    """The operator's certificate verifies it, signed again it is the same; nothing verifies the unsigned one."""
    key = firmware.write_test_key(tmp_path / "keys")
    done = run_form("uki.py", other, "--sign", str(key))
    assert done.returncode == 0 and "signed" in done.stdout, done.stderr
    first = (other / "mk.efi").read_bytes()
    (other / "mk.efi").unlink()
    assert run_form("uki.py", other, "--sign", str(key)).returncode == 0
    assert (other / "mk.efi").read_bytes() == first
    verify = ["sbverify", "--cert", str(key.with_suffix(".crt"))]
    assert subprocess.run([*verify, str(other / "mk.efi")], check=False, capture_output=True).returncode == 0
    assert subprocess.run([*verify, str(IMAGE / "mk.efi")], check=False, capture_output=True).returncode == 1


def test_a_key_without_a_certificate_is_one_line(other: Path) -> None:
    """What is missing is said."""
    (other / "alone.key").write_text("")
    done = run_form("uki.py", other, "--sign", str(other / "alone.key"))
    assert done.returncode == 1
    assert "alone.crt" in done.stderr and done.stderr.count("\n") == 1

"""What the first stage is made of: which drivers, which layers, and an archive that the kernel can unpack."""

from __future__ import annotations

import hashlib
import lzma
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("these scripts run on the Python of a Debian host", allow_module_level=True)

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "packaging/image"), str(ROOT / "packaging/image/forms")]

import beside  # noqa: E402
import first_stage  # noqa: E402
from lib.archives import Member, write_archive  # noqa: E402
from lib.newc import read  # noqa: E402
from lib.places import BuildError  # noqa: E402

DEPENDENCIES = """\
kernel/drivers/net/ethernet/intel/igb/igb.ko.xz: kernel/drivers/i2c/i2c-algo-bit.ko.xz kernel/drivers/dca/dca.ko.xz
kernel/drivers/i2c/i2c-algo-bit.ko.xz:
kernel/drivers/dca/dca.ko.xz:
kernel/drivers/net/xen-netfront.ko.xz:
kernel/sound/soundcore.ko.xz:
"""
ALIASES = """\
# Aliases extracted from modules themselves.
alias pci:v00008086d00001521sv*sd*bc*sc*i* igb
alias xen:vif xen_netfront
alias char-major-14-* soundcore
"""


def choose(*patterns: str) -> set[str]:
    """Choose from DEPENDENCIES."""
    return first_stage.choose_modules(DEPENDENCIES, [re.compile(pattern) for pattern in patterns])


def test_drivers_come_with_what_they_need() -> None:
    chosen = choose("^drivers/net/ethernet/", "^drivers/net/xen-netfront[.]")
    assert {first_stage.module_name(path) for path in chosen} == {"igb", "i2c_algo_bit", "dca", "xen_netfront"}
    dependencies = first_stage.filter_dependencies(DEPENDENCIES, chosen).splitlines()
    assert dependencies[0].split() == [
        "kernel/drivers/net/ethernet/intel/igb/igb.ko:",
        "kernel/drivers/i2c/i2c-algo-bit.ko",
        "kernel/drivers/dca/dca.ko",
    ]
    assert len(dependencies) == 4
    assert first_stage.filter_aliases(ALIASES, chosen).splitlines() == ALIASES.splitlines()[1:3]


def test_a_driver_that_moved_fails_the_build() -> None:
    with pytest.raises(BuildError, match="floppy"):
        choose("^drivers/net/ethernet/", "^drivers/block/floppy")


def test_modules_are_laid_out_for_modprobe(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    dependencies = ""
    for place in (
        "ethernet/intel/e1000",
        "phy/realtek",
        "mdio/of_mdio",
        "pcs/pcs_xpcs",
        "hyperv/hv_netvsc",
        "virtio_net",
    ):
        path = f"kernel/drivers/net/{place}.ko.xz"
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(lzma.compress(place.encode()))
        dependencies += f"{path}:\n"
    others = [f"drivers/{name}" for name in ("virtio/virtio_pci", "hv/hv_vmbus", "xen/xen-privcmd", "ptp/ptp")]
    others += ["drivers/pci/hotplug/shpchp", "crypto/crc32c_generic", "arch/x86/crypto/crc32c-intel"]
    for place in others:
        dependencies += f"kernel/{place}.ko:\n"
        (source / f"kernel/{place}.ko").parent.mkdir(parents=True, exist_ok=True)
        (source / f"kernel/{place}.ko").write_bytes(place.encode())
    (source / "modules.dep").write_text(dependencies)
    (source / "modules.alias").write_text("alias pci:v* e1000\n")
    first_stage.copy_modules(source, target)
    assert (target / "kernel/drivers/net/ethernet/intel/e1000.ko").read_bytes() == b"ethernet/intel/e1000"
    listed = [line.partition(":")[0] for line in (target / "modules.dep").read_text().splitlines()]
    assert all((target / path).is_file() for path in listed)
    assert (target / "modules.alias").read_text() == "alias pci:v* e1000\n"


def build_initrd(folder: Path) -> tuple[list[Member], dict[str, Any]]:
    """A whole initrd of the builder's form, with the manifest of what lies beside it."""
    layers = {"root.squashfs": b"the root", "mirror.squashfs": b"the mirror"}
    members = [Member("init", b"\x7fELF", 0o755), Member("modules/00-loop.ko.xz", lzma.compress(b"loop"))]
    members += [Member(f"layers/{number}0-x.squashfs", content) for number, content in enumerate(layers.values(), 1)]
    write_archive(members, folder / "initrd", 1_700_000_000)
    files = {name: {"sha256": hashlib.sha256(content).hexdigest()} for name, content in layers.items()}
    return list(read(folder / "initrd")), {"files": files}


def test_reads_what_the_builder_writes(tmp_path: Path) -> None:
    members, _ = build_initrd(tmp_path)
    found = {member.name: member for member in members}
    assert stat.S_ISDIR(found["layers"].mode)
    assert (found["init"].content, found["init"].mode) == (b"\x7fELF", stat.S_IFREG | 0o755)
    (tmp_path / "initrd").write_bytes((tmp_path / "initrd").read_bytes()[:200])
    with pytest.raises(BuildError):
        list(read(tmp_path / "initrd"))
    (tmp_path / "initrd").write_bytes(b"\x28\xb5\x2f\xfd compressed")
    with pytest.raises(BuildError, match="no uncompressed archive"):
        list(read(tmp_path / "initrd"))


def test_layers_are_pinned_by_their_digests(tmp_path: Path) -> None:
    members, known = build_initrd(tmp_path)
    layers = first_stage.find_layers(members, known)
    digest = hashlib.sha256(b"the mirror").hexdigest()
    assert [layer.line() for layer in layers][1] == f"{digest} 10 mirror.squashfs 20-x.squashfs\n"
    del known["files"]["root.squashfs"]
    with pytest.raises(BuildError, match="layers/10-x"):
        first_stage.find_layers(members, known)
    with pytest.raises(BuildError, match="no layers"):
        first_stage.find_layers([], known)


def test_archive_holds_all_that_its_scripts_call(tmp_path: Path) -> None:
    """Each program of the scripts is a link to busybox; cpio, as the kernel, finds links, modes, the first process."""
    members, known = build_initrd(tmp_path)
    laid = first_stage.build_members(members, first_stage.find_layers(members, known), b"drivers", b"busybox")
    write_archive(laid, tmp_path / "plain", 1_700_000_000)
    packed = first_stage.compress((tmp_path / "plain").read_bytes())
    assert len(packed) % 4 == 0
    command = ["cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet"]
    unpacked = lzma.LZMADecompressor().decompress(packed)
    listed = subprocess.run(command, input=unpacked, capture_output=True, check=True).stdout.decode()
    lines = {line.split()[8]: line for line in listed.splitlines()}
    assert lines["init"].startswith("-rwxr-xr-x") and lines["start"].startswith("-rwxr-xr-x")
    assert lines["bin/sh"].endswith("bin/sh -> busybox")
    assert lines["lib/firmware"].endswith(" -> /drivers/lib/firmware")
    assert "modules/00-loop.ko" in lines and not any(name.startswith("layers/") for name in lines)


def test_every_program_of_the_scripts_is_a_link() -> None:
    """What stands where a command stands is a shell's word, a function of the script, or a link to busybox."""
    text = "".join((first_stage.SOURCES / name).read_text() for name in ("init", "dhcp"))
    code = re.sub(r"(^|\s)#.*|\b(say|restart) .*|^ *[a-z| ]+\)$", "", text, flags=re.M)
    code = re.sub(r"'[^']*'", "x", code).replace('"', "")
    code = re.sub(r"[;|&{!]|\$\(|\b(do|then|else|if|while|xargs)\b", "\n", code)
    called = set(re.findall(r"^ *([a-z][a-z0-9]+)(?= |$)", code, re.M))
    shell = "break case continue done echo esac exec exit fi for in read return set shift trap ulimit wait"
    functions = set(re.findall(r"^(\w+)\(\)", code, re.M))
    assert {"wget", "udhcpc", "modprobe", "insmod", "stat"} <= called
    assert called - functions - set(shell.split()) - set(first_stage.PROGRAMS) == set()


def test_its_shell_is_in_the_document_of_all_packages(tmp_path: Path) -> None:
    """With version and licence, from what was unpacked; without its control file the way to get it is said."""
    control, copyright_file = tmp_path / "control/busybox-static", tmp_path / "usr/share/doc/busybox-static/copyright"
    for path in (control, copyright_file):
        path.parent.mkdir(parents=True)
    copyright_file.write_text("busybox: GPL version 2\n")
    (shell,) = beside.choose(["first-stage"], "amd64")
    shell = shell._replace(place=tmp_path)
    with pytest.raises(BuildError, match="packaging/setup image"):
        beside.read([shell])
    control.write_text("Package: busybox-static\nSource: busybox (1:1.37.0-6)\nVersion: 1:1.37.0-6+b9\n")
    packages, licences = beside.read([shell])
    assert [(each.name, each.version, each.source) for each in packages] == [
        ("busybox-static", "1:1.37.0-6+b9", ("busybox", "1:1.37.0-6"))
    ]
    assert list(licences) == ["busybox-static"]

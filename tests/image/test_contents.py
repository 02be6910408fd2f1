"""What lies in the shipped image, read from its layer: drivers, firmware, byte code, budget. No machine is needed.

The kernel's own ``modules.order`` names every module that Debian builds, whether the image has it or not.
"""

from __future__ import annotations

import fnmatch
import json
import lzma
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest

from tests.machines.server import IMAGE, ROOT, read_manifest

LIMIT_BYTES = 60_000_000
SYSTEM = ("root.squashfs", "services.squashfs")
WANTED = (
    "drivers/net/ethernet/",
    "drivers/scsi/",
    "drivers/ata/",
    "drivers/message/",
    "drivers/nvme/host/",
    "drivers/virtio/",
    "drivers/hv/",
    "drivers/net/hyperv/",
    "drivers/net/vmxnet3/",
    "drivers/net/virtio_net.ko",
    "drivers/net/xen-netfront.ko",
    "drivers/xen/",
    "drivers/block/virtio_blk.ko",
    "drivers/block/xen-blkfront.ko",
    "drivers/usb/storage/",
    "drivers/usb/host/",
    "drivers/hid/usbhid/",
    "drivers/hid/hid-generic.ko",
    "drivers/char/ipmi/",
    "drivers/char/tpm/",
    "drivers/edac/",
    "drivers/i2c/",
)
"""Every module of Debian's kernel below these."""
UNWANTED = r"drivers/scsi/(.*/)?(tcm_|scsi_debug)|drivers/xen/xen-scsiback|drivers/nvme/host/nvme-rdma"
"""But what serves disks to others, what invents them, and what needs InfiniBand."""
FOREIGN = ("sound/", "drivers/net/wireless/", "drivers/media/", "drivers/gpu/", "net/wireless/", "net/bluetooth/")


def show(*words: str) -> str:
    """Return what unsquashfs says of the layer."""
    done = subprocess.run(["unsquashfs", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def files(image: dict[str, str]) -> set[str]:
    """The paths of the system's layers, without a leading slash."""
    listed = [line for name in SYSTEM for line in show("-lln", str(IMAGE / name)).splitlines()]
    return {line.split("squashfs-root/", 1)[1].split(" -> ")[0] for line in listed if "squashfs-root/" in line}


@pytest.fixture(scope="module")
def every() -> list[str]:
    """Each module of Debian's kernel: drivers/scsi/sg.ko."""
    order = f"usr/lib/modules/{read_manifest()['kernel']}/modules.order"
    return [line.removeprefix("kernel/") for line in show("-cat", str(IMAGE / "root.squashfs"), order).split()]


def test_kernel_and_initrd_are_in_the_budget_and_each_megabyte_has_a_name() -> None:
    manifest = read_manifest()
    sizes = {name: (IMAGE / name).stat().st_size for name in ("vmlinuz", "initrd", *SYSTEM)}
    assert sizes["vmlinuz"] + sizes["initrd"] <= LIMIT_BYTES
    weights = manifest["weights"]
    assert abs(sum(each["image_bytes"] for each in weights.values()) - sum(sizes[name] for name in SYSTEM)) < 100
    assert weights["all else"]["image_bytes"] < 1_500_000, "a table that says what most of it is for"


def test_what_the_services_load_at_boot_is_quick_to_unpack() -> None:
    layer = str(IMAGE / "services.squashfs")
    listed = show("-lln", layer)
    for module in ("mkctl/__pycache__/agent", "mkctl/probe/__pycache__/program", "mkcore/__pycache__/http"):
        assert f"/{module}.cpython-" in listed
    assert "Compression zstd" in show("-s", layer) and "Block size 131072" in show("-s", layer)


@pytest.mark.parametrize("place", WANTED)
def test_every_driver_of_a_server_is_there(files: set[str], every: list[str], place: str) -> None:
    kernel = f"usr/lib/modules/{read_manifest()['kernel']}/kernel"
    wanted = [name for name in every if name.startswith(place) and not re.match(UNWANTED, name)]
    assert wanted, "Debian's kernel has none: renamed, or built in"
    assert [name for name in wanted if f"{kernel}/{name}" not in files] == []


def index(name: str) -> str:
    """Return one of the kernel's lists of modules: "modules.dep"."""
    return show("-cat", str(IMAGE / "root.squashfs"), f"usr/lib/modules/{read_manifest()['kernel']}/{name}")


def modname(path: str) -> str:
    """Return a module's name as the kernel spells it: crc32c_intel of kernel/arch/x86/crypto/crc32c-intel.ko."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def find_missing(dependencies: str, aliases: str, soft: str, built_in: str, modinfo: str) -> list[str]:
    """Return what modules need and none has, neither a module nor the kernel itself: "libcrc32c: crc32c".

    The texts are modules.dep, .alias, .softdep, .builtin and .builtin.modinfo (modprobe.d(5), depmod(8)). A name is a
    module's, an alias, or an algorithm's, which the kernel asks for as crypto-NAME.
    """
    needs = {path: others.split() for path, _, others in (line.partition(":") for line in dependencies.splitlines())}
    missing = [f"{modname(path)}: {other}" for path, others in needs.items() for other in others if other not in needs]
    there = {modname(path) for path in (*needs, *built_in.split())}
    known = [line.split() for line in aliases.splitlines() if line.startswith("alias ")]
    patterns = [words[1] for words in known if words[2] in there]
    patterns += re.findall(r"^[^.]+\.alias=(.*)$", modinfo.replace("\0", "\n"), re.M)

    def has(name: str) -> bool:
        spelt: Iterable[str] = (name, f"crypto-{name}")
        return modname(name) in there or any(fnmatch.fnmatchcase(each, one) for each in spelt for one in patterns)

    for line in soft.splitlines():
        words = line.split()
        if words[:1] == ["softdep"] and words[1].replace("-", "_") in there and "pre:" in words:
            wanted = words[words.index("pre:") + 1 :]
            wanted = wanted[: wanted.index("post:")] if "post:" in wanted else wanted
            missing += [f"{words[1]}: {name}" for name in wanted if not has(name)]
    return missing


def test_missing_modules_are_found() -> None:
    """What a module asks for by a name alone; libcrc32c fails without the algorithm, and bnx2x without libcrc32c."""
    dependencies = "kernel/drivers/bnx2x.ko: kernel/lib/libcrc32c.ko\nkernel/lib/libcrc32c.ko:\n"
    soft = "# of the modules\nsoftdep libcrc32c pre: crc32c\nsoftdep not_here pre: other\n"
    assert find_missing(dependencies, "", soft, "", "") == ["libcrc32c: crc32c"]
    more = dependencies + "kernel/crypto/crc32c_generic.ko:\n"
    assert find_missing(more, "alias crypto-crc32c crc32c_generic\n", soft, "", "") == []
    assert find_missing(dependencies, "alias crypto-crc32c crc32c_generic\n", soft, "", "") == ["libcrc32c: crc32c"]
    assert find_missing(dependencies, "", soft, "kernel/crypto/crc32c.ko\n", "") == []
    assert find_missing(dependencies, "", soft, "", "crc32c_generic.alias=crypto-crc32c\0crc32c_generic.file=x") == []
    assert find_missing("kernel/a.ko: kernel/b.ko\n", "", "", "", "") == ["a: kernel/b.ko"]


def test_every_module_has_what_it_asks_for(image: dict[str, str]) -> None:
    texts = [index(f"modules.{name}") for name in ("dep", "alias", "softdep", "builtin", "builtin.modinfo")]
    assert "softdep libcrc32c pre: crc32c\n" in texts[2]
    assert find_missing(*texts) == []


def test_every_module_of_the_first_stage_has_what_it_asks_for(image: dict[str, str], tmp_path: Path) -> None:
    """Its own lists; what a module asks for, and what is built in, is in the whole image's."""
    sys.path[:0] = [str(ROOT / "packaging/image")]
    try:
        from lib.newc import read  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(ROOT / "packaging/image"))
    (tmp_path / "archive").write_bytes(lzma.decompress((IMAGE / "first-stage").read_bytes()))
    drivers = next(member.content for member in read(tmp_path / "archive") if member.name == "drivers.squashfs")
    (tmp_path / "drivers").write_bytes(drivers)
    folder = f"lib/modules/{read_manifest()['kernel']}"
    own = [show("-cat", str(tmp_path / "drivers"), f"{folder}/modules.{name}") for name in ("dep", "alias")]
    assert "bnx2x.ko:" in own[0]
    assert find_missing(*own, *(index(f"modules.{name}") for name in ("softdep", "builtin", "builtin.modinfo"))) == []


def test_no_driver_of_a_desktop_is_there(files: set[str], every: list[str]) -> None:
    """But what one of a server needs: a few kilobytes of helpers."""
    kernel = f"usr/lib/modules/{read_manifest()['kernel']}/kernel/"
    foreign = [path for path in files if path.startswith(tuple(kernel + place for place in FOREIGN))]
    assert [path for path in foreign if path.endswith(".ko")] == []
    assert any(name.startswith("sound/") for name in every)


def test_modules_are_uncompressed_and_signed(files: set[str]) -> None:
    """The layer compresses them better; the signature is what a locked-down kernel asks for."""
    modules = sorted(path for path in files if re.search(r"\.ko(\.|$)", path))
    assert len(modules) > 500 and all(path.endswith(".ko") for path in modules)
    content = subprocess.run(
        ["unsquashfs", "-cat", str(IMAGE / "root.squashfs"), modules[0]], capture_output=True, check=True
    ).stdout
    assert content.endswith(b"~Module signature appended~\n")


def test_firmware_is_that_of_network_cards_and_no_more(files: set[str]) -> None:
    lines = (ROOT / "packaging/image/firmware.list").read_text(encoding="utf-8").splitlines()
    patterns = [line.split()[0] for line in lines if line and not line.startswith("#")]
    folder = "usr/lib/firmware/"
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    found = [path.removeprefix(folder) for path in files if path.startswith(folder) and path not in folders]
    assert {"bnx2/bnx2-mips-09-6.2.1b.fw", "tigon/tg3.bin"} <= set(found)
    for pattern in patterns:
        assert any(PurePosixPath(path).match(pattern) for path in found), f"nothing is {pattern}"
    for path in found:
        assert any(PurePosixPath(path).match(pattern) for pattern in patterns), f"{path} is in no list"


def test_python_is_compiled(files: set[str]) -> None:
    """Nothing is compiled at each boot: what has a source has its byte code, and most has that alone."""
    sources = [path for path in files if re.match(r"usr/lib/python3.*\.py$", path)]
    own = [path for path in sources if "/dist-packages/mk" in path]
    assert own and len(sources) - len(own) < 10, sorted(set(sources) - set(own))
    for path in own:
        folder, _, name = path.rpartition("/")
        assert any(each.startswith(f"{folder}/__pycache__/{name[:-3]}.cpython-") for each in files), path


def test_no_shell_can_be_had_on_a_console(files: set[str]) -> None:
    """Neither what a login, an emergency or systemd.debug_shell starts, nor a unit of that name."""
    shells = ("bin/bash", "bin/login", "sbin/agetty", "sbin/sulogin", "lib/systemd/systemd-sulogin-shell")
    assert [name for name in shells if f"usr/{name}" in files] == []
    units = ("debug-shell", "getty@", "serial-getty@", "container-getty@", "console-getty", "autovt@")
    places = ("etc/systemd/system", "usr/lib/systemd/system")
    masked = [f"{places[0]}/{unit}.service" for unit in units]
    listed = show("-lln", str(IMAGE / "root.squashfs"), *masked)
    assert [path for path in masked if f"squashfs-root/{path} -> /dev/null\n" not in listed] == []
    assert f"{places[1]}/debug-shell.service" not in files


def test_lists_of_what_is_left_out_and_of_firmware_have_reasons() -> None:
    """Each line of firmware names its driver; what is left out stands below a reason."""
    for line in (ROOT / "packaging/image/firmware.list").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or re.match(r"\S+ +\w+(, \w+)*: ", line), line
    assert (ROOT / "packaging/image/leave-out.list").read_text(encoding="utf-8").startswith("# ")


def read_programs(folder: Path) -> dict[str, bytes]:
    """Return what the ISO holds and starts that is no text, by its path in it: the EFI partition's programs, too."""
    command = ["xorriso", "-osirrox", "on", "-indev", str(IMAGE / "mk.iso"), "-extract", "/", str(folder / "iso")]
    subprocess.run(command, check=True, capture_output=True)
    partition = folder / "iso/boot/efi.img"
    (folder / "efi").mkdir()
    subprocess.run(["mcopy", "-s", "-i", str(partition), "::", str(folder / "efi")], check=True)
    found = {}
    for path in (*folder.glob("iso/**/*"), *folder.glob("efi/**/*")):
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" in content and path not in (partition, folder / "iso/boot/isolinux/boot.cat"):  # lists of what is told
            found[str(path.relative_to(folder))] = content
    with (IMAGE / "mk.iso").open("rb") as iso:
        found["the first sector"] = iso.read(432)  # what follows is its own table
    return found


def read_files_of(packages: Iterable[str]) -> dict[str, bytes]:
    """Return the loaders of packages, of the host or unpacked below build/tools/boot: name -> content."""
    boot = ROOT / "build/tools/boot"
    paths = [path for place in ("shim", "grub", "systemd/boot") for path in (boot / "usr/lib" / place).rglob("*")]
    command = ["dpkg-query", "--listfiles", *(each for each in packages if not (boot / "control" / each).exists())]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    paths += [Path(line) for line in listed.splitlines() if line.startswith(("/usr/lib/ISOLINUX", "/usr/lib/syslinux"))]
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


def test_every_program_of_the_media_is_in_the_document(image: dict[str, str], tmp_path: Path) -> None:
    """What lies in the ISO and the unified kernel image is the image's own, or of a package that the document names."""
    document = json.loads((IMAGE / "sbom.spdx.json").read_text(encoding="utf-8"))
    told = {each["SPDXID"].removeprefix("SPDXRef-Package-"): each for each in document["packages"]}
    for name in ("initrd-musl-dev", "mk.iso-isolinux", "mk.iso-shim-signed", "mk.efi-systemd-boot-efi"):
        assert told[name]["licenseDeclared"] != "NOASSERTION"
        assert told[name]["versionInfo"] and told[name]["sourceInfo"] and told[name]["externalRefs"]
    packages = {each["name"] for name, each in told.items() if name.startswith(("mk.iso-", "mk.efi-"))}
    loaders = read_files_of(packages)
    own = {(IMAGE / name).read_bytes() for name in ("vmlinuz", "initrd")}
    programs = read_programs(tmp_path)
    assert len(programs) >= 7, sorted(programs)
    untold = []
    for name, content in programs.items():
        if name.endswith("isolinux.bin"):  # the place of its table, which is filled in (isolinux.txt)
            content = content[:8] + bytes(56) + content[64:]
            known = content in {each[:8] + bytes(56) + each[64:] for each in loaders.values()}
        elif name == "the first sector":
            known = any(each.startswith(content) for each in loaders.values())
        else:
            known = content in own or content in loaders.values()
        untold += [] if known else [name]
    assert untold == []
    stub = next(content for name, content in loaders.items() if name.endswith("linuxx64.efi.stub"))
    kernel_image = (IMAGE / "mk.efi").read_bytes()
    code = stub[4096:8192]  # the start of its program
    inside = [part in kernel_image for part in (code, *own)]
    assert inside == [True] * 3

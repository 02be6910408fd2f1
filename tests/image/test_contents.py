"""What lies in the shipped image, read from its layer: drivers, firmware, byte code, budget. No machine is needed.

The kernel's own ``modules.order`` names every module that Debian builds, whether the image has it or not.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import PurePosixPath

import pytest

from tests.machines.server import IMAGE, ROOT, read_manifest

LIMIT_BYTES = 60_000_000
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
    """The paths of the layer, without a leading slash."""
    listed = show("-lln", str(IMAGE / "root.squashfs")).splitlines()
    return {line.split("squashfs-root/", 1)[1].split(" -> ")[0] for line in listed if "squashfs-root/" in line}


@pytest.fixture(scope="module")
def every() -> list[str]:
    """Each module of Debian's kernel: drivers/scsi/sg.ko."""
    order = f"usr/lib/modules/{read_manifest()['kernel']}/modules.order"
    return [line.removeprefix("kernel/") for line in show("-cat", str(IMAGE / "root.squashfs"), order).split()]


def test_kernel_and_initrd_are_in_the_budget_and_each_megabyte_has_a_name() -> None:
    manifest = read_manifest()
    sizes = {name: (IMAGE / name).stat().st_size for name in ("vmlinuz", "initrd", "root.squashfs")}
    assert sizes["vmlinuz"] + sizes["initrd"] <= LIMIT_BYTES
    weights = manifest["weights"]
    assert abs(sum(each["image_bytes"] for each in weights.values()) - sizes["root.squashfs"]) < 100
    assert weights["all else"]["image_bytes"] < 1_500_000, "a table that says what most of it is for"


@pytest.mark.parametrize("place", WANTED)
def test_every_driver_of_a_server_is_there(files: set[str], every: list[str], place: str) -> None:
    kernel = f"usr/lib/modules/{read_manifest()['kernel']}/kernel"
    wanted = [name for name in every if name.startswith(place) and not re.match(UNWANTED, name)]
    assert wanted, "Debian's kernel has none: renamed, or built in"
    assert [name for name in wanted if f"{kernel}/{name}" not in files] == []


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


def test_lists_of_what_is_left_out_and_of_firmware_have_reasons() -> None:
    """Each line of firmware names its driver; what is left out stands below a reason."""
    for line in (ROOT / "packaging/image/firmware.list").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or re.match(r"\S+ +\w+(, \w+)*: ", line), line
    assert (ROOT / "packaging/image/leave-out.list").read_text(encoding="utf-8").startswith("# ")

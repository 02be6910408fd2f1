"""An arm64 server: QEMU's machine "virt" with UEFI firmware, which starts the kernel that QEMU hands it.

The kernel is gzip's, as iPXE, GRUB and U-Boot take it as well; QEMU unpacks it for the firmware.

Source: qemu(1), QEMU's docs/system/arm/virt; Debian's README of its package qemu-efi-aarch64.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from .journal import CHANNELS, build_credentials
from .qemu import Disk, Machine, Nic
from .server import ROOT

IMAGE = ROOT / "build/image-arm64"
FIRMWARE = Path("/usr/share/AAVMF")
UUID = "a64a64a6-4a64-4a64-8a64-a64a64a64a64"
MAC = "52:54:00:4d:4b:a6"
SERIAL = "ARM-7F3A"


def build_machine(folder: Path, netdev: str, server: str) -> Machine:
    """Describe the machine; files of its own go to ``folder``. ``server`` is the address on its kernel line."""
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "firmware-state"
    shutil.copy(FIRMWARE / "AAVMF_VARS.fd", state)
    firmware = ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE / 'AAVMF_CODE.fd'}"]
    firmware += ["-drive", f"if=pflash,format=raw,unit=1,file={state}"]
    return Machine(
        uuid=UUID,
        nics=(Nic(MAC, netdev, "virtio-net-pci,romfile="),),
        disks=(Disk(folder / "disk", SERIAL, 64 << 20, "nvme"),),
        arm=True,
        kernel=IMAGE / "vmlinuz",
        initrd=IMAGE / "initrd",
        cmdline=f"mk.ip={server} console=ttyAMA0",
        credentials=build_credentials(),
        channels=CHANNELS,
        extra=tuple(firmware),
    )

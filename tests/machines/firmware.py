"""UEFI firmware and media for a machine, as further words of QEMU's command line.

Secure Boot needs the build of OVMF that guards its variables by system management mode. Two sets of variables come with
it: one with Microsoft's keys, as machines are sold, and one with a key whose private half is public, for tests.

Source: qemu(1); OVMF's README; Debian's README of its package ovmf.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SHARE = Path("/usr/share/OVMF")
TEST_KEY = Path("/usr/share/ovmf/PkKek-1-snakeoil.key")
TEST_CERTIFICATE = TEST_KEY.with_suffix(".pem")
_TEST_PASSWORD = "snakeoil"
PLAIN_CODE = "OVMF_CODE_4M.fd"
SECURE_CODE = "OVMF_CODE_4M.secboot.fd"
VARIABLES = {"": "OVMF_VARS_4M.fd", "microsoft": "OVMF_VARS_4M.ms.fd", "test": "OVMF_VARS_4M.snakeoil.fd"}
"""By whose keys are enrolled; without a name there are none, and no Secure Boot."""


def build_uefi(folder: Path, keys: str = "") -> list[str]:
    """Build UEFI firmware with its own variables in ``folder``; ``keys`` is one of VARIABLES."""
    state = folder / "firmware-state"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SHARE / VARIABLES[keys], state)
    code = SHARE / (SECURE_CODE if keys else PLAIN_CODE)
    argv = ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}"]
    argv += ["-drive", f"if=pflash,format=raw,unit=1,file={state}"]
    if keys:
        argv += ["-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"]
    return argv


def skip_pxe() -> list[str]:
    """Have the firmware try HTTP boot at once, and not wait a minute for PXE (OVMF's README, its network options)."""
    return [
        word
        for version in ("IPv4", "IPv6")
        for word in ("-fw_cfg", f"name=opt/org.tianocore/{version}PXESupport,string=n")
    ]


def build_cd(image: Path) -> list[str]:
    """Build a CD drive with a medium, which the firmware boots first."""
    return [*_medium(image), "-device", "ide-cd,bus=ide.0,drive=medium,bootindex=0"]


def build_usb(image: Path) -> list[str]:
    """Build a USB stick that the firmware boots first."""
    stick = "usb-storage,bus=usb.0,drive=medium,removable=on,bootindex=0"
    return [*_medium(image), "-device", "qemu-xhci,id=usb", "-device", stick]


def _medium(image: Path) -> list[str]:
    return ["-drive", f"if=none,id=medium,format=raw,readonly=on,file={image}"]


def write_test_key(folder: Path) -> Path:
    """Write the test key without its password, its certificate beside it; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "test.key"
    argv = ["openssl", "rsa", "-in", str(TEST_KEY), "-passin", f"pass:{_TEST_PASSWORD}", "-out", str(key)]
    subprocess.run(argv, check=True, capture_output=True)
    shutil.copy(TEST_CERTIFICATE, key.with_suffix(".crt"))
    return key

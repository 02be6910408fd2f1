"""Whether this host's KVM works: found out by booting something with it.

`/dev/kvm` may be there, readable, and still refuse to run a guest, or run it wrongly, in nested and sandboxed hosts. So
a boot sector of five bytes of code is booted, which ends QEMU with a status that nothing else gives.

Source: QEMU, hw/misc/debugexit: writing N to the port ends QEMU with status 2N + 1.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from .qemu import ACCELERATORS, PROGRAM

_PORT = 0xF4
_NUMBER = 0x21
BOOT_SECTOR = bytes([0xB0, _NUMBER, 0xE6, _PORT, 0xF4]).ljust(510, b"\0") + b"\x55\xaa"
"""mov al, NUMBER; out PORT, al; hlt; and the mark of a boot sector."""
EXPECTED_STATUS = _NUMBER * 2 + 1


def boots_with(accel: str, timeout_s: float = 10.0) -> bool:
    """Whether a machine boots with this accelerator ("kvm" or "tcg")."""
    with tempfile.TemporaryDirectory() as folder:
        sector = Path(folder) / "sector"
        sector.write_bytes(BOOT_SECTOR.ljust(1 << 20, b"\0"))
        command = [
            PROGRAM,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            "pc",
            *ACCELERATORS[accel],
        ]
        command += [
            "-m",
            "16",
            "-drive",
            f"if=ide,format=raw,file={sector}",
            "-device",
            f"isa-debug-exit,iobase={_PORT},iosize=4",
        ]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
            )
        except (subprocess.TimeoutExpired, FileNotFoundError):
            return False
        return done.returncode == EXPECTED_STATUS


def choose_accel() -> str:
    """Return "kvm" where it has just booted something, else "tcg"."""
    return "kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) and boots_with("kvm") else "tcg"

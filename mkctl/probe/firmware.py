"""How the machine was booted: by UEFI or a BIOS, and whether Secure Boot was on.

The kernel makes /sys/firmware/efi only when UEFI started it. A variable's file begins with four bytes of attributes.
Sources: the kernel's Documentation/filesystems/efivarfs.rst; UEFI 2.10 section 3.3 (SecureBoot: one byte, 1 for on).
"""

from __future__ import annotations

import os
from pathlib import Path

from mkcore.errors import BadInput
from mkcore.files import read_bytes
from mkcore.jsonfields import Json

_SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_ATTRIBUTES_BYTES = 4
_LIMIT_BYTES = 4096


def read_boot_mode(sys_root: Path, has_smbios: bool) -> dict[str, Json]:
    """Return {"boot_mode": "uefi", "secure_boot": true} or {"boot_mode": "bios"}; {} where neither is known.

    has_smbios: without UEFI an SMBIOS table can only come from a BIOS; a machine with neither was started otherwise.
    secure_boot is left out where the variables cannot be read.
    """
    folder = sys_root / "firmware/efi"
    if not folder.exists():
        return {"boot_mode": "bios"} if has_smbios else {}
    found: dict[str, Json] = {"boot_mode": "uefi"}
    try:
        found["secure_boot"] = parse_secure_boot(read_bytes(folder / "efivars" / _SECURE_BOOT, _LIMIT_BYTES))
    except FileNotFoundError:
        if _has_entries(folder / "efivars"):  # firmware without Secure Boot has no such variable
            found["secure_boot"] = False
    except (OSError, BadInput):
        pass  # efivarfs is not mounted or not readable: unknown
    return found


def parse_secure_boot(variable: bytes) -> bool:
    """Parse the variable's file: four bytes of attributes, then 1 or 0. Raises BadInput for another size."""
    if len(variable) != _ATTRIBUTES_BYTES + 1:
        raise BadInput(f"{len(variable)} bytes instead of {_ATTRIBUTES_BYTES + 1}", _SECURE_BOOT)
    return variable[_ATTRIBUTES_BYTES] == 1


def _has_entries(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False

"""The TPM: whether there is one, its version, maker and firmware.

sysfs knows presence and version. Maker and firmware stand in SMBIOS type 43 where the firmware of the machine is new
enough; else a TPM 2.0 is asked by one command, and a TPM 1.2 has them in sysfs. The command takes a TPM some ten
milliseconds, so it is sent only when it is needed, through the resource manager's device, which does not lock others
out. Sources: Documentation/ABI/stable/sysfs-class-tpm; TPM 2.0 Library (ISO/IEC 11889) part 3 section
TPM2_GetCapability, part 2 section TPM_PT.
"""

from __future__ import annotations

import os
import select
import stat
import struct
from pathlib import Path

from mkcore.errors import BadInput
from mkcore.files import read_line, read_text
from mkcore.jsonfields import Json
from mkctl.probe.junk import without_junk
from mkctl.probe.smbios_tpm import build_tpm_firmware_version
from mkctl.probe.texts import clean_text

ANSWER_TIMEOUT_S = 3.0
_NO_SESSIONS = 0x8001
_GET_CAPABILITY = 0x0000017A
_TPM_PROPERTIES = 0x00000006
_MANUFACTURER = 0x00000105
_FIRMWARE_VERSION_1 = 0x0000010B
_PROPERTIES = _FIRMWARE_VERSION_1 - _MANUFACTURER + 1
_COMMAND = struct.Struct(">HIIIII")
_ANSWER = struct.Struct(">HIIBII")
_PROPERTY = struct.Struct(">II")
_ANSWER_LIMIT_BYTES = 4096


def build_get_capability() -> bytes:
    """Make the TPM 2.0 command that asks for the fixed properties from the maker to the firmware's version."""
    return _COMMAND.pack(_NO_SESSIONS, _COMMAND.size, _GET_CAPABILITY, _TPM_PROPERTIES, _MANUFACTURER, _PROPERTIES)


def parse_get_capability(answer: bytes) -> dict[str, Json]:
    """Parse the answer: {"vendor": "IBM", "firmware_version": "8217.4131"}. Raises BadInput for an error or another
    answer.
    """
    where = "TPM2_GetCapability"
    if len(answer) >= 10:
        code = int.from_bytes(answer[6:10], "big")
        if code:
            raise BadInput(f"the TPM answers with error 0x{code:x}", where)
    if len(answer) < _ANSWER.size:
        raise BadInput(f"an answer of {len(answer)} bytes", where)
    tag, size, _, _, capability, count = _ANSWER.unpack_from(answer)
    if tag != _NO_SESSIONS or capability != _TPM_PROPERTIES or size != len(answer):
        raise BadInput("an answer to another command", where)
    if len(answer) < _ANSWER.size + count * _PROPERTY.size:
        raise BadInput(f"{count} properties announced, the answer is too short", where)
    properties: dict[int, int] = dict(_PROPERTY.iter_unpack(answer[_ANSWER.size :][: count * _PROPERTY.size]))
    first = properties.get(_FIRMWARE_VERSION_1, 0)
    vendor = properties.get(_MANUFACTURER, 0).to_bytes(4, "big")
    return without_junk(
        {
            "vendor": clean_text(vendor.split(b"\0")[0]),
            "firmware_version": build_tpm_firmware_version(first) if first else "",
        }
    )


def parse_tpm_caps(text: str) -> dict[str, Json]:
    """Parse sysfs' `caps` of a TPM 1.2: lines "Manufacturer: 0x49465800", "TCG version: 1.2" and
    "Firmware version: 3.17".
    """
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        values[name] = value.strip()
    try:
        vendor = bytes.fromhex(values.get("Manufacturer", "").removeprefix("0x"))
    except ValueError:
        vendor = b""
    return without_junk(
        {
            "vendor": clean_text(vendor.split(b"\0")[0]),
            "version": values.get("TCG version", ""),
            "firmware_version": values.get("Firmware version", ""),
        }
    )


def read_tpm(sys_root: Path) -> dict[str, Json]:
    """Return what sysfs knows: {"present": true, "version": "2.0"}, of a TPM 1.2 more; {} where there is none."""
    base = sys_root / "class/tpm"
    try:
        names = sorted(os.listdir(base))
    except OSError:
        return {}
    if not names:
        return {}
    folder = base / names[0]
    major = read_line(folder / "tpm_version_major")
    if not major:  # kernels before 5.6
        major = "2" if (sys_root / "class/tpmrm").exists() else ""
    if major == "2":
        return {"present": True, "version": "2.0"}
    found = _read_caps(folder)
    if major == "1":
        found.setdefault("version", "1.2")
    return {"present": True, **found}


def _read_caps(folder: Path) -> dict[str, Json]:
    path = folder / "caps"
    try:
        return parse_tpm_caps(read_text(path if path.exists() else folder / "device/caps"))
    except (OSError, BadInput):
        return {}


def ask_tpm(device: Path, command: bytes, timeout_s: float = ANSWER_TIMEOUT_S) -> bytes:
    """Send one command to a TPM's device and return its answer.

    Raises OSError when the device cannot be used, TimeoutError when it does not answer in time, and BadInput when it is
    no device, as in a tree of files.
    """
    descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISCHR(os.fstat(descriptor).st_mode):
            raise BadInput("not a device", str(device))
        os.write(descriptor, command)
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        if not waiting.poll(timeout_s * 1000):
            raise TimeoutError(f"{device} does not answer within {timeout_s:g} s")
        return os.read(descriptor, _ANSWER_LIMIT_BYTES)
    finally:
        os.close(descriptor)

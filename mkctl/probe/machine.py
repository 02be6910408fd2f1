"""The collectors `smbios` and `tpm`: the machine as a whole, as its firmware and its TPM describe it.

The table is read once for everything that hangs on it. Where the kernel has none (before 4.2), or will not show it to
this user, the attributes that it decoded itself stand in for types 0 to 3.
"""

from __future__ import annotations

from pathlib import Path

from mkcore.errors import BadInput
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkctl.probe.collect import Collected
from mkctl.probe.confidence import build_identity, read_has_address
from mkctl.probe.dmi import build_dmi_inventory, read_dmi_sections
from mkctl.probe.firmware import read_boot_mode
from mkctl.probe.junk import is_junk
from mkctl.probe.model import join_trees
from mkctl.probe.serials import not_utf8
from mkctl.probe.smbios import Smbios, read_smbios
from mkctl.probe.smbios_inventory import build_smbios_inventory, build_tpm
from mkctl.probe.smbios_machine import BOARD, SYSTEM, parse_board, parse_system

_TPM_DEVICE = "dev/tpmrm0"


def collect_smbios(paths: Paths) -> Collected:
    """Collect the parts of the inventory that the firmware tells. No SMBIOS is no failure; a broken table a remark."""
    smbios, remark = Smbios(), ""
    try:
        smbios = read_smbios(paths.sys)
        remark = smbios.problem and f"SMBIOS table: {smbios.problem}"
    except (OSError, BadInput) as error:
        remark = f"SMBIOS table: {error}"
    parts: list[dict[str, Json]] = [build_smbios_inventory(smbios)]
    if smbios.of(SYSTEM):
        system = parse_system(smbios.first(SYSTEM), smbios.version)
        ids = (system.uuid, system.serial, parse_board(smbios.first(BOARD)).serial)
    else:
        sections = read_dmi_sections(paths.sys)
        system_ids = sections.get("system", {})
        ids = (system_ids.get("uuid", ""), system_ids.get("serial", ""), sections.get("board", {}).get("serial", ""))
        parts.insert(0, build_dmi_inventory(sections))
    damaged = [name for name, text in zip(("system", "board"), ids[1:]) if not_utf8(text)]
    remark = "; ".join(filter(None, (remark, *(f"the {name}'s serial number is not UTF-8" for name in damaged))))
    has_address = is_junk(ids[0]) and read_has_address(paths.sys)
    parts.append({"identity": build_identity(*ids, has_address)})
    boot = read_boot_mode(paths.sys, bool(smbios.structures) or (paths.sys / "class/dmi/id").exists())
    parts.append({"firmware": boot} if boot else {})
    return Collected(error=remark, inventory=join_trees(parts))


def collect_tpm(paths: Paths, top: Path) -> Collected:
    """Collect the TPM. One that does not answer costs its maker and firmware alone, with a remark."""
    if not (paths.sys / "class/tpm").exists():
        return Collected()
    from mkctl.probe.tpm import ask_tpm, build_get_capability, parse_get_capability, read_tpm

    found, remark = read_tpm(paths.sys), ""
    if found.get("version") == "2.0":
        try:
            found = {**build_tpm(read_smbios(paths.sys)), **found}
        except (OSError, BadInput):
            pass  # the other collector says so
        if "vendor" not in found or "firmware_version" not in found:
            try:
                found = {**parse_get_capability(ask_tpm(top / _TPM_DEVICE, build_get_capability())), **found}
            except (OSError, BadInput) as error:
                remark = f"TPM: {error}"
    return Collected(error=remark, inventory={"tpm": found} if found else {})

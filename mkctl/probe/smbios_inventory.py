"""The inventory's parts that come from SMBIOS: machine, boards, strings, processor sockets, memory slots, TPM.

Compatible facts keep what the vendor wrote; here placeholders are left out, so that a field which is there means
something. Names and units are those of the published schema (mkctl/probe/schema). Nothing else of the kernel is asked.
"""

from __future__ import annotations

from typing import Union

from mkcore.jsonfields import Json
from mkctl.probe.dmi import known_chassis
from mkctl.probe.facter_system import hide_secrets
from mkctl.probe.junk import is_junk, without_junk
from mkctl.probe.smbios import Smbios
from mkctl.probe.smbios_machine import (
    BOARD,
    CHASSIS,
    FIRMWARE,
    SYSTEM,
    Chassis,
    parse_board,
    parse_chassis,
    parse_firmware,
    parse_oem_strings,
    parse_system,
)
from mkctl.probe.smbios_memory import ARRAY, FOREIGN_USES, SLOT, MemoryArray, Slot, parse_array, parse_slot
from mkctl.probe.smbios_processor import PROCESSOR, Socket, parse_socket
from mkctl.probe.smbios_tpm import TPM, parse_tpm_device

# Credentials for systemd, which are secrets, reach a virtual machine as OEM strings; so do words for its kernel line,
# which may be secrets (systemd.system-credentials(7), smbios-type-11(7)).
_SECRET_STRINGS = ("io.systemd.credential", "io.systemd.stub.kernel-cmdline", "io.systemd.boot.kernel-cmdline")


def build_smbios_inventory(smbios: Smbios) -> dict[str, Json]:
    """Make the inventory's system, board, chassis, firmware, oem_strings, processors, memory and tpm; empty ones not.

    Of several boards and chassis the first counts, as for the kernel and the compatible facts.
    """
    sections: dict[str, Json] = {
        "system": without_junk(parse_system(smbios.first(SYSTEM), smbios.version)._asdict()),
        "board": without_junk(parse_board(smbios.first(BOARD))._asdict()),
        "chassis": build_chassis(parse_chassis(smbios.first(CHASSIS))),
        "firmware": without_junk(parse_firmware(smbios.first(FIRMWARE))._asdict()),
        "oem_strings": build_oem_strings(smbios),
        "memory": build_memory(smbios),
        "tpm": build_tpm(smbios),
    }
    sockets = build_sockets(smbios)
    if sockets:
        sections["processors"] = {"sockets": sockets}
    return {name: section for name, section in sections.items() if section}


def build_chassis(chassis: Chassis) -> dict[str, Json]:
    """Make the inventory's chassis; its type by name."""
    fields: dict[str, Union[str, int]] = chassis._asdict()
    fields["type"] = known_chassis(str(fields.pop("type_number")))
    return without_junk(fields)


def build_oem_strings(smbios: Smbios) -> list[Json]:
    """Make the inventory's oem_strings, without placeholders, credentials for systemd and passwords in addresses."""
    found = [text for text in parse_oem_strings(smbios) if not is_junk(text) and not text.startswith(_SECRET_STRINGS)]
    return [hide_secrets(text) if "=" in text or "://" in text else text for text in found]


def build_sockets(smbios: Smbios) -> list[Json]:
    """Make the inventory's processors.sockets: sockets of central processors, the empty ones too."""
    sockets = map(parse_socket, smbios.of(PROCESSOR))
    return [_socket(socket) for socket in sockets if socket.is_central]


def _socket(socket: Socket) -> dict[str, Json]:
    names = {"designation": socket.designation}
    values: dict[str, Union[str, int]] = {
        "manufacturer": socket.manufacturer,
        "product": socket.product,
        "serial": socket.serial,
        "part_number": socket.part_number,
        "asset_tag": socket.asset_tag,
        "max_speed_mhz": socket.max_speed_mhz,
        "cores": socket.cores,
        "cores_enabled": socket.cores_enabled,
        "threads": socket.threads,
        "disabled_by": socket.disabled_by,
    }
    return {**without_junk(names), **(without_junk(values) if socket.populated else {}), "populated": socket.populated}


def build_memory(smbios: Smbios) -> dict[str, Json]:
    """Make the inventory's memory: slots, arrays, installed_bytes and persistent_bytes, the sums of the slots.

    Persistent memory counts apart: who looks for a machine with much memory must not get one with much of that. Chips
    of the firmware, of a graphics unit or of a cache stand in the same list of the table; they are no slots.
    """
    arrays = [parse_array(structure) for structure in smbios.of(ARRAY)]
    foreign = {array.handle for array in arrays if array.use in FOREIGN_USES}
    slots = [parse_slot(structure) for structure in smbios.of(SLOT)]
    slots = [slot for slot in slots if slot.array_handle not in foreign and slot.type != "Flash"]
    memory: dict[str, Json] = {}
    if slots:
        persistent_bytes = sum(min(slot.nonvolatile_bytes, slot.size_bytes) for slot in slots)
        memory["installed_bytes"] = sum(slot.size_bytes for slot in slots) - persistent_bytes
        if persistent_bytes:
            memory["persistent_bytes"] = persistent_bytes
        memory["slots"] = [_slot(slot) for slot in slots]
    if arrays:
        memory["arrays"] = [_array(array) for array in arrays]
    return memory


def _slot(slot: Slot) -> dict[str, Json]:
    found = without_junk({"locator": slot.locator, "bank_locator": slot.bank_locator})
    found["populated"] = slot.populated
    if not slot.populated:
        return found
    values: dict[str, Union[str, int]] = slot._asdict()
    for name in ("array_handle", "locator", "bank_locator", "populated"):
        del values[name]
    return {**found, **without_junk(values)}


def _array(array: MemoryArray) -> dict[str, Json]:
    values: dict[str, Json] = {
        "location": array.location,
        "use": array.use,
        "error_correction": array.error_correction,
        "max_capacity_bytes": array.max_capacity_bytes,
        "slots": array.slots,
    }
    return {key: value for key, value in values.items() if value}


def build_tpm(smbios: Smbios) -> dict[str, Json]:
    """Make the inventory's tpm of what the table tells; {} when it has none."""
    structures = smbios.of(TPM)
    if not structures:
        return {}
    return {"present": True, **without_junk(parse_tpm_device(structures[0])._asdict())}

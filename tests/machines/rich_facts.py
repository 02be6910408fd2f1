"""The flat facts that a declared machine has to register, derived from the declaration alone.

Facts are numbered in the order in which the tools list devices, which is not declared: of numbered facts the values are
compared as a sorted list.

Source: protocol 6.6 (names), 6.9 (LLDP), 6.11 (ipmitool's words).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .compare import SOME_TEXT
from .neighbour import Neighbour
from .rich import Rich

_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"))


def build_facts(rich: Rich, names: Mapping[str, str]) -> dict[str, Any]:
    """Build single facts by name. ``names``: MAC address -> name that the kernel gave the card."""
    disks = [drive for _, drive in rich.drives if drive.kind == "disk"]
    facts: dict[str, Any] = {
        "uuid": rich.uuid.upper(),
        "is_virtual": True,
        "processorcount": rich.cpus,
        "physicalprocessorcount": rich.sockets,
        "mk_hw_cpu_count": str(rich.sockets),
        "mk_hw_disk_count": str(len(disks)),
        "mk_hw_nic_count": str(len(rich.cards)),
        "mk_hw_lscpu_Architecture": "x86_64",
        "mk_hw_lscpu_CPU_sockets": str(rich.sockets),
        "mk_hw_lscpu_Vendor_ID": SOME_TEXT,
    }
    for name in ("family", "model", "stepping"):
        key = {"family": "CPU_family", "model": "Model", "stepping": "Stepping"}[name]
        facts[f"mk_hw_lscpu_{key}"] = str(rich.cpu_options[name])
    for card in rich.cards:
        interface = names[card.mac]
        facts[f"macaddress_{interface}"] = card.mac
        facts.update(_lldp(card.neighbour, interface) if card.neighbour else {})
    return {**facts, **_identity(rich), **_memory(rich), **_bmc(rich)}


def _identity(rich: Rich) -> dict[str, Any]:
    said = rich.identity
    if not said:
        return {"manufacturer": "QEMU", "mk_hw_bus_vendor": SOME_TEXT}
    return {
        "manufacturer": said.manufacturer,
        "productname": said.product,
        "serialnumber": said.serial,
        "boardmanufacturer": said.board_manufacturer,
        "boardproductname": said.board_product,
        "boardserialnumber": said.board_serial,
        "bios_vendor": said.bios_vendor,
        "bios_version": said.bios_version,
        "bios_release_date": said.bios_date,
        "mk_hw_bus_vendor": said.board_manufacturer,
        "mk_hw_bus_product": said.board_product,
        "mk_hw_bus_version": said.board_version,
        "mk_hw_bus_serial": said.board_serial,
        "mk_hw_fw_vendor": said.bios_vendor,
        "mk_hw_fw_version": said.bios_version,
        "mk_hw_fw_date": said.bios_date,
    }


def show_size(size_bytes: int) -> str:
    """Write a size as lshw does: "4GiB"."""
    unit, name = next((unit, name) for unit, name in _UNITS if size_bytes >= unit)
    return f"{size_bytes // unit}{name}"


def _memory(rich: Rich) -> dict[str, Any]:
    modules = [dimm for dimm in rich.dimms if dimm.size_mib]
    if not modules:
        return {}
    facts = {"mk_hw_mem_size": show_size(sum(dimm.size_mib for dimm in modules) << 20)}
    facts["mk_hw_mem_slot_count"] = str(len(modules))
    for number, dimm in enumerate(modules):
        facts[f"mk_hw_mem_slot{number}_slot"] = dimm.locator
        facts[f"mk_hw_mem_slot{number}_size"] = show_size(dimm.size_mib << 20)
    return facts


def _bmc(rich: Rich) -> dict[str, Any]:
    bmc = rich.bmc
    if not bmc:
        return {}
    facts = {
        "Device_ID": str(bmc.device_id),
        "Firmware_Revision": f"{bmc.firmware_major}.{bmc.firmware_minor:02}",
        "IPMI_Version": "2.0",
        "Manufacturer_ID": str(bmc.manufacturer_id),
        "Manufacturer_Name": bmc.manufacturer,
        "Product_ID": f"{bmc.product_id} (0x{bmc.product_id:04x})",
        "Device_Available": "yes",
        "Provides_Device_SDRs": "no",
        "IP_Address_Source": "Static Address",
        "IP_Address": bmc.ipv4,
        "Subnet_Mask": bmc.netmask,
        "MAC_Address": bmc.mac,
        "Default_Gateway_IP": bmc.gateway,
        "Default_Gateway_MAC": bmc.gateway_mac,
        "8021q_VLAN_ID": "Disabled",
    }
    for number, (_, fru) in enumerate(bmc.frus):
        facts[f"fru_{number}_Chassis_Type"] = "Rack Mount Chassis"
        facts[f"fru_{number}_Chassis_Part_Number"] = fru.chassis_part_number
        facts[f"fru_{number}_Chassis_Serial"] = fru.chassis_serial
        facts[f"fru_{number}_Board_Mfg"] = fru.board_manufacturer
        facts[f"fru_{number}_Board_Product"] = fru.board_product
        facts[f"fru_{number}_Board_Serial"] = fru.board_serial
        facts[f"fru_{number}_Board_Part_Number"] = fru.board_part_number
    return {f"mk_ipmi_{name}": value for name, value in facts.items()}


def _lldp(neighbour: Neighbour, interface: str) -> dict[str, Any]:
    ipv6 = [address for address in neighbour.management_addresses if ":" in address]
    ipv4 = [address for address in neighbour.management_addresses if ":" not in address]
    facts: dict[str, Any] = {
        "chassisid": neighbour.chassis_id,
        "portid": neighbour.port_id,
        "sysname": neighbour.system_name,
        "pvid": neighbour.vlan_id,
        "mtu": str(neighbour.max_frame_bytes),
    }
    facts.update({"mngaddr_ipv4": ipv4[0]} if ipv4 else {})
    facts.update({"mngaddr_ipv6": ipv6[0]} if ipv6 else {})
    return {f"lldp_neighbor_{item}_{interface}": value for item, value in facts.items()}


def build_numbered(rich: Rich) -> dict[str, list[str]]:
    """Build the values of numbered facts, sorted, by the name without its number: "mk_hw_disk_serial"."""
    disks = [(each, drive) for each, drive in rich.drives if drive.kind == "disk"]
    found = {
        "mk_hw_nic_serial": [card.mac for card in rich.cards],
        "mk_hw_nic_bus_info": [f"pci@{card.address}" for card in rich.cards],
        "mk_hw_disk_serial": [each.serial or drive.serial for each, drive in disks],
    }
    if rich.processors:
        found["mk_hw_cpu_serial"] = [socket.serial for socket in rich.processors]
        found["mk_hw_cpu_slot"] = [socket.designation for socket in rich.processors]
    return {name: sorted(values) for name, values in found.items()}


def gather_numbered(facts: Mapping[str, Any], name: str) -> list[str]:
    """Return the values of the numbered facts of a name, sorted."""
    stem, _, key = re.fullmatch(r"(mk_hw_(?:nic|disk|cpu))(_)(\w+)", name).groups()  # type: ignore[union-attr]
    wanted = re.compile(rf"{stem}\d+_{key}")
    return sorted(str(value) for fact, value in facts.items() if wanted.fullmatch(fact))


def list_neighbours(rich: Rich, names: Mapping[str, str]) -> dict[str, Any]:
    """Build the inventory's LLDP neighbours, by interface."""
    return {names[card.mac]: [_neighbour(card.neighbour)] for card in rich.cards if card.neighbour}


def _neighbour(neighbour: Neighbour) -> dict[str, Any]:
    found = dict(vars(neighbour))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

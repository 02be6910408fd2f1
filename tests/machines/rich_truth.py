"""What the product has to find on a declared machine: its inventory and its facts, derived from the declaration alone.

Devices whose names the kernel gives in the order in which it finds them are keyed by what was declared of them: disks
by serial number and namespace, network cards by address.

Source: the published schema of the inventory; protocol 6.6 to 6.9 for the facts; Linux, drivers/nvme/host/core.c for
the name of a namespace without identifiers (the kernel ignores those that QEMU gives: quirk NVME_QUIRK_BOGUS_NID).
"""

from __future__ import annotations

from typing import Any

from .compare import ABSENT, SOME_TEXT, Rule, Whole, between, containing
from .fru import Fru
from .rich import FAR_BUS, MODELS, Card, Controller, Drive, Rich, pci_models
from .smbios_blob import Dimm, Socket

MIB = 1 << 20
_QEMU_NVME = "QEMU NVMe Ctrl"
_QEMU_DVD = "QEMU DVD-ROM"
_KINDS = {
    "nvme": "nvme",
    "virtio-blk-pci": "virtio",
    "virtio-scsi-pci": "virtio",
    "megasas": "raid",
    "lsi53c895a": "scsi",
    "mptsas1068": "sas",
    "pvscsi": "scsi",
    "ich9-ahci": "sata",
}
_TRANSPORTS = {
    "nvme": "nvme",
    "virtio-blk-pci": "virtio",
    "virtio-scsi-pci": "virtio",
    "megasas": "scsi",
    "lsi53c895a": "scsi",
    "mptsas1068": "sas",
    "pvscsi": "scsi",
    "ich9-ahci": "sata",
    "qemu-xhci": "usb",
}
_TPM = {"present": True, "version": "2.0", "vendor": "IBM", "firmware_version": SOME_TEXT}
"""swtpm's maker, by the library that it is made of."""
_BIOS: dict[str, Any] = {"boot_mode": "bios", "secure_boot": ABSENT}
_STRONG_OR_WEAK = Rule("strong or weak", lambda text: text in ("strong", "weak"))
_EFI_LOADER = " initrd=initrd"
"""What UEFI firmware adds to the kernel line of a kernel that QEMU gives it."""
_MEGASAS_CHANNEL = 2
"""Where its driver shows logical drives."""


def build_inventory(rich: Rich, command_line: str, kernel_release: str) -> dict[str, Any]:
    """Build the inventory; ``kernel_release`` is that of the image's manifest."""
    virtual: dict[str, Any] = {"virtual": True} if rich.identity else {"virtual": True, "kind": SOME_TEXT}
    sections: dict[str, Any] = {
        "firmware": {"boot_mode": "uefi", "secure_boot": False} if rich.uefi else _BIOS,
        "processors": _processors(rich),
        "memory": _memory(rich),
        "disks": Whole({disk_key(controller, drive): _disk(controller, drive) for controller, drive in rich.drives}),
        "storage_controllers": _storage_controllers(rich),
        "pci": _pci(rich),
        "nics": Whole({"lo": {"type": "loopback"}, **{card.mac: _nic(rich, card) for card in rich.cards}}),
        "devices_without_driver": [address for address, model in rich.others.items() if model == "edu"] or ABSENT,
        "virtualization": virtual,
        "kernel": {
            "machine": "x86_64",
            "release": kernel_release,
            "command_line": command_line + (_EFI_LOADER if rich.uefi else ""),
            "version": SOME_TEXT,
        },
        "system": {"uuid": rich.uuid},
        "bmc": _bmc(rich) if rich.bmc else ABSENT,
        "tpm": _TPM if rich.tpm else ABSENT,
    }
    for name, section in _identity(rich).items():
        sections[name] = {**sections.get(name, {}), **section} if isinstance(section, dict) else section
    usb = [_usb(drive) for controller, drive in rich.drives if controller.model == "qemu-xhci"]
    sections["usb"] = Whole({each["serial"]: each for each in usb}) if usb else ABSENT
    return sections


def _identity(rich: Rich) -> dict[str, Any]:
    said, chassis = rich.identity, rich.chassis
    if not said:
        return {"system": {"manufacturer": "QEMU"}, "identity": {"confidence": _STRONG_OR_WEAK}}
    junk = said.serial == "Default string"
    found: dict[str, Any] = {
        "identity": {"confidence": _STRONG_OR_WEAK if junk else "strong"},
        "system": {
            "manufacturer": said.manufacturer,
            "product": said.product,
            "version": said.version,
            "serial": ABSENT if junk else said.serial,
            "sku": said.sku,
            "family": said.family,
        },
        "board": {
            "manufacturer": said.board_manufacturer,
            "product": said.board_product,
            "version": said.board_version,
            "serial": said.board_serial,
            "asset_tag": said.board_asset,
        },
        "firmware": {
            "vendor": said.bios_vendor,
            "version": said.bios_version,
            "date": said.bios_date,
            "release": said.bios_release,
        },
        "oem_strings": list(said.oem_strings),
    }
    if chassis:
        found["chassis"] = {**vars(chassis)}
    return found


def _processors(rich: Rich) -> dict[str, Any]:
    each = rich.cpus // len(rich.node_mib)
    nodes = range(len(rich.node_mib))
    package = {
        "model_name": rich.cpu_model,
        **{name: rich.cpu_options[name] for name in ("family", "model", "stepping") if name in rich.cpu_options},
        "vendor_id": SOME_TEXT,
        "cores": rich.cores,
        "threads": rich.cores,
        "flags": containing("sse2", "hypervisor"),
    }
    found: dict[str, Any] = {
        "architecture": "x86_64",
        "online": rich.cpus,
        "present": rich.cpus,
        "packages": Whole({str(number): package for number in range(rich.sockets)}),
    }
    if len(rich.node_mib) > 1:
        found["packages"] = Whole({str(number): {**package, "numa_nodes": [number]} for number in range(rich.sockets)})
        found["numa_nodes"] = Whole(
            {
                str(node): {
                    "cpus": f"{node * each}-{node * each + each - 1}",
                    "memory_bytes": between(0.6 * rich.node_mib[node] * MIB, rich.node_mib[node] * MIB),
                    "distances": [10 if node == other else rich.node_distance for other in nodes],
                }
                for node in nodes
            }
        )
    if rich.processors:
        found["sockets"] = [_socket(one) for one in rich.processors]
    return found


def _socket(socket: Socket) -> dict[str, Any]:
    return {**vars(socket), "populated": True}


def _memory(rich: Rich) -> dict[str, Any]:
    found: dict[str, Any] = {"total_bytes": between(0.8 * rich.memory_mib * MIB, rich.memory_mib * MIB)}
    if not rich.dimms:
        return found
    array = {"location": "System Board Or Motherboard", "use": "System Memory", "error_correction": "Multi-bit ECC"}
    found["arrays"] = [{**array, "max_capacity_bytes": rich.max_capacity_bytes, "slots": len(rich.dimms)}]
    found["installed_bytes"] = sum(dimm.size_mib for dimm in rich.dimms) * MIB
    found["slots"] = [_slot(dimm) for dimm in rich.dimms]
    return found


def _slot(dimm: Dimm) -> dict[str, Any]:
    if not dimm.size_mib:
        return Whole(locator=dimm.locator, bank_locator=dimm.bank_locator, populated=False)
    values = {name: value for name, value in vars(dimm).items() if name != "size_mib"}
    return {**values, "populated": True, "size_bytes": dimm.size_mib * MIB}


def disk_key(controller: Controller, drive: Drive) -> str:
    """Return what a disk is known by: its serial number, of a namespace its controller's and its own."""
    return f"{controller.serial}/{drive.unit}" if controller.model == "nvme" else drive.serial


def scsi_address(controller: Controller, drive: Drive) -> str:
    """Return channel, target and unit: "2:1:0"; the host's number in front of it is the kernel's."""
    return f"{_MEGASAS_CHANNEL if controller.model == 'megasas' else 0}:{drive.unit}:0"


def _disk(controller: Controller, drive: Drive) -> dict[str, Any]:
    cdrom = drive.kind == "cdrom"
    found: dict[str, Any] = {
        "kind": drive.kind,
        "size_bytes": drive.size_bytes,
        "transport": _TRANSPORTS[controller.model],
        "controller": controller.address,
        "logical_sector_bytes": 2048 if cdrom else drive.logical_bytes,
        "physical_sector_bytes": 2048 if cdrom else drive.physical_bytes,
    }
    if controller.model == "nvme":
        said = [text.encode().hex() for text in (controller.serial, _QEMU_NVME)]
        name = f"nvme.1b36-{said[0]}-{said[1]}-{drive.unit:08x}"
        more = {"serial": controller.serial, "model": _QEMU_NVME, "rotational": False, "wwn": name}
        return {**found, **more, "namespace": {"nsid": drive.unit}, "by_path": f"{_path(controller)}-nvme-{drive.unit}"}
    if controller.model == "virtio-blk-pci":
        return {**found, "serial": drive.serial, "by_path": _path(controller)}
    if controller.model == "qemu-xhci":
        return {**found, "serial": drive.serial, "vendor": "QEMU", "model": "QEMU HARDDISK"}
    found["serial"], found["removable"] = drive.serial, cdrom
    found.update({"firmware_version": drive.version} if drive.version else {})
    if drive.wwn:
        found["wwn"] = f"0x{drive.wwn}"
    if drive.rpm:
        found["rotational"] = drive.rpm > 1
    if controller.model == "ich9-ahci":  # a drive's SCSI answer names it, and QEMU writes its own name there
        return {**found, "model": _QEMU_DVD if cdrom else drive.product}
    if controller.model == "mptsas1068":  # a SAS fabric has its own numbers, and its port in the path
        return {**found, "vendor": drive.vendor, "model": drive.product}
    address = scsi_address(controller, drive)
    found["scsi_address"] = Rule(f"N:{address}", lambda text: str(text).partition(":")[2] == address)
    found["by_path"] = f"{_path(controller)}-scsi-0:{address}"
    return {**found, "vendor": drive.vendor, "model": drive.product}


def _path(controller: Controller) -> str:
    return f"/dev/disk/by-path/pci-{controller.address}"


def _storage_controllers(rich: Rich) -> Whole:
    board = {"0000:00:1f.2": {"kind": "sata", "driver": "ahci"}}
    return Whole({**board, **{each.address: _storage(each) for each in rich.controllers if each.model in _KINDS}})


def _storage(controller: Controller) -> dict[str, Any]:
    driver = MODELS[controller.model].driver
    return {"kind": _KINDS[controller.model], "driver": driver, "model": SOME_TEXT}


def _pci(rich: Rich) -> Whole:
    found = Whole()
    for address, model in pci_models(rich).items():
        found[address] = {
            "class_id": model.class_id,
            "vendor_id": model.vendor_id,
            "device_id": model.device_id,
            "driver": model.driver or ABSENT,
        }
        if len(rich.node_mib) > 1 and int(address[5:7], 16) > FAR_BUS:
            found[address]["numa_node"] = 1
    return found


def _nic(rich: Rich, card: Card) -> dict[str, Any]:
    found: dict[str, Any] = {
        "mac": card.mac,
        "permanent_mac": card.mac,
        "driver": "virtio_net" if card.model == "virtio-net-pci" else MODELS[card.model].driver,
        "pci_address": card.address,
        "carrier": True,
        "mtu": 1500,
        "type": "ethernet",
        "boot": True if card is rich.cards[-1] else ABSENT,
    }
    if card.speed_mbps or card.model == "e1000e":
        found.update(speed_mbps=card.speed_mbps or 1000, duplex="full")
    if int(card.address[5:7], 16) > FAR_BUS:
        found["numa_node"] = 1
    return found


def _usb(drive: Drive) -> dict[str, Any]:
    return {
        "vendor_id": "46f4",
        "product_id": "0001",
        "product": "QEMU USB HARDDRIVE",
        "vendor": "QEMU",
        "serial": drive.serial,
        "speed_mbps": 5000,
    }


def _bmc(rich: Rich) -> dict[str, Any]:
    bmc = rich.bmc
    assert bmc
    lan = {
        "ipv4": bmc.ipv4,
        "ipv4_source": "static",
        "netmask": bmc.netmask,
        "gateway": bmc.gateway,
        "mac": bmc.mac,
        "vlan_id": ABSENT,
    }
    return {
        "present": True,
        "firmware_version": f"{bmc.firmware_major}.{bmc.firmware_minor:02}",
        "ipmi_version": "2.0",
        "manufacturer": bmc.manufacturer,
        "manufacturer_id": bmc.manufacturer_id,
        "product_id": bmc.product_id,
        "device": "/dev/ipmi0",
        "lan": Whole({"1": lan}),
        "fru": [_fru(number, *named) for number, named in enumerate(bmc.frus)],
    }


def _fru(number: int, description: str, fru: Fru) -> dict[str, Any]:
    names = {
        "chassis_part_number": fru.chassis_part_number,
        "chassis_serial": fru.chassis_serial,
        "board_manufacturer": fru.board_manufacturer,
        "board_product": fru.board_product,
        "board_serial": fru.board_serial,
        "board_part_number": fru.board_part_number,
        "product_manufacturer": fru.product_manufacturer,
        "product_name": fru.product_name,
        "product_part_number": fru.product_part_number,
        "product_version": fru.product_version,
        "product_serial": fru.product_serial,
        "product_asset_tag": fru.product_asset_tag,
    }
    date = fru.made.strftime("%Y-%m-%d")
    return {"description": description, "id": number, "chassis_type": "Rack Mount Chassis", "board_date": date, **names}

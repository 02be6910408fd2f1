"""QEMU's command line for a declared machine.

With a second root bus (pxb-pcie) every device needs its bus named, so all are; each has its address, since addresses
are part of what is declared. Network cards have no boot ROMs: the kernel is given, and they would only be waited for.

Source: qemu(1); QEMU, docs/pci_expander_bridge.txt, docs/specs/tpm.rst; OpenIPMI's ipmi_lan(5) for the BMC's port.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .companions import BMC_PORT, TPM_SOCKET
from .qemu import Machine
from .rich import FAR_BUS, Card, Controller, Drive, Rich, far_ports, free_ports
from .smbios_blob import build_array, build_chassis, build_dimm, build_socket

FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
FIRMWARE_STATE = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
_SCSI_DRIVES = ("megasas", "lsi53c895a", "mptsas1068", "pvscsi", "virtio-scsi-pci")


def build_machine(rich: Rich, folder: Path, netdevs: Sequence[str], common: Machine) -> Machine:
    """Build the machine; ``common`` has what is not declared: accelerator, kernel, credentials, channels.

    ``netdevs`` are QEMU's option texts, one a card. Files are put into ``folder``, above the one that QEMU runs in.
    """
    words = [*_processors(rich), *_memory(rich), *_firmware(rich, folder), *_buses(rich), *_smbios(rich, folder)]
    for number, (card, netdev) in enumerate(zip(rich.cards, netdevs)):
        words += _card(number, card, netdev)
    for number, controller in enumerate(rich.controllers):
        words += _controller(number, controller, folder)
    for number, (address, model) in enumerate(rich.others.items()):
        words += ["-device", f"{model},{_place(address)},id=other{number}"] if model != "pxb-pcie" else []
    words += [*_bmc(rich), *_tpm(rich)]
    values = {**vars(common), "uuid": rich.uuid, "nics": (), "memory_mib": rich.memory_mib, "extra": tuple(words)}
    cpu = "".join(f",{name}={value}" for name, value in rich.cpu_options.items())
    return Machine(**{**values, "cpus": rich.cpus, "cpu_options": f",model-id={rich.cpu_model}{cpu}"})


def _processors(rich: Rich) -> list[str]:
    return ["-smp", f"{rich.cpus},sockets={rich.sockets},cores={rich.cores},threads=1"]


def _memory(rich: Rich) -> Iterator[str]:
    if len(rich.node_mib) < 2:
        return
    each = rich.cpus // len(rich.node_mib)
    for node, size_mib in enumerate(rich.node_mib):
        yield from ("-object", f"memory-backend-ram,id=node{node},size={size_mib}M")
        yield from ("-numa", f"node,nodeid={node},cpus={node * each}-{node * each + each - 1},memdev=node{node}")
    for node in range(1, len(rich.node_mib)):
        yield from ("-numa", f"dist,src=0,dst={node},val={rich.node_distance}")


def _firmware(rich: Rich, folder: Path) -> list[str]:
    if not rich.uefi:
        return []
    state = folder / "firmware-state"
    shutil.copy(FIRMWARE_STATE, state)
    drive = "if=pflash,format=raw"
    return ["-drive", f"{drive},readonly=on,file={FIRMWARE}", "-drive", f"{drive},file={state}"]


def _buses(rich: Rich) -> Iterator[str]:
    for address, model in rich.others.items():
        if model == "pxb-pcie":
            slot = int(address[8:10], 16)
            yield from ("-device", f"pxb-pcie,id=far,bus=pcie.0,addr={slot:#x},bus_nr={FAR_BUS},numa_node=1")
    for number, address in enumerate(far_ports(rich)):
        slot = int(address[8:10], 16)
        yield from ("-device", f"pcie-root-port,id=far{number},bus=far,addr={slot:#x},chassis={64 + number}")
    for number, address in enumerate(free_ports(rich)):
        slot = int(address[8:10], 16)
        yield from ("-device", f"pcie-root-port,id=port{number},bus=pcie.0,addr={slot:#x},chassis={1 + number}")


def _place(address: str) -> str:
    """Say where a device is: "0000:00:04.0" is slot 4 of the board, "0000:81:00.0" the first port of the far bus."""
    bus, slot = int(address[5:7], 16), int(address[8:10], 16)
    return f"bus=pcie.0,addr={slot:#x}" if bus < FAR_BUS else f"bus=far{bus - FAR_BUS - 1},addr={slot:#x}"


def _modern(model: str) -> str:
    return f"{model},disable-legacy=on,disable-modern=off" if model.startswith("virtio-") else model


def _options(values: Mapping[str, object]) -> str:
    """Write options; those without a value are left out."""
    return "".join(f",{name}={value}" for name, value in values.items() if value)


def _card(number: int, card: Card, netdev: str) -> list[str]:
    kind, _, rest = netdev.partition(",")
    more = f",speed={card.speed_mbps},duplex=full" if card.speed_mbps else ""
    device = f"{_modern(card.model)},{_place(card.address)},netdev=card{number},mac={card.mac},romfile={more}"
    return ["-netdev", ",".join(filter(None, (kind, f"id=card{number}", rest))), "-device", device]


def _drive(name: str, drive: Drive, folder: Path) -> list[str]:
    path = folder / "disks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(drive.size_bytes)
    media = ",media=cdrom,readonly=on" if drive.kind == "cdrom" else ""
    return ["-drive", f"if=none,id={name},format=raw,cache=unsafe,file={path}{media}"]


def _controller(number: int, controller: Controller, folder: Path) -> Iterator[str]:
    name, place = f"hba{number}", _place(controller.address)
    if controller.model == "nvme":
        yield from ("-device", f"nvme,id={name},{place},serial={controller.serial}")
    elif controller.model not in ("virtio-blk-pci", "ich9-ahci"):
        yield from ("-device", f"{_modern(controller.model)},id={name},{place}")
    for position, drive in enumerate(controller.drives):
        yield from _drive(f"{name}d{position}", drive, folder)
        yield from ("-device", _disk(controller, name, place, f"{name}d{position}", drive))


def _disk(controller: Controller, name: str, place: str, drive_id: str, drive: Drive) -> str:
    sectors = {"logical_block_size": drive.logical_bytes, "physical_block_size": drive.physical_bytes}
    if controller.model == "virtio-blk-pci":
        values = {"drive": drive_id, "serial": drive.serial, **sectors}
        return f"{_modern('virtio-blk-pci')},{place}{_options(values)}"
    if controller.model == "nvme":
        return "nvme-ns" + _options({"bus": name, "drive": drive_id, "nsid": drive.unit, **sectors})
    if controller.model == "qemu-xhci":
        return "usb-storage" + _options(
            {"bus": f"{name}.0", "port": drive.unit, "drive": drive_id, "serial": drive.serial}
        )
    wwn = f"0x{drive.wwn}" if drive.wwn else ""
    said = {"serial": drive.serial, "ver": drive.version, "wwn": wwn}
    if controller.model == "ich9-ahci":
        rate = {"rotation_rate": drive.rpm} if drive.kind == "disk" else {}
        kind = {"disk": "ide-hd", "cdrom": "ide-cd"}[drive.kind]
        model = {"model": drive.product}
        return kind + _options({"bus": f"ide.{drive.unit}", "drive": drive_id, **said, **model, **rate, **sectors})
    assert controller.model in _SCSI_DRIVES, controller.model
    kind = {"disk": "scsi-hd", "cdrom": "scsi-cd"}[drive.kind]
    rate = {"rotation_rate": drive.rpm} if drive.kind == "disk" else {}
    said.update({"vendor": drive.vendor, "product": drive.product})
    values = {"bus": f"{name}.0", "drive": drive_id, **said, **rate, **(sectors if drive.kind == "disk" else {})}
    return f"{kind},scsi-id={drive.unit},lun=0{_options(values)}"


def _smbios(rich: Rich, folder: Path) -> Iterator[str]:
    said = rich.identity
    if said:
        bios = {"vendor": said.bios_vendor, "version": said.bios_version, "date": said.bios_date}
        system = {"manufacturer": said.manufacturer, "product": said.product, "version": said.version}
        board = {"manufacturer": said.board_manufacturer, "product": said.board_product}
        board.update(version=said.board_version, serial=said.board_serial, asset=said.board_asset)
        system.update(serial=said.serial, sku=said.sku, family=said.family)
        bios.update(release=said.bios_release, uefi="on" if rich.uefi else "")
        yield from ("-smbios", "type=0" + _options(bios))
        yield from ("-smbios", "type=1" + _options(system))
        yield from ("-smbios", "type=2" + _options(board))
        yield from ("-smbios", "type=11" + "".join(f",value={text}" for text in said.oem_strings))
    for number, structure in enumerate(build_structures(rich)):
        path = folder / f"smbios{number}"
        path.write_bytes(structure)
        yield from ("-smbios", f"file={path}")


def build_structures(rich: Rich) -> list[bytes]:
    """Build the structures that QEMU has no options for, one a file."""
    built = [build_chassis(rich.chassis)] if rich.chassis else []
    built += [build_socket(one, 0x400 + number) for number, one in enumerate(rich.processors)]
    if rich.dimms:
        built.append(build_array(len(rich.dimms), rich.max_capacity_bytes))
    return built + [build_dimm(one, 0x1100 + number) for number, one in enumerate(rich.dimms)]


def _bmc(rich: Rich) -> list[str]:
    if not rich.bmc:
        return []
    words = ["-chardev", f"socket,id=bmc,host=127.0.0.1,port={BMC_PORT},reconnect=10"]
    return [*words, "-device", "ipmi-bmc-extern,id=bmc0,chardev=bmc", "-device", "isa-ipmi-kcs,bmc=bmc0"]


def _tpm(rich: Rich) -> list[str]:
    if not rich.tpm:
        return []
    words = ["-chardev", f"socket,id=tpm,path=../{TPM_SOCKET}", "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
    return [*words, "-device", "tpm-crb,tpmdev=tpm0"]

"""Storage controllers among the PCI functions.

The class says what a controller is, but some vendors say "SCSI" of a SAS adapter and "SAS" of a RAID controller: there
the driver knows better. What virtio says depends on the hypervisor. A Fibre Channel adapter has the world-wide names
of its ports, by which a storage network is set up. Source: PCI Code and ID Assignment Specification, base class 01;
Virtual I/O Device specification 4.1.2 for vendor 1af4; drivers/scsi/scsi_transport_fc.c of the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mkcore.files import list_names, read_line
from mkcore.jsonfields import Json
from mkctl.probe.disk_place import parse_place
from mkctl.probe.pci import PciFunction, build_card
from mkctl.probe.pci_names import Names

_STORAGE = "01"
_FIBRE_CHANNEL = "0c04"
_KINDS = {
    "0100": "scsi",
    "0101": "ide",
    "0102": "floppy",
    "0104": "raid",
    "0105": "ide",
    "0106": "sata",
    "0107": "sas",
    "0108": "nvme",
    "0109": "ufs",
    _FIBRE_CHANNEL: "fc",
}
_DRIVERS = {
    "mptsas": "sas",
    "mpt2sas": "sas",
    "mvsas": "sas",
    "isci": "sas",
    "pm80xx": "sas",
    "aic94xx": "sas",
    "mptfc": "fc",
    "lpfc": "fc",
    "qla2xxx": "fc",
    "megaraid_sas": "raid",
    "hpsa": "raid",
    "smartpqi": "raid",
    "aacraid": "raid",
    "arcmsr": "raid",
    # by their class RAID: SATA ports in that mode of the setup, and a bridge to NVMe disks; the kernel sees plain disks
    "ahci": "sata",
    "vmd": "nvme",
}
_PORT = (("wwpn", "port_name"), ("wwnn", "node_name"))
_VIRTIO_VENDOR = "1af4"
_VIRTIO_FILE_SYSTEM = "105a"  # a folder of the host, which says that it is mass storage


def read_fc_ports(sys_root: Path) -> dict[str, list[Json]]:
    """Return the ports of Fibre Channel adapters by PCI address: [{"wwpn": "0x2100…", "wwnn": …, "state": "online"}].

    What an adapter lends to virtual machines (NPIV) is no port of its own. Raises nothing.
    """
    folder = f"{sys_root}/class/fc_host"
    ports: dict[str, list[Json]] = {}
    for name in list_names(folder):
        try:
            path = os.readlink(f"{folder}/{name}")
        except OSError:  # gone, or a folder in a copied tree
            continue
        texts = {key: read_line(f"{folder}/{name}/{file}").lower() for key, file in _PORT}
        if "/vport-" in path or not texts["wwpn"].strip("0xf"):
            continue
        port: dict[str, Json] = {key: text for key, text in texts.items() if text}
        state = read_line(f"{folder}/{name}/port_state").lower()
        if state:
            port["state"] = state
        ports.setdefault(parse_place(path).controller, []).append(port)
    return ports


def build_storage_controllers(
    functions: Iterable[PciFunction], names: Names, ports: Mapping[str, Sequence[Json]] = {}
) -> dict[str, Json]:
    """Build the inventory's `storage_controllers` by PCI address; a class without a name of its own is "other".

    ports: as read_fc_ports returns them.
    """
    controllers: dict[str, Json] = {}
    for function in functions:
        if not function.class_id.startswith((_STORAGE, _FIBRE_CHANNEL)):
            continue
        virtio = function.vendor_id == _VIRTIO_VENDOR
        if virtio and function.device_id == _VIRTIO_FILE_SYSTEM:
            continue
        kind = _DRIVERS.get(function.driver) or _KINDS.get(function.class_id[:4], "other")
        card = build_card(function, "virtio" if virtio else kind, names)
        if function.address in ports:
            card["fc_ports"] = list[Json](ports[function.address])
        controllers[function.address] = card
    return controllers

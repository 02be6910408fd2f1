"""Storage controllers among the PCI functions.

The class says what a controller is, but some vendors say "SCSI" of a SAS adapter and "SAS" of a RAID controller: there
the driver knows better. What virtio says depends on the hypervisor. Source: PCI Code and
ID Assignment Specification, base class 01; Virtual I/O Device specification 4.1.2 for vendor 1af4.
"""

from __future__ import annotations

from collections.abc import Iterable

from mkcore.jsonfields import Json
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
_VIRTIO_VENDOR = "1af4"
_VIRTIO_FILE_SYSTEM = "105a"  # a folder of the host, which says that it is mass storage


def build_storage_controllers(functions: Iterable[PciFunction], names: Names) -> dict[str, Json]:
    """Build the inventory's `storage_controllers` by PCI address; a class without a name of its own is "other"."""
    controllers: dict[str, Json] = {}
    for function in functions:
        if not function.class_id.startswith((_STORAGE, _FIBRE_CHANNEL)):
            continue
        virtio = function.vendor_id == _VIRTIO_VENDOR
        if virtio and function.device_id == _VIRTIO_FILE_SYSTEM:
            continue
        kind = _DRIVERS.get(function.driver) or _KINDS.get(function.class_id[:4], "other")
        controllers[function.address] = build_card(function, "virtio" if virtio else kind, names)
    return controllers

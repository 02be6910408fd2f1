"""Machines with a known truth: what each is made of, declared once.

From one declaration both QEMU's command line (`rich_argv`) and what the product has to find (`rich_truth`) are derived,
field by field. Addresses, serial numbers and names are made up here; nothing in the declaration is read from a machine.

Source: QEMU, docs/specs/pci-ids.rst and docs/system/devices; for the PCI ids of emulated chips, their data sheets'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Optional

from .companions import Bmc
from .neighbour import Neighbour
from .smbios_blob import Chassis, Dimm, Socket


@dataclass(frozen=True)
class Model:
    """A kind of PCI device: ids and class as it shows them (hexadecimal, no prefix), and the Linux driver for it."""

    vendor_id: str
    device_id: str
    class_id: str
    driver: str


MODELS: Mapping[str, Model] = {
    "virtio-rng-pci": Model("1af4", "1005", "00ff00", "virtio-pci"),
    "virtio-serial-pci": Model("1af4", "1003", "078000", "virtio-pci"),
    "virtio-blk-pci": Model("1af4", "1042", "010000", "virtio-pci"),
    "virtio-net-pci": Model("1af4", "1041", "020000", "virtio-pci"),
    "virtio-scsi-pci": Model("1af4", "1048", "010000", "virtio-pci"),
    "e1000e": Model("8086", "10d3", "020000", "e1000e"),
    "e1000": Model("8086", "100e", "020000", "e1000"),
    "e1000-82545em": Model("8086", "100f", "020000", "e1000"),
    "i82557b": Model("8086", "1229", "020000", "e100"),
    "rtl8139": Model("10ec", "8139", "020000", "8139cp"),
    "pcnet": Model("1022", "2000", "020000", "pcnet32"),
    "vmxnet3": Model("15ad", "07b0", "020000", "vmxnet3"),
    "nvme": Model("1b36", "0010", "010802", "nvme"),
    "megasas": Model("1000", "0060", "010400", "megaraid_sas"),
    "lsi53c895a": Model("1000", "0012", "010000", "sym53c8xx"),
    "mptsas1068": Model("1000", "0054", "010000", "mptsas"),
    "pvscsi": Model("15ad", "07c0", "010000", "vmw_pvscsi"),
    "qemu-xhci": Model("1b36", "000d", "0c0330", "xhci_hcd"),
    "edu": Model("1234", "11e8", "00ff00", ""),
    "pcie-root-port": Model("1b36", "000c", "060400", "pcieport"),
    "pxb-pcie": Model("1b36", "000b", "060000", ""),
    "ich9-ahci": Model("8086", "2922", "010601", "ahci"),
}
"""Virtio devices as of version 1 (disable-legacy), but for the two that every machine of these tests has."""

Q35: Mapping[str, Model] = {
    "0000:00:00.0": Model("8086", "29c0", "060000", ""),
    "0000:00:1f.0": Model("8086", "2918", "060100", "lpc_ich"),
    "0000:00:1f.2": MODELS["ich9-ahci"],
    "0000:00:1f.3": Model("8086", "2930", "0c0500", "i801_smbus"),
}
"""What the board itself has, by address."""
FIXED: Mapping[str, str] = {"0000:00:01.0": "virtio-rng-pci", "0000:00:02.0": "virtio-serial-pci"}
"""Entropy, and the test's channels."""
FAR_BUS = 0x80
"""The second NUMA node's root bus: its ports are 80:00.0, 80:01.0, …, the devices behind them 81:00.0, 82:00.0, …"""


@dataclass(frozen=True)
class Card:
    """A network card. ``speed_mbps`` 0 leaves it to the model; ``neighbour`` is what its cable's other end sends."""

    model: str
    address: str
    mac: str
    speed_mbps: int = 0
    neighbour: Optional[Neighbour] = None


@dataclass(frozen=True)
class Drive:
    """A disk. ``unit`` is its SCSI target, its NVMe namespace or its USB port.

    ``wwn`` has 16 hexadecimal digits; a namespace has none, since the kernel ignores what QEMU says (its quirk
    NVME_QUIRK_BOGUS_NID). ``rpm`` 1 means solid state, 0 says nothing.
    """

    serial: str
    size_bytes: int
    unit: int = 0
    vendor: str = ""
    product: str = ""
    version: str = ""
    wwn: str = ""
    rpm: int = 0
    logical_bytes: int = 512
    physical_bytes: int = 512
    kind: str = "disk"


@dataclass(frozen=True)
class Controller:
    """What disks hang on: an HBA, an NVMe controller, a USB host; for virtio-blk-pci the disk itself."""

    model: str
    address: str
    drives: tuple[Drive, ...] = ()
    serial: str = ""
    """An NVMe controller's, which its namespaces share."""


@dataclass(frozen=True)
class Identity:
    """SMBIOS types 0, 1, 2 and 11."""

    bios_vendor: str
    bios_version: str
    bios_date: str
    bios_release: str
    manufacturer: str
    product: str
    version: str
    serial: str
    sku: str
    family: str
    board_manufacturer: str
    board_product: str
    board_version: str
    board_serial: str
    board_asset: str
    oem_strings: tuple[str, ...]


@dataclass(frozen=True)
class Rich:
    """One machine."""

    name: str
    uuid: str
    cards: tuple[Card, ...]
    controllers: tuple[Controller, ...] = ()
    sockets: int = 1
    cores: int = 1
    node_mib: tuple[int, ...] = (1536,)
    """Memory of each NUMA node; one means no NUMA."""
    node_distance: int = 21
    identity: Optional[Identity] = None
    chassis: Optional[Chassis] = None
    processors: tuple[Socket, ...] = ()
    dimms: tuple[Dimm, ...] = ()
    max_capacity_bytes: int = 0
    bmc: Optional[Bmc] = None
    tpm: bool = False
    uefi: bool = False
    cpu_model: str = "Declared Processor 9"
    cpu_options: Mapping[str, int] = field(default_factory=lambda: {"family": 15, "model": 107, "stepping": 2})
    others: Mapping[str, str] = field(default_factory=dict[str, str])
    """Address -> model of devices that nothing hangs on."""
    ports: int = 0
    """PCI Express ports with nothing in them, from 0000:00:18.0 on."""

    @property
    def memory_mib(self) -> int:
        """All of its memory."""
        return sum(self.node_mib)

    @property
    def drives(self) -> tuple[tuple[Controller, Drive], ...]:
        """All disks, each with what it hangs on."""
        return tuple((controller, drive) for controller in self.controllers for drive in controller.drives)

    @property
    def cpus(self) -> int:
        """Logical processors."""
        return self.sockets * self.cores


def far_ports(rich: Rich) -> tuple[str, ...]:
    """Return the addresses of the ports on the second node's bus: one for each device behind them."""
    everything = [*(card.address for card in rich.cards), *(each.address for each in rich.controllers), *rich.others]
    behind = sum(1 for address in everything if int(address[5:7], 16) > FAR_BUS)
    return tuple(f"0000:{FAR_BUS:02x}:{number:02x}.0" for number in range(behind))


def free_ports(rich: Rich) -> tuple[str, ...]:
    """Return the addresses of the ports with nothing in them."""
    return tuple(f"0000:00:{0x18 + number:02x}.0" for number in range(rich.ports))


def pci_models(rich: Rich) -> dict[str, Model]:
    """Return every PCI device that the machine has when it is switched on, by address."""
    named = {**FIXED, **rich.others}
    named.update((card.address, card.model) for card in rich.cards)
    named.update((each.address, each.model) for each in rich.controllers if each.address != "0000:00:1f.2")
    named.update((address, "pcie-root-port") for address in (*far_ports(rich), *free_ports(rich)))
    return {**Q35, **{address: MODELS[name] for address, name in named.items()}}


def as_uefi(rich: Rich, name: str) -> Rich:
    """Return the same machine with UEFI firmware."""
    return replace(rich, name=name, uefi=True)

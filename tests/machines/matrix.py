"""The declared machines: every one of them is booted by `make test-full`, the first by `make test` too.

All names, serial numbers, addresses and dates are made up. MAC addresses are locally administered.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from .companions import Bmc
from .fru import Fru
from .neighbour import Neighbour
from .rich import Card, Controller, Drive, Identity, Rich, as_uefi
from .smbios_blob import Chassis, Dimm, Socket

MIB = 1 << 20

LEAF = Neighbour(
    chassis_id="02:4c:4c:44:50:aa",
    chassis_id_type="mac",
    port_id="Ethernet12/1",
    port_id_type="interface_name",
    port_description="to rack 12 unit 7",
    system_name="leaf-12.example.net",
    system_description="Declared Switch OS 4.21",
    capabilities=("bridge", "router"),
    enabled_capabilities=("bridge",),
    management_addresses=("192.0.2.12", "2001:db8::12"),
    vlan_id=100,
    max_frame_bytes=9236,
)
MANAGEMENT = Neighbour(
    chassis_id="mgmt-stack-3",
    chassis_id_type="local",
    port_id="02:4c:4c:44:50:bb",
    port_id_type="mac",
    port_description="gi0/7",
    system_name="mgmt-3.example.net",
    system_description="Declared Management Switch",
    capabilities=("bridge",),
    enabled_capabilities=("bridge",),
    management_addresses=("192.0.2.3",),
    vlan_id=4000,
    max_frame_bytes=1518,
)
"""Neither is its chassis id a MAC nor its port id a name: the historic code lost both."""

IDENTITY = Identity(
    bios_vendor="Declared Firmware Inc.",
    bios_version="DF-2.17.3",
    bios_date="03/05/2024",
    bios_release="2.17",
    manufacturer="Declared Systems GmbH",
    product="Model 9",
    version="rev C",
    serial="SYS-7H31-0009",
    sku="SKU-900-EU",
    family="Declared Family",
    board_manufacturer="Declared Boards Ltd.",
    board_product="DB-9000",
    board_version="A02",
    board_serial="BRD-4410-77",
    board_asset="AT-BOARD-1",
    oem_strings=("site=hall 3", "row=R07"),
)
CHASSIS = Chassis("Declared Metal AG", "Rack Mount Chassis", "2U-12B", "CHS-20-1177", "AT-CHASSIS-5", 2, "CSKU-2U")
SOCKETS = tuple(
    Socket(f"CPU{number}", "Declared Silicon", f"Declared Xeon {number}", f"CPU-SER-{number}", f"CPU-AT-{number}",
           f"CPU-PN-{number}", 3200 + 100 * number, 2, 2, 2)
    for number in (1, 2)
)  # fmt: skip


def _dimm(
    locator: str, bank: str, gib: int, speed: tuple[int, int], maker: str, serial: str, part: str, rank: int,
    kind: str = "DDR4",
) -> Dimm:  # fmt: skip
    return Dimm(locator, bank, gib << 10, kind, "DIMM", *speed, maker, serial, f"AT-{serial}", part, rank)


DIMMS = (
    _dimm("P1-DIMMA1", "P0_Node0_Channel0", 1, (2133, 1866), "Alpha Memory", "A1-0001", "AM-1G-2133", 1),
    _dimm("P1-DIMMA2", "P0_Node0_Channel0", 2, (2400, 2133), "Beta DRAM", "A2-0002", "BD-2G-2400", 1),
    Dimm("P1-DIMMB1", "P0_Node0_Channel1", manufacturer="NO DIMM", serial="NO DIMM", part_number="NO DIMM"),
    _dimm("P1-DIMMB2", "P0_Node0_Channel1", 4, (2666, 2400), "Gamma", "B2-0003", "GA-4G-2666", 2),
    _dimm("P1-DIMMC1", "P0_Node0_Channel2", 8, (2933, 2666), "Delta Chips", "C1-0004", "DC-8G-2933", 1),
    Dimm("P1-DIMMC2", "P0_Node0_Channel2", manufacturer="Not Specified", serial="Not Specified"),
    _dimm("P2-DIMMA1", "P1_Node1_Channel0", 16, (3200, 2933), "Alpha Memory", "D1-0005", "AM-16G-3200", 2),
    _dimm("P2-DIMMA2", "P1_Node1_Channel0", 32, (3200, 3200), "Beta DRAM", "D2-0006", "BD-32G-3200", 2),
    Dimm("P2-DIMMB1", "P1_Node1_Channel1"),
    _dimm("P2-DIMMB2", "P1_Node1_Channel1", 64, (4800, 4400), "Gamma", "E2-0007", "GA-64G-4800", 4, "DDR5"),
    _dimm("P2-DIMMC1", "P1_Node1_Channel2", 128, (5600, 5200), "Delta Chips", "F1-0008", "DC-128G-5600", 8, "DDR5"),
    Dimm("P2-DIMMC2", "P1_Node1_Channel2"),
)  # 255 GiB; from 32 GiB on a size stands in the wider field


def _fru(maker: str, series: str) -> Fru:
    numbers = [f"FRU-{series}-{number}" for number in range(1, 9)]
    made = datetime(2024, 3, 5, 14, 30, tzinfo=timezone.utc)
    board = (numbers[2], "Declared Boards Ltd.", numbers[3], numbers[4])
    return Fru(
        chassis_part_number=numbers[0],
        chassis_serial=numbers[1],
        made=made,
        board_product=board[0],
        board_manufacturer=board[1],
        board_serial=board[2],
        board_part_number=board[3],
        product_manufacturer=maker,
        product_name=f"Model 9{series}",
        product_part_number=numbers[5],
        product_version=f"v{series}",
        product_serial=numbers[6],
        product_asset_tag=numbers[7],
    )


BMC = Bmc(
    device_id=32,
    firmware_major=3,
    firmware_minor=17,
    manufacturer_id=343,
    manufacturer="Intel Corporation",
    product_id=62,
    ipv4="198.51.100.77",
    netmask="255.255.254.0",
    mac="02:4d:4b:b1:0c:77",
    gateway="198.51.100.1",
    gateway_mac="02:4d:4b:b1:0c:01",
    guid="6d6b0001c0de4000800000000000b1c0",
    frus=(
        ("Builtin FRU Device", _fru("Declared Systems GmbH", "A")),
        ("Power Dist Board", _fru("Declared Power AG", "B")),
    ),
)
"""343 is Intel's number among IANA's enterprises, by which ipmitool knows the name."""

RICH = Rich(
    name="rich-bios",
    uuid="7c1e2d3f-0001-4000-8000-6d6b72696368",
    sockets=2,
    cores=2,
    node_mib=(1024, 512),
    identity=IDENTITY,
    chassis=CHASSIS,
    processors=SOCKETS,
    dimms=DIMMS,
    max_capacity_bytes=3 << 40,
    cards=(
        Card("virtio-net-pci", "0000:00:03.0", "02:4d:4b:00:00:01", 10000, LEAF),
        Card("e1000e", "0000:81:00.0", "02:4d:4b:00:00:02", 0, MANAGEMENT),
    ),
    controllers=(
        Controller(
            "nvme",
            "0000:00:04.0",
            (
                Drive("", 96 * MIB, 1),
                Drive("", 48 * MIB, 2, logical_bytes=4096, physical_bytes=4096),
            ),
            serial="NVME-01C9",
        ),
        Controller("virtio-blk-pci", "0000:00:05.0", (Drive("VBLK-33A1", 40 * MIB),)),
        Controller(
            "megasas",
            "0000:00:06.0",
            (
                Drive("MEGA-7F3A", 64 * MIB, 1, "DECLARED", "MEGADISK 9", "MG01", "5000c5000d4b0001", 7200),
                Drive("MEGA-7F3B", 72 * MIB, 2, "DECLARED", "MEGASSD 9", "MG02", "5000c5000d4b0002", 1, 512, 4096),
            ),
        ),
        Controller(
            "lsi53c895a",
            "0000:00:07.0",
            (Drive("LSI-55E2", 32 * MIB, 3, "DECLARED", "PARALLEL", "PL03", "5000c5000d4b0003", 15000),),
        ),
        Controller(
            "virtio-scsi-pci",
            "0000:00:08.0",
            (
                Drive("VSCSI-9001", 56 * MIB, 5, "DECLARED", "VDISK", "VS04", "5000c5000d4b0004", 10000),
                Drive("VDVD-9002", 24 * MIB, 6, "DECLARED", "VDVD", "VD05", kind="cdrom"),
            ),
        ),
        Controller("qemu-xhci", "0000:00:09.0", (Drive("USB-6A6B", 80 * MIB, 1),)),
    ),
    bmc=BMC,
    tpm=True,
    others={"0000:00:0a.0": "edu", "0000:00:0b.0": "pxb-pcie"},
    ports=4,
)
PLAIN_CARD = Card("virtio-net-pci", "0000:00:03.0", "02:4d:4b:00:01:01")
ONE_CPU = Rich(
    name="one-cpu-virtio",
    uuid="7c1e2d3f-0002-4000-8000-6d6b72696368",
    node_mib=(1024,),
    ports=4,
    cards=(PLAIN_CARD,),
    controllers=(
        Controller("virtio-blk-pci", "0000:00:04.0", (Drive("ONLY-VBLK", 40 * MIB),)),
        Controller(
            "virtio-blk-pci", "0000:00:05.0", (Drive("ONLY-VBLK-2", 48 * MIB, logical_bytes=4096, physical_bytes=4096),)
        ),
    ),
)
"""One CPU, virtio alone, QEMU's own SMBIOS: where the historic agents reported neither CPU nor disk nor NIC."""
NVME_ONLY = Rich(
    name="nvme-only",
    uuid="7c1e2d3f-0003-4000-8000-6d6b72696368",
    cores=2,
    node_mib=(1280,),
    ports=4,
    identity=replace(IDENTITY, serial="Default string", oem_strings=("hall 4",)),
    cards=(replace(PLAIN_CARD, mac="02:4d:4b:00:02:01", neighbour=LEAF),),
    controllers=(
        Controller("nvme", "0000:00:04.0", (Drive("", 64 * MIB, 1),), serial="NVME-A"),
        Controller("nvme", "0000:00:05.0", (Drive("", 64 * MIB, 1),), serial="NVME-B"),
        Controller("nvme", "0000:00:06.0", (Drive("", 32 * MIB, 7),), serial="NVME-C"),
    ),
    tpm=True,
)
_MAKES = ("e1000", "e1000-82545em", "e1000e", "i82557b", "rtl8139", "pcnet", "vmxnet3", "virtio-net-pci")
MANY_NICS = Rich(
    name="many-nics",
    uuid="7c1e2d3f-0004-4000-8000-6d6b72696368",
    cores=2,
    node_mib=(1280,),
    ports=4,
    identity=IDENTITY,
    cards=tuple(
        Card(
            model,
            f"0000:00:{3 + number:02x}.0",
            f"02:4d:4b:00:03:{number + 1:02x}",
            neighbour=LEAF if number % 3 == 0 else None,
        )
        for number, model in enumerate(_MAKES)
    ),
    controllers=(
        Controller(
            "ich9-ahci",
            "0000:00:1f.2",
            (
                Drive(
                    "SATA-0001",
                    64 * MIB,
                    0,
                    product="DECLARED SATA DISK",
                    version="ST01",
                    wwn="5000c5000d4b0301",
                    rpm=5400,
                ),
                Drive(
                    "SATA-0002", 48 * MIB, 1, product="DECLARED SATA SSD", version="ST02", wwn="5000c5000d4b0302", rpm=1
                ),
                Drive("SATA-DVD", 24 * MIB, 2, product="DECLARED DVD", version="DV01", kind="cdrom"),
            ),
        ),
        Controller(
            "mptsas1068",
            "0000:00:10.0",
            (Drive("SAS-0001", 64 * MIB, 1, "DECLARED", "SASDISK", "SA01", "5000c5000d4b0303", 10000),),
        ),
        Controller(
            "pvscsi",
            "0000:00:11.0",
            (Drive("PVSCSI-1", 40 * MIB, 2, "DECLARED", "PVDISK", "PV01", "5000c5000d4b0304"),),
        ),
    ),
)
"""Eight makes of network cards, and what no other machine has of disks: SATA, SAS, VMware's adapter."""

MACHINES = {each.name: each for each in (RICH, as_uefi(RICH, "rich-uefi"), ONE_CPU, NVME_ONLY, MANY_NICS)}
IN_MAKE_TEST = RICH.name

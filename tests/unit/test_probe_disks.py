"""Disks, their places, names and volumes from trees of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_tree import make_tree
from test_probe_devices import check

from mkcore.jsonfields import Json
from mkctl.probe.collect import Collected
from mkctl.probe.devices import collect_block
from mkctl.probe.disk_place import DiskPlace, build_by_path, parse_place
from mkctl.probe.disks import format_wwn
from mkctl.probe.nvme import Namespace, read_namespace
from mkctl.probe.serials import describe_disk_serials
from mkctl.probe.vpd import AtaIdentity, parse_ata_page, parse_names_page, parse_serial_page

PCI = "../devices/pci0000:00"
SATA = f"{PCI}/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0"
SAS = f"{PCI}/0000:00:03.0/0000:02:00.0/host6/port-6:0/end_device-6:0/target6:0:0/6:0:0:0"
USB = f"{PCI}/0000:00:14.0/usb2/2-1/2-1.3/2-1.3:1.0/host8/target8:0:0/8:0:0:0"


@pytest.mark.parametrize(
    ("path", "place", "by_path"),
    [
        (
            f"{SATA}/block/sda",
            DiskPlace("0000:00:1f.2", "sata", "2:0:0:0", 3),
            "pci-0000:00:1f.2-ata-3",
        ),
        (f"{SAS}/block/sdb", DiskPlace("0000:02:00.0", "sas", "6:0:0:0"), ""),
        (
            f"{USB}/block/sdc",
            DiskPlace("0000:00:14.0", "usb", "8:0:0:0", 0, "2-1.3", "2-1.3:1.0"),
            "pci-0000:00:14.0-usb-0:1.3:1.0-scsi-6:0:0:0",
        ),
        (f"{PCI}/0000:00:02.0/virtio1/block/vda", DiskPlace("0000:00:02.0", "virtio"), "pci-0000:00:02.0"),
        (
            f"{PCI}/0000:00:02.0/virtio1/host3/target3:0:1/3:0:1:0/block/sdd",
            DiskPlace("0000:00:02.0", "virtio", "3:0:1:0"),
            "pci-0000:00:02.0-scsi-1:0:1:0",
        ),
        (
            f"{PCI}/0000:00:05.0/host2/target2:2:0/2:2:0:0/block/sde",
            DiskPlace("0000:00:05.0", "scsi", "2:2:0:0"),
            "pci-0000:00:05.0-scsi-0:2:0:0",
        ),
        (
            f"{PCI}/0000:00:1c.0/0000:05:00.0/nvme/nvme0/nvme0n1",
            DiskPlace("0000:05:00.0", "nvme"),
            "pci-0000:05:00.0-nvme-2",
        ),
        ("../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", DiskPlace("", "nvme"), ""),
        (f"{PCI}/0000:00:1a.0/mmc_host/mmc0/mmc0:0001/block/mmcblk0", DiskPlace("0000:00:1a.0", "mmc"), ""),
        (
            f"{PCI}/0000:00:06.0/0000:03:00.0/host1/rport-1:0-2/target1:0:0/1:0:0:5/block/sdf",
            DiskPlace("0000:03:00.0", "fc", "1:0:0:5"),
            "",
        ),
        (
            "../devices/platform/host9/session1/target9:0:0/9:0:0:1/block/sdg",
            DiskPlace("", "iscsi", "9:0:0:1"),
            "",
        ),
        ("../devices/vbd-51712/block/xvda", DiskPlace("", "xen"), ""),
        ("../devices/LNXSYSTM:00/ACPI0012:00/ndbus0/region0/namespace0.0/block/pmem0", DiskPlace("", "nvdimm"), ""),
        ("../devices/platform/floppy.0/block/fd0", DiskPlace("", "floppy"), ""),
        ("../devices/css0/0.0.0000/0.0.b314/block/dasda", DiskPlace("", "ccw"), ""),
        ("../devices/atavistic/block/rbd0", DiskPlace(), ""),
        (
            f"{PCI}/0000:00:1f.2/ata{'9' * 5000}/host0/target0:0:0/0:0:0:0/block/sdh",
            DiskPlace("0000:00:1f.2", "sata", "0:0:0:0"),
            "",
        ),
        ("", DiskPlace(), ""),
    ],
)
def test_places(path: str, place: DiskPlace, by_path: str) -> None:
    assert parse_place(path) == place
    assert build_by_path(place, "2", port=3 if place.ata_port else 0, first_host=2) == by_path


def test_no_name_for_a_place_that_is_not_known() -> None:
    """Without port number or namespace, or with a host number below the first, no name is better than a wrong one."""
    assert build_by_path(DiskPlace("0000:00:1f.2", "sata", "2:0:0:0", 3)) == ""
    assert build_by_path(DiskPlace("0000:00:02.0", "nvme")) == ""
    assert build_by_path(DiskPlace("0000:00:05.0", "scsi", "2:0:0:0"), first_host=3) == ""


@given(st.text(alphabet="pci0123456789abcdef:./-hostn", max_size=60))
def test_places_of_any_path(path: str) -> None:
    build_by_path(parse_place(path), path[-1:])


@pytest.mark.parametrize(
    ("text", "wwn"),
    [
        ("naa.5000C500A1B2C3D4", "0x5000c500a1b2c3d4"),
        ("naa.600508b1001c5d8e9f0a1b2c3d4e5f60", "0x600508b1001c5d8e9f0a1b2c3d4e5f60"),
        ("naa.0000000000000000", ""),
        ("naa.xyz", ""),
        ("eui.0025385b71b00a01", "eui.0025385b71b00a01"),
        ("eui.0000000000000000", ""),
        ("uuid.6479a784-0000-4000-8000-000000000001", "uuid.6479a784-0000-4000-8000-000000000001"),
        ("nvme.1b36-6e766d652d31-51454d55-00000001", "nvme.1b36-6e766d652d31-51454d55-00000001"),
        ("t10.ATA     QEMU HARDDISK                           QM00001             ", ""),
        ("", ""),
    ],
)
def test_world_wide_names(text: str, wwn: str) -> None:
    assert format_wwn(text) == wwn


def names_page(*names: tuple[int, int, int, bytes]) -> bytes:
    body = b"".join(bytes([code, where << 4 | kind, 0, len(value)]) + value for code, where, kind, value in names)
    return b"\0\x83" + len(body).to_bytes(2, "big") + body


NAA = bytes.fromhex("5000c500a1b2c3d4")
EUI = bytes.fromhex("0025385b71b00a01")


@pytest.mark.parametrize(
    ("page", "name"),
    [
        (names_page((2, 0, 1, b"ATA     x"), (1, 0, 3, NAA)), "naa.5000c500a1b2c3d4"),
        (names_page((1, 0, 2, EUI), (1, 0, 3, NAA)), "naa.5000c500a1b2c3d4"),
        (names_page((1, 0, 2, EUI)), "eui.0025385b71b00a01"),
        (names_page((1, 1, 3, NAA)), ""),  # the port's
        (names_page((1, 0, 3, NAA[:4])), ""),
        (names_page((1, 0, 3, NAA))[:-2], ""),  # cut off
        (b"\0\x80\0\x08" + NAA, ""),
        (b"", ""),
    ],
)
def test_names_page(page: bytes, name: str) -> None:
    assert parse_names_page(page) == name


def ata_page(model: str, serial: str, firmware: str) -> bytes:
    words = bytearray(512)
    for text, first, last in ((serial, 10, 19), (firmware, 23, 26), (model, 27, 46)):
        raw = text.encode("ascii").ljust(2 * (last - first + 1))
        words[2 * first : 2 * last + 2] = b"".join(raw[at : at + 2][::-1] for at in range(0, len(raw), 2))
    return b"\0\x89\x02\x38" + bytes(56) + bytes(words)


def test_ata_page() -> None:
    page = ata_page("EXAMPLE HUS728T8TALE6L4 WITH A LONG NAME", "A-SERIAL", "V8GNW460")
    assert parse_ata_page(page) == AtaIdentity("EXAMPLE HUS728T8TALE6L4 WITH A LONG NAME", "A-SERIAL", "V8GNW460")
    assert parse_ata_page(page[:-1]) == parse_ata_page(b"\0\x80" + page[2:]) == AtaIdentity()


@given(st.binary(max_size=700))
def test_pages_of_any_bytes(page: bytes) -> None:
    for parse, number in ((parse_names_page, b"\x83"), (parse_ata_page, b"\x89"), (parse_serial_page, b"\x80")):
        parse(page)
        parse(page[:1] + number + page[1:])


def disk(link: str, name: str, **files: object) -> dict:
    """The files of one disk, where the kernel has them, with its link in /sys/block."""
    folder = link.removeprefix("../")
    nvme = name.startswith("nvme")
    own = f"{folder}/{name}" if nvme else f"{folder}/block/{name}"
    tree: dict = {f"sys/block/{name}": f"-> ../{own}"}
    tree[f"sys/{own}/device"] = f"-> ../../{folder.rpartition('/')[2]}" if nvme else "-> ../.."
    for key, content in {"size": "2097152\n", **files}.items():
        tree[f"sys/{own}/{key}"] = content
    return tree


def at_device(link: str, **files: object) -> dict:
    """Files of the device that the disk is of."""
    return {f"sys/{link.removeprefix('../')}/{key}": content for key, content in files.items()}


QUEUE = {"queue/rotational": "1\n", "queue/logical_block_size": "512\n", "queue/physical_block_size": "4096\n"}


def test_sata_disk(tmp_path: Path) -> None:
    """SCSI cuts model and firmware of a SATA disk; the ATA identity has them whole."""
    page = ata_page("EXAMPLE HUS728T8TALE6L4 LONG NAME", "VDJ-1", "V8GNW460")
    files = {
        **disk(SATA, "sda", removable="0\n", **QUEUE),
        **at_device(
            SATA,
            vendor="ATA     \n",
            model="EXAMPLE HUS728T8\n",
            rev="W460\n",
            type="0\n",
            wwid="naa.5000cca0b1c2d3e4\n",
            vpd_pg80=b"\0\x80\0\x05CUT-1",
            vpd_pg89=page,
        ),
        "sys/class/ata_link/link3/sata_spd": "6.0 Gbps\n",
        "sys/class/ata_port/ata3/port_no": "1\n",
    }
    root = make_tree(tmp_path, files)
    collected = collect_block(root / "sys", root)
    assert collected.facts["blockdevice_sda_model"] == "EXAMPLE HUS728T8"  # as Facter has it
    assert check(collected)["disks"] == {
        "sda": {
            "path": "/dev/sda",
            "kind": "disk",
            "by_path": "/dev/disk/by-path/pci-0000:00:1f.2-ata-1",
            "wwn": "0x5000cca0b1c2d3e4",
            "serial": "VDJ-1",
            "model": "EXAMPLE HUS728T8TALE6L4 LONG NAME",
            "firmware_version": "V8GNW460",
            "size_bytes": 1073741824,
            "rotational": True,
            "removable": False,
            "logical_sector_bytes": 512,
            "physical_sector_bytes": 4096,
            "transport": "sata",
            "scsi_address": "2:0:0:0",
            "controller": "0000:00:1f.2",
        }
    }


def test_links_of_udev(tmp_path: Path) -> None:
    """The plainest of several by-path names is taken; links that lead nowhere or are none do no harm."""
    files = {
        **disk(SATA, "sda"),
        "dev/disk/by-path/pci-0000:00:1f.2-ata-1": "-> ../../sda",
        "dev/disk/by-path/pci-0000:00:1f.2-ata-1.0": "-> ../../sda",
        "dev/disk/by-path/pci-0000:00:1f.2-ata-1-part1": "-> ../../sda1",
        "dev/disk/by-path/file": "no link",
        "dev/disk/by-id/wwn-0x5000cca0b1c2d3e4": "-> ../../sda",
        "dev/disk/by-id/ata-EXAMPLE_VDJ-1": "-> ../../sda",
        **disk(f"{PCI}/0000:00:02.0/virtio1", "vda"),
        "dev/disk/by-path/virtio-pci-0000:00:02.0": "-> ../../vda",
        "dev/disk/by-path/pci-0000:00:02.0": "-> ../../vda",
        **disk(f"{PCI}/0000:00:03.0/virtio2", "vdb"),
    }
    root = make_tree(tmp_path, files)
    disks = check(collect_block(root / "sys", root))["disks"]
    assert disks["sda"]["by_path"] == "/dev/disk/by-path/pci-0000:00:1f.2-ata-1"
    assert disks["sda"]["by_id"] == [
        "/dev/disk/by-id/ata-EXAMPLE_VDJ-1",
        "/dev/disk/by-id/wwn-0x5000cca0b1c2d3e4",
    ]
    assert disks["vda"]["by_path"] == "/dev/disk/by-path/pci-0000:00:02.0"
    assert "by_path" not in disks["vdb"]  # udev named none, so none is made up


def test_nvme(tmp_path: Path) -> None:
    one = f"{PCI}/0000:05:00.0/nvme/nvme0"
    files = {
        **disk(one, "nvme0n1", wwid="eui.0025385b71b00a01\n", nsid="1\n", eui="00 25 38 5b 71 b0 0a 01\n", **QUEUE),
        "sys/devices/pci0000:00/0000:05:00.0/nvme/nvme0/nvme0n1/nguid": "00000000-0000-0000-0000-000000000000\n",
        **at_device(one, model="EXAMPLE MZQL2\n", serial="S1  \n", firmware_rev="GDC5\n", transport="pcie\n"),
        **at_device(one, subsysnqn="nqn.1994-11.com.example:nvme:x\n"),
    }
    root = make_tree(tmp_path, files)
    found = check(collect_block(root / "sys", root))["disks"]["nvme0n1"]
    assert found["namespace"] == {
        "nsid": 1,
        "eui64": "0025385b71b00a01",
        "subsystem_nqn": "nqn.1994-11.com.example:nvme:x",
    }
    assert (found["transport"], found["controller"]) == ("nvme", "0000:05:00.0")
    assert (found["model"], found["serial"], found["firmware_version"]) == ("EXAMPLE MZQL2", "S1", "GDC5")
    assert (found["wwn"], found["by_path"]) == (
        "eui.0025385b71b00a01",
        "/dev/disk/by-path/pci-0000:05:00.0-nvme-1",
    )


def test_nvme_with_two_paths(tmp_path: Path) -> None:
    """The namespace stands once, below its subsystem; the paths to it are hidden disks and no disks here."""
    subsystem = "../devices/virtual/nvme-subsystem/nvme-subsys0"
    folder = "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    files = {
        **disk(subsystem, "nvme0n1", nguid="6479a784-2222-4444-8888-0123456789ab\n"),
        **at_device(subsystem, model="EXAMPLE\n", serial="S1\n"),
        f"{folder}/nvme1": "-> ../../../pci0000:80/0000:81:00.0/nvme/nvme1",
        f"{folder}/nvme0": "-> ../../../pci0000:00/0000:05:00.0/nvme/nvme0",
        f"{folder}/nvme2/gone": "",
        "sys/block/nvme0c0n1/hidden": "1\n",
        "sys/block/nvme0c0n1/device/": "",
    }
    root = make_tree(tmp_path, files)
    disks = check(collect_block(root / "sys", root))["disks"]
    assert list(disks) == ["nvme0n1"]
    assert disks["nvme0n1"]["controller"] == "0000:05:00.0"
    assert disks["nvme0n1"]["namespace"] == {
        "nguid": "6479a7842222444488880123456789ab",
        "paths": ["0000:05:00.0", "0000:81:00.0"],
    }


def test_nvme_over_a_network(tmp_path: Path) -> None:
    one = "../devices/virtual/nvme-fabrics/ctl/nvme3"
    root = make_tree(tmp_path, {**disk(one, "nvme3n1"), **at_device(one, transport="tcp\n")})
    found = check(collect_block(root / "sys", root))["disks"]["nvme3n1"]
    assert (found["transport"], found["namespace"]) == ("nvme", {"fabric": "tcp"})


def test_nvme_over_a_network_with_two_paths(tmp_path: Path) -> None:
    """The subsystem does not say what leads to it; its controllers do, and none of them is a PCI device."""
    subsystem = "../devices/virtual/nvme-subsystem/nvme-subsys3"
    folder = "sys/devices/virtual/nvme-subsystem/nvme-subsys3"
    files = {
        **disk(subsystem, "nvme3n1"),
        f"{folder}/nvme3": "-> ../../nvme-fabrics/ctl/nvme3",
        f"{folder}/nvme4": "-> ../../nvme-fabrics/ctl/nvme4",
        "sys/devices/virtual/nvme-fabrics/ctl/nvme3/transport": "tcp\n",
        "sys/devices/virtual/nvme-fabrics/ctl/nvme4/transport": "tcp\n",
    }
    root = make_tree(tmp_path, files)
    found = check(collect_block(root / "sys", root))["disks"]["nvme3n1"]
    assert (found["namespace"], "controller" in found) == ({"fabric": "tcp"}, False)


def test_raid_volumes(tmp_path: Path) -> None:
    """What a RAID controller makes of its disks is told from a plain disk: by driver, by device, by class."""
    megaraid = f"{PCI}/0000:01:00.0/host0"
    hpsa = f"{PCI}/0000:02:00.0/host1"
    mpt = f"{PCI}/0000:03:00.0/host2"
    files = {
        **disk(f"{megaraid}/target0:0:4/0:0:4:0", "sda"),
        **disk(f"{megaraid}/target0:2:0/0:2:0:0", "sdb"),
        **disk(f"{hpsa}/target1:1:0/1:1:0:0", "sdc"),
        **at_device(f"{hpsa}/target1:1:0/1:1:0:0", raid_level="RAID 1(1+0)\n"),
        **disk(f"{hpsa}/target1:0:0/1:0:0:0", "sdd"),
        **at_device(f"{hpsa}/target1:0:0/1:0:0:0", raid_level="N/A\n"),
        **disk(f"{mpt}/target2:1:0/2:1:0:0", "sde"),
        "sys/class/raid_devices/2:1:0:0/level": "RAID1\n",
        "sys/class/raid_devices/2:1:0:0/state": "active\n",
        "sys/bus/pci/devices/0000:01:00.0/driver": "-> ../../drivers/megaraid_sas",
        **disk(f"{SATA}", "sdf"),
        **disk("../devices/platform/host7/target7:0:0/7:0:0:0", "sdg"),
        **at_device("../devices/platform/host7/target7:0:0/7:0:0:0", raid_level="RAID 5\n"),
    }
    root = make_tree(tmp_path, files)
    assert check(collect_block(root / "sys", root))["storage_controllers"] == {
        "0000:01:00.0": {"volumes": [{"disk": "sdb"}]},
        "0000:02:00.0": {"volumes": [{"disk": "sdc", "level": "RAID 1(1+0)"}]},
        "0000:03:00.0": {"volumes": [{"disk": "sde", "level": "RAID1", "state": "active"}]},
    }


def test_the_bay_of_a_disk(tmp_path: Path) -> None:
    """An enclosure behind a SAS expander links its bays with disks; empty bays and its own attributes are none."""
    enclosure = "sys/class/enclosure/6:0:24:0"
    files = {
        **disk(SAS, "sdb"),
        **disk(SATA, "sda"),
        f"{enclosure}/id": "0x500e004aaaaaaa1f\n",
        f"{enclosure}/components": "2\n",
        f"{enclosure}/device": "-> ../../../devices/6:0:24:0",
        f"{enclosure}/Slot 01/device": f"-> ../../../../{SAS.removeprefix('../')}",
        f"{enclosure}/Slot 01/slot": "1\n",
        f"{enclosure}/Slot 02/slot": "2\n",
    }
    root = make_tree(tmp_path, files)
    disks = check(collect_block(root / "sys", root))["disks"]
    assert disks["sdb"]["bay"] == {"enclosure": "0x500e004aaaaaaa1f", "name": "Slot 01", "slot": 1}
    assert "bay" not in disks["sda"]


def test_nothing_there(tmp_path: Path) -> None:
    """Not even the folders: a container, or a disk that went away between two looks."""
    assert collect_block(tmp_path / "sys", tmp_path) == Collected()
    assert read_namespace(str(tmp_path / "sys/block/nvme0n1")) == Namespace((), {})


def test_md_arrays(tmp_path: Path) -> None:
    files = {
        "sys/block/md0/size": "1000\n",
        "sys/block/md0/md/level": "raid1\n",
        "sys/block/md0/md/array_state": "clean\n",
        "sys/block/md0/md/degraded": "1\n",
        "sys/block/md0/md/dev-sda1/state": "in_sync\n",
        "sys/block/md1/md/array_state": "clear\n",
        "sys/block/md127/md/level": "container\n",
        "sys/block/md127/size": "odd\n",
    }
    root = make_tree(tmp_path, files)
    collected = collect_block(root / "sys", root)
    assert collected.facts == {}
    assert check(collected) == {
        "volumes": {
            "md0": {
                "kind": "md",
                "level": "raid1",
                "state": "clean",
                "members": ["sda1"],
                "size_bytes": 512000,
                "degraded": 1,
            },
            "md127": {"kind": "md", "level": "container", "members": []},
        }
    }


def test_drives_that_are_no_disks(tmp_path: Path) -> None:
    card = f"{PCI}/0000:00:1a.0/mmc_host/mmc0/mmc0:0001"
    files = {
        **disk(SATA, "sr0", removable="1\n", **QUEUE),
        **at_device(SATA, type="5\n", vendor="HL-DT-ST\n"),
        **disk("../devices/platform/floppy.0", "fd0"),
        **disk(card, "mmcblk0"),
        **disk(card, "mmcblk0boot0"),
        **at_device(card, name="DG4016\n", serial="0x1234abcd\n", fwrev="0x3431000000000000\n"),
        **disk(SAS, "sdz"),
        **at_device(SAS, type="7\n"),
        **disk("../devices/LNXSYSTM:00/ACPI0012:00/ndbus0/region0/namespace0.0", "pmem0"),
        "sys/block/sr0/dev": "11:0\n",
        "run/udev/data/b11:0": "S:cdrom\nE:ID_BUS=ata\nE:ID_SERIAL=HL-DT-ST_DVD_K1\nE:ID_SERIAL_SHORT=K1\n",
        "sys/block/loop0/size": "8\n",
    }
    root = make_tree(tmp_path, files)
    disks = check(collect_block(root / "sys", root))["disks"]
    assert disks["sr0"]["serial"] == "K1", "which no file of the kernel shows"
    kinds = {name: entry["kind"] for name, entry in disks.items()}
    assert kinds == {
        "fd0": "floppy",
        "mmcblk0": "disk",
        "mmcblk0boot0": "boot_area",
        "pmem0": "pmem",
        "sdz": "optical",
        "sr0": "cdrom",
    }
    assert "rotational" not in disks["sr0"]
    assert disks["sr0"]["removable"] is True
    assert (disks["mmcblk0"]["model"], disks["mmcblk0"]["firmware_version"]) == ("DG4016", "0x3431000000000000")


def test_two_disks_with_one_serial_a_serial_of_other_bytes_and_a_disk_that_went(tmp_path: Path) -> None:
    """Each costs itself only."""
    other = SATA.replace("ata3", "ata4").replace("host2", "host3").replace("2:0:0", "3:0:0")
    third = SATA.replace("ata3", "ata5").replace("host2", "host4").replace("2:0:0", "4:0:0")
    files = {
        **disk(SATA, "sda"),
        **at_device(SATA, vpd_pg80=b"\0\x80\0\x04SAME"),
        **disk(other, "sdb"),
        **at_device(other, vpd_pg80=b"\0\x80\0\x04SAME"),
        **disk(third, "sdc"),
        **at_device(third, serial=b"\xff\xfe\x1b[2J-1\n", model=b"caf\xc3\xa9\n", vendor="0x1af4\n", rev="n/a\n"),
        "sys/block/sdd": "-> ../devices/gone/block/sdd",
    }
    root = make_tree(tmp_path, files)
    result = collect_block(root / "sys", root)
    disks = check(result)["disks"]
    assert [disks[name].get("serial") for name in disks] == ["SAME", "SAME", "\ufffd\ufffd[2J-1"]
    odd = "sda and sdb have the same serial number, SAME; the serial number of sdc is not UTF-8"
    assert result.error == odd
    assert disks["sdc"]["model"] == "café"
    assert {"vendor", "firmware_version"}.isdisjoint(disks["sdc"])


def test_serials_that_are_shared_by_right_are_no_twins() -> None:
    """Paths to one disk, namespaces of one controller, areas of one eMMC; and of many twins a few are named."""

    def entry(serial: str, wwn: str = "", kind: str = "disk") -> dict[str, Json]:
        return {"kind": kind, "serial": serial, **({"wwn": wwn} if wwn else {})}

    paths: dict[str, Json] = {"sda": entry("S", "0x5"), "sdb": entry("S", "0x5"), "sdc": {"kind": "disk"}}
    namespaces: dict[str, Json] = {"nvme0n1": entry("N", "eui.1"), "nvme0n2": entry("N", "eui.2")}
    areas: dict[str, Json] = {"mmcblk0": entry("M"), "mmcblk0boot0": entry("M", kind="boot_area")}
    assert describe_disk_serials({**paths, **namespaces, **areas}) == ""
    port: dict[str, Json] = {"namespace": {"subsystem_nqn": "nqn.x"}}
    ports: dict[str, Json] = {name: {**entry("P", "eui.4"), **port} for name in ("nvme5n1", "nvme6n1")}
    assert describe_disk_serials(ports) == ""
    twins: dict[str, Json] = {"nvme1n1": entry("N", "eui.3"), "sdd": entry("S", "0x6")}
    found = describe_disk_serials({**paths, **namespaces, **twins})
    assert found == "sda and sdd have the same serial number, S; nvme0n1 and nvme1n1 have the same serial number, N"
    many: dict[str, Json] = {f"sd{letter}{copy}": entry(letter) for letter in "abcde" for copy in "xy"}
    assert describe_disk_serials(many).endswith("sdcx and sdcy have the same serial number, c; and 2 more such")


def test_placeholders_are_no_serials(tmp_path: Path) -> None:
    files = {**disk(SATA, "sda"), **at_device(SATA, vpd_pg80=b"\0\x80\0\x080000\0\0\0\0", wwid="naa.0\n")}
    root = make_tree(tmp_path, files)
    assert {"serial", "wwn"}.isdisjoint(check(collect_block(root / "sys", root))["disks"]["sda"])


def test_usb_disk_without_serial_of_its_own(tmp_path: Path) -> None:
    files = {**disk(USB, "sdc"), "sys/bus/usb/devices/2-1.3/serial": "USB-1\n"}
    root = make_tree(tmp_path, files)
    found = check(collect_block(root / "sys", root))["disks"]["sdc"]
    assert (found["serial"], found["transport"]) == ("USB-1", "usb")
    assert found["by_path"] == "/dev/disk/by-path/pci-0000:00:14.0-usb-0:1.3:1.0-scsi-0:0:0:0"


def test_ata_disk_behind_a_sas_controller_and_on_a_parallel_bus(tmp_path: Path) -> None:
    files = {
        **disk(SAS, "sda"),
        **at_device(SAS, vendor="ATA\n", vpd_pg83=names_page((1, 0, 3, NAA))),
        **disk(SATA, "sdb"),
        "sys/class/ata_link/link3/sata_spd": "<unknown>\n",
    }
    root = make_tree(tmp_path, files)
    disks = check(collect_block(root / "sys", root))["disks"]
    assert (disks["sda"]["transport"], disks["sda"]["wwn"]) == ("sata", "0x5000c500a1b2c3d4")
    assert disks["sdb"]["transport"] == "ata"


def test_folders_in_place_of_links(tmp_path: Path) -> None:
    """A copied tree, and kernels with the deprecated layout of sysfs."""
    files = {
        "sys/block/sda/size": "8\n",
        "sys/block/sda/device": "-> ../../devices/pci0000:00/0000:00:05.0/host0/target0:0:1/0:0:1:0",
        "sys/devices/pci0000:00/0000:00:05.0/host0/target0:0:1/0:0:1:0/rev": "1.0\n",
        "sys/block/sdb/device/rev": "2.0\n",
    }
    root = make_tree(tmp_path, files)
    disks = check(collect_block(root / "sys", root))["disks"]
    assert (disks["sda"]["scsi_address"], disks["sda"]["controller"]) == ("0:0:1:0", "0000:00:05.0")
    assert disks["sdb"] == {"path": "/dev/sdb", "kind": "disk", "firmware_version": "2.0"}

"""Block devices, SMBIOS ids, processors and virtualization from trees of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_tree import make_tree

from mkctl.probe.base import machine_facts, parse_cpu_list, parse_cpu_models, processor_facts
from mkctl.probe.dmi import board_fields, chassis_text, dmi_facts, read_dmi
from mkctl.probe.smbios import parse_table
from mkctl.probe.smbios_processor import count_processors
from mkctl.probe.sysfs import block_facts, read_block_devices
from mkctl.probe.virtual import read_virtual, virtual_facts
from mkctl.probe.vpd import parse_serial_page

DISKS = {
    "block/vda/size": "41943040\n",
    "block/vda/serial": "virtio-1\n",
    "block/vda/device/vendor": "0x1af4\n",
    "block/nvme0n1/size": "20971520\n",
    "block/nvme0n1/hidden": "0\n",
    "block/nvme0n1/device/model": "QEMU NVMe Ctrl                          \n",
    "block/nvme0n1/device/serial": "nvme-1              \n",
    "block/nvme0c0n1/hidden": "1\n",
    "block/nvme0c0n1/device/model": "x\n",
    "block/sda/size": "1953525168\n",
    "block/sda/device/vendor": "ATA     \n",
    "block/sda/device/model": "SAMSUNG HM100UI \n",
    "block/sda/device/vpd_pg80": b"\x00\x80\x00\x14      S2GHJ9BB305259",
    "block/sdb/size": "odd\n",
    "block/sdb/device/vpd_pg80": b"\x00\x83\x00\x02ab",
    "block/sdc/device/vpd_pg80": b"\x00" * 5000,
    "block/sr0/size": "2097151\n",
    "block/sr0/device/model": "DVD-ROM\n",
    "block/loop0/size": "0\n",
    "block/dm-0/size": "100\n",
}


def test_block_devices(tmp_path: Path) -> None:
    facts = block_facts(read_block_devices(make_tree(tmp_path, DISKS)))
    assert facts == {
        "blockdevices": "nvme0n1,sda,sdb,sdc,sr0,vda",
        "blockdevice_nvme0n1_size": 10737418240,
        "blockdevice_nvme0n1_model": "QEMU NVMe Ctrl",
        "blockdevice_nvme0n1_serial": "nvme-1",
        "blockdevice_sda_size": 1000204886016,
        "blockdevice_sda_vendor": "ATA",
        "blockdevice_sda_model": "SAMSUNG HM100UI",
        "blockdevice_sda_serial": "S2GHJ9BB305259",
        "blockdevice_sdb_size": 0,
        "blockdevice_sdc_size": 0,
        "blockdevice_sr0_size": 1073741312,
        "blockdevice_sr0_model": "DVD-ROM",
        "blockdevice_vda_size": 21474836480,
        "blockdevice_vda_vendor": "0x1af4",
        "blockdevice_vda_serial": "virtio-1",
    }


def test_scsi_address_and_revision(tmp_path: Path) -> None:
    files = {
        "block/sda/device": "-> ../../devices/0:0:1:0",
        "block/sda/size": "8\n",
        "devices/0:0:1:0/rev": "2AM1\n",
        "block/vda/device/": "",
    }
    sda, vda = read_block_devices(make_tree(tmp_path, files))
    assert (sda.address, sda.revision, sda.disk) == ("0:0:1:0", "2AM1", True)
    assert (vda.address, vda.revision, vda.disk) == ("", "", False)


def test_diskless(tmp_path: Path) -> None:
    assert block_facts(read_block_devices(tmp_path)) == {}
    assert block_facts(read_block_devices(make_tree(tmp_path, {"block/": ""}))) == {}


@given(st.binary(max_size=64))
def test_serial_pages_of_any_bytes(page: bytes) -> None:
    assert isinstance(parse_serial_page(page), str)


DMI = {
    "class/dmi/id/sys_vendor": "Dell Inc.\n",
    "class/dmi/id/product_name": "PowerEdge R610\n",
    "class/dmi/id/product_serial": "ABC1234\n",
    "class/dmi/id/product_uuid": "4c4c4544-0042-3310-804b-b4c04f303031\n",
    "class/dmi/id/board_vendor": "Dell Inc.\n",
    "class/dmi/id/board_name": "0F0XJ6\n",
    "class/dmi/id/board_serial": "..CN70163\n",
    "class/dmi/id/board_version": "A11\n",
    "class/dmi/id/bios_vendor": "Dell Inc.\n",
    "class/dmi/id/bios_version": "6.6.0\n",
    "class/dmi/id/bios_date": "05/22/2018\n",
    "class/dmi/id/chassis_type": "23\n",
}


def test_dmi(tmp_path: Path) -> None:
    dmi = read_dmi(make_tree(tmp_path, DMI))
    assert dmi_facts(dmi) == {
        "manufacturer": "Dell Inc.",
        "productname": "PowerEdge R610",
        "serialnumber": "ABC1234",
        "uuid": "4C4C4544-0042-3310-804B-B4C04F303031",
        "boardmanufacturer": "Dell Inc.",
        "boardproductname": "0F0XJ6",
        "boardserialnumber": "..CN70163",
        "bios_vendor": "Dell Inc.",
        "bios_version": "6.6.0",
        "bios_release_date": "05/22/2018",
        "type": "Rack Mount Chassis",
    }
    assert board_fields(dmi) == {"vendor": "Dell Inc.", "product": "0F0XJ6", "version": "A11", "serial": "..CN70163"}


def test_dmi_of_a_virtual_machine_without_board_and_with_an_empty_uuid(tmp_path: Path) -> None:
    files = {
        "class/dmi/id/sys_vendor": "QEMU\n",
        "class/dmi/id/product_uuid": "\n",
        "class/dmi/id/board_vendor": "  \n",
    }
    dmi = read_dmi(make_tree(tmp_path, files))
    assert dmi_facts(dmi) == {"manufacturer": "QEMU"}
    assert board_fields(dmi) == {"vendor": "QEMU"}


def test_no_smbios(tmp_path: Path) -> None:
    assert dmi_facts(read_dmi(tmp_path)) == {}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1", "Other"),
        ("3", "Desktop"),
        ("17", "Main Server Chassis"),
        ("28", "Blade"),
        ("36", "Stick PC"),
        ("151", "Rack Mount Chassis"),
    ]
    + [(odd, "<OUT OF SPEC>") for odd in ("0", "37", "x", "", "-1", "²")],
)
def test_chassis(number: str, text: str) -> None:
    assert chassis_text(number) == text


def cpuinfo(count: int, model: str = "Xeon") -> str:
    return "".join(
        f"processor\t: {number}\nvendor_id\t: GenuineIntel\nmodel name\t: {model}\n\n" for number in range(count)
    )


def test_processors(tmp_path: Path) -> None:
    files = {"devices/system/cpu/present": "0-3\n", "devices/system/cpu/online": "0-3\n"}
    files.update({f"devices/system/cpu/cpu{n}/topology/physical_package_id": f"{n % 2}\n" for n in range(4)})
    assert processor_facts(make_tree(tmp_path, files), cpuinfo(4)) == {
        "processorcount": 4,
        "processor0": "Xeon",
        "processor1": "Xeon",
        "processor2": "Xeon",
        "processor3": "Xeon",
        "physicalprocessorcount": 2,
        "processors": {"count": 4, "models": ["Xeon"] * 4, "physicalcount": 2},
    }


def structure(kind: int, area: bytes, *strings: bytes) -> bytes:
    text = b"".join(string + b"\0" for string in strings) + b"\0" if strings else b"\0\0"
    return bytes([kind, len(area) + 4, 0, 0]) + area + text


def socket(populated: bool, kind: int = 3) -> bytes:
    area = bytearray(0x1A - 4)
    area[0x05 - 4], area[0x18 - 4] = kind, 0x41 if populated else 0
    return structure(4, bytes(area), b"CPU1", b"Intel")


TABLE = (
    structure(1, bytes(23)) + socket(True) + socket(False) + socket(True) + socket(True, kind=6) + structure(127, b"")
)


def test_b02_maxcpus_does_not_hide_processors(tmp_path: Path) -> None:
    """B02: one CPU was started of two sockets with four."""
    files: dict[str, str | bytes] = {
        "devices/system/cpu/present": "0-7\n",
        "devices/system/cpu/online": "0\n",
        "devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
        "firmware/dmi/tables/DMI": TABLE,
    }
    facts = processor_facts(make_tree(tmp_path, files), cpuinfo(1))
    assert facts["processorcount"] == 8
    assert facts["processor7"] == "Xeon"
    assert facts["physicalprocessorcount"] == 2


def test_processors_without_sysfs_or_cpuinfo(tmp_path: Path) -> None:
    assert processor_facts(tmp_path, cpuinfo(2))["processorcount"] == 2
    assert processor_facts(make_tree(tmp_path, {"devices/system/cpu/present": "0-1\n"}), "") == {
        "processorcount": 2,
        "processors": {"count": 2, "models": []},
    }


@pytest.mark.parametrize(
    ("text", "models"),
    [
        ("processor : 0\nmodel name : A\n\nprocessor : 1\nmodel name : B\n", ["A", "B"]),
        ("Processor\t: ARMv7 rev 4\nprocessor\t: 0\nBogoMIPS\t: 1\n\nprocessor\t: 1\n", ["ARMv7 rev 4"] * 2),
        ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t: 2GHz\n", ["POWER9, altivec supported"]),
        ("vendor_id : IBM/S390\nprocessor 0: version = FF\nprocessor 1: version = FF\n", ["IBM/S390"] * 2),
        ("processor\t: 0\nBogoMIPS\t: 100.00\n", [""]),
        ("", []),
    ],
)
def test_models(text: str, models: list[str]) -> None:
    assert parse_cpu_models(text) == models


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0-3,8", [0, 1, 2, 3, 8]), ("0", [0]), ("", []), ("0-3,x", []), ("7-5", []), ("0-\n", []), ("\n", [])],
)
def test_cpu_lists(text: str, numbers: list[int]) -> None:
    assert parse_cpu_list(text) == numbers


@given(st.binary(max_size=400))
def test_smbios_of_any_bytes(table: bytes) -> None:
    list(parse_table(table))
    assert count_processors(parse_table(table)) >= 0


def test_smbios_tables_cut_anywhere() -> None:
    assert count_processors(parse_table(TABLE)) == 2
    assert [found.kind for found in parse_table(TABLE)] == [1, 4, 4, 4, 4, 127]
    assert list(parse_table(TABLE))[1].strings == (b"CPU1", b"Intel")
    for length in range(len(TABLE)):
        assert count_processors(parse_table(TABLE[:length])) <= 2


def test_architecture() -> None:
    assert machine_facts("i686") == {"architecture": "i386", "hardwaremodel": "i686", "hardwareisa": "i686"}
    assert machine_facts("x86_64")["architecture"] == "x86_64"
    assert machine_facts("aarch64")["architecture"] == "aarch64"


HYPERVISOR = {"proc/cpuinfo": "processor : 0\nflags\t\t: fpu hypervisor lahf_lm\n"}
CLOCK = "sys/devices/system/clocksource/clocksource0/available_clocksource"


def dmi(**attributes: str) -> dict[str, str]:
    return {f"sys/class/dmi/id/{name}": f"{value}\n" for name, value in attributes.items()}


@pytest.mark.parametrize(
    ("files", "virtual"),
    [
        ({}, "physical"),
        ({"proc/cpuinfo": "flags : fpu vmx\nmodel name : hypervisor lover\n"}, "physical"),
        (dmi(sys_vendor="Dell Inc.", product_name="PowerEdge R610"), "physical"),
        (dmi(sys_vendor="Microsoft Corporation", product_name="Surface Pro"), "physical"),
        (dmi(sys_vendor="Google", product_name="Caroline"), "physical"),
        (dmi(sys_vendor="Amazon EC2", product_name="c5.metal"), "physical"),
        (dmi(sys_vendor="Amazon EC2", product_name="m7g.large"), "kvm"),
        (dmi(sys_vendor="QEMU", product_name="Standard PC (Q35 + ICH9, 2009)"), "kvm"),
        (dmi(sys_vendor="Red Hat", product_name="KVM"), "kvm"),
        (dmi(sys_vendor="Bochs", product_name="Bochs"), "kvm"),
        (dmi(sys_vendor="VMware, Inc.", product_name="VMware Virtual Platform"), "vmware"),
        (dmi(sys_vendor="innotek GmbH", product_name="VirtualBox"), "virtualbox"),
        (dmi(sys_vendor="Microsoft Corporation", product_name="Virtual Machine"), "hyperv"),
        (dmi(sys_vendor="Parallels Software International Inc."), "parallels"),
        (dmi(sys_vendor="Google", product_name="Google Compute Engine"), "gce"),
        (dmi(sys_vendor="Red Hat", product_name="RHEV Hypervisor"), "rhev"),
        (dmi(sys_vendor="oVirt", product_name="oVirt Node"), "ovirt"),
        (dmi(sys_vendor="Xen", product_name="HVM domU"), "xenhvm"),
        ({"sys/hypervisor/type": "xen\n", **dmi(sys_vendor="Xen", product_name="HVM domU")}, "xenhvm"),
        ({"sys/hypervisor/type": "xen\n", "sys/hypervisor/guest_type": "PVH\n"}, "xenhvm"),
        ({"sys/hypervisor/type": "xen\n"}, "xenu"),
        ({"proc/xen/capabilities": "control_d\n", **dmi(sys_vendor="Dell Inc.")}, "xen0"),
        ({"proc/sysinfo": "VM00 Control Program: z/VM\n"}, "zlinux"),
        ({"proc/device-tree/compatible": "linux,dummy-virt\0"}, "kvm"),
        ({"proc/cpuinfo": "model name\t: QEMU TCG CPU version 2.5+\n"}, "kvm"),
        ({"proc/cpuinfo": "model name\t: QEMU Virtual CPU version 1.0\n"}, "kvm"),
        ({**HYPERVISOR, **dmi(sys_vendor="Amazon EC2"), CLOCK: "kvm-clock tsc\n"}, "kvm"),
        ({**HYPERVISOR, CLOCK: "hyperv_clocksource_tsc_page\n"}, "hyperv"),
        ({**HYPERVISOR, CLOCK: "xen tsc\n"}, "xenhvm"),
        ({**HYPERVISOR, CLOCK: "tsc\n"}, "unknown"),
        ({"run/systemd/container": "systemd-nspawn\n", **dmi(sys_vendor="QEMU")}, "systemd_nspawn"),
        ({"run/systemd/container": "docker\n"}, "docker"),
        ({"run/systemd/container": "lxc-libvirt\n"}, "lxc"),
        ({".dockerenv": ""}, "docker"),
        ({".dockerenv": "", "proc/1/cgroup": "0::/\n"}, "docker"),
        ({".dockerenv": "", "proc/1/cgroup": "2:cpu:/docker/0123\n1:name=systemd:/docker/0123\n"}, "docker"),
        ({".dockerenv": "", "proc/1/cgroup": "0::/init.scope\n"}, "physical"),
        ({".dockerenv": "", "proc/1/cgroup": "2:cpu:/\n1:name=systemd:/\n"}, "physical"),
    ],
)
def test_virtual(tmp_path: Path, files: dict[str, str], virtual: str) -> None:
    make_tree(tmp_path, files)
    assert read_virtual(tmp_path, tmp_path / "sys", tmp_path / "proc") == virtual


def test_is_virtual_is_a_boolean() -> None:
    assert virtual_facts("physical") == {"virtual": "physical", "is_virtual": False}
    assert virtual_facts("xen0") == {"virtual": "xen0", "is_virtual": False}
    assert virtual_facts("kvm") == {"virtual": "kvm", "is_virtual": True}

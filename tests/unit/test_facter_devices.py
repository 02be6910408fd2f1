"""Disks, partitions, mounts and processors in the forms of Facter 2.4 and 4; expected values as Facter 4.3 printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_tree import make_tree

from mkctl.probe.base import flat_processors, read_processors, structured_processors
from mkctl.probe.facter_disks import flat_partitions, read_disks, read_partitions, structured_partitions
from mkctl.probe.facter_mounts import Mount, mounted_devices, parse_filesystems, parse_mounts, structured_mounts
from mkctl.probe.udev import decode, parse_udev, read_udev, serial_of, wwn_of

Files = dict[str, Union[str, bytes]]
BLOCK: Files = {
    "sys/block/sdx/dev": "8:0\n",
    "sys/block/sdx/size": "2048000\n",
    "sys/block/sdx/queue/rotational": "0\n",
    "sys/block/sdx/device/vendor": "ATA     \n",
    "sys/block/sdx/device/model": "Mod el 1 \n",
    "sys/block/sdx/sdx1/dev": "8:1\n",
    "sys/block/sdx/sdx1/size": "2048\n",
    "sys/block/sdx/sdx2/dev": "8:2\n",
    "sys/block/sdx/sdx2/size": "4096\n",
    "sys/block/sdx/holders/": "",
    "sys/block/sr0/size": "2097151\n",
    "sys/block/sr0/queue/rotational": "1\n",
    "sys/block/sr0/device/model": b"DVD\xff\x1b[2J\n",
    "sys/block/fd0/size": "0\n",
    "sys/block/fd0/device/": "",
    "sys/block/bad/size": "-5\n",
    "sys/block/bad/device/": "",
    "sys/block/dm-0/dev": "253:0\n",
    "sys/block/dm-0/size": "4096\n",
    "sys/block/dm-0/dm/name": "vg-root\n",
    "sys/block/dm-1/dm/": "",
    "sys/block/loop0/size": "16\n",
    "sys/block/loop0/loop/backing_file": "/srv/a b.img\n",
    "sys/block/loop1/size": "0\n",
    "sys/block/zram0/size": "100\n",
    "sys/block/md0/size": "4096\n",
    "run/udev/data/b8:0": "E:ID_SERIAL_SHORT=S  1 2\nE:ID_SERIAL=M_S\nE:ID_WWN=0x5000\n"
    "E:ID_WWN_WITH_EXTENSION=0x50001\n",
    "run/udev/data/b8:1": "I:1\nE:ID_FS_TYPE=vfat\nE:ID_FS_UUID=1-2\nE:ID_FS_UUID_ENC=1-2\n"
    "E:ID_PART_ENTRY_NAME=EFI\\x20System\nE:ID_PART_ENTRY_UUID=aaa-1\n",
    "run/udev/data/b8:2": "E:ID_FS_TYPE=ext4\nE:ID_FS_LABEL=my_root\nE:ID_FS_LABEL_ENC=my\\x20root\n"
    "E:ID_FS_UUID_ENC=22\n",
    "run/udev/data/b253:0": "E:ID_FS_TYPE=xfs\nE:ID_FS_UUID_ENC=33\n",
}
MOUNTS = (
    b"proc /proc proc rw,nosuid 0 0\n/dev/sdx2 /the\\040mount ext4 rw,relatime,errors=remount-ro 0 0\n"
    b"/dev/sdx2 /again ext4 ro 0 0\n/dev/mapper/vg-root / xfs rw 0 0\n"
)


def size(size_bytes: int, text: str) -> dict[str, Any]:
    return {"size": text, "size_bytes": size_bytes}


def test_disks(tmp_path: Path) -> None:
    root = make_tree(tmp_path, BLOCK)
    assert read_disks(root / "sys", str(root)) == {
        "sdx": {
            "model": "Mod el 1",
            "serial": "S 1 2",
            **size(1048576000, "1000.00 MiB"),
            "type": "ssd",
            "vendor": "ATA",
            "wwn": "0x50001",
        },
        "sr0": {"model": "DVD\ufffd[2J", **size(1073741312, "1.00 GiB"), "type": "hdd"},
        "fd0": size(0, "0 bytes"),
        "bad": size(0, "0 bytes"),
    }
    assert read_disks(root / "none", str(root)) == {}


def test_partitions(tmp_path: Path) -> None:
    root = make_tree(tmp_path, BLOCK)
    partitions = read_partitions(root / "sys", str(root))
    mounted = mounted_devices(parse_mounts(MOUNTS))
    assert structured_partitions(partitions, mounted) == {
        "/dev/sdx1": {
            "filesystem": "vfat",
            "partlabel": "EFI System",
            "partuuid": "aaa-1",
            **size(1048576, "1.00 MiB"),
            "uuid": "1-2",
        },
        "/dev/sdx2": {
            "filesystem": "ext4",
            "label": "my root",
            "mount": "/the mount",
            **size(2097152, "2.00 MiB"),
            "uuid": "22",
        },
        "/dev/mapper/vg-root": {"filesystem": "xfs", "mount": "/", **size(2097152, "2.00 MiB"), "uuid": "33"},
        "/dev/dm-1": size(0, "0 bytes"),
        "/dev/loop0": {"backing_file": "/srv/a b.img", **size(8192, "8.00 KiB")},
    }
    assert flat_partitions(partitions, mounted) == {
        "partitions": {
            "sdx1": {"size": "2048", "filesystem": "vfat", "uuid": "1-2"},
            "sdx2": {"size": "4096", "filesystem": "ext4", "uuid": "22", "label": "my root", "mount": "/the mount"},
        }
    }
    assert flat_partitions([], {}) == {}


def test_udev(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path, {"run/udev/data/b8:0": b"E:A=1=2\nE:B\nS:disk/by-id\nE:C=\xff\n", "run/udev/data/b9:0/": ""}
    )
    assert read_udev(str(root), "8:0") == {"A": "1=2", "C": "\ufffd"}
    assert read_udev(str(root), "9:0") == read_udev(str(root), "1:1") == {}
    assert read_udev(str(root), "../b8:0") == read_udev(str(root), "") == {}
    assert serial_of({"ID_SERIAL_SHORT": "S", "ID_SCSI_SERIAL": "I", "SCSI_IDENT_SERIAL": "X"}) == "X"
    assert serial_of({"ID_SERIAL_SHORT": "S", "ID_SCSI_SERIAL": "I"}) == "I"
    assert serial_of({"ID_SERIAL": "M_S"}) == "M_S"
    assert serial_of({}) == wwn_of({}) == ""
    assert wwn_of({"ID_WWN": "0x5000"}) == "0x5000"
    assert decode("a\\x20b\\xff\\x1b\\xzz") == "a b\ufffd\\xzz"


@given(st.text())
def test_udev_of_any_text(text: str) -> None:
    for value in parse_udev(text).values():
        assert decode(value).isprintable()


def test_mounts(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    lines = (
        "/dev/root / ext4 rw 0 0",
        f"dev\\040one {tmp_path}/a\\040b tmpfs rw,size=5k 0 0",
        f"dev\\040two {tmp_path}/a\\040b tmpfs ro 0 0",
        "none /nonexistent nfs rw,addr=192.0.2.1 0 0",
        "sysfs /sys sysfs rw 0 0",
        "x /system ext4 rw 0 0",
        "tmpfs /sys/fs/cgroup tmpfs rw 0 0",
        "systemd-1 /proc/sys/fs/binfmt_misc autofs rw 0 0",
        "auto /net autofs rw 0 0",
        "cut off",
        "",
    )
    mounts = parse_mounts("\n".join(lines).encode())
    assert mounts[1] == Mount("dev one", f"{tmp_path}/a b", "tmpfs", ("rw", "size=5k"))
    facts: dict[str, Any] = structured_mounts(mounts, "quiet root=/dev/vda1")
    assert facts.keys() == {"/", f"{tmp_path}/a b", "/nonexistent", "/sys/fs/cgroup"}
    assert facts["/"]["device"] == "/dev/vda1"
    assert structured_mounts(mounts)["/"]["device"] == "/dev/root"  # type: ignore[call-overload,index]
    assert (facts[f"{tmp_path}/a b"]["device"], facts[f"{tmp_path}/a b"]["options"]) == ("dev two", ["ro"])
    assert facts["/nonexistent"] == {
        "device": "none",
        "filesystem": "nfs",
        "options": ["rw", "addr=192.0.2.1"],
        **size(0, "0 bytes"),
        "available": "0 bytes",
        "available_bytes": 0,
        "used": "0 bytes",
        "used_bytes": 0,
        "capacity": "100%",
    }
    used = facts["/"]["size_bytes"] - facts["/"]["available_bytes"]
    assert 0 <= facts["/"]["used_bytes"] <= used


@given(st.binary())
def test_mounts_of_any_bytes(data: bytes) -> None:
    for mount in parse_mounts(data):
        assert mount.filesystem.isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nodev\tsysfs\n\text4\n\tfuseblk\n\tiso9660\n\tbtrfs\nnodev\ttmpfs\n", "btrfs,ext4,iso9660"),
        ("nodev\tsysfs\n", ""),
    ],
)
def test_filesystems(text: str, expected: str) -> None:
    assert parse_filesystems(text) == expected


# --- processors -----------------------------------------------------------------------------------
def cpuinfo(count: int, *lines: str) -> str:
    return "".join("\n".join((f"processor\t: {number}", *lines, "", "")) for number in range(count))


def topology(count: int, threads: int, cores: int) -> Files:
    """A machine whose CPU numbers go through the packages first, then their cores, then the threads."""
    files: Files = {
        "devices/system/cpu/present": f"0-{count - 1}\n",
        "devices/system/cpu/online": f"0-{count - 1}\n",
    }
    packages = count // threads // cores
    for number in range(count):
        folder = f"devices/system/cpu/cpu{number}/topology"
        package, thread_step = number % packages, packages * cores
        core = number % thread_step
        files[f"{folder}/physical_package_id"] = f"{package}\n"
        files[f"{folder}/thread_siblings_list"] = ",".join(str(core + n * thread_step) for n in range(threads)) + "\n"
        files[f"{folder}/core_siblings_list"] = ",".join(map(str, range(package, count, packages))) + "\n"
    return files


def test_processors(tmp_path: Path) -> None:
    """Two packages with four cores and two threads in each."""
    make_tree(tmp_path, topology(16, threads=2, cores=4))
    found = read_processors(tmp_path, cpuinfo(16, "model name\t: Xeon  @ 2.27GHz ", "cpu MHz\t\t: 1600.500"))
    assert structured_processors(found, "unknown") == {
        "cores": 4,
        "count": 16,
        "isa": "unknown",
        "models": ["Xeon  @ 2.27GHz"] * 16,
        "physicalcount": 2,
        "speed": "1.60 GHz",
        "threads": 2,
    }
    assert flat_processors(found)["processors"] == {
        "count": 16,
        "models": ["Xeon  @ 2.27GHz"] * 16,
        "physicalcount": 2,
    }


def test_b02_maxcpus_does_not_hide_processors_from_the_structured_fact(tmp_path: Path) -> None:
    """B02: the kernel was started with maxcpus=1, and shows topology and model of one processor alone."""
    files = topology(8, threads=1, cores=8)
    files["devices/system/cpu/online"] = "0\n"
    for name in [name for name in files if "/topology/" in name and "/cpu0/" not in name]:
        del files[name]
    facts = structured_processors(read_processors(make_tree(tmp_path, files), cpuinfo(1, "model name: A")), "x86_64")
    assert facts["count"] == 8
    assert facts["models"] == ["A"] * 8
    assert facts["physicalcount"] == 1


def test_five_hundred_processors(tmp_path: Path) -> None:
    make_tree(tmp_path, topology(512, threads=4, cores=64))
    found = read_processors(tmp_path, cpuinfo(512, "model name\t: P", "flags\t\t: " + "flag " * 200))
    assert (found.count, found.packages, found.cores, found.threads) == (512, 2, 64, 4)
    assert set(found.models) == {"P"}


@pytest.mark.parametrize(
    ("text", "models", "speed_mhz"),
    [
        (
            "processor: 0\ncpu\t\t: POWER9\nclock\t\t: 2200.000000MHz\n\nprocessor: 1\ncpu: POWER9\n",
            ["POWER9"] * 2,
            2200,
        ),
        ("processor\t: 0\nBogoMIPS\t: 38.40\n", [], 0),
        (
            cpuinfo(1, "model name: x", "cpu MHz: 800.5") + cpuinfo(1, "model name: y", "cpu MHz: 3400.1"),
            ["x", "y"],
            3400,
        ),
        ("vendor_id       : IBM/S390\nprocessor 0: version = FF,  identification = 1\n", ["IBM/S390"], 0),
    ],
)
def test_processors_of_other_kinds(tmp_path: Path, text: str, models: list[str], speed_mhz: int) -> None:
    found = read_processors(tmp_path, text)
    assert structured_processors(found, "unknown")["models"] == models
    assert found.speed_mhz == speed_mhz

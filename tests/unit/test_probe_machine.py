"""The machine as its firmware describes it, in trees of files: identity and its confidence, boot mode, a lost table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Union

import jsonschema
import pytest
from probe_tree import make_tree
from smbios_tables import make_board, make_entry_point_3, make_server, make_slot, make_system, make_table

from mkcore.errors import BadInput
from mkcore.paths import paths_under
from mkctl.probe.confidence import build_identity, read_has_address
from mkctl.probe.dmi import build_dmi_inventory, read_dmi_sections
from mkctl.probe.firmware import parse_secure_boot, read_boot_mode
from mkctl.probe.machine import collect_smbios
from mkctl.probe.model import INVENTORY_VERSION, Status
from mkctl.probe.schema import build_schema
from mkctl.probe.sources import build_collectors
from mkctl.probe.virtual import virtual_inventory

Files = dict[str, Union[str, bytes]]
UUID = "4c4c4544-0042-3510-8056-b4c04f4d3032"
SECURE_BOOT = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
DMI: Files = {
    "sys/class/dmi/id/sys_vendor": "Dell Inc.\n",
    "sys/class/dmi/id/product_name": "PowerEdge R610\n",
    "sys/class/dmi/id/product_serial": "ABC1234\n",
    "sys/class/dmi/id/product_uuid": UUID.upper() + "\n",
    "sys/class/dmi/id/product_sku": "To be filled by O.E.M.\n",
    "sys/class/dmi/id/board_serial": b"..CN\xff70163\n",
    "sys/class/dmi/id/chassis_type": "23\n",
    "sys/class/dmi/id/bios_release": "6.6\n",
}


def table_files(table: bytes) -> Files:
    return {
        "sys/firmware/dmi/tables/DMI": table,
        "sys/firmware/dmi/tables/smbios_entry_point": make_entry_point_3(table),
    }


def inventory_in(root: Path, files: Files) -> dict[str, Any]:
    """What the collector brings of a tree, held to the published schema."""
    make_tree(root, files)
    collected = collect_smbios(paths_under(str(root)))
    assert collected.status is Status.OK
    document = {"schema_version": INVENTORY_VERSION, **collected.inventory}
    jsonschema.validate(document, build_schema())
    return dict(collected.inventory)


def test_a_machine_with_a_table(tmp_path: Path) -> None:
    inventory = inventory_in(tmp_path, table_files(make_server()))
    assert inventory["identity"] == {"confidence": "strong", "problems": []}
    assert inventory["firmware"]["boot_mode"] == "bios"
    assert inventory["system"]["serial"] == "S-1001"
    assert len(inventory["memory"]["slots"]) == 24
    assert inventory["tpm"]["vendor"] == "IFX"


def test_a_machine_without_the_raw_table(tmp_path: Path) -> None:
    assert inventory_in(tmp_path, DMI) == {
        "system": {"manufacturer": "Dell Inc.", "product": "PowerEdge R610", "serial": "ABC1234", "uuid": UUID},
        "board": {"serial": "..CN\ufffd70163"},
        "chassis": {"type": "Rack Mount Chassis"},
        "firmware": {"release": "6.6", "boot_mode": "bios"},
        "identity": {"confidence": "strong", "problems": []},
    }


@pytest.mark.parametrize("uuid", ["no uuid", "4c4c4544", "x" * 36, ""])
def test_a_uuid_of_sysfs_that_is_none(tmp_path: Path, uuid: str) -> None:
    make_tree(tmp_path, {**DMI, "sys/class/dmi/id/product_uuid": uuid})
    assert "uuid" not in build_dmi_inventory(read_dmi_sections(tmp_path / "sys"))["system"]  # type: ignore[operator]


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    """It is named in the remark, and what the kernel decoded stands in."""
    make_tree(tmp_path, {**DMI, "sys/firmware/dmi/tables/DMI/": ""})
    collected = collect_smbios(paths_under(str(tmp_path)))
    assert "SMBIOS table" in collected.error
    assert collected.inventory["system"]["product"] == "PowerEdge R610"  # type: ignore[index,call-overload]


def test_a_broken_table(tmp_path: Path) -> None:
    """What stands before the damage is reported; the lost system structure comes from sysfs."""
    table = make_table(make_slot(0), end=False) + b"\x01\x02\x03\x04junk"
    make_tree(tmp_path, {**DMI, **table_files(table)})
    collected = collect_smbios(paths_under(str(tmp_path)))
    assert collected.error.startswith("SMBIOS table: broken at byte ")
    inventory: dict[str, Any] = dict(collected.inventory)
    assert inventory["memory"]["slots"][0]["locator"] == "DIMM_0"
    assert inventory["system"]["serial"] == "ABC1234"
    assert inventory["identity"]["confidence"] == "strong"


def test_a_machine_with_a_device_tree(tmp_path: Path) -> None:
    base = "sys/firmware/devicetree/base"
    files: Files = {f"{base}/model": "Raspberry Pi 4 Model B\0", f"{base}/serial-number": "10000000abcdef01\0"}
    inventory = inventory_in(tmp_path, files)
    assert inventory["system"] == {"product": "Raspberry Pi 4 Model B", "serial": "10000000abcdef01"}
    assert inventory["identity"]["confidence"] == "weak"
    assert "firmware" not in inventory


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert inventory_in(tmp_path, {"sys/": ""}) == {
        "identity": {
            "confidence": "none",
            "problems": [
                "there is no system UUID",
                "there is no system serial number",
                "no NIC has an address of its own",
            ],
        }
    }


@pytest.mark.parametrize(
    ("uuid", "serial", "board", "has_address", "confidence", "problems"),
    [
        (UUID, "ABC1234", "B1", False, "strong", 0),
        (UUID, "Default string", "None", False, "strong", 2),
        ("03000200-0400-0500-0006-000700080009", "ABC1234", "B1", False, "weak", 1),
        ("", "Default string", "B1", False, "weak", 2),
        ("", "Default string", "0123456789", True, "weak", 3),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", "", "", False, "none", 3),
        ("00000000-0000-0000-0000-000000000000", "0000", "0000", False, "none", 4),
    ],
)
def test_confidence(uuid: str, serial: str, board: str, has_address: bool, confidence: str, problems: int) -> None:
    identity = build_identity(uuid, serial, board, has_address)
    assert identity["confidence"] == confidence
    assert isinstance(identity["problems"], list)
    assert len(identity["problems"]) == problems


def test_a_node_known_by_its_addresses(tmp_path: Path) -> None:
    table = make_table(make_system(b"\0" * 16, serial="To be filled by O.E.M."), make_board(serial="None"))
    nic: Files = {
        "sys/class/net/eno1/type": "1\n",
        "sys/class/net/eno1/address": "0c:c4:7a:13:38:78\n",
        "sys/class/net/eno1/device": "-> ../../../devices",
    }
    identity = inventory_in(tmp_path, {**table_files(table), "sys/devices/": "", **nic})["identity"]
    assert identity["confidence"] == "weak"
    assert "the system serial number is a placeholder: To be filled by O.E.M." in identity["problems"]


@pytest.mark.parametrize(
    ("changed", "has_address"),
    [
        ({}, True),
        ({"type": "24"}, False),
        ({"address": "00:00:00:00:00:00"}, False),
        ({"addr_assign_type": "1"}, False),
        ({"addr_assign_type": "0"}, True),
        ({"addr_assign_type": "3"}, False),
        ({"addr_assign_type": "3", "bonding_slave/perm_hwaddr": "0c:c4:7a:13:38:79"}, True),
    ],
)
def test_burnt_in_addresses(tmp_path: Path, changed: dict[str, str], has_address: bool) -> None:
    values = {"type": "1", "address": "0c:c4:7a:13:38:78", **changed}
    files: Files = {f"class/net/eno1/{name}": value for name, value in values.items()}
    assert read_has_address(make_tree(tmp_path, {**files, "class/net/eno1/device/": ""})) is has_address
    make_tree(tmp_path, {"class/net/bonding_masters": "bond0\n"})
    assert read_has_address(tmp_path) is has_address


@pytest.mark.parametrize(
    ("address", "device", "has_address"),
    [
        ("0a:ca:fe:f0:0d:04", "usb1/1-3/1-3.1/1-3.1:2.0", False),
        ("34:80:0d:01:02:03", "usb1/1-3/1-3.1/1-3.1:2.0", True),
        ("52:54:00:12:34:56", "0000:00:03.0/virtio0", True),
        ("52:54:00:12:34:56", "0000:00:03.0", True),
    ],
)
def test_the_nic_that_a_bmc_plugs_in_is_no_identity(
    tmp_path: Path, address: str, device: str, has_address: bool
) -> None:
    """One maker's have the same address in each of its machines."""
    files: Files = {
        "class/net/n0/type": "1",
        "class/net/n0/address": address,
        "class/net/n0/device": f"-> ../../../devices/{device}",
        f"devices/{device}/": "",
    }
    assert read_has_address(make_tree(tmp_path, files)) is has_address


def test_boot_mode(tmp_path: Path) -> None:
    assert read_boot_mode(tmp_path, has_smbios=False) == {}
    assert read_boot_mode(tmp_path, has_smbios=True) == {"boot_mode": "bios"}
    make_tree(tmp_path, {"firmware/efi/efivars/": ""})
    assert read_boot_mode(tmp_path, has_smbios=True) == {"boot_mode": "uefi"}, "efivarfs is not mounted"
    make_tree(tmp_path, {"firmware/efi/efivars/BootOrder-1": b"\x07\0\0\0\0\0"})
    assert read_boot_mode(tmp_path, has_smbios=True) == {"boot_mode": "uefi", "secure_boot": False}, "no such variable"
    make_tree(tmp_path, {SECURE_BOOT: b"\x06\0\0\0\x01"})
    assert read_boot_mode(tmp_path, has_smbios=True) == {"boot_mode": "uefi", "secure_boot": True}
    make_tree(tmp_path, {SECURE_BOOT: b"\x06\0\0\0"})
    assert read_boot_mode(tmp_path, has_smbios=True) == {"boot_mode": "uefi"}, "cut"


def test_efivars_without_a_folder(tmp_path: Path) -> None:
    make_tree(tmp_path, {"firmware/efi/": ""})
    assert read_boot_mode(tmp_path, has_smbios=True) == {"boot_mode": "uefi"}


def test_secure_boot() -> None:
    """Four bytes of attributes come first."""
    assert parse_secure_boot(b"\x06\0\0\0\x01") is True
    assert parse_secure_boot(b"\x06\0\0\0\0") is False
    with pytest.raises(BadInput, match="1 bytes instead of 5"):
        parse_secure_boot(b"\x01")


@pytest.mark.parametrize(
    ("virtual", "expected"),
    [
        ("physical", {"virtual": False}),
        ("kvm", {"virtual": True, "kind": "kvm"}),
        ("xen0", {"virtual": False, "kind": "xen0"}),
    ],
)
def test_virtualization(virtual: str, expected: dict[str, Any]) -> None:
    assert virtual_inventory(virtual) == {"virtualization": expected}


def test_the_collectors_are_built(tmp_path: Path) -> None:
    """Both are part of a collection of a tree, and the inventory has the memory of the kernel beside the slots."""
    make_tree(tmp_path, {**table_files(make_server()), "proc/meminfo": "MemTotal:  8174744 kB\n"})
    collectors = {collector.name: collector for collector in build_collectors(str(tmp_path))}
    assert collectors["smbios"].collect().inventory["board"]
    assert collectors["tpm"].collect().inventory == {}
    assert collectors["memory"].collect().inventory == {"memory": {"total_bytes": 8174744 << 10}}
    assert collectors["system"].collect().inventory["virtualization"] == {"virtual": False}

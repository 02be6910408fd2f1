"""Machines to show on the page: plausible facts of a small lab, and one whose facts attack whoever shows them."""

from __future__ import annotations

import json
from typing import Any

from mkserver_live import Live

HOSTILE = '"><script>document.title="owned"</script><img src=x onerror="document.title=1">{{7*7}}\u202e'


def uuid(number: int) -> str:
    """Hardware UUID of machine `number`."""
    return f"4C4C4544-0042-3510-8052-{number:012X}"


def server(number: int, **changes: Any) -> dict[str, Any]:
    """Facts of a two-socket server."""
    mac = f"3c:ec:ef:10:{number:02x}:"
    facts: dict[str, Any] = {
        "hostname": f"mk3CECEF10{number:02X}00",
        "architecture": "x86_64",
        "interfaces": "eno1,eno2,lo",
        "ipaddress": f"192.0.2.{10 + number}",
        "ipaddress_eno1": f"192.0.2.{10 + number}",
        "netmask_eno1": "255.255.255.0",
        "macaddress_eno1": mac + "00",
        "macaddress_eno2": mac + "01",
        "is_virtual": "false",
        "virtual": "physical",
        "manufacturer": "Supermicro",
        "productname": "X9DBL-3F/X9DBL-iF",
        "serialnumber": f"S1645{number:05d}",
        "uuid": uuid(number),
        "memorysize": "62.79 GiB",
        "memorysize_mb": "64297.23",
        "processorcount": 24,
        "physicalprocessorcount": 2,
        "mk_hw_cpu_count": "2",
        "mk_hw_cpu0_product": "Intel(R) Xeon(R) CPU E5-2430 0 @ 2.20GHz",
        "mk_hw_cpu0_slot": "P1",
        "mk_hw_lscpu_Architecture": "x86_64",
        "mk_hw_lscpu_L3_cache": "15 MiB",
        "mk_hw_mem_size": "64GiB",
        "mk_hw_mem_slot_count": "8",
        "mk_hw_bus_vendor": "Supermicro",
        "mk_hw_bus_product": "X9DBL-3F/X9DBL-iF",
        "mk_hw_fw_version": "3.3",
        "mk_hw_fw_date": "07/12/2018",
        "mk_hw_disk_count": "2",
        "mk_hw_nic_count": "2",
        "mk_ipmi_IP_Address": f"198.51.100.{10 + number}",
        "mk_ipmi_Firmware_Revision": "3.48",
        "blockdevices": "sda,sdb",
        "dhcp_servers": {"system": "192.0.2.1", "eno1": "192.0.2.1"},
        "kernelversion_of_the_microkernel": "6.12.48",
    }
    for disk, name in enumerate(("sda", "sdb")):
        facts[f"mk_hw_disk{disk}_logical_name"] = f"/dev/{name}"
        facts[f"mk_hw_disk{disk}_product"] = "INTEL SSDSC2BB48"
        facts[f"mk_hw_disk{disk}_serial"] = f"PHWL5{number:03d}00{disk}A480QGN"
        facts[f"mk_hw_disk{disk}_size"] = "447GiB (480GB)"
    for nic, name in enumerate(("eno1", "eno2")):
        facts[f"mk_hw_nic{nic}_logical_name"] = name
        facts[f"mk_hw_nic{nic}_serial"] = f"{mac}{nic:02x}"
        facts[f"mk_hw_nic{nic}_size"] = "1Gbit/s"
    facts.update(changes)
    return facts


def inventory(number: int) -> dict[str, Any]:
    """The inventory document of `server(number)`."""
    mac = f"3c:ec:ef:10:{number:02x}:"
    cache = [
        {"level": 1, "type": "Data", "size_bytes": 32768, "count": 6},
        {"level": 3, "size_bytes": 15728640, "count": 1},
    ]
    package = {
        "model_name": "Intel(R) Xeon(R) CPU E5-2430 0 @ 2.20GHz", "cores": 6, "threads": 12, "max_mhz": 2700,
        "caches": cache,
    }  # fmt: skip
    dimm = {
        "populated": True, "size_bytes": 8 << 30, "type": "DDR3", "form_factor": "DIMM", "speed_mts": 1600,
        "configured_speed_mts": 1333, "manufacturer": "Samsung", "part_number": "M393B1K70DH0-CK0",
    }  # fmt: skip
    health = {"passed": True, "temperature_c": 27, "power_on_hours": 41233, "source": "smartctl"}
    disk = {
        "vendor": "INTEL", "model": "SSDSC2BB480G4", "size_bytes": 480103981056, "rotational": False, "kind": "disk",
        "transport": "sata", "firmware_version": "D2010370", "wwn": "0x55cd2e404b5a0000", "health": health,
    }  # fmt: skip
    nic = {
        "type": "ethernet", "carrier": True, "speed_mbps": 1000, "driver": "igb", "vendor": "Intel Corporation",
        "model": "I350 Gigabit Network Connection", "numa_node": 0, "firmware_version": "1.63, 0x800009fa",
    }  # fmt: skip
    return {
        "schema_version": 1,
        "system": {
            "manufacturer": "Supermicro", "product": "X9DBL-3F/X9DBL-iF", "serial": f"S1645{number:05d}",
            "uuid": uuid(number).lower(),
        },
        "identity": {"confidence": "weak", "problems": ["the serial number of the chassis is a placeholder"]},
        "board": {"manufacturer": "Supermicro", "product": "X9DBL-3F/X9DBL-iF", "serial": "WM13S6002"},
        "chassis": {"manufacturer": "Supermicro", "type": "Rack Mount Chassis"},
        "firmware": {
            "boot_mode": "uefi", "secure_boot": False, "vendor": "American Megatrends Inc.", "version": "3.3",
            "date": "2018-07-12",
        },
        "processors": {"packages": {"0": {**package, "numa_nodes": [0]}, "1": {**package, "numa_nodes": [1]}}},
        "memory": {
            "installed_bytes": 64 << 30, "total_bytes": 67420123136,
            "slots": [
                *(
                    {**dimm, "locator": f"P{1 + slot // 4}-DIMM{'ABCD'[slot % 4]}1", "serial": f"36A0B{slot}"}
                    for slot in range(8)
                ),
                {"locator": "P1-DIMMA2", "populated": False},
            ],
        },
        "disks": {
            "sda": {**disk, "serial": f"PHWL5{number:03d}000A480QGN"},
            "sdb": {**disk, "serial": f"PHWL5{number:03d}001A480QGN", "health": {**health, "passed": False}},
        },
        "nics": {
            "eno1": {**nic, "mac": mac + "00", "pci_address": "0000:04:00.0", "boot": True},
            "eno2": {**nic, "mac": mac + "01", "pci_address": "0000:04:00.1", "carrier": False},
        },
        "lldp_neighbors": {
            "eno1": [{"system_name": "sw-rack12-MG-01.example.net", "port_id": "ge-0/0/12", "vlan_id": 100}],
        },
        "pci": {
            "0000:08:00.0": {
                "class": "RAID bus controller", "vendor": "Broadcom / LSI", "device": "SAS2308", "vendor_id": "1000",
                "device_id": "0087",
            },
        },
        "devices_without_driver": ["0000:08:00.0"],
        "bmc": {
            "present": True, "manufacturer": "Supermicro", "firmware_version": "3.48", "ipmi_version": "2.0",
            "lan": {
                "1": {
                    "ipv4": f"198.51.100.{10 + number}", "netmask": "255.255.255.0", "gateway": "198.51.100.1",
                    "mac": mac + "ff", "ipv6": ["fe80::1"],
                },
            },
        },
        "tpm": {"present": True, "version": "1.2", "vendor": "Infineon"},
        "kernel": {"release": "6.12.48+deb13-amd64", "machine": "x86_64"},
    }  # fmt: skip


def hostile_inventory() -> dict[str, Any]:
    """A document whose texts attack the page and whose types are wrong."""
    return {
        "schema_version": 1,
        "system": {"manufacturer": HOSTILE, "product": "W" * 300, "serial": ["x"], "uuid": {}},
        "processors": {"packages": {HOSTILE: {"model_name": "M" * 150, "caches": [1, {"level": HOSTILE}]}, "1": 5}},
        "memory": {"slots": [{"locator": "L" * 150, "size_bytes": 10**40, "serial": HOSTILE}, None]},
        "disks": {"d" * 150: {"model": HOSTILE, "size_bytes": -1, "serial": "S" * 150, "health": {"passed": "no"}}},
        "nics": {HOSTILE: {"mac": "m" * 150, "speed_mbps": True}},
        "lldp_neighbors": {HOSTILE: [{"system_name": HOSTILE, "port_id": "p" * 150}]},
        "devices_without_driver": ["a" * 150, 5],
        "bmc": {
            "lan": {HOSTILE: {"ipv4": HOSTILE}},
            "fru": [HOSTILE, {"description": HOSTILE, "board_serial": "B" * 150}],
        },
    }


def guest(number: int) -> dict[str, Any]:
    """Facts of a QEMU guest."""
    return server(
        number,
        hostname=f"mk5254000A00{number:02X}",
        manufacturer="QEMU",
        productname="Standard PC (Q35 + ICH9, 2009)",
        serialnumber="Not Specified",
        is_virtual="true",
        virtual="kvm",
        mk_hw_cpu_count="1",
        mk_hw_cpu0_product="QEMU Virtual CPU version 2.5+",
        mk_hw_mem_size="2GiB",
        mk_hw_disk_count="1",
        mk_hw_nic_count="1",
        mk_hw_nic0_logical_name="enp0s2",
    )


def hostile() -> dict[str, Any]:
    """Facts made to break out of a page, and to burst its layout."""
    return {
        "hostname": HOSTILE,
        "manufacturer": HOSTILE,
        "productname": "W" * 180,
        "mk_hw_cpu_count": "9" * 60,
        "mk_hw_mem_size": "M" * 120,
        "mk_hw_disk_count": "1",
        "mk_hw_disk0_serial": "D" * 150,
        "mk_hw_disk0_logical_name": HOSTILE,
        "mk_hw_nic_count": "1",
        "mk_hw_nic0_serial": HOSTILE,
        "mk_inventory": json.dumps(hostile_inventory()),
        HOSTILE[:200]: HOSTILE,
        "long_" + "n" * 200: "v" * 4000,
        "nested": {"a": [HOSTILE, {"b": None}]},
    }


def fill(live: Live) -> None:
    """Nodes in every state, at the times a visitor would see them."""
    clock = live.clock
    clock.now_s -= 900
    live.register(uuid(7), server(7))
    clock.now_s += 900 - 200
    live.register(uuid(5), server(5))
    clock.now_s += 140
    for number in (1, 2, 3):
        live.checkin(uuid(number), first=True)
        live.register(uuid(number), server(number))
    live.register(uuid(4), guest(4))
    live.register(uuid(6), hostile())
    live.send("PUT", f"/api/nodes/{uuid(3)}/binding", {"binding": "local"})
    clock.now_s += 48
    live.get(f"/hanlon/api/v1/boot?uuid={uuid(8)}&mac_id=52:54:00:0a:00:08&dhcp_mac=01-52-54-00-0a-00-08")
    known = json.dumps(inventory(1))
    port = "ge-0/0/12"
    live.register(uuid(1), server(1, mk_inventory=known, memorysize_mb="64301.00", lldp_neighbor_portid_eno1=port))
    live.send("PATCH", "/api/config", {"node": uuid(1), "set": {"mk_checkin_interval": 30}})
    clock.now_s += 9
    live.checkin(uuid(1))
    live.send("POST", f"/api/nodes/{uuid(1)}/orders", {"order": "reboot"})
    clock.now_s += 3

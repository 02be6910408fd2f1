"""Names of facts over which a pushed exclusion pattern is tried before it is accepted.

A valid regular expression can still take seconds on an ordinary name, and mkctl would pay for that at every
registration. mkweb may not read the node's own facts (they are root's and mkctl's), so the list is built from the
tables of the protocol, with a few instances of each numbered or per-interface family; names of facts that this
process happens to be allowed to read are added by the caller.

Source: protocol 6.4 to 6.9.
"""

from __future__ import annotations

from pathlib import Path

from mkcore.errors import BadInput
from mkcore.files import read_object
from mkcore.jsonfields import get_object
from mkcore.paths import Paths

LIMIT_BYTES = 8 << 20
MAX_KNOWN = 5000

_PLAIN = """
architecture augeasversion bios_release_date bios_vendor bios_version blockdevices boardmanufacturer boardproductname
boardserialnumber dhcp_servers domain facterversion filesystems fqdn gid hardwareisa hardwaremodel hostname id
interfaces ipaddress ipaddress6 is_virtual kernel kernelmajversion kernelrelease kernelversion lsbdistcodename
lsbdistdescription lsbdistid lsbdistrelease lsbmajdistrelease macaddress manufacturer memoryfree memoryfree_mb
memorysize memorysize_mb memorytotal netmask network operatingsystem operatingsystemmajrelease operatingsystemrelease
os osfamily partitions path physicalprocessorcount processorcount processors productname ps rubysitedir rubyversion
selinux serialnumber sshdsakey sshecdsakey sshfp_ecdsa sshfp_rsa sshrsakey swapfree swapfree_mb swapsize swapsize_mb
system_uptime timezone type uniqueid uptime uptime_days uptime_hours uptime_seconds uuid virtual vlans
mk_hw_lscpu_hash_json_str mk_hw_mem_slot mk_hw_mem_slot_count mk_hw_disk_count mk_hw_cpu_count mk_hw_nic_count
mk_hw_bus_core_json_str mk_hw_bus_usb_array_json_str mk_hw_mem_firmware_json_str mk_hw_mem_memory_json_str
mk_hw_disk_disk_array_json_str mk_hw_proc_cpu_array_json_str mk_hw_nw_network_array_json_str
"""
_INTERFACES = ("lo", "eth0", "eno1np0", "enp129s0f1np1", "bond0", "bond0_1234", "docker0", "wlp0s20f3")
_PER_INTERFACE = ("ipaddress", "ipaddress6", "netmask", "netmask6", "network", "network6", "macaddress", "mtu")
_PER_NEIGHBOUR = ("chassisid", "portid", "sysname", "mngaddr_ipv4", "mngaddr_ipv6", "pvid", "mtu")
_DISKS = ("sda", "nvme0n1", "vda", "mmcblk0boot0")
_LSCPU = (
    "Architecture CPU_op-modes Byte_Order CPU_sockets Vendor_ID CPU_family Model Stepping CPU_MHz BogoMIPS "
    "Virtualization L1d_cache L1i_cache L2_cache L3_cache"
)
_DISK = "description product physical_id bus_info logical_name version serial size configuration"
_NIC = (
    "description physical_id bus_info logical_name version serial size capacity width clock capabilities configuration"
)
_HARDWARE = {
    "mk_hw_lscpu_": _LSCPU,
    "mk_hw_bus_": "description product vendor version serial physical_id",
    "mk_hw_fw_": "description vendor physical_id version date size capabilities capacity",
    "mk_hw_mem_": "description physical_id slot size",
    "mk_hw_mem_slot0_": "description physical_id slot size",
    "mk_hw_disk0_": _DISK,
    "mk_hw_disk117_": _DISK,
    "mk_hw_cpu0_": (
        "description product vendor physical_id bus_info version serial slot size capacity width clock capabilities "
        "configuration"
    ),
    "mk_hw_nic0_": _NIC,
    "mk_hw_nic13_": _NIC,
    "mk_ipmi_": (
        "Device_ID Device_Revision Firmware_Revision IPMI_Version Manufacturer_ID Manufacturer_Name Product_ID "
        "Product_Name Device_Available Provides_Device_SDRs IP_Address_Source IP_Address Subnet_Mask MAC_Address "
        "SNMP_Community_String IP_Header BMC_ARP_Control Gratuitous_ARP_Intrvl Default_Gateway_IP "
        "Default_Gateway_MAC Backup_Gateway_IP Backup_Gateway_MAC 8021q_VLAN_ID 8021q_VLAN_Priority"
    ),
    "mk_ipmi_fru_0_": (
        "Chassis_Type Chassis_Part_Number Chassis_Serial Board_Mfg_Date Board_Mfg Board_Product Board_Serial "
        "Board_Part_Number"
    ),
}


def fact_names() -> tuple[str, ...]:
    """Return the built-in list of fact names, sorted, each once, e.g. `("architecture", ..., "mk_hw_nic0_serial",
    ...)`.
    """
    names: set[str] = set(_PLAIN.split())
    names.update(f"{stem}_{interface}" for stem in _PER_INTERFACE for interface in _INTERFACES)
    names.update(f"lldp_neighbor_{item}_{interface}" for item in _PER_NEIGHBOUR for interface in _INTERFACES)
    names.update(f"blockdevice_{disk}_{item}" for disk in _DISKS for item in ("size", "vendor", "model"))
    names.update(f"processor{number}" for number in (0, 7, 255))
    names.update(prefix + key for prefix, keys in _HARDWARE.items() for key in keys.split())
    return tuple(sorted(names))


def known_names(paths: Paths) -> tuple[str, ...]:
    """Return the names of the node's own facts where this process may read them; empty otherwise, which is the rule."""
    names = _names_in(paths.facts) | _names_in(paths.registered_facts)
    return tuple(sorted(names))[:MAX_KNOWN]


def _names_in(path: Path) -> set[str]:
    try:
        return set(get_object(read_object(path, LIMIT_BYTES), "facts", default={}))
    except (OSError, BadInput):
        return set()

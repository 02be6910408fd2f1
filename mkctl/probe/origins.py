"""Where each fact comes from: its source, the module that reads it, the section of the protocol that names it.

One table for people who ask `mkctl facts --explain NAME`, and a promise: a fact that is not in it is not sent (a test
walks over the facts of all collectors). Patterns match whole names; the first that does counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

KERNEL_IDS = "/sys/class/dmi/id (the kernel's reading of SMBIOS)"
SMBIOS = "/sys/firmware/dmi/tables (SMBIOS)"
PROC_MEMINFO = "/proc/meminfo"
UNAME = "uname(2)"


@dataclass(frozen=True)
class Origin:
    """Where something comes from. names: pattern; source: file, system call or tool; module: below mkctl.probe unless
    it has a dot; section: of the protocol, or the generation of Facter whose fact it is."""

    names: str
    source: str
    module: str
    section: str


def _facter(names: str, source: str, module: str, section: str = "6.8 (Facter 2.4)") -> Origin:
    return Origin(names, source, module, section)


def _structured(names: str, source: str, module: str) -> Origin:
    return Origin(names, source, module, "6.8 (Facter 4)")


FLAT: tuple[Origin, ...] = (
    Origin(r"mk_hw_lscpu_hash_json_str", "lscpu", "groups", "6.4"),
    Origin(r"mk_hw_lscpu_.*", "lscpu -J", "lscpu", "6.4, 6.10"),
    Origin(r"mk_hw_.*_json_str", "lshw -json", "groups", "6.2, 6.6"),
    Origin(r"mk_hw_(bus|fw|mem|disk|cpu|nic)_?.*", "lshw -json, /sys/block", "flatten", "6.5, 6.6, 6.10"),
    Origin(r"mk_ipmi_fru_.*", "ipmitool fru print", "ipmi_facts", "6.6, 6.11"),
    Origin(r"mk_ipmi_(Device_|Firmware_Rev|IPMI_V|Manufacturer_|Product_|Provides_).*",
           "ipmitool bmc info", "ipmi_facts", "6.6, 6.11"),
    Origin(r"mk_ipmi_.*", "ipmitool lan print", "ipmi_facts", "6.6, 6.11"),
    Origin(r"lldp_neighbor_.*", "systemd-networkd; LLDP frames", "lldp_facts", "6.9"),
    _facter(r"hostname|domain|fqdn", "/proc/sys/kernel/hostname, /etc/hosts, /etc/resolv.conf", "facter_names"),
    _facter(r"virtual|is_virtual", f"{KERNEL_IDS}, /sys/hypervisor, /proc/cpuinfo", "virtual"),
    _facter(r"memory(size|free)(_mb)?|memorytotal|swap(size|free)(_mb)?", PROC_MEMINFO, "facter_memory"),
    _facter(r"processorcount|processor\d+|physicalprocessorcount|processors",
            "/sys/devices/system/cpu, /proc/cpuinfo", "base"),
    _facter(r"manufacturer|productname|serialnumber|uuid|board(manufacturer|productname|serialnumber|assettag)|type",
            KERNEL_IDS, "dmi"),
    _facter(r"bios_(vendor|version|release_date)|chassis(assettag|type)?", KERNEL_IDS, "dmi"),
    _facter(r"interfaces|(ipaddress6?|netmask6?|network6?|macaddress|mtu)(_.+)?",
            "the kernel's interfaces (SIOCG*, /proc/net/if_inet6), fresh at each registration", "mkcore.interfaces"),
    _facter(r"vlans", "/proc/net/vlan/config", "network"),
    _facter(r"dhcp_servers", "/run/systemd/netif/leases", "network"),
    _facter(r"blockdevices?(_.+)?", "/sys/block", "sysfs"),
    _facter(r"architecture|hardwaremodel|hardwareisa", UNAME, "base"),
    _facter(r"kernel(release|version|majversion)?", UNAME, "facter_system"),
    _facter(r"uptime(_\w+)?|system_uptime", "/proc/uptime", "facter_system"),
    _facter(r"timezone|path|id|gid|uniqueid", "the probe's own process, gethostid(3)", "facter_system"),
    _facter(r"operatingsystem\w*|osfamily|lsb\w+|os", "/etc/os-release, /etc/debian_version", "facter_os"),
    _facter(r"selinux\w*", "/sys/fs/selinux, /etc/selinux", "facter_os"),
    _facter(r"partitions", "/sys/block, /run/udev/data", "facter_disks"),
    _facter(r"filesystems", "/proc/filesystems", "facter_mounts"),
    Origin(r"mk_extensions(_refused)?", "/run/mk-extensions/installed.json", "extensions", "none: own"),
    Origin(r"mk_inventory", "all collectors; mkctl facts --explain SECTION tells each part's", "model", "none: own"),
)  # fmt: skip
STRUCTURED: tuple[Origin, ...] = (
    _structured(r"memory", PROC_MEMINFO, "facter_memory"),
    _structured(r"os", "/etc/os-release, /etc/debian_version", "facter_os"),
    _structured(r"kernel(release|version|majversion)?", UNAME, "facter_system"),
    _structured(r"system_uptime|load_averages", "/proc/uptime, /proc/loadavg", "facter_system"),
    _structured(r"fips_enabled", "/proc/sys/crypto/fips_enabled", "facter"),
    _structured(r"timezone|path|identity", "the probe's own process", "facter_system"),
    _structured(r"networking", "the kernel's interfaces, /run/systemd/netif", "facter_networking"),
    _structured(r"processors", "/sys/devices/system/cpu, /proc/cpuinfo", "base"),
    _structured(r"dmi", KERNEL_IDS, "facter_dmi"),
    _structured(r"disks|partitions", "/sys/block, /run/udev/data", "facter_disks"),
    _structured(r"mountpoints|filesystems", "/proc/mounts, statvfs(3), /proc/filesystems", "facter_mounts"),
    _structured(r"virtual|is_virtual", f"{KERNEL_IDS}, /sys/hypervisor, /proc/cpuinfo", "virtual"),
    _structured(r"hypervisors", f"{KERNEL_IDS}, /sys/hypervisor, /proc/cpuinfo", "facter_dmi"),
)
INVENTORY: tuple[Origin, ...] = (
    Origin(r"system|board|chassis|oem_strings", f"{SMBIOS}, {KERNEL_IDS}", "smbios_inventory", "none: own"),
    Origin(r"identity", SMBIOS, "confidence", "6.1"),
    Origin(r"firmware", f"{SMBIOS}, /sys/firmware/efi", "firmware", "none: own"),
    Origin(r"processors", f"/sys/devices/system/{{cpu,node}}, /proc/cpuinfo, {SMBIOS}", "cpu_topology", "none: own"),
    Origin(r"memory", f"{SMBIOS}, {PROC_MEMINFO}", "smbios_memory", "none: own"),
    Origin(r"disks", "/sys/block, /dev/disk, /sys/class/enclosure, smartctl, nvme", "disks", "none: own"),
    Origin(r"volumes", "/sys/block", "volumes", "none: own"),
    Origin(r"storage_controllers", "/sys/bus/pci, /sys/class/fc_host, /sys/class/raid_devices", "storage", "none: own"),
    Origin(r"pci|devices_without_driver", "/sys/bus/pci, pci.ids", "pci", "none: own"),
    Origin(r"usb", "/sys/bus/usb", "usb", "none: own"),
    Origin(r"gpus", "/sys/bus/pci", "gpus", "none: own"),
    Origin(r"nics", "/sys/class/net, ethtool's ioctl", "nics", "none: own"),
    Origin(r"lldp_neighbors", "systemd-networkd; LLDP frames", "lldp", "6.9"),
    Origin(r"bmc", "/sys/class/ipmi, ipmitool", "ipmi", "6.11"),
    Origin(r"tpm", "/sys/class/tpm", "tpm", "none: own"),
    Origin(r"virtualization", f"{KERNEL_IDS}, /sys/hypervisor, /proc/cpuinfo", "virtual", "none: own"),
    Origin(r"kernel", "uname(2), /proc/cmdline", "facter_system", "none: own"),
    Origin(r"extensions", "/run/mk-extensions/installed.json", "extensions", "none: own"),
    Origin(r"schema_version", "the document's own version", "model", "none: own"),
)
CUSTOM = Origin(
    r".*", "a file or program in facts.d of /etc/mk, /usr/lib/mk or /usr/local/lib/mk", "custom", "none: the site's own"
)


def find_origin(name: str, table: tuple[Origin, ...]) -> list[Origin]:
    """Return the origin of a fact's (FLAT, STRUCTURED) or a section's (INVENTORY) name: one, or none."""
    return [each for each in table if re.fullmatch(each.names, name)][:1]

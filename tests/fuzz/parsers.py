"""Every parser of mk-facts and of what is installed, how it is given bytes, and the shapes that are damaged for it.

A parser whose results feed others is called together with them, since what a parser lets through is what its users must
bear. A new parser is one line here; a test holds the table complete.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mkcore.jsonfields import parse_object
from tests.fuzz import mirror_seeds, seeds

PROBE = Path(__file__).resolve().parents[2] / "mkctl/probe"
MIRROR = Path(__file__).resolve().parents[2] / "mkmirror"
Call = Callable[[bytes], object]


def plain(function: Any) -> Call:
    """A parser that takes bytes."""
    return lambda data: function(data)


def text(function: Any) -> Call:
    """Give a parser of texts what a file with these bytes reads as."""
    return lambda data: function(data.decode("utf-8", "replace"))


def lines(function: Any) -> Call:
    """Give a parser of a tool's lines this output."""
    from mkctl.probe.ipmi_text import read_lines

    return lambda data: function(read_lines(data))


def document(function: Any) -> Call:
    """Give a parser of a JSON object the parsed object."""
    return lambda data: function(parse_object(data, "document"))


def messages(function: Any) -> Call:
    """Give a parser of netlink messages the bytes as one message, and as two."""
    return lambda data: (function([data]), function([data[: len(data) // 2], data[len(data) // 2 :]]))


def structure(function: Any) -> Call:
    """Give a parser of one SMBIOS structure the bytes as the walk would cut them, in a length of their own choice."""
    from mkctl.probe.smbios import Structure

    def call(data: bytes) -> object:
        size = data[1] if len(data) > 1 else 0
        return function(Structure(data[0] if data else 0, data[:size], data[size:]))

    return call


def with_version(function: Any) -> Call:
    """Give a parser that depends on the standard's version one."""
    return lambda data: function(data, (2, 8))


def system(function: Any) -> Call:
    """A structure, and the version."""
    return structure(lambda found: function(found, (2, 8)))


def of_table(function: Any) -> Call:
    """Give a parser that looks through a whole table the parsed table."""
    from mkctl.probe.smbios import parse_smbios

    return lambda data: function(parse_smbios(data))


def lshw(function: Any) -> Call:
    """The tree, and all facts that are made of it."""
    from mkctl.probe.flatten import flatten_lshw
    from mkctl.probe.groups import group_facts

    def call(data: bytes) -> object:
        left_out: list[str] = []
        roots = function(data, left_out)
        return flatten_lshw(roots, board={}, block=()), group_facts(roots)

    return call


def lscpu(function: Any) -> Call:
    """The pairs, and all facts that are made of them."""
    from mkctl.probe.groups import lscpu_group
    from mkctl.probe.lscpu import flatten_lscpu

    def call(data: bytes) -> object:
        pairs = function(data)
        return flatten_lscpu(pairs, ""), lscpu_group(pairs)

    return call


def fru(function: Any) -> Call:
    """The FRU devices, their facts and their inventory."""
    from mkctl.probe.ipmi_facts import build_fru, fru_facts

    def call(found: list[str]) -> object:
        devices = function(found)
        return fru_facts(devices), build_fru(devices)

    return lines(call)


def pairs(function: Any) -> Call:
    """The pairs of `bmc info` or `lan print`, their facts and their inventory."""
    from mkctl.probe import ipmi_facts

    def call(found: list[str]) -> object:
        known = function(found)
        flat = ipmi_facts.bmc_facts(known), ipmi_facts.lan_facts(known, with_community=True)
        return flat, ipmi_facts.build_bmc(known), ipmi_facts.build_lan(known, ())

    return lines(call)


def tables(function: Any) -> Call:
    """What is installed, its facts and its inventory."""
    from mkctl.probe.extensions import build_section, extension_facts

    def call(body: object) -> object:
        found = function(body, "installed.json")
        return extension_facts(found), build_section(found)

    return document(call)


def frame(function: Any) -> Call:
    """A neighbour's frame, its facts and its inventory."""
    return neighbors(lambda data: {"eth0": [function(data)]})


def networkd(function: Any) -> Call:
    """The neighbours that networkd knows, their facts and their inventory."""
    return neighbors(document(function))


def neighbors(parse: Any) -> Call:
    """What is made of neighbours."""
    from mkctl.probe.lldp_facts import build_neighbors, lldp_facts

    def call(data: bytes) -> object:
        found = parse(data)
        return lldp_facts(found), build_neighbors(found)

    return call


def smbios(function: Any) -> Call:
    """A table and everything that is made of it."""
    from mkctl.probe.smbios_inventory import build_smbios_inventory
    from mkctl.probe.smbios_processor import count_processors

    return lambda data: (build_smbios_inventory(function(data)), count_processors(function(data).structures))


def facts_file(function: Any) -> Call:
    """The facts file and what its readers ask it."""
    from mkctl.probe.model import build_facts_file

    def call(data: bytes) -> object:
        content = function(data)
        return content.inventory, content.structured, build_facts_file(content)

    return call


def site_text(function: Any) -> Call:
    """Facts of the site as text."""
    return lambda data: function(data, "facts.d/x", False)


def site_json(function: Any) -> Call:
    """Facts of the site as JSON."""
    return lambda data: function(data, "facts.d/x", True)


def of_chassis(function: Any) -> Call:
    """An id of LLDP, with the kinds that a chassis has."""
    from mkctl.probe.lldp_frames import CHASSIS_ID_TYPES

    return lambda data: function(data, CHASSIS_ID_TYPES)


def names(function: Any) -> Call:
    """Names of some devices and classes."""
    wanted = [("8086", "10d3"), ("1af4", "1000"), ("ffff", "ffff")]
    return lambda data: function(data, wanted, ["0200", "0300"])


def placed(function: Any) -> Call:
    """Give a parser of texts that names the place of what is wrong one."""
    return lambda data: function(data.decode("utf-8", "replace"), "place")


def bytes_placed(function: Any) -> Call:
    """Give a parser of bytes that names the place of what is wrong one."""
    return lambda data: function(data, "place")


def document_placed(function: Any) -> Call:
    """Give a parser of a JSON object that names the place of what is wrong the parsed object, and one."""
    return lambda data: function(parse_object(data, "document"), "place")


def for_kernel(function: Any) -> Call:
    """Give a parser of names of extensions the kernel that -KERNEL in them stands for."""
    return lambda data: function(data.decode("utf-8", "replace"), "6.6.8-tinycore64", "place")


def of_owner(function: Any) -> Call:
    """Give a parser of what an extension needs one of each kind."""
    return lambda data: [for_kernel(partial(function, owner))(data) for owner in ("a.tcz", "a.raw")]


def of_file(function: Any) -> Call:
    """Give a parser that looks for a file's line its name."""
    return lambda data: function(data.decode("utf-8", "replace"), "a.tcz", "place")


def pushed(function: Any) -> Call:
    """Give a parser of a list the one who asks for what stands in it."""
    from mkmirror.staged import By

    return lambda data: function(data, "place", By.PUSH)


def staged(function: Any) -> Call:
    """The document, and what is built of it again."""
    from mkmirror.staged import build_staged

    return lambda data: build_staged(function(data))


def metadata(function: Any) -> Call:
    """A wheel's metadata, and what that needs here."""
    from packaging.markers import default_environment

    from mkmirror.formats.wheel import needs

    environment = {key: str(value) for key, value in default_environment().items()}
    return lambda data: needs(function(data.decode("utf-8", "replace"), "place"), environment)


def counter(function: Any) -> Call:
    """A counter, as whatever a JSON document may hold."""
    return document(lambda found: [function(value) for value in found.values()])


@dataclass(frozen=True)
class Parser:
    """One parser. name: module and function; adapt: how it is given bytes; as_json: damage the document's tree, too."""

    name: str
    adapt: Callable[[Any], Call]
    seeds: tuple[bytes, ...]
    as_json: bool = False

    @property
    def call(self) -> Call:
        """What takes the bytes. Raises AttributeError or ImportError when there is no such parser (any more)."""
        module, _, function = self.name.partition("-")[0].rpartition(".")
        package = "mkcore"
        for folder, name in ((MIRROR, "mkmirror"), (PROBE, "mkctl.probe")):
            package = name if (folder / f"{module.replace('.', '/')}.py").exists() else package
        found = importlib.import_module(f"{package}.{module}")
        return self.adapt(getattr(found, function))


PARSERS = (
    Parser("base.parse_cpu_list", text, (b"0-3,8", b"0", b"0-511\n")),
    Parser("base.parse_cpu_models", text, (*seeds.CPUINFO, *seeds.captures("proc", "cpuinfo"))),
    Parser("cpu_sets.parse_list", text, (b"0-3,8", b"0-511\n")),
    Parser("cpu_sets.parse_mask", text, (b"00000000,0000010f", b"ff\n")),
    Parser("custom.parse_facts", site_text, (seeds.SITE_TEXT,)),
    Parser("custom.parse_facts-json", site_json, (seeds.SITE_JSON,), True),
    Parser("debs.parse_control", placed, (b"Package: ab\nVersion: 1.0\nDescription: b\n c\n",)),
    Parser("debs.parse_postinst", text, mirror_seeds.POSTINST),
    Parser("disk_place.parse_place", text, seeds.PLACES),
    Parser("extensions.parse_tables", tables, (mirror_seeds.INSTALLED,), True),
    Parser("facter_addresses.parse_addresses", messages, (seeds.ADDRESS_4, seeds.ADDRESS_6)),
    Parser("facter_addresses.parse_routes", messages, (seeds.ROUTE,)),
    Parser("facter_dhcp.parse_dhclient", text, (seeds.DHCLIENT,)),
    Parser("facter_memory.parse_meminfo", text, (seeds.MEMINFO, *seeds.captures("proc", "meminfo"))),
    Parser("facter_mounts.parse_filesystems", text, (b"nodev\tsysfs\n\text4\n\tsquashfs\n",)),
    Parser("facter_mounts.parse_mounts", plain, (seeds.MOUNTS,)),
    Parser("facter_names.parse_hosts", text, (b"127.0.0.1 localhost\n::1 a.b a # c\n",)),
    Parser("facter_names.parse_resolv_domain", text, (b"domain a.b.\nsearch c d\nnameserver ::1\n",)),
    Parser("facter_os.parse_os_release", text, (seeds.OS_RELEASE,)),
    Parser("facter_system.parse_load", text, (b"0.50 1.10 12.34 1/100 200\n",)),
    Parser("facter_system.parse_uptime", text, (b"59.99 1.0\n",)),
    Parser("firmware.parse_secure_boot", plain, (b"\6\0\0\0\1", b"\6\0\0\0\0")),
    Parser("formats.gpt.parse_partitions", bytes_placed, (mirror_seeds.GPT,)),
    Parser("formats.kmod.parse_builtin", text, (b"kernel/fs/a-b.ko\n",)),
    Parser("formats.kmod.parse_loaded", text, (b"a 4096 1 b,c, Live 0x0\nb 1 -2 - Live 0x0 (OE)\n",)),
    Parser("formats.kmod.parse_needs", text, (b"kernel/a.ko.xz: kernel/b.ko kernel/c.ko\nkernel/b.ko:\n",)),
    Parser("formats.sysext.parse_head", bytes_placed, (mirror_seeds.SQUASHFS, mirror_seeds.EROFS, mirror_seeds.GPT)),
    Parser("formats.sysext.parse_release", placed, (b'ID=_any\nX="a \\" b"\n# c\nY=\'d\'\n',)),
    Parser("formats.tce.parse_content", placed, (b"usr/local/bin/a\n./b c\n/d/\n",)),
    Parser("formats.tce.parse_dep", for_kernel, (b"a.tcz\nb-KERNEL.tcz\r\n\n c \n# d\n",)),
    Parser("formats.tce.parse_map", placed, (b"usr/local/a.ko misc/a.ko\n",)),
    Parser("formats.tce.parse_md5", of_file, (b"d41d8cd98f00b204e9800998ecf8427e  a.tcz\n",)),
    Parser("formats.tce.parse_onboot", for_kernel, (b"a.tcz\nb.tcz\n",)),
    Parser("formats.wheel.parse_metadata", metadata, mirror_seeds.METADATA),
    Parser("formats.wheel.parse_page", text, (b'<a href="../x/a-1.0-py3-none-any.whl#sha256=00" data-yanked>a</a>',)),
    Parser("formats.wheel.parse_wanted", placed, (b"json_pure  >= 1.7.7", b"a ~> 1.2, !=1.3", b"a>=1,<2.0a1")),
    Parser("formats.wheel.parse_wanted_list", placed, (b"facter\n# x\njson_pure  >= 1.7.7\n",)),
    Parser("formats.wheel.parse_wheel", placed, (b"foo-1.0-py3-none-any.whl", b"a_b-1!2.0-1-cp39.cp310-abi3-any.whl")),
    Parser("host.parse_merged", bytes_placed, (b'[{"hierarchy":"/usr","extensions":["a"],"since":1}]',), True),
    Parser("installed.parse_installed", document_placed, (mirror_seeds.INSTALLED,), True),
    Parser("interfaces.parse_bonding", text, (seeds.BONDING,)),
    Parser("interfaces.parse_if_inet6", text, (b"fe80000000000000505400fffe123456 02 40 20 80     eth0\n",)),
    Parser("ipmi_facts.parse_date", text, (b"Tue Oct 12 21:54:00 2010", b"Mon Jan  1 00:00:00 1996")),
    Parser("ipmi_text.parse_channels", lines, (seeds.CHANNELS,)),
    Parser("ipmi_text.parse_fru", fru, (seeds.FRU_PRINT, *seeds.captures("ipmitool"))),
    Parser("ipmi_text.parse_lan6", lines, (seeds.LAN6_PRINT,)),
    Parser("ipmi_text.parse_pairs", pairs, (seeds.BMC_INFO, seeds.LAN_PRINT, *seeds.captures("ipmitool"))),
    Parser("lists.parse_json_list", placed, (b'["a.tcz", "drivers/b.ko"]',), True),
    Parser("lists.parse_list", bytes_placed, (b'---\n- a.tcz # x\n- "b"\n', b'["a.tcz"]')),
    Parser("lldp.parse_networkd", networkd, (seeds.NETWORKD,), True),
    Parser("lldp_facts.parse_neighbors", document, (seeds.NEIGHBORS,), True),
    Parser("lldp_frames.parse_address", plain, (b"\1\xc0\0\2\1", b"\2" + bytes(16), b"\6abcdef")),
    Parser("lldp_frames.parse_frame", frame, (seeds.FRAME,)),
    Parser("lldp_frames.parse_id", of_chassis, (b"\4\0\x1c\x73\x0a\x0b\x0c", b"\5\1\xc0\0\2\1", b"\7text")),
    Parser("lscpu.parse_lscpu", lscpu, (seeds.LSCPU_TEXT, seeds.LSCPU_JSON, *seeds.captures("lscpu"))),
    Parser("lscpu.parse_lscpu-json", lscpu, (seeds.LSCPU_JSON, *seeds.own("qemu-vm-lscpu.json")), True),
    Parser("lshw.parse_lshw", lshw, (seeds.LSHW, *seeds.own("lshw-qemu-q35.json")), True),
    Parser("model.parse_facts_file", facts_file, (seeds.FACTS_FILE,), True),
    Parser("modules.parse_interfaces", text, (b"eth0 0x1003 ../../module/e1000\nlo\n",)),
    Parser("modules.parse_modinfo", text, (b"filename: /a.ko\ndepends: b,c\n",)),
    Parser("network.parse_lease", text, (b"ADDRESS=192.0.2.2\nSERVER_ADDRESS=192.0.2.1\n",)),
    Parser("network.parse_vlans", text, (b"VLAN Dev name | VLAN ID\nName-Type: x\neth0.5 | 5  | eth0\n",)),
    Parser("nvme.parse_count", counter, (b'{"a": "1,234", "b": 7, "c": 1.5, "d": true}',), True),
    Parser("nvme.parse_smart_log", plain, (seeds.NVME_LOG,), True),
    Parser(
        "overlay.parse_mountinfo",
        text,
        (b"22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n30 28 0:1 / /a\\040b rw",),
    ),
    Parser("pci.parse_uevent", plain, (seeds.UEVENT,)),
    Parser("pci_names.find_names", names, (seeds.PCI_IDS,)),
    Parser("requests.parse_requests", bytes_placed, (mirror_seeds.REQUESTS,), True),
    Parser("resolve.parse_needs", of_owner, (b"a.tcz\nb\nc.raw\n",)),
    Parser("smart.parse_smartctl", plain, (*seeds.SMARTCTL, *seeds.captures("smartctl-json")), True),
    Parser("smbios.parse_dump", plain, (*seeds.DUMPS, *seeds.captures("smbios-raw"))),
    Parser("smbios.parse_entry_point", plain, (seeds.ENTRY_3, seeds.ENTRY_2)),
    Parser("smbios.parse_smbios", smbios, (seeds.TABLE,)),
    Parser("smbios.parse_table", plain, (seeds.TABLE, seeds.SYSTEM + seeds.END)),
    Parser("smbios_machine.parse_board", structure, (seeds.BOARD,)),
    Parser("smbios_machine.parse_chassis", structure, (seeds.CHASSIS,)),
    Parser("smbios_machine.parse_firmware", structure, (seeds.FIRMWARE,)),
    Parser("smbios_machine.parse_oem_strings", of_table, (seeds.OEM_STRINGS + seeds.END,)),
    Parser("smbios_machine.parse_system", system, (seeds.SYSTEM,)),
    Parser("smbios_machine.parse_uuid", with_version, (bytes(range(16)),)),
    Parser("smbios_memory.parse_array", structure, (seeds.ARRAY,)),
    Parser("smbios_memory.parse_slot", structure, (seeds.SLOT,)),
    Parser("smbios_processor.parse_socket", structure, (seeds.SOCKET,)),
    Parser("smbios_tpm.parse_tpm_device", structure, (seeds.TPM,)),
    Parser("staged.parse_staged", staged, (mirror_seeds.STAGED,), True),
    Parser("tpm.parse_get_capability", plain, (seeds.TPM_ANSWER,)),
    Parser("tpm.parse_tpm_caps", text, (seeds.TPM_CAPS,)),
    Parser("trust.parse_status", text, mirror_seeds.GPGV),
    Parser("trust.parse_sums", placed, (b"00" * 32 + b" *a.tcz\n" + b"ff" * 32 + b"  ./b\n",)),
    Parser("udev.parse_udev", text, (b"S:disk/by-id/x\nE:ID_FS_TYPE=ext4\nE:ID_SERIAL=a\\x20b\n",)),
    Parser("unpack.parse_commands", placed, (b"[console_scripts]\na = b.c:d.e [x]\n; y\n[z]\nw",)),
    Parser(
        "unpack.parse_record", placed, (b"a/b.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\na/RECORD,,\n",)
    ),
    Parser("vpd.parse_ata_page", plain, (seeds.VPD_ATA,)),
    Parser("vpd.parse_names_page", plain, (seeds.VPD_NAMES,)),
    Parser("vpd.parse_serial_page", plain, (seeds.VPD_SERIAL,)),
    Parser("wanted.parse_names", pushed, (b'["a.tcz", 7, "../x"]',), True),
    Parser("wanted.parse_package_list", pushed, (b"facter\njson_pure  >= 1.7.7\n../x\n",)),
    Parser("when.parse_when", placed, (b"virtualization vmware\n# x\nvirtualization none\n",)),
)
"""Sorted by name. A name's part after a hyphen tells two kinds of input of one parser apart."""

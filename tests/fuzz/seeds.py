"""The shapes that are damaged: short inputs of every kind, and where MK_CAPTURES says, real machines' outputs."""

from __future__ import annotations

import os
import struct
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data/captures"
_LARGEST_BYTES = 24 << 10
_MOST = 6


def own(*names: str) -> tuple[bytes, ...]:
    """The repository's own captures of these names."""
    return tuple((DATA / name).read_bytes() for name in names)


def captures(kind: str, word: str = "") -> tuple[bytes, ...]:
    """Some captures of that kind, with that word in their names, where MK_CAPTURES is set: the smallest; else none."""
    folder = os.environ.get("MK_CAPTURES")
    paths = sorted(Path(folder, kind).glob(f"*{word}*")) if folder else []
    files = [path for path in paths if path.is_file() and path.suffix != ".xz"]
    found = [path.read_bytes() for path in files if path.stat().st_size <= _LARGEST_BYTES]
    return tuple(sorted(found, key=len)[:_MOST])


def structure(kind: int, area: bytes, *strings: bytes) -> bytes:
    """One SMBIOS structure; `area` without its header."""
    text = b"\0".join(strings) + b"\0\0" if strings else b"\0\0"
    return struct.pack("<BBH", kind, len(area) + 4, 0x100 + kind) + area + text


FIRMWARE = structure(0, bytes.fromhex("010200f003ff8098897f0000000003010a05ffff4000"), b"Maker", b"1.10", b"10/28/2014")
SYSTEM = structure(1, b"\1\2\3\4" + bytes(range(16)) + b"\6\5\6", b"Maker", b"Box", b"A", b"S-1", b"SKU", b"Family")
BOARD = structure(2, bytes.fromhex("01020304050906000a0000"), b"Maker", b"Board", b"B", b"S-2", b"Tag", b"Slot")
CHASSIS = structure(3, bytes.fromhex("01170203040303030300000000010200010501"), b"Maker", b"C", b"S-3", b"Tag", b"SKU")
SOCKET = structure(
    4,
    bytes.fromhex("010302e4a9060100fffbebbf038c6400a00f280a4101c70008000900ffff0405060a0a14fc00b3000a000a001400"),
    b"CPU0",
    b"Maker",
    b"Model",
    b"S-4",
    b"Tag",
    b"Part",
)
CACHE = structure(7, bytes.fromhex("0180010001000102000200000504070001000000 01000000"), b"L1")
OEM_STRINGS = structure(11, b"\2", b"one", b"two")
ARRAY = structure(16, bytes.fromhex("030306000000 80feff0800 0000000001000000"))
SLOT = structure(
    17,
    bytes.fromhex("1000feff48004000ff7f090001021a8000a00f030405060200004000 a00fb004b004b004 0300"),
    b"DIMM_A1",
    b"BANK 0",
    b"Maker",
    b"S-5",
    b"Tag",
    b"Part",
)
IPMI = structure(38, bytes.fromhex("012020ffa90c0000000000000000"))
ONBOARD = structure(41, bytes.fromhex("01850100000008"), b"Ethernet 1")
TPM = structure(43, bytes.fromhex("494653580200 07000000 00000000 0120000000000000 00000000"), b"TPM")
END = structure(127, b"")
_DEVICES = SOCKET + CACHE + ARRAY + SLOT * 3 + IPMI + ONBOARD + TPM
TABLE = FIRMWARE + SYSTEM + BOARD + CHASSIS + OEM_STRINGS + _DEVICES + END
ENTRY_3 = b"_SM3_" + struct.pack("<BBBBBBBIQ", 0, 24, 3, 2, 0, 1, 0, len(TABLE), 24)
ENTRY_2 = b"_SM_" + struct.pack("<BBBBHB5x5sBHIHB", 0, 31, 2, 8, 64, 0, b"_DMI_", 0, len(TABLE), 32, 14, 0x28) + b"\0\0"
DUMPS = (ENTRY_3 + TABLE, ENTRY_2.ljust(32, b"\0") + TABLE)

LSHW = (
    b'{"id":"host","class":"system","claimed":true,"product":"Box","children":[{"id":"core","class":"bus","physid":"0",'
    b'"children":[{"id":"memory","class":"memory","description":"System Memory","size":4294967296,"children":[{"id":'
    b'"bank:0","class":"memory","physid":"0","size":4294967296,"clock":1333000000,"slot":"A1"}]},{"id":"cpu:0","class":'
    b'"processor","size":2000000000,"capabilities":{"fpu":"x","vmx":false},"configuration":{"cores":"4"}},{"id":"pci",'
    b'"class":"bridge","children":[{"id":"network:0","class":"network","logicalname":"eth0","serial":"52:5'
    b'4:00:00:00:01"'
    b'},{"id":"nvme","class":"storage","children":[{"id":"namespace:1","class":"disk","logicalname":["/dev'
    b'/nvme0n1","/"],'
    b'"size":1000204886016}]},{"id":"virtio1","class":"disk","logicalname":"/dev/vda","units":"bytes"}]}]}]}'
)
LSCPU_JSON = (
    b'{"lscpu":[{"field":"Architecture:","data":"x86_64","children":[{"field":"CPU op-mode(s):","data":"32'
    b'-bit, 64-bit"}]}'
    b',{"field":"Socket(s):","data":"2"},{"field":"CPU MHz:","data":"2000.000"},{"field":"L1d cache:","data":"32K"}]}'
)
LSCPU_TEXT = (
    b"Architecture:   x86_64\nCPU op-mode(s):  32-bit, 64-bit\nSocket(s):   2\nFlags:   fpu vme\nNUMA node"
    b"0 CPU(s): 0-3\n"
)
CPUINFO = (
    b"processor\t: 0\nvendor_id\t: X\nmodel name\t: One CPU\ncpu MHz\t\t: 2000.000\nflags\t\t: fpu\n\nprocessor\t: 1\n"
    b"model name\t: One CPU\n",
    b"vendor_id       : IBM/S390\n# processors    : 1\nprocessor 0: version = FF,  identification = 1,  machine = 2\n",
)
ADDRESSES = (
    bytes.fromhex("020880fe01000000080001007f000001080002007f000001070003006c6f00000800080080000000"),
    bytes.fromhex("0a4080fd02000000140001002001 0db8000000000000000000000001 0800080080000000"),
)
ROUTES = (
    bytes.fromhex("02000000fe0300010000000008000f00fe00000008000500c000020108000700c00002020800040004000000"),
    bytes.fromhex("0a400000fe0200010000000008000f00fe00000014000100fd0000000000000000000000000000000800040004000000"),
)
DHCLIENT = b'lease {\n  interface "eth0";\n  fixed-address 192.0.2.2;\n  option dhcp-server-identifier 192.0.2.1;\n}\n'
OS_RELEASE = b'ID=debian\nNAME="Debian GNU/Linux"\nPRETTY_NAME=\'Debian\'\nVERSION_ID="12"\nVERSION="12 (bookworm)"\n'
MEMINFO = b"MemTotal:        2014228 kB\nMemFree:         1000 kB\nHugePages_Total:       0\n"
BMC_INFO = (
    b"Device ID                 : 33\nDevice Revision           : 1\nFirmware Revision         : 0.54\nIPM"
    b"I Version     "
    b"         : 2.0\nManufacturer ID           : 343\nProduct ID                : 62 (0x003e)\nAdditional"
    b" Device Support :\n"
    b"    Sensor Device\nAux Firmware Rev Info     : \n    0x00\n"
)
LAN_PRINT = (
    b"Set in Progress         : Set Complete\nAuth Type Enable        : Callback : NONE MD5\n                        : "
    b"User     : NONE MD5\nIP Address Source       : DHCP Address\nIP Address              : 192.0.2.51\nMAC Address   "
    b"          : 00:15:17:fa:e0:36\nSNMP Community String   : INTEL\nGratituous ARP Intrvl   : 0.0 seconds\n"
    b"802.1q VLAN ID          : 100\n"
)
LAN6_PRINT = (
    b"IPv6 Static Address 0:\n    Enabled:        yes\n    Address:        2001:db8::7/64\n    Status:         active\n"
    b"IPv6 Dynamic Address 0:\n    Source/Type:    DHCPv6\n    Address:        ::/0\n    Status:         disabled\n"
)
CHANNELS = (
    b"Channel 0x1 info:\n  Channel Medium Type   : 802.3 LAN\n  Session Support       : multi-session\nCh"
    b"annel 0x2 info:\n"
)
FRU_PRINT = (
    b"FRU Device Description : Builtin FRU Device (ID 0)\n Chassis Type          : Rack Mount Chassis\n Bo"
    b"ard Mfg Date    "
    b"    : Tue Oct 12 21:54:00 2010\n Board Mfg             : Maker\n Board Serial          : S-1\n Produ"
    b"ct Asset Tag     "
    b": x\n\nFRU Device Description : Power (ID 1)\n Device not present (Requested sensor not found)\n"
)


def tlv(kind: int, value: bytes) -> bytes:
    """One part of an LLDP frame."""
    return struct.pack(">H", kind << 9 | len(value)) + value


FRAME = (
    bytes.fromhex("0180c200000e001c730a0b0c88cc")
    + tlv(1, b"\4\0\x1c\x73\x0a\x0b\x0c")
    + tlv(2, b"\5Ethernet12")
    + tlv(3, struct.pack(">H", 120))
    + tlv(4, b"to the rack")
    + tlv(5, b"switch.example")
    + tlv(6, b"A switch\nof many lines")
    + tlv(7, b"\0\x14\0\4")
    + tlv(8, b"\5\1\xc0\0\2\x0c\2\0\0\0\5\0")
    + tlv(8, b"\x11\2" + bytes(range(16)) + b"\2\0\0\0\5\0")
    + tlv(127, b"\0\x80\xc2\1\0\x64")
    + tlv(127, b"\0\x12\x0f\4\x24\x14")
    + tlv(0, b"")
)
NETWORKD = (
    b'{"Neighbors":[{"InterfaceIndex":2,"InterfaceName":"eth0","Neighbors":[{"ChassisID":"00:1c:73:0a:0b:0c",'
    b'"RawChassisID":[4,0,28,115,10,11,12],"PortID":"Ethernet12","RawPortID":[5,69,49],"PortDescription":"p",'
    b'"SystemName":"s","SystemDescription":"d","EnabledCapabilities":20,"VlanID":100}]}]}'
)
NEIGHBORS = (
    b'{"eth0":[{"chassis_id":"a","chassis_id_type":"mac","port_id":"b","port_id_type":"mac","ttl_s":120,"vlan_id":1,'
    b'"capabilities":["bridge"],"management_addresses":["192.0.2.1","2001:db8::1"],"source":"frame"}]}'
)
FACTS_FILE = (
    b'{"boottime_usec":1,"collectors":{"lshw":{"duration_ms":1,"error":"","facts":["a"],"inventory":{"bmc"'
    b':{"present":true'
    b'}},"status":"ok","structured":{}},"dmi":{"status":"failed"}},"complete":true,"facts":{"a":"1","b":{"c":[1]}},'
    b'"generation":3,"uevent_seqnum":7,"version":1}'
)
INSTALLED = (
    b'{"extensions":{"a.raw":{"by":"push","kind":"sysext","mirror":"http://m","needs":["b.raw"],"size_bytes":1}},'
    b'"modules":{"vmci":{"by":"push","reason":"","state":"loaded"}},"packages":{"foo":{"by":"site","version":"1.0"}},'
    b'"refused":{"x.tcz":{"at_usec":1,"by":"push","reason":"not signed"}},"version":1}'
)
SITE_TEXT = b"# of the site\nrack = 12\nowner=ops\n\nname with blank=x\nempty=\n"
SITE_JSON = b'{"rack": 12, "owner": {"team": "ops"}, "list": [1, null], "none": null}'
PCI_IDS = (
    b"# list\n8086  Intel Corporation\n\t10d3  82574L Gigabit\n\t\t8086 a01f  Adapter\n\t1000  Old\n1af4  "
    b"Red Hat, Inc.\n"
    b"\t1000  Virtio network device\nffff  Illegal\n\nC 00  Unclassified\nC 02  Network controller\n\t00  "
    b"Ethernet controller\n"
)
VPD_SERIAL = b"\0\x80\0\x0a  S-1234567"
VPD_NAMES = (
    bytes.fromhex("0083003c 01030008 5000c50012345678 02010014")
    + b"ATA     MODEL       "
    + bytes.fromhex("61930008")
    + bytes.fromhex("5000c50012345679")
)
VPD_ATA = b"\0\x89\2\x38" + bytes(4) + b"ATA     MODEL           1.0 " + bytes(24) + b"\xec\0\0\0" + bytes(512)
TPM_ANSWER = struct.pack(">HIIBII", 0x8001, 19 + 56, 0, 0, 6, 7) + b"".join(
    struct.pack(">II", 0x105 + number, 0x49424D00 + number) for number in range(7)
)
TPM_CAPS = b"Manufacturer: 0x49465800\nTCG version: 1.2\nFirmware version: 3.17\n"
UEVENT = b"DRIVER=e1000e\nPCI_CLASS=20000\nPCI_ID=8086:10D3\nPCI_SUBSYS_ID=8086:0000\nPCI_SLOT_NAME=0000:00:02.0\n"
PLACES = (
    b"/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda",
    b"/sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1",
    b"/sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vda",
    b"/sys/devices/pci0000:00/0000:00:06.0/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb",
)
BONDING = b"Slave Interface: eth0\nMII Status: up\nPermanent HW addr: 52:54:00:00:00:01\n"


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute of a netlink message, padded."""
    return (struct.pack("=HH", 4 + len(value), kind) + value).ljust((7 + len(value)) & ~3, b"\0")


ADDRESS_4 = struct.pack("=BBBBI", 2, 24, 128, 0, 2) + attribute(1, b"\xc0\0\2\2") + attribute(3, b"eth0\0")
ADDRESS_6 = struct.pack("=BBBBI", 10, 64, 128, 253, 2) + attribute(1, bytes(range(16))) + attribute(8, b"\x80\0\0\0")
ROUTE = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0) + attribute(4, b"\2\0\0\0") + attribute(7, b"\xc0\0\2\2")
DHCLIENT = b'lease {\n  interface "eth0";\n  option dhcp-server-identifier 192.0.2.1;\n}\n'
MOUNTS = (
    b"sysfs /sys sysfs rw,nosuid 0 0\n/dev/vda / ext4 rw,relatime 0 0\n/dev/vdb /mnt/a\\040b ext4 ro 0 0\n"
    b"tmpfs /run tmpfs rw,size=100k,mode=755 0 0\n"
)
OS_RELEASE = b"PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nVERSION_ID='13'\nVERSION_CODENAME=trixie\n# x\n"
NVME_LOG = (
    b'{"critical_warning":0,"temperature":310,"avail_spare":100,"spare_thresh":10,"percent_used":1,"media_'
    b'errors":"1,234",'
    b'"power_on_hours":4280,"unsafe_shutdowns":5,"num_err_log_entries":0}'
)
SMARTCTL = (
    b'{"smartctl":{"exit_status":0,"messages":[{"string":"x","severity":"error"}]},"device":{"protocol":"A'
    b'TA"},"smart_status"'
    b':{"passed":true},"temperature":{"current":34},"power_on_time":{"hours":4280},"ata_smart_attributes":'
    b'{"table":[{"id":5,'
    b'"raw":{"value":0,"string":"0"}},{"id":197,"raw":{"value":3}}]},"nvme_smart_health_information_log":{'
    b'"media_errors":0,'
    b'"percentage_used":1}}',
    b'{"smartctl":{"exit_status":2,"messages":[{"string":"Device is in STANDBY mode, exit(2)"}]}}',
)

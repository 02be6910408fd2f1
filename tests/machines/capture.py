"""Boot declared machines and store what the suite's parsers read there, for the parsers' own tests.

    build/venv/bin/python -m tests.machines.capture [MACHINE...]

Writes tests/data/captures/MACHINE: outputs of tools, the raw SMBIOS table (without the credentials by which the test
reaches the machine) and the parts of /sys and /proc that are read, as one object: path -> text, a symbolic link as
"-> target", in the form of tests/unit/probe_tree.py; bytes that are no text stand in a second one, in hexadecimal.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mkcore import events

from . import matrix
from .declared import Declared, switch_on
from .journal import Channel
from .server import ROOT

FOLDER = ROOT / "tests/data/captures"
TABLE = "/sys/firmware/dmi/tables"
_BOOT_S, _SETTLE_S = 600.0, 300.0
_OEM_STRINGS = 11
_SECRET = b"io.systemd.credential"

TOOLS = {
    "lshw.json": "lshw -json",
    "lshw-no-dmi.json": "lshw -json -disable dmi",
    "lshw.txt": "lshw",
    "lscpu.json": "lscpu -J",
    "lscpu.txt": "lscpu",
    "networkd-lldp.json": "networkctl lldp --json=short",
    "smartctl-scan.json": "smartctl --scan -j",
    "nvme-list.json": "nvme list -o json",
}
"""File -> command; one that is not in the image leaves no file."""
BMC_TOOLS = {
    "ipmitool-bmc-info.txt": "ipmitool bmc info",
    "ipmitool-lan-print.txt": "ipmitool lan print 1",
    "ipmitool-fru-print.txt": "ipmitool fru print",
    "ipmitool-channels.txt": "for n in $(seq 1 11); do echo channel info $n; done | ipmitool exec /dev/stdin",
}
_READ_TREE = r"""
import json, os, re, sys
FOLDERS = ("sys/devices", "sys/block", "sys/bus/pci/devices", "sys/bus/usb/devices", "sys/class/net", "sys/class/dmi",
    "sys/class/tpm", "sys/class/ipmi", "sys/class/scsi_host", "sys/class/ata_port", "sys/class/ata_link",
    "sys/class/nvme", "sys/class/infiniband", "sys/firmware/efi/efivars")
FILES = ("proc/cpuinfo", "proc/meminfo", "proc/cmdline", "sys/firmware/efi/fw_platform_size",
    "sys/kernel/uevent_seqnum")
SKIPPED = re.compile(r"(power|msi_irqs|statistics|queues|trace|mq|integrity|inflight|hctx.*|i2c-.*|ttyS.*|pnp0|"
    r"workqueue|clockevents|clocksource|vc|vtconsole|mem|misc|tty|thermal|hwmon|wakeup.*|rtc|input.*|loop.*|ram.*|"
    r"hugepages.*|memory\d+|microcode|cpuidle|cpufreq|hotplug|cpu_capacity|software|breakpoint|kprobe|msr|uprobe|"
    r"tracepoint|LNXSYSTM.*|system|platform|bdi|vmstat|io_timeout|graphics|pcie_.*|.*:pcie\d+|aer_.*|slots?)$")
KEPT = re.compile(r"(uevent|vendor|device|class|subsystem_vendor|subsystem_device|revision|numa_node|driver|modalias|"
    r"(current|max)_link_(speed|width)|physfn|sriov_(numvfs|totalvfs)|iommu_group|address|addr_assign_type|addr_len|"
    r"broadcast|carrier|duplex|speed|mtu|type|ifindex|iflink|operstate|flags|dev_id|dev_port|phys_port_name|size|"
    r"removable|ro|wwid|rotational|(logical|physical)_block_size|model|rev|serial|state|vpd_pg[0-9a-f]+|nsid|eui|nguid|"
    r"uuid|firmware_rev|subsysnqn|cntlid|transport|idVendor|idProduct|manufacturer|product|bDeviceClass|"
    r"bInterfaceClass|proc_name|unique_id|port_no|sata_spd|raid_level|level|shared_cpu_list|ways_of_associativity|"
    r"(physical_package|core|die|cluster)_id|(core|thread|package|die)_(cpus|siblings)_list|cpulist|distance|meminfo|"
    r"online|present|possible|tpm_version_major|(bios|board|chassis|product|sys)_\w+|firmware_revision|ipmi_version|"
    r"manufacturer_id|product_id|guid|device_id|additional_device_support|sas_address|protocol|SecureBoot-.*)$")
texts, others = {}, {}

def keep(path):
    try:
        with open("/" + path, "rb") as file:
            data = file.read(65536)
    except OSError:
        return
    try:
        text = data.decode()
        if "\0" in text:
            raise ValueError
        texts[path] = text
    except ValueError:
        others[path] = data.hex()

def walk(folder):
    try:
        entries = sorted(os.scandir("/" + folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        path = folder + "/" + entry.name
        if entry.is_symlink():
            listed = not folder.startswith("sys/devices")
            if (listed or KEPT.match(entry.name) or entry.name == "subsystem") and not SKIPPED.match(entry.name):
                texts[path] = "-> " + os.readlink("/" + path)
        elif entry.is_dir():
            if not SKIPPED.match(entry.name) or folder == "sys/devices" and entry.name == "system":
                walk(path)
        elif KEPT.match(entry.name):
            keep(path)

for folder in FOLDERS:
    walk(folder)
for path in FILES:
    keep(path)
print(json.dumps([texts, others]))
"""


def without_credentials(table: bytes) -> bytes:
    """Return an SMBIOS table without the OEM strings that are systemd's credentials."""
    kept, offset = b"", 0
    while offset + 4 <= len(table):
        formatted = bytearray(table[offset : offset + table[offset + 1]])
        end = table.find(b"\0\0", offset + len(formatted))
        strings = table[offset + len(formatted) : end].split(b"\0")
        if formatted[0] == _OEM_STRINGS:
            strings = [text for text in strings if not text.startswith(_SECRET)]
            formatted[4] = len(strings)
        kept += bytes(formatted) + (b"\0".join(strings) + b"\0" if strings != [b""] else b"\0") + b"\0"
        offset = end + 2
    return kept


def _read_bytes(channel: Channel, path: str) -> bytes:
    said = channel.run("python3", "-I", "-c", f"print(open({path!r}, 'rb').read().hex())")
    return bytes.fromhex(said.stdout)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=0, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def capture(declared: Declared, folder: Path) -> None:
    """Store everything of a machine that has registered."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    channel = declared.node.channel
    declared.wait_settled(_SETTLE_S)
    for name, command in {**TOOLS, **(BMC_TOOLS if declared.rich.bmc else {})}.items():
        said = channel.run("sh", "-c", command, timeout_s=120, check=False)
        if said.status != 127 and said.stdout.strip():
            (folder / name).write_text(said.stdout, encoding="utf-8")
    (folder / "smbios.bin").write_bytes(without_credentials(_read_bytes(channel, f"{TABLE}/DMI")))
    (folder / "smbios-entry-point.bin").write_bytes(_read_bytes(channel, f"{TABLE}/smbios_entry_point"))
    texts, others = json.loads(channel.run("python3", "-I", "-c", _READ_TREE, timeout_s=120).stdout)
    _write(folder / "tree.json", texts)
    _write(folder / "tree-bytes.json", others)


def main() -> int:
    """Capture the machines that were named, or all."""
    for name in sys.argv[1:] or matrix.MACHINES:
        print(f"capture: {name}", flush=True)
        with switch_on(matrix.MACHINES[name], ROOT / "build/captures" / name) as declared:
            declared.node.channel.wait_event(events.REGISTERED, _BOOT_S)
            capture(declared, FOLDER / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

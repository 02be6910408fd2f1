"""Facter's own outputs: formats of the flat facts (2.x), and the arithmetic inside the structured ones (3 to 5).

The table of formats is proven by the outputs of real machines that MK_CAPTURES names, and our own facts, of a made
machine and of this one, are held to the same table.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from probe_tree import make_tree

from mkctl.probe import facter_system as system
from mkctl.probe.facter_amounts import format_share, format_size
from mkctl.probe.facter_memory import flat_memory, parse_meminfo
from mkctl.probe.sources import build_collectors

CAPTURES = Path(os.environ.get("MK_CAPTURES") or "/nonexistent") / "facter"
WHY_NOT = "MK_CAPTURES names no folder of real machines' outputs"
COLLECTORS = {"system", "time", "memory", "processors", "dmi", "network", "networking", "mounts", "partitions", "block"}

AMOUNT = r"\d+\.\d\d [MGT]B"
NUMBER = r"\d+\.\d\d"
IPV4 = r"\d{1,3}(\.\d{1,3}){3}"
MAC = r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5,19}"
IF = r"[A-Za-z0-9_]+"
UPTIME = r"\d+:[0-5]\d hours|1 day|\d+ days"
FORMATS: tuple[tuple[str, type, str], ...] = (
    (r"architecture", str, r"x86_64|amd64|i386|aarch64|arm\w*|ppc64(le)?|s390x|riscv64"),
    (r"hardwaremodel", str, r"\w+"),
    (r"hardwareisa", str, r"\w+"),
    (r"hostname", str, r"[^.]+"),
    (r"domain|fqdn", str, r"[^\s]*[^.\s]"),
    (r"interfaces", str, rf"{IF}(,{IF})*"),
    (rf"(ipaddress|netmask|network)(_{IF})?", str, IPV4),
    (rf"ipaddress6(_{IF})?", str, r"[0-9a-f:]+"),
    (rf"macaddress(_{IF})?", str, MAC),
    (rf"mtu_{IF}", int, r"\d+"),
    (r"is_virtual|selinux|selinux_enforced", bool, r"True|False"),
    (r"virtual", str, r"[a-z0-9_]+"),
    (r"(board)?(manufacturer|productname|serialnumber)|bios_(vendor|version)|type", str, r".+"),
    (r"bios_release_date", str, r"\d\d/\d\d/\d{4}"),
    (r"uuid", str, r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"),
    (r"(memory|swap)(size|free)", str, AMOUNT),
    (r"(memory|swap)(size|free)_mb", str, NUMBER),
    (r"(physical)?processorcount", int, r"[1-9]\d*"),
    (r"processor\d+", str, r".+"),
    (r"processors|os|partitions|system_uptime|dhcp_servers", dict, r"(?s).+"),
    (r"blockdevices", str, r"[\w!-]+(,[\w!-]+)*"),
    (r"blockdevice_[\w!-]+_size", int, r"\d+"),
    (r"blockdevice_[\w!-]+_(vendor|model|serial)", str, r".+"),
    (r"filesystems", str, r"\w+(,\w+)*"),
    (r"id|gid", str, r"\S+"),
    (r"kernel", str, r"Linux"),
    (r"kernelrelease", str, r"\d+\.\d+.*"),
    (r"kernelversion", str, r"\d+(\.\d+)+"),
    (r"kernelmajversion", str, r"\d+\.\d+"),
    (r"operatingsystem|osfamily", str, r"\w+"),
    (r"operatingsystem(maj)?release|lsb((maj|minor)?distrelease)", str, r"\d[\d.]*"),
    (r"lsbdist(id|codename|description)", str, r".+"),
    (r"path", str, r"/[^:]*(:[^:]*)*"),
    (r"selinux_\w+", str, r"\w+"),
    (r"timezone", str, r"[A-Z]{3,5}|[+-]\d{2}(\d{2})?"),
    (r"uniqueid", str, r"[0-9a-f]{8}"),
    (r"uptime", str, UPTIME),
    (r"uptime_(days|hours|seconds)", int, r"\d+"),
    (r"vlans", str, r"\d+(,\d+)*"),
)
LEFT_OUT = (
    (r"facterversion|ruby\w*|puppetversion|augeasversion|gem_version|ps", "of programs that a node has not"),
    (r"ssh\w*", "keys of a server that only an image for people starts"),
    (r"lsbrelease", "modules of the LSB, which no distribution names any more"),
    (
        r"(discovery|nmprimary|nmclient|ipmi|lldp|wol|speed|duplex|port|link|auto_negotiation|agent|efi)_?.*|lib"
        r"|is_rootserver|\w+_speed|physicalnic.*",
        "external facts of a site, not Facter's own",
    ),
)


def outputs(versions: str) -> list[Any]:
    """The outputs of these major versions; where there are none, one parameter that is skipped with the reason."""
    if not CAPTURES.is_dir():
        return [pytest.param({}, id="captures", marks=pytest.mark.skip(reason=WHY_NOT))]
    found = []
    for path in sorted(CAPTURES.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        facts = document.get("facts", document)
        version = str(facts.get("facterversion") or path.name.split("-")[1])
        if version[0] in versions and facts.get("kernel") == "Linux":
            found.append(pytest.param(facts, id=path.stem))
    return found


def wrong_format(name: str, value: object) -> str:
    """Return what is wrong with a fact of Facter 2.4, "" for nothing; a fact that the table does not know is wrong."""
    for pattern, kind, text in FORMATS:
        if re.fullmatch(pattern, name):
            good = type(value) is kind and re.fullmatch(text, str(value))
            return "" if good else f"{name}: {value!r} is no {kind.__name__} of the form {text}"
    return f"{name} is no fact of Facter 2.4"


def left_out(name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern, _ in LEFT_OUT)


EDITED = ({"uniqueid", "uuid"}, "rhel7-vlan")
"""Facts of an output that its publisher made unrecognisable."""


@pytest.mark.parametrize("facts", outputs("2"))
def test_formats_are_those_of_facter_2(facts: dict[str, Any], request: pytest.FixtureRequest) -> None:
    edited = EDITED[0] if EDITED[1] in request.node.name else set[str]()
    wrong = [wrong_format(name, value) for name, value in facts.items() if not left_out(name) and name not in edited]
    assert [text for text in wrong if text] == []


MACHINE: dict[str, str | bytes] = {
    "proc/sys/kernel/hostname": "mk0123.lab.example\n",
    "proc/meminfo": "MemTotal: 2014228 kB\nMemFree: 1000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
    "proc/uptime": "81.23 150.00\n",
    "proc/loadavg": "0.50 0.40 0.30 1/99 1234\n",
    "proc/self/mounts": "/dev/sda1 / ext4 rw 0 0\n",
    "proc/filesystems": "nodev\tproc\n\text4\n\txfs\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: CPU\n\nprocessor\t: 1\nmodel name\t: CPU\n",
    "proc/net/vlan/config": "VLAN Dev name | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID\neth0.5 | 5 | eth0\n",
    "proc/net/route": "Iface\tDestination\neth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
    "sys/devices/system/cpu/present": "0-1\n",
    "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
    "sys/devices/system/cpu/cpu1/topology/physical_package_id": "0\n",
    "sys/class/net/eth0/address": "52:54:00:12:34:56\n",
    "sys/class/net/eth0/type": "1\n",
    "sys/class/net/eth0/ifindex": "2\n",
    "sys/class/net/eth0/mtu": "1500\n",
    "sys/class/net/eth0/device/": "",
    "run/systemd/netif/leases/2": "SERVER_ADDRESS=10.0.0.1\n",
    "sys/class/dmi/id/sys_vendor": "QEMU\n",
    "sys/class/dmi/id/product_name": "Standard PC\n",
    "sys/class/dmi/id/product_serial": "S-1\n",
    "sys/class/dmi/id/product_uuid": "4c4c4544-0042-4410-8051-c3c04f395931\n",
    "sys/class/dmi/id/board_vendor": "QEMU\n",
    "sys/class/dmi/id/board_name": "B\n",
    "sys/class/dmi/id/board_serial": "B-1\n",
    "sys/class/dmi/id/bios_vendor": "SeaBIOS\n",
    "sys/class/dmi/id/bios_version": "1.16\n",
    "sys/class/dmi/id/bios_date": "04/01/2014\n",
    "sys/class/dmi/id/chassis_type": "1\n",
    "sys/block/sda/size": "2048\n",
    "sys/block/sda/device/vendor": "ATA\n",
    "sys/block/sda/device/model": "M\n",
    "sys/block/sda/sda1/dev": "8:1\n",
    "sys/block/sda/sda1/size": "1024\n",
    "sys/fs/selinux/enforce": "1",
    "sys/fs/selinux/policyvers": "33",
    "run/udev/data/b8:1": "E:ID_FS_TYPE=ext4\nE:ID_FS_UUID_ENC=22\n",
    "etc/os-release": 'ID=debian\nNAME="Debian GNU/Linux"\nPRETTY_NAME="Debian 12"\nVERSION_CODENAME=bookworm\n',
    "etc/debian_version": "12.11\n",
    "etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
}


def flat_facts(root: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for collector in build_collectors(root):
        if collector.name in COLLECTORS:
            found.update(collector.collect().facts)
    return found


def test_b47_our_facts_have_these_formats(tmp_path: Path) -> None:
    facts = flat_facts(str(make_tree(tmp_path, MACHINE)))
    assert [text for text in (wrong_format(name, value) for name, value in facts.items()) if text] == []
    missing = {pattern for pattern, _, _ in FORMATS if not any(re.fullmatch(pattern, name) for name in facts)}
    # of the running kernel, which a tree has not: shown with the running machine
    assert missing == {rf"(ipaddress|netmask|network)(_{IF})?", rf"ipaddress6(_{IF})?"}
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_this_machine_s_facts_have_these_formats() -> None:
    facts = flat_facts("")
    assert [text for text in (wrong_format(name, value) for name, value in facts.items()) if text] == []


@pytest.mark.parametrize("facts", outputs("2"))
def test_a_node_has_every_fact_that_facter_2_had(facts: dict[str, Any], tmp_path: Path) -> None:
    """Every name of a real output that is Facter's own has the same kind of name among ours."""
    ours = set(flat_facts(str(make_tree(tmp_path, MACHINE))))
    for name in facts:
        known = next((pattern for pattern, _, _ in FORMATS if re.fullmatch(pattern, name)), "")
        addressed = re.match(r"(ipaddress6?|netmask|network)(_|$)", name)
        assert left_out(name) or addressed or any(re.fullmatch(known, our) for our in ours), name


@pytest.mark.parametrize("facts", outputs("2"))
def test_worked_examples_of_facter_2(facts: dict[str, Any]) -> None:
    """What one fact says must follow from another by our rules, too."""
    if "kernelrelease" in facts:
        kernel = system.kernel_facts(facts["kernelrelease"])
        assert kernel == {name: facts[name] for name in kernel if name in facts}
    if "uptime_seconds" in facts:
        uptime = system.flat_uptime(facts["uptime_seconds"])
        assert {name: facts[name] for name in uptime if name in facts} == {
            name: value for name, value in uptime.items() if name in facts
        }
    for name in ("memorysize", "swapsize"):
        if f"{name}_mb" in facts and float(facts[f"{name}_mb"]) > 0:
            size_kb = round(float(facts[f"{name}_mb"]) * 1024)
            text = flat_memory(parse_meminfo(f"MemTotal: {size_kb} kB\n"))["memorysize"]
            assert text == facts[name]


def leaves(value: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in a document with its path."""
    if isinstance(value, dict):
        yield path, value
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)


@pytest.mark.parametrize("facts", outputs("45"))
def test_amounts_of_facter_4(facts: dict[str, Any]) -> None:
    """Each size that stands there twice is the same by our rule; each share follows from its parts."""
    pairs = 0
    for path, found in leaves(facts):
        for name, value in found.items():
            if f"{name}_bytes" in found:
                pairs += 1
                assert format_size(found[f"{name}_bytes"]) == value, (path, name)
        if path.startswith(".memory.") and found["total_bytes"]:
            assert found["capacity"] == format_share(found["used_bytes"], found["total_bytes"]), path
    assert pairs > 5


@pytest.mark.parametrize("facts", outputs("345"))
def test_uptime_and_kernel_of_facter_4(facts: dict[str, Any]) -> None:
    assert system.structured_uptime(facts["system_uptime"]["seconds"]) == facts["system_uptime"]
    kernel = system.kernel_facts(facts["kernelrelease"])
    assert kernel == {name: facts[name] for name in kernel}

"""Memory, kernel, uptime and names in the forms of Facter 2.4 and 4.

The expected values of Facter 4 are what version 4.3 printed for these very inputs, laid over its /proc and /etc.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from probe_tree import make_tree

from mkcore.errors import BadInput
from mkctl.probe import facter_system as system
from mkctl.probe.facter_amounts import format_frequency, format_share, format_size
from mkctl.probe.facter_memory import flat_memory, parse_meminfo, structured_memory
from mkctl.probe.facter_names import build_names, parse_hosts, parse_resolv_domain, read_names


# --- amounts --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.00 KiB"),
        (1048064, "1023.50 KiB"),
        (1073740800, "1.00 GiB"),  # 1023.999 MiB
        (1073735680, "1023.99 MiB"),
        (1207959552, "1.13 GiB"),  # 1.125: half goes up
        (8198971392, "7.64 GiB"),
        (274877906944, "256.00 GiB"),
        (1125899906842624, "1.00 PiB"),
        (1 << 80, "1048576.00 EiB"),
    ],
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


def test_shares_and_clocks() -> None:
    assert format_share(722239488, 8198971392) == "8.81%"
    assert format_share(0, 5) == "0.00%"
    assert [format_frequency(mhz * 10**6) for mhz in (2600, 800, 66, 12345)] == [
        "2.60 GHz",
        "800.00 MHz",
        "66.00 MHz",
        "12.35 GHz",
    ]
    assert format_frequency(12) == "12.00 Hz"


# --- memory ---------------------------------------------------------------------------------------
OLD_KERNEL = """\
MemTotal: 1000000 kB
MemFree: 200000 kB
Buffers: 1000 kB
Cached: 30000 kB
SReclaimable: 5000 kB
SwapTotal: 4096 kB
SwapFree: 1000 kB
"""


def test_structured_memory() -> None:
    assert structured_memory(parse_meminfo(OLD_KERNEL)) == {
        "swap": {
            "available": "1000.00 KiB",
            "available_bytes": 1024000,
            "capacity": "75.59%",
            "total": "4.00 MiB",
            "total_bytes": 4194304,
            "used": "3.02 MiB",
            "used_bytes": 3170304,
        },
        "system": {
            "available": "225.59 MiB",
            "available_bytes": 236544000,
            "capacity": "76.90%",
            "total": "976.56 MiB",
            "total_bytes": 1024000000,
            "used": "750.98 MiB",
            "used_bytes": 787456000,
        },
    }


def test_structured_memory_of_little() -> None:
    text = "MemTotal: 1000 kB\nMemFree: 200 kB\nMemAvailable: 1000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
    memory = structured_memory(parse_meminfo(text))
    assert memory.keys() == {"system"}
    assert memory["system"] == {
        "available": "1000.00 KiB",
        "available_bytes": 1024000,
        "capacity": "0.00%",
        "total": "1000.00 KiB",
        "total_bytes": 1024000,
        "used": "0 bytes",
        "used_bytes": 0,
    }
    assert structured_memory(parse_meminfo("MemTotal: 1000000 kB\n")) == {
        "system": {"total": "976.56 MiB", "total_bytes": 1024000000}
    }


@pytest.mark.parametrize(
    ("total_kb", "size", "size_mb"),
    [
        (8174072, "7.80 GB", "7982.49"),
        (1015780, "991.97 MB", "991.97"),
        (16428349, "15.67 GB", "16043.31"),
        (1048576, "1.00 GB", "1024.00"),
        (2199023256, "2.05 TB", "2147483.65"),
    ],
)
def test_flat_memory(total_kb: int, size: str, size_mb: str) -> None:
    facts = flat_memory(parse_meminfo(f"MemTotal:       {total_kb:>8} kB\n"))
    assert facts == {"memorysize": size, "memorysize_mb": size_mb}


def test_flat_memory_that_is_free() -> None:
    facts = flat_memory(parse_meminfo(OLD_KERNEL))
    assert facts["memoryfree"] == "225.59 MB"
    assert facts["memoryfree_mb"] == "225.59"
    assert (facts["swapsize"], facts["swapsize_mb"]) == ("4.00 MB", "4.00")
    assert (facts["swapfree"], facts["swapfree_mb"]) == ("0.98 MB", "0.98")
    none = flat_memory(parse_meminfo("MemTotal: 5 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"))
    assert (none["swapsize"], none["swapfree_mb"]) == ("0.00 MB", "0.00")


@pytest.mark.parametrize("text", ["", "MemFree: 1 kB\n", "MemTotal: 0 kB\n", "MemTotal: x kB\n", "MemTotal: 5 MB\n"])
def test_memory_unknown(text: str) -> None:
    with pytest.raises(BadInput, match="MemTotal"):
        parse_meminfo(text)


# --- uptime, load, kernel -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "days", "hours", "seconds", "uptime"),
    [
        ("59.99 1.0", 0, 0, 59, "0:00 hours"),
        ("61.20 5", 0, 0, 61, "0:01 hours"),
        ("3600.0 1", 0, 1, 3600, "1:00 hours"),
        ("86399.9 1", 0, 23, 86399, "23:59 hours"),
        ("86400.0 1", 1, 24, 86400, "1 day"),
        ("180000.0 1", 2, 50, 180000, "2 days"),
        ("14927393.77 1", 172, 4146, 14927393, "172 days"),
        ("0.5 0", 0, 0, 0, "0:00 hours"),
    ],
)
def test_uptime(text: str, days: int, hours: int, seconds: int, uptime: str) -> None:
    structured = {"days": days, "hours": hours, "seconds": seconds, "uptime": uptime}
    assert system.structured_uptime(system.parse_uptime(text)) == structured
    assert system.flat_uptime(seconds) == {
        "uptime": uptime,
        "uptime_days": days,
        "uptime_hours": hours,
        "uptime_seconds": seconds,
        "system_uptime": structured,
    }


def test_load() -> None:
    assert system.parse_load("0.00 1.10 12.345 1/200 999\n") == {"1m": 0.0, "5m": 1.1, "15m": 12.345}


@pytest.mark.parametrize("text", ["", "x", "-1.0 2", "1e5 1", "9" * 13])
def test_no_uptime_and_no_load(text: str) -> None:
    with pytest.raises(BadInput):
        system.parse_uptime(text)
    with pytest.raises(BadInput):
        system.parse_load(text)


@pytest.mark.parametrize(
    ("release", "version", "major"),
    [
        ("6.1.0-37-amd64", "6.1.0", "6.1"),
        ("4.4.73-5-default", "4.4.73", "4.4"),
        ("4.14.79-v7+", "4.14.79", "4.14"),
        ("3.10.0-514.2.2.el7.x86_64", "3.10.0", "3.10"),
        ("7", "7", "7"),
    ],
)
def test_kernel(release: str, version: str, major: str) -> None:
    expected = {"kernel": "Linux", "kernelrelease": release, "kernelversion": version, "kernelmajversion": major}
    assert system.kernel_facts(release) == expected
    assert system.kernel_facts("next") == {"kernel": "Linux", "kernelrelease": "next"}


def test_the_inventory_tells_no_secret_of_the_command_line() -> None:
    """A kernel line may carry passwords; the inventory is sent to a server and shown on a page."""
    line = "root=/dev/vda1 rd.iscsi.password=hunter2 SNMP_Community=INTEL iommu.passthrough=1 mytoken=a=b adminPass=x"
    hidden = "root=/dev/vda1 rd.iscsi.password=... SNMP_Community=... iommu.passthrough=1 mytoken=... adminPass=..."
    assert system.kernel_inventory(os.uname(), line)["command_line"] == hidden
    line = """rd.iscsi.password="two words" dyndbg="file a.c +p" "my.token=a b" quiet systemd.set_credential=n:"x y"""
    hidden = """rd.iscsi.password=... dyndbg="file a.c +p" "my.token=... quiet systemd.set_credential=..."""
    assert system.hide_secrets(line) == hidden
    line = "ks=http://user:pw@192.0.2.7/a netroot=iscsi:me:p/w@192.0.2.7::::iqn rootflags=subvol=@ a@b"
    hidden = "ks=http://...@192.0.2.7/a netroot=iscsi:...@192.0.2.7::::iqn rootflags=subvol=@ a@b"
    assert system.hide_secrets(line) == hidden
    line = (
        "ks=https://h/a?os=el9&Token=abc;api_key=x#f token=1 ts.authkey=k wifi.psk=s url=http://h/?sig=a%2B&keymap=de"
    )
    hidden = "ks=https://h/a?os=el9&Token=...;api_key=...#f token=... ts.authkey=... wifi.psk=... url=http://h/?sig=...&keymap=de"
    assert system.hide_secrets(line) == hidden
    line = "rd.vconsole.keymap=us rd.luks.key=/k console=ttyS0 ip=dhcp root=live:http://h/squash?version=1&arch=x"
    assert system.hide_secrets(line) == line
    kernel = system.kernel_inventory(os.uname(), "")
    assert kernel == {"release": os.uname().release, "version": os.uname().version, "machine": os.uname().machine}


def test_identity_and_zone() -> None:
    identity = system.own_identity()
    assert (identity["uid"], identity["privileged"]) == (os.getuid(), os.getuid() == 0)
    assert identity["gid"] == pwd.getpwuid(os.getuid()).pw_gid, "the account's, not that of the process"
    assert system.flat_identity({"uid": 0, "user": "root", "gid": 0, "group": "root"}) == {"id": "root", "gid": "root"}
    assert system.flat_identity({"uid": 5}) == {}
    assert system.timezone()


def test_unique_id(tmp_path: Path) -> None:
    """Of glibc's gethostid(3): the address with its halves exchanged, in the byte order of x86."""
    assert system.read_unique_id(str(tmp_path), "127.0.1.1") == "007f0101"
    assert system.read_unique_id(str(tmp_path), "192.0.2.34") == "00c02202"
    assert system.read_unique_id(str(tmp_path), None) == "00000000"
    make_tree(tmp_path, {"etc/hostid": b"\x01\x02\x03\x04"})
    assert system.read_unique_id(str(tmp_path), "127.0.1.1") == "04030201"


# --- names ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kernel", "hosts", "resolv", "domain", "fqdn"),
    [
        ("n7", "127.0.0.1 localhost\n", "", "", "n7"),
        ("n7", "", "search a.example b.example\n", "a.example", "n7.a.example"),
        ("n7", "", "search a.example\ndomain c.example\n", "c.example", "n7.c.example"),
        ("n7", "", "domain c.example\nsearch a.example\n", "c.example", "n7.c.example"),
        ("n7", "127.0.1.1 n7.hosts.example n7\n", "search a.example\n", "hosts.example", "n7.hosts.example"),
        ("n7", "127.0.1.1 n7 n7.hosts.example\n", "", "", "n7"),
        ("n7", "127.0.1.1 other.hosts.example n7\n", "", "", "other.hosts.example"),
        ("n7", "#127.0.1.1 x.y n7\n::1 n7.six.example n7\n", "", "six.example", "n7.six.example"),
        ("n7.own.example", "", "search a.example\n", "own.example", "n7.own.example"),
        ("N7", "", "search A.Example\n", "A.Example", "N7.A.Example"),
        ("n7", "127.0.0.1 localhost.localdomain localhost n7\n", "", "", "localhost.localdomain"),
        ("n7", "", "search .\n", "", "n7"),
        ("", "", "search a\n", "", ""),
    ],
)
def test_names(kernel: str, hosts: str, resolv: str, domain: str, fqdn: str) -> None:
    names = build_names(kernel, parse_hosts(hosts), (resolv,))
    assert (names.hostname, names.domain, names.fqdn) == (kernel.partition(".")[0], domain, fqdn)
    expected = {"hostname": names.hostname, "domain": domain, "fqdn": fqdn}
    assert names.structured() == names.flat() == {key: value for key, value in expected.items() if value}


def test_names_of_a_tree(tmp_path: Path) -> None:
    files = {
        "proc/sys/kernel/hostname": "mk0123\n",
        "etc/hosts": "2001:db8::1 mk0123\n192.0.2.7 mk0123\n999.0.2.8 mk0123\n",
        "etc/resolv.conf": "nameserver 192.0.2.1\nsearch lab.example. a.b\n",
    }
    names = read_names(make_tree(tmp_path, files), tmp_path / "proc")
    assert names.address == "192.0.2.7"
    assert names.structured()["fqdn"] == "mk0123.lab.example."  # as Facter 4 has it
    assert names.flat() == {"hostname": "mk0123", "domain": "lab.example", "fqdn": "mk0123.lab.example"}
    assert read_names(tmp_path / "none", tmp_path / "none").flat() == {}


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("search .\n", ""),
        ("# search x\n", ""),
        ("search b.c.\ndomain a.b\n", "a.b"),
        ("search\n", ""),
        ("search x y", "x"),
    ],
)
def test_resolv_conf(text: str, domain: str) -> None:
    assert parse_resolv_domain(text) == domain

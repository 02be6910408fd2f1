"""Bad input to the whole probe: tools that misbehave, odd serial numbers, machines of an uncommon size.

Each costs what it is about and nothing else: it is named in its collector's status, everything else is reported, and
the whole stays within its limits.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Optional, Union

import pytest
from probe_tree import make_tool, make_tree
from smbios_tables import make_entry_point_3, make_structure, make_table

from mkcore.paths import paths_under
from mkcore.proc import Outcome, run
from mkctl.probe.bmc import IpmiLimits, build_ipmi
from mkctl.probe.collect import Collected, Collector, run_collectors
from mkctl.probe.health import HealthLimits, collect_health
from mkctl.probe.model import Status, join_trees
from mkctl.probe.sources import Limits, build_collectors

LIMIT_S = 60.0
"""Bounds a test that hangs; a tool that works takes milliseconds, and seconds where the machine is busy."""
HANGING_S = 1.0
"""For a whole collection, on a machine that may be busy; the limits of the tools here are a second."""
MACHINE: dict[str, Union[str, bytes]] = {
    "proc/sys/kernel/hostname": "mk525400123456\n",
    "proc/sys/kernel/osrelease": "6.12.0-mk\n",
    "proc/sys/kernel/version": "#1 SMP\n",
    "proc/cmdline": "quiet\n",
    "proc/meminfo": "MemTotal:        2014228 kB\n",
    "proc/uptime": "81.23 150.00\n",
    "proc/loadavg": "0.50 0.40 0.30 1/99 1234\n",
    "proc/self/mounts": "rootfs / rootfs rw 0 0\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: One CPU\n",
    "proc/filesystems": "\text4\n",
    "proc/swaps": "Filename\n",
    "sys/class/dmi/id/sys_vendor": "QEMU\n",
    "sys/class/net/eth0/address": "52:54:00:12:34:56\n",
    "sys/class/net/eth0/type": "1\n",
    "sys/class/net/eth0/device/": "",
    "sys/devices/system/cpu/present": "0\n",
    "sys/block/vda/size": "41943040\n",
    "sys/block/vda/serial": "disk-1\n",
    "sys/block/vda/device/": "",
    "dev/ipmi0": "",
}
LSHW = json.dumps(
    {
        "id": "host",
        "class": "system",
        "children": [{"id": "cpu", "class": "processor", "claimed": True, "product": "One CPU", "physid": "1"}],
    }
)
GOOD = {
    "lshw": f"printf '%s' '{LSHW}'",
    "lscpu": "echo 'Architecture:  x86_64'",
    "ipmitool": "printf 'Device ID                 : 33\\nFirmware Revision         : 0.54\\n'",
}
COLLECTORS = {"lshw": "lshw", "lscpu": "lscpu", "ipmitool": "ipmi"}
EXPECTED = {
    "lshw": ("mk_hw_cpu0_product", "One CPU"),
    "lscpu": ("mk_hw_lscpu_Architecture", "x86_64"),
    "ipmitool": ("mk_ipmi_Firmware_Revision", "0.54"),
}


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that PATH leads to, with tools that work."""
    folder = tmp_path / "bin"
    for name, script in GOOD.items():
        make_tool(folder, name, script)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def collect(root: Path, hanging: str = "") -> dict[str, Collected]:
    """Run every collector on a tree, the tool that hangs bounded to a second; return what each brought, by name."""
    limits_s = {tool: HANGING_S if tool == hanging else LIMIT_S for tool in GOOD}
    limits = Limits(kernel_s=LIMIT_S, lscpu_s=limits_s["lscpu"], lshw_s=limits_s["lshw"])
    collectors = build_collectors(str(root), limits)
    bmc_s = limits_s["ipmitool"]
    ipmi = build_ipmi(str(root), paths_under(str(root)), IpmiLimits(bmc_s=bmc_s, lan_s=bmc_s, fru_s=bmc_s))
    replaced = {collector.name for collector in ipmi}
    chosen: list[Collector] = [each for each in collectors if each.name not in replaced] + ipmi
    began = time.monotonic()
    ended = run_collectors(chosen)
    assert time.monotonic() - began < LIMIT_S
    return {one.name: one.result for one in ended}


def facts_of(results: Mapping[str, Collected]) -> dict[str, object]:
    return {name: value for result in results.values() for name, value in result.facts.items()}


def test_the_tools_here_work(tools: Path, tmp_path: Path) -> None:
    results = collect(make_tree(tmp_path / "root", MACHINE))
    assert {name: result.error for name, result in results.items() if result.status is not Status.OK} == {}
    facts = facts_of(results)
    assert {name: facts.get(name) for name, _ in EXPECTED.values()} == dict(EXPECTED.values())


@pytest.mark.parametrize("tool", GOOD)
@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("exec sleep 1000", Status.TIMED_OUT, "did not end within"),
        ("exec yes 'aaaa : bbbb'", Status.FAILED, "wrote more than"),
        ("kill -SEGV $$", Status.FAILED, "killed by signal 11"),
        ("", Status.FAILED, ""),
        (None, Status.MISSING, "cannot be started"),
    ],
    ids=["hangs", "floods", "dies", "says nothing", "is missing"],
)
def test_a_tool_that_misbehaves_costs_its_own_facts(
    tools: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tool: str,
    script: Optional[str],
    status: Status,
    said: str,
) -> None:
    good = facts_of(collect(make_tree(tmp_path / "good", MACHINE)))
    if script is None:
        (tools / tool).unlink()
        monkeypatch.setenv("PATH", str(tools))
    else:
        make_tool(tools, tool, script)
    results = collect(make_tree(tmp_path / "root", MACHINE), tool if "sleep" in str(script) else "")
    bad = results[COLLECTORS[tool]]
    assert bad.status is status, bad
    assert bad.error
    assert said in bad.error
    others = {name: result for name, result in results.items() if not name.startswith(COLLECTORS[tool])}
    assert {name: result.error for name, result in others.items() if result.status is not Status.OK} == {}
    lost = set(good) - set(facts_of(results))
    prefixes = {"lshw": "mk_hw_", "lscpu": "mk_hw_lscpu_", "ipmitool": "mk_ipmi_"}
    assert EXPECTED[tool][0] in lost
    assert not {name for name in lost if not name.startswith(prefixes[tool])}


@pytest.mark.parametrize("tool", GOOD)
@pytest.mark.parametrize("warning", ["WARNING: be super-user", "caution: odd", "\\351\\377 not UTF-8", "[ 1.0] x: y"])
def test_warnings_before_the_data(tools: Path, tmp_path: Path, tool: str, warning: str) -> None:
    make_tool(tools, tool, f"printf '{warning}\\n'; printf '{warning}\\n' >&2\n{GOOD[tool]}")
    results = collect(make_tree(tmp_path / "root", MACHINE))
    name, value = EXPECTED[tool]
    assert facts_of(results).get(name) == value
    assert results[COLLECTORS[tool]].status is Status.OK


def test_the_flood_is_stopped_at_sixteen_megabytes() -> None:
    done = run(("yes",), timeout_s=60)
    assert (done.outcome, len(done.stdout)) == (Outcome.FLOODED, 16 << 20)


def test_a_disk_that_makes_smartctl_hang_costs_its_own_health(tools: Path, tmp_path: Path) -> None:
    disks = {}
    for letter in "abc":
        base = f"sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:{ord(letter) - 97}:0"
        disks[f"{base}/block/sd{letter}/size"] = "1000\n"
        disks[f"{base}/block/sd{letter}/device"] = "-> ../.."
        disks[f"{base}/vendor"] = "ATA\n"
        disks[f"sys/block/sd{letter}"] = f"-> ../{base.removeprefix('sys/')}/block/sd{letter}"
    root = make_tree(tmp_path / "root", disks)
    make_tool(
        tools,
        "smartctl",
        'for last; do :; done; case "$last" in */sdb) exec sleep 1000;; */sdc) kill -SEGV $$;; esac\n'
        'echo \'{"smartctl":{"exit_status":0},"smart_status":{"passed":true}}\'',
    )
    result = collect_health(root / "sys", root, True, HealthLimits(disk_s=5.0, total_s=LIMIT_S))
    assert result.status is Status.OK
    assert "2 of 3 disks" in result.error
    assert list(result.inventory["disks"]) == ["sda"]  # type: ignore[arg-type,call-overload,index]


def test_odd_serial_numbers(tools: Path, tmp_path: Path) -> None:
    """One that is not UTF-8, one with control characters, two disks with the same: all are reported, in valid UTF-8,
    and named in their collector's status."""
    odd: dict[str, Union[str, bytes]] = {
        **MACHINE,
        "sys/class/dmi/id/product_serial": b"S\xe9rie-\xff1\n",
        "sys/block/vda/serial": b"N\xba\x01\x1b7\n",
        "sys/block/vdb/size": "41943040\n",
        "sys/block/vdb/serial": "twin\n",
        "sys/block/vdb/device/": "",
        "sys/block/vdc/size": "41943040\n",
        "sys/block/vdc/serial": "twin\n",
        "sys/block/vdc/device/": "",
    }
    results = collect(make_tree(tmp_path / "root", odd))
    assert {name: result.error for name, result in results.items() if result.status is not Status.OK} == {}
    twins = "vdb and vdc have the same serial number, twin"
    assert results["block"].error == f"{twins}; the serial number of vda is not UTF-8"
    assert results["smbios"].error == "the system's serial number is not UTF-8"
    facts = facts_of(results)
    assert facts["serialnumber"] == "S\ufffdrie-\ufffd1"
    assert (facts["blockdevice_vdb_serial"], facts["blockdevice_vdc_serial"]) == ("twin", "twin")
    assert "blockdevice_vda_serial" in facts
    joined = join_trees(result.inventory for result in results.values())
    text = json.dumps([facts, joined], ensure_ascii=False)
    text.encode("utf-8")
    assert not [character for character in text if ord(character) < 0x20]
    assert not [escape for escape in ("\\u0001", "\\u001b") if escape in json.dumps(joined)]


def large_machine() -> dict[str, Union[str, bytes]]:
    """2,000 PCI functions, 512 CPUs of four packages, 192 memory modules."""
    tree: dict[str, Union[str, bytes]] = dict(MACHINE)
    for number in range(2000):
        address = f"{number // 256:04x}:{number % 256:02x}:00.0"
        folder = f"sys/bus/pci/devices/{address}"
        values = {"vendor": "0x8086", "device": f"0x{number % 64:04x}", "class": "0x020000", "numa_node": "1"}
        tree.update({f"{folder}/{name}": f"{value}\n" for name, value in values.items()})
    tree["sys/devices/system/cpu/present"] = tree["sys/devices/system/cpu/online"] = "0-511\n"
    blocks = []
    for number in range(512):
        package, core = number // 128, number % 128
        topology = f"sys/devices/system/cpu/cpu{number}/topology"
        tree[f"{topology}/physical_package_id"] = f"{package}\n"
        tree[f"{topology}/core_id"] = f"{core}\n"
        blocks.append(
            f"processor\t: {number}\nvendor_id\t: AuthenticAMD\nmodel name\t: Big CPU\nphysical id\t: {package}\n"
            f"core id\t\t: {core}\ncpu cores\t: 128\nflags\t\t: {' '.join(f'flag{each}' for each in range(120))}\n"
        )
    tree["proc/cpuinfo"] = "\n".join(blocks)
    slots = (
        make_structure(
            17,
            0x1100 + number,
            0x28,
            {0x0C: 0x7FFF.to_bytes(2, "little"), 0x1C: 0x10000.to_bytes(4, "little"), 0x10: f"DIMM{number}"},
        )
        for number in range(192)
    )
    table = make_table(*slots)
    tree["sys/firmware/dmi/tables/DMI"] = table
    tree["sys/firmware/dmi/tables/smbios_entry_point"] = make_entry_point_3(table)
    return tree


def test_a_machine_of_uncommon_size(tools: Path, tmp_path: Path) -> None:
    results = collect(make_tree(tmp_path / "root", large_machine()))
    assert {name: result.error for name, result in results.items() if result.status is not Status.OK} == {}
    facts = facts_of(results)
    assert facts["processorcount"] == 512
    assert facts["physicalprocessorcount"] == 4
    inventory = join_trees(result.inventory for result in results.values())
    assert len(inventory["pci"]) == 2000  # type: ignore[arg-type]
    assert len(inventory["memory"]["slots"]) == 192  # type: ignore[arg-type,call-overload,index]

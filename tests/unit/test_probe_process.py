"""The real program, on trees of files and with fake tools on PATH."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from probe_tree import make_tool, make_tree

from mkcore.paths import paths_under
from mkctl.probe.model import FactsFile, Status, parse_facts_file
from mkctl.probe.sources import LSHW_WITHOUT_SMBIOS, build_collectors, collect_lscpu, collect_lshw

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/captures"
MACHINE = {
    "run/mk-facts/": "",
    "proc/sys/kernel/hostname": "mk525400123456\n",
    "proc/meminfo": "MemTotal:        2014228 kB\n",
    "proc/uptime": "81.23 150.00\n",
    "proc/loadavg": "0.50 0.40 0.30 1/99 1234\n",
    "proc/self/mounts": "rootfs / rootfs rw 0 0\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: QEMU Virtual CPU version 2.5+\ncpu MHz\t\t: 2000.000\n",
    "sys/kernel/uevent_seqnum": "1840\n",
    "sys/class/dmi/id/sys_vendor": "QEMU\n",
    "sys/class/dmi/id/product_name": "Standard PC (Q35 + ICH9, 2009)\n",
    "sys/block/vda/size": "41943040\n",
    "sys/block/vda/serial": "disk-1\n",
    "sys/block/vda/device/vendor": "0x1af4\n",
    "sys/class/net/lo/type": "772\n",
    "sys/class/net/lo/mtu": "65536\n",
    "sys/class/net/enp0s2/address": "52:54:00:12:34:56\n",
    "sys/class/net/enp0s2/type": "1\n",
    "sys/class/net/enp0s2/mtu": "1500\n",
    "sys/class/net/enp0s2/device/": "",
    "sys/devices/system/cpu/present": "0\n",
    "sys/devices/system/cpu/online": "0\n",
    "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
}
LSCPU = """cat <<'END'
{"lscpu": [{"field": "Architecture:", "data": "x86_64"}, {"field": "Socket(s):", "data": "1"}]}
END"""
LSHW = f"cat '{DATA / 'lshw-qemu-q35.json'}'"


def tools(folder: Path, **scripts: str) -> Path:
    for name, script in scripts.items():
        make_tool(folder / "bin", name, f"echo \"{name} $*\" >> '{folder}/calls'\n{script}")
    return folder / "bin"


def calls(folder: Path, name: str) -> list[str]:
    return [line for line in (folder / "calls").read_text(encoding="utf-8").splitlines() if line.split()[0] == name]


def probe(root: Path, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkctl.probe", "--root", str(root), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def read(root: Path) -> FactsFile:
    return parse_facts_file((root / "run/mk-facts/facts.json").read_bytes())


def test_a_whole_run(tmp_path: Path) -> None:
    """The facts that servers rely on (protocol 6.7) and the base facts (6.8), of a machine without eth0 and UUID."""
    root = make_tree(tmp_path / "root", MACHINE)
    finished = probe(root, tools(tmp_path, lscpu=LSCPU, lshw=LSHW))
    assert finished.returncode == 0, finished.stderr
    assert re.fullmatch(r"mk-facts: \d+ facts collected in \d+\.\d s\n", finished.stderr)
    content = read(root)
    assert content.complete
    assert (content.generation, content.uevent_seqnum) == (1, 1840)
    assert {state.status for state in content.collectors.values()} <= {Status.OK, Status.PENDING}
    expected = {
        "hostname": "mk525400123456",
        "interfaces": "enp0s2,lo",
        "macaddress": "52:54:00:12:34:56",
        "macaddress_enp0s2": "52:54:00:12:34:56",
        "virtual": "kvm",
        "is_virtual": True,
        "memorysize": "1.92 GB",
        "processorcount": 1,
        "physicalprocessorcount": 1,
        "processor0": "QEMU Virtual CPU version 2.5+",
        "manufacturer": "QEMU",
        "productname": "Standard PC (Q35 + ICH9, 2009)",
        "blockdevices": "vda",
        "blockdevice_vda_size": 21474836480,
        "blockdevice_vda_serial": "disk-1",
        "mk_hw_cpu_count": "1",
        "mk_hw_bus_vendor": "QEMU",
        "mk_hw_mem_size": "2GiB",
        "mk_hw_nic_count": "1",
        "mk_hw_nic0_serial": "52:54:00:12:34:56",
        "mk_hw_disk_count": "2",
        "mk_hw_disk0_serial": "disk-1",
        "mk_hw_lscpu_CPU_sockets": "1",
        "mk_hw_lscpu_CPU_MHz": "2000.000",
    }
    assert {name: content.facts.get(name) for name in expected} == expected
    assert not {"uuid", "serialnumber", "macaddress_eth0"} & set(content.facts)


def test_each_tool_runs_once_with_smbios(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", MACHINE)
    probe(root, tools(tmp_path, lscpu=LSCPU, lshw=LSHW))
    assert calls(tmp_path, "lshw") == ["lshw -json"]
    assert calls(tmp_path, "lscpu") == ["lscpu -J"]


def test_a_second_run_is_the_next_generation(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", MACHINE)
    path = tools(tmp_path, lscpu=LSCPU, lshw=LSHW)
    probe(root, path)
    first = read(root)
    make_tool(path, "lshw", "kill -9 $$")
    finished = probe(root, path)
    assert finished.returncode == 0
    assert "mk-facts: collector lshw: lshw was killed by signal 9; keeping its " in finished.stderr
    second = read(root)
    assert second.generation == 2
    assert second.boottime_usec > first.boottime_usec
    assert second.collectors["lshw"].status is Status.FAILED
    assert second.facts == first.facts


def test_a_machine_without_tools(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", MACHINE)
    environment = {"PATH": str(tmp_path / "none"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkctl.probe", "--root", str(root)]
    assert subprocess.run(command, env=environment, capture_output=True, timeout=100, check=False).returncode == 0
    content = read(root)
    assert content.complete
    assert content.collectors["lshw"].status is Status.MISSING
    assert content.collectors["lscpu"].status is Status.MISSING
    assert content.facts["hostname"] == "mk525400123456"
    assert "mk_hw_cpu_count" not in content.facts


def test_an_empty_machine(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", {"run/mk-facts/": ""})
    assert probe(root, tools(tmp_path, lscpu="exit 1", lshw="exit 1")).returncode == 0
    content = read(root)
    assert content.complete
    assert content.facts["virtual"] == "physical"
    assert content.collectors["memory"].status is Status.FAILED
    assert content.collectors["lshw"].error == "lshw ended with status 1"


def test_no_directory_to_write_to(tmp_path: Path) -> None:
    finished = probe(make_tree(tmp_path / "root", {"sys/": ""}), tools(tmp_path, lscpu=LSCPU, lshw=LSHW))
    assert finished.returncode == 74
    assert finished.stderr.count("\n") == 1
    assert "facts of the last good run stay in use" in finished.stderr


def test_print_writes_no_file(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", MACHINE)
    finished = probe(root, tools(tmp_path, lscpu=LSCPU, lshw=LSHW), "--print")
    assert json.loads(finished.stdout)["facts"]["mk_hw_mem_size"] == "2GiB"
    assert not (root / "run/mk-facts/facts.json").exists()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree, and PATH leading to fake tools."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return make_tree(tmp_path / "root", MACHINE)


@pytest.mark.parametrize("death", ["kill -11 $$", "exec sleep 300"])
def test_a_crash_or_hang_of_lshw_is_tried_again_without_smbios(machine: Path, tmp_path: Path, death: str) -> None:
    """Row 82: what the historic agents did on every KVM guest, done where the tool does crash or hang."""
    tools(tmp_path, lshw=f'[ "$2" = -disable ] || {{ {death}\n}}\n{LSHW}')
    result = collect_lshw(paths_under(str(machine)), 3.0)
    assert result.status is Status.OK
    assert result.facts["mk_hw_cpu_count"] == "1"
    assert "read again without SMBIOS" in result.error
    assert calls(tmp_path, "lshw") == ["lshw -json", " ".join(LSHW_WITHOUT_SMBIOS)]


@pytest.mark.parametrize(
    ("script", "limit_s", "status", "error"),
    [
        ("exec sleep 300", 1.0, Status.TIMED_OUT, "did not end within"),
        ("sleep 300 & sleep 300", 1.0, Status.TIMED_OUT, "did not end within"),
        ("kill -11 $$", 60.0, Status.FAILED, "killed by signal 11"),
        ("echo broken >&2; exit 3", 60.0, Status.FAILED, "lshw ended with status 3: broken"),
        ("exec yes '{}'", 60.0, Status.FAILED, "wrote more than"),
    ],
)
def test_lshw_that_never_works(
    machine: Path, tmp_path: Path, script: str, limit_s: float, status: Status, error: str
) -> None:
    tools(tmp_path, lshw=script)
    began = time.monotonic()
    result = collect_lshw(paths_under(str(machine)), limit_s)
    assert time.monotonic() - began < 200
    assert result.status is status
    assert error in result.error
    assert result.facts == {}


@pytest.mark.parametrize(
    "noise",
    [
        "echo 'WARNING: you should run this program as super-user.'",
        "echo 'WARNING: to standard error' >&2",
        "printf 'Inval\\351d byte\\n'",
    ],
)
def test_warnings_stay_out_of_the_data(machine: Path, tmp_path: Path, noise: str) -> None:
    """Row 83."""
    tools(tmp_path, lshw=f"{noise}\n{LSHW}")
    result = collect_lshw(paths_under(str(machine)), 10.0)
    assert result.error == ""
    assert result.facts["mk_hw_nic_count"] == "1"


def test_lscpu_without_json_and_in_the_c_locale(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    tools(
        tmp_path,
        lscpu='[ "$LC_ALL" = C ] || exit 9\n[ -z "$1" ] || exit 1\nprintf "CPU socket(s):   2\\nVendor ID: I\\256\\n"',
    )
    facts = collect_lscpu(paths_under(str(machine)), 10.0).facts
    assert facts["mk_hw_lscpu_CPU_sockets"] == "2"
    assert facts["mk_hw_lscpu_Vendor_ID"] == "I\ufffd"


def test_lscpu_that_hangs(machine: Path, tmp_path: Path) -> None:
    tools(tmp_path, lscpu="exec sleep 300")
    result = collect_lscpu(paths_under(str(machine)), 0.3)
    assert result.status is Status.TIMED_OUT


def test_the_kernel_is_read_without_starting_a_process(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pids = {collector.name: collector.collect for collector in build_collectors(str(machine))}
    before = os.times().children_user
    for name in ("system", "memory", "processors", "dmi", "network", "block"):
        assert pids[name]().status is Status.OK
    assert os.times().children_user == before


def test_the_probe_loads_no_network_code() -> None:
    code = "import sys, mkctl.probe.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not {"requests", "urllib3", "http.client", "ssl", "asyncio", "dbus_next", "mkcore.http"} & set(
        loaded.split()
    )


def test_b53_the_community_of_the_management_controller_is_not_collected(tmp_path: Path) -> None:
    """Where ipmitool is there and would tell it, it is not asked; nothing of the machine's secrets is in the file."""
    root = make_tree(tmp_path / "root", {**MACHINE, "proc/cmdline": "mk.ip=192.0.2.1 rancher.password=hidden\n"})
    ipmitool = "echo 'SNMP Community String   : hidden'"
    probe(root, tools(tmp_path, lscpu=LSCPU, lshw=LSHW, ipmitool=ipmitool))
    assert not calls(tmp_path, "ipmitool")
    assert "hidden" not in (root / "run/mk-facts/facts.json").read_text(encoding="utf-8")

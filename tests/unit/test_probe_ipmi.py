"""The collectors of the management controller, with a fake `ipmitool` on PATH."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from inventory_schema import check_schema
from probe_tree import make_tool, make_tree

from mkcore.paths import Paths, paths_under
from mkctl.probe.bmc import DEVICES, build_ipmi, collect_fru, collect_kernel, collect_lan, collect_product, find_device
from mkctl.probe.collect import Collected
from mkctl.probe.model import Status, join_trees

DATA = Path(__file__).resolve().parent.parent / "data" / "captures"
ANSWERS = f"""\
case "$*" in
'bmc info') cat '{DATA}/ipmi-sim-bmc-info.txt' ;;
'exec /dev/stdin') cat > questions; cat '{DATA}/ipmi-sim-channel-info.txt'; echo 'Unable to Get it' >&2; exit 1 ;;
'lan print 1') sed s/10.9.8.7/0.0.0.0/ '{DATA}/ipmi-sim-lan-print.txt' ;;
'lan print 3') cat '{DATA}/ipmi-sim-lan-print.txt' ;;
'lan6 print 3') printf 'IPv6 Static Address 0:\\n    Address:   2001:db8::7/64\\n    Status:  active\\n' ;;
'lan6 print 1') echo 'Invalid command: lan6' >&2; exit 1 ;;
'fru print') cat '{DATA}/ipmi-sim-fru-print.txt'; exit 1 ;;
*) exit 9 ;;
esac"""


class Machine:
    """A tree with a BMC's device, and PATH leading to a fake ipmitool that writes down its calls."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.root = str(make_tree(folder / "root", {"dev/ipmi0": ""}))
        self.paths: Paths = paths_under(self.root)
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
        monkeypatch.chdir(folder)
        self.answer(ANSWERS)

    def answer(self, script: str) -> None:
        make_tool(self.folder / "bin", "ipmitool", f"echo \"$*\" >> '{self.folder}/calls'\n{script}")

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def bmc(self, limit_s: float = 10.0) -> Collected:
        return collect_product(self.root, limit_s)

    def lan(self, limit_s: float = 10.0) -> Collected:
        return collect_lan(self.root, self.paths, limit_s)

    def fru(self, limit_s: float = 10.0) -> Collected:
        return collect_fru(self.root, limit_s)

    def each(self, limit_s: float = 10.0) -> list[Collected]:
        return [self.bmc(limit_s), self.lan(limit_s), self.fru(limit_s)]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_without_a_device_nothing_is_started_and_nothing_said(machine: Machine, tmp_path: Path) -> None:
    root = str(make_tree(tmp_path / "none", {"dev/null": ""}))
    for collector in build_ipmi(root, paths_under(root)):
        assert collector.collect() == Collected()
    assert machine.calls() == []


@pytest.mark.parametrize("name", DEVICES)
def test_each_name_of_the_device(tmp_path: Path, name: str) -> None:
    assert find_device(str(make_tree(tmp_path, {f"dev/{name}": ""}))) == f"/dev/{name}"


def test_the_whole_controller(machine: Machine) -> None:
    results = machine.each()
    assert [result.status for result in results] == [Status.OK] * 3
    bmc = join_trees(result.inventory for result in results)["bmc"]
    assert isinstance(bmc, dict)
    check_schema({"bmc": bmc})
    assert bmc["manufacturer"] == "Intel Corporation"
    assert bmc["lan"] == {
        "1": {
            "ipv4_source": "static",
            "netmask": "255.255.255.0",
            "gateway": "10.9.8.1",
            "mac": "52:54:00:bb:00:01",
        },
        "3": {
            "ipv4": "10.9.8.7",
            "ipv4_source": "static",
            "netmask": "255.255.255.0",
            "gateway": "10.9.8.1",
            "mac": "52:54:00:bb:00:01",
            "ipv6": ["2001:db8::7"],
        },
    }
    assert isinstance(bmc["fru"], list)
    assert len(bmc["fru"]) == 1
    facts = {name: value for result in results for name, value in result.facts.items()}
    assert facts["mk_ipmi_Device_ID"] == "33"
    assert facts["mk_ipmi_IP_Address"] == "10.9.8.7"  # of the channel in use
    assert facts["mk_ipmi_fru_0_Board_Serial"] == "BRD-SER"
    assert len(facts) == 10 + 11 + 8


def test_the_channels_are_found_by_one_process(machine: Machine) -> None:
    machine.lan()
    assert machine.calls() == ["exec /dev/stdin", "lan print 1", "lan print 3", "lan6 print 1", "lan6 print 3"]
    questions = (machine.folder / "questions").read_text(encoding="ascii").splitlines()
    assert questions == [f"channel info {number}" for number in range(1, 12)]


def test_a_controller_that_does_not_tell_its_channels(machine: Machine) -> None:
    """The default channel is asked for, as ever."""
    machine.answer(f"[ \"$*\" = 'lan print' ] && exec cat '{DATA}/ipmi-sim-lan-print.txt'; echo no >&2; exit 1")
    result = machine.lan()
    assert result.facts["mk_ipmi_IP_Address"] == "10.9.8.7"
    assert result.error == ""
    assert list(result.inventory["bmc"]["lan"]) == ["default"]


def test_a_controller_without_lan(machine: Machine) -> None:
    """As QEMU's own one: no failure, and a remark."""
    machine.answer("echo 'Get Channel Info command failed: Invalid command' >&2; exit 1")
    result = machine.lan()
    assert (result.status, result.facts, result.inventory) == (Status.OK, {}, {})
    assert result.error.endswith("ended with status 1: Get Channel Info command failed: Invalid command")


@pytest.mark.parametrize("noise", ["echo 'Warning: no SDR: x'", "echo 'to standard error' >&2", "echo; echo"])
def test_warnings_stay_out_of_the_data(machine: Machine, noise: str) -> None:
    """Row 83."""
    plain = [result.facts for result in machine.each()]
    machine.answer(f"{noise}\n{ANSWERS}")
    assert [result.facts for result in machine.each()] == plain
    assert all(plain)


@pytest.mark.parametrize(
    ("script", "limit_s", "status", "error"),
    [
        ("exec sleep 300", 0.5, Status.TIMED_OUT, "did not end within"),
        ("echo 'Device ID : 1'; sleep 300 & sleep 300", 0.5, Status.TIMED_OUT, "did not end within"),
        ("kill -11 $$", 60.0, Status.FAILED, "killed by signal 11"),
        ("exec yes 'Device ID : 1'", 60.0, Status.FAILED, "wrote more than"),
    ],
)
def test_a_tool_that_does_not_end_well(
    machine: Machine, script: str, limit_s: float, status: Status, error: str
) -> None:
    machine.answer(script)
    began = time.monotonic()
    for result in machine.each(limit_s):
        assert (result.status, result.facts, result.inventory) == (status, {}, {})
        assert error in result.error
    assert time.monotonic() - began < 200


def test_a_missing_tool(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine.folder / "nothing"))
    assert [result.status for result in machine.each()] == [Status.MISSING] * 3


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo 'Could not open device at /dev/ipmi0' >&2; exit 1", "Could not open device"),
        ("echo 'Could not open device: odd'", "said nothing of a BMC"),
        ("exit 0", "said nothing of a BMC"),
    ],
)
def test_a_device_without_a_controller_behind_it(machine: Machine, script: str, error: str) -> None:
    machine.answer(script)
    result = machine.bmc()
    assert (result.status, result.facts) == (Status.FAILED, {})
    assert error in result.error


def test_facts_count_even_if_the_tool_ends_badly(machine: Machine) -> None:
    """Protocol 6.11: where it exits with 0 or prints something."""
    machine.answer(f"cat '{DATA}/ipmi-sim-bmc-info.txt'; printf 'Device Revision : 77'; echo late >&2; exit 1")
    result = machine.bmc()
    assert (result.status, result.error) == (Status.OK, "ipmitool ended with status 1: late")
    assert result.facts["mk_ipmi_Device_Revision"] == "1"  # the last line was cut off


def test_a_lan_that_hangs_after_the_channels(machine: Machine) -> None:
    machine.answer(f"case \"$*\" in 'lan print'*) exec sleep 300 ;; esac\n{ANSWERS}")
    result = machine.lan(1.0)
    assert (result.status, result.facts) == (Status.TIMED_OUT, {})


def test_b53_the_community_is_collected_only_where_the_site_says_so(machine: Machine) -> None:
    name = "mk_ipmi_SNMP_Community_String"
    assert name not in machine.lan().facts
    make_tree(Path(machine.root), {"etc/mk/mk.toml": "[facts]\nsnmp_community = true\n"})
    assert machine.lan().facts[name] == "public"
    make_tree(Path(machine.root), {"etc/mk/mk.toml.d/50-no.toml": "[facts]\nsnmp_community = false\n"})
    assert name not in machine.lan().facts


def test_the_kernels_view_needs_no_process(machine: Machine) -> None:
    files = {
        "firmware_revision": "3.17\n",
        "ipmi_version": "2.0\n",
        "manufacturer_id": "0x000157\n",
        "product_id": "0x003e\n",
        "guid": "6d6b6d6b-6d6b-6d6b-6d6b-6d6b6d6b6d6b\n",
    }
    make_tree(Path(machine.root) / "sys/class/ipmi/ipmi0/device/bmc", files)
    inventory = collect_kernel(machine.root, machine.paths).inventory
    check_schema(inventory)
    assert inventory == {
        "bmc": {
            "present": True,
            "device": "/dev/ipmi0",
            "firmware_version": "3.17",
            "ipmi_version": "2.0",
            "guid": "6d6b6d6b-6d6b-6d6b-6d6b-6d6b6d6b6d6b",
            "manufacturer_id": 0x157,
            "product_id": 0x3E,
        }
    }
    assert machine.calls() == []


def test_a_kernel_that_says_little(machine: Machine) -> None:
    zeros = {"guid": "00000000-0000-0000-0000-000000000000\n", "product_id": "0xzz\n", "manufacturer_id": "x\n"}
    make_tree(Path(machine.root) / "sys/class/ipmi/ipmi0/device/bmc", zeros)
    inventory = collect_kernel(machine.root, machine.paths).inventory
    assert inventory == {"bmc": {"present": True, "device": "/dev/ipmi0"}}

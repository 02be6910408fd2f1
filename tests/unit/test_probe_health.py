"""The health of disks: what smartctl and nvme print, and how the disks are asked."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_tree import make_tool, make_tree
from test_probe_devices import check
from test_probe_disks import PCI, SAS, SATA, USB, disk

from mkcore.errors import BadInput
from mkctl.probe.devices import build_health, collect_block, find_tool
from mkctl.probe.health import HealthLimits, collect_health
from mkctl.probe.model import Status
from mkctl.probe.nvme import parse_count, parse_smart_log
from mkctl.probe.smart import parse_smartctl

ATA = {
    "smartctl": {"version": [7, 3], "exit_status": 0},
    "smart_status": {"passed": True},
    "temperature": {"current": 34},
    "power_on_time": {"hours": 4280},
    "power_cycle_count": 12,
    "ata_smart_attributes": {
        "table": [
            {"id": 5, "raw": {"value": 8, "string": "8"}},
            {"id": 197, "raw": {"value": 1}},
            {"id": 198, "raw": {"value": 0}},
            {"id": 199, "raw": {"value": 3}},
            {"id": 9, "raw": {"value": 4280}},
            {"id": "odd"},
            "odd",
        ]
    },
    "endurance_used": {"current_percent": 3},
}
SCSI = {
    "smartctl": {"exit_status": 4},
    "smart_status": {"passed": True},
    "temperature": {"current": -2},
    "scsi_grown_defect_list": 4,
    "scsi_percentage_used_endurance_indicator": 7,
    "scsi_error_counter_log": {
        "read": {"total_uncorrected_errors": 5},
        "write": {"total_uncorrected_errors": 1},
        "odd": 3,
    },
}
NVME = {
    "smartctl": {"exit_status": 0},
    "smart_status": {"passed": True, "nvme": {"value": 0}},
    "nvme_smart_health_information_log": {
        "temperature": 44,
        "available_spare": 100,
        "available_spare_threshold": 10,
        "percentage_used": 2,
        "unsafe_shutdowns": 39,
        "media_errors": 0,
        "num_err_log_entries": 1,
    },
    "temperature": {"current": 44},
    "power_cycle_count": 127,
    "power_on_time": {"hours": 4279},
}


@pytest.mark.parametrize(
    ("document", "health"),
    [
        (
            ATA,
            {
                "passed": True,
                "temperature_c": 34,
                "power_on_hours": 4280,
                "power_cycles": 12,
                "percentage_used": 3,
                "reallocated_sectors": 8,
                "pending_sectors": 1,
                "uncorrectable_sectors": 0,
                "interface_crc_errors": 3,
            },
        ),
        (
            SCSI,
            {
                "passed": True,
                "temperature_c": -2,
                "reallocated_sectors": 4,
                "percentage_used": 7,
                "media_errors": 6,
            },
        ),
        (
            NVME,
            {
                "passed": True,
                "temperature_c": 44,
                "power_on_hours": 4279,
                "power_cycles": 127,
                "percentage_used": 2,
                "available_spare_percent": 100,
                "available_spare_threshold_percent": 10,
                "media_errors": 0,
                "unsafe_shutdowns": 39,
                "error_log_entries": 1,
            },
        ),
        ({}, {}),
        ({"smartctl": 1, "temperature": {"current": "hot"}, "ata_smart_attributes": {"table": 3}}, {}),
        ({"temperature": {"current": True}, "power_cycle_count": -5}, {}),
    ],
)
def test_smartctl(document: dict, health: dict) -> None:
    assert parse_smartctl(json.dumps(document).encode()) == {"source": "smartctl", **health}


@pytest.mark.parametrize(
    ("status", "passed", "problems"),
    [
        (1 << 2, None, 0),  # a command failed, the rest is there
        (1 << 3, False, 1),
        (1 << 4, None, 1),
        (1 << 5, None, 1),
        (1 << 6, None, 1),
        (1 << 7, None, 1),
        (0b11111100, False, 5),
    ],
)
def test_bits_of_the_exit_status(status: int, passed: object, problems: int) -> None:
    health = parse_smartctl(json.dumps({"smartctl": {"exit_status": status}}).encode())
    assert health.get("passed") == passed
    assert len(health.get("problems", [])) == problems


def test_a_sleeping_disk_is_left_asleep() -> None:
    head = {"exit_status": 2, "messages": [{"string": "Device is in STANDBY mode, exit(2)", "severity": "information"}]}
    assert parse_smartctl(json.dumps({"smartctl": head}).encode()) == {"source": "smartctl", "power_mode": "standby"}


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            {
                "exit_status": 2,
                "messages": [
                    {"string": "a hint", "severity": "information"},
                    {"string": "/dev/sda: Unable to detect device type", "severity": "error"},
                ],
            },
            "smartctl: /dev/sda: Unable to detect device type",
        ),
        ({"exit_status": 1, "messages": [{"severity": "error"}, 1]}, "smartctl: ended with status 1"),
        ({"exit_status": 3}, "smartctl: ended with status 3"),
    ],
)
def test_a_disk_that_cannot_be_read(head: dict, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_smartctl(json.dumps({"smartctl": head}).encode())
    assert str(caught.value) == message


def test_warnings_before_the_document() -> None:
    assert parse_smartctl(b"warning: old firmware\n" + json.dumps(NVME).encode())["temperature_c"] == 44
    with pytest.raises(BadInput):
        parse_smartctl(b"no document at all")


def test_nvme_smart_log() -> None:
    log = {
        "critical_warning": 0,
        "temperature": 317,
        "avail_spare": 100,
        "spare_thresh": 10,
        "percent_used": 2,
        "data_units_read": 1780859,
        "power_cycles": "1,127",
        "power_on_hours": 4279.0,
        "unsafe_shutdowns": 39,
        "media_errors": 0,
        "num_err_log_entries": -1,
    }
    assert parse_smart_log(json.dumps(log).encode()) == {
        "source": "nvme",
        "passed": True,
        "temperature_c": 44,
        "available_spare_percent": 100,
        "available_spare_threshold_percent": 10,
        "percentage_used": 2,
        "power_cycles": 1127,
        "power_on_hours": 4279,
        "unsafe_shutdowns": 39,
        "media_errors": 0,
    }


@pytest.mark.parametrize(
    ("warning", "passed", "problems"),
    [
        (5, False, ["available spare below threshold", "reliability degraded"]),
        ({"value": 8, "ro": 1}, False, ["media read-only"]),
        ({"value": 0}, True, None),
        ("odd", None, None),
    ],
)
def test_critical_warnings(warning: object, passed: object, problems: object) -> None:
    health = parse_smart_log(json.dumps({"critical_warning": warning, "temperature": 0}).encode())
    assert (health.get("passed"), health.get("problems")) == (passed, problems)
    assert "temperature_c" not in health


def test_counts() -> None:
    values = [7, 7.9, "1,234", True, None, "x", -3, -1.0, [], "9" * 50]
    assert [parse_count(value) for value in values] == [7, 7, 1234, -1, -1, -1, -1, -1, -1, -1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ATA, *SCSI, *NVME]), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from([*ATA, *SCSI, *NVME, "critical_warning", "temperature"]), JSON, max_size=8))
def test_documents_of_any_shape(document: dict) -> None:
    data = json.dumps(document).encode()
    for parse in (parse_smartctl, parse_smart_log):
        with contextlib.suppress(BadInput):
            parse(data)


@given(st.binary(max_size=60))
def test_output_of_any_bytes(data: bytes) -> None:
    for parse in (parse_smartctl, parse_smart_log):
        with contextlib.suppress(BadInput):
            parse(data)


NVME_PLACE = f"{PCI}/0000:05:00.0/nvme/nvme0"
VOLUME = f"{PCI}/0000:01:00.0/host0/target0:2:0/0:2:0:0"
DISKS = {
    **disk(SATA, "sda"),
    **disk(SAS, "sdb"),
    **disk(NVME_PLACE, "nvme0n1"),
    **disk(VOLUME, "sdv"),
    "sys/bus/pci/devices/0000:01:00.0/driver": "-> ../../drivers/megaraid_sas",
    **disk(f"{PCI}/0000:00:02.0/virtio1", "vda"),
    **disk(USB, "sdu", size="0\n"),
    "sys/block/loop0/size": "8\n",
}
ANSWER = """
log="$0.log"
for device; do :; done
echo "$*" >> "$log"
case "$device" in
"""


@pytest.fixture()
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is PATH, beside the machine's own /bin for the scripts."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_no_tool_no_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_tool("smartctl", "nvme") == ""
    assert build_health("", tmp_path) == []
    make_tool(tmp_path, "nvme", "exit 0")
    assert find_tool("smartctl", "nvme") == "nvme"
    assert build_health(str(tmp_path), tmp_path) == []
    collector = build_health("", tmp_path / "sys")[0]
    assert collector.name == "disk-health"
    assert collector.collect().inventory == {}  # no disk, nothing to ask


def test_each_disk_is_asked_and_a_bad_one_costs_itself(tmp_path: Path, tools: Path) -> None:
    """Volumes of RAID controllers, virtio disks, loop devices and drives without medium have no health of their own."""
    root = make_tree(tmp_path / "root", DISKS)
    script = (
        f"{ANSWER}/dev/sda) echo 'a warning'; echo '{json.dumps(ATA)}';;\n"
        f"/dev/sdb) echo '{json.dumps({'smartctl': {'exit_status': 2}})}'; exit 2;;\n"
        f"*) echo '{json.dumps({**NVME, 'smartctl': {'exit_status': 8}})}'; exit 8;;\nesac"
    )
    make_tool(tools, "smartctl", script)
    collected = collect_health(root / "sys", root)
    health = {name: entry["health"] for name, entry in check(collected)["disks"].items()}
    assert sorted(health) == ["nvme0n1", "sda"]
    assert health["sda"]["power_on_hours"] == 4280
    assert health["nvme0n1"]["problems"] == ["the disk says that it is failing"]
    assert (collected.status, collected.error) == (
        Status.OK,
        "1 of 3 disks gave no health, sdb: smartctl: ended with status 2",
    )
    asked = sorted((tools / "smartctl.log").read_text(encoding="utf-8").splitlines())
    assert asked == [f"-j -a -n standby /dev/{name}" for name in ("nvme0n1", "sda", "sdb")]


def test_a_disk_that_hangs(tmp_path: Path, tools: Path) -> None:
    root = make_tree(tmp_path / "root", DISKS)
    make_tool(tools, "smartctl", f"{ANSWER}/dev/sdb) exec sleep 100;;\n*) echo '{json.dumps(NVME)}';;\nesac")
    began = time.monotonic()
    collected = collect_health(root / "sys", root, limits=HealthLimits(disk_s=3.0))
    assert time.monotonic() - began < 60
    assert sorted(check(collected)["disks"]) == ["nvme0n1", "sda"]
    assert collected.error.startswith("1 of 3 disks gave no health, sdb: smartctl did not end within")


def test_a_disk_that_sleeps_or_hangs_keeps_what_it_said_last(tmp_path: Path, tools: Path) -> None:
    """Its problems are a reason to register: they must not come and go with its sleep. Another's are not its own."""
    serials = {**disk(SATA, "sda", serial="SN-A\n"), **disk(SAS, "sdb", serial="SN-B\n")}
    root = make_tree(tmp_path / "root", {**DISKS, **serials})
    make_tool(tools, "smartctl", f"echo '{json.dumps({**NVME, 'smartctl': {'exit_status': 8}})}'; exit 8")
    last = collect_health(root / "sys", root).inventory
    words = [{"string": "Device is in STANDBY mode, exit(2)", "severity": "information"}]
    asleep = json.dumps({"smartctl": {"exit_status": 2, "messages": words}})
    make_tool(tools, "smartctl", f"{ANSWER}/dev/sdb) exec sleep 100;;\n*) echo '{asleep}'; exit 2;;\nesac")
    block = collect_block(root / "sys", root).inventory

    def collect(disks: object) -> dict:
        parts = {"block": {"disks": disks}, "disk-health": last}
        return check(collect_health(root / "sys", root, True, HealthLimits(disk_s=3.0), parts.__getitem__))["disks"]

    same = collect(block["disks"])
    assert same["sdb"]["health"] == last["disks"]["sdb"]["health"]
    assert same["sda"]["health"]["power_mode"] == "standby"
    assert same["sda"]["health"]["problems"] == ["the disk says that it is failing"]
    others = collect({name: {**disk, "serial": f"other {name}"} for name, disk in block["disks"].items()})
    assert "sdb" not in others
    assert "problems" not in others["sda"]["health"]


def test_no_disk_answers_in_time(tmp_path: Path, tools: Path) -> None:
    """Disks for which no time is left are not begun."""
    root = make_tree(tmp_path / "root", DISKS)
    make_tool(tools, "smartctl", 'echo x >> "$0.log"; exec sleep 100')
    collected = collect_health(root / "sys", root, limits=HealthLimits(disk_s=6.0, total_s=3.0, at_once=1))
    assert (collected.status, dict(collected.inventory)) == (Status.TIMED_OUT, {})
    assert (tools / "smartctl.log").read_text(encoding="utf-8") == "x\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -9 $$", "was killed by signal 9"),
        ("exec head -c 3000000 /dev/zero", "wrote more than"),
        ("exit 1", "ended with status 1"),
        ("echo '[1]'", "a JSON object is wanted"),
    ],
)
def test_a_tool_that_fails(tmp_path: Path, tools: Path, script: str, words: str) -> None:
    root = make_tree(tmp_path / "root", DISKS)
    make_tool(tools, "smartctl", script)
    collected = collect_health(root / "sys", root)
    assert collected.status is Status.FAILED
    assert words in collected.error


def test_nvme_where_smartctl_is_missing(tmp_path: Path, tools: Path) -> None:
    root = make_tree(tmp_path / "root", DISKS)
    make_tool(tools, "nvme", 'echo "$*" >> "$0.log"; echo \'{"critical_warning": 0, "temperature": 300}\'')
    collected = collect_health(root / "sys", root, smartctl=False)
    assert check(collected)["disks"] == {"nvme0n1": {"health": {"source": "nvme", "passed": True, "temperature_c": 27}}}
    assert (tools / "nvme.log").read_text(encoding="utf-8") == "smart-log -o json /dev/nvme0n1\n"
    make_tool(tools, "nvme", "echo broken >&2; exit 1")
    failed = collect_health(root / "sys", root, smartctl=False)
    assert (failed.status, failed.error) == (
        Status.FAILED,
        "1 of 1 disks gave no health, nvme0n1: nvme ended with status 1: broken",
    )


def test_no_more_disks_at_once_than_wanted(tmp_path: Path, tools: Path) -> None:
    """Sixty disks: each run marks its begin and end; never more than the limit are open, and all are asked."""
    files: dict = {}
    for number in range(60):
        address = f"{PCI}/0000:01:00.0/host0/port-0:{number}/end_device-0:{number}/target0:0:{number}/0:0:{number}:0"
        files.update(disk(address, f"sd{chr(97 + number // 26)}{chr(97 + number % 26)}"))
    root = make_tree(tmp_path / "root", files)
    log = tmp_path / "log"
    make_tool(tools, "smartctl", f"echo begin >> {log}; echo '{json.dumps(NVME)}'; echo end >> {log}")
    collected = collect_health(root / "sys", root, limits=HealthLimits(at_once=4))
    assert len(collected.inventory["disks"]) == 60
    running = most = 0
    for line in log.read_text(encoding="utf-8").splitlines():
        running += 1 if line == "begin" else -1
        most = max(most, running)
    assert running == 0
    assert 1 <= most <= 4

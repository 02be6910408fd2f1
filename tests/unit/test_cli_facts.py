"""`mkctl facts`: sets, values in structures, inventory, schema, differences, timing, explanations."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mkcore.keys import FACT_SETS
from mkctl.__main__ import main
from mkctl.cli.lookup import find_values

Out = pytest.CaptureFixture[str]
INVENTORY = {
    "system": {"manufacturer": "Maker", "serial": "S1"},
    "disks": {"sda": {"size_bytes": 512, "serial": "D1"}, "nvme0n1": {"size_bytes": 1024, "serial": "D2"}},
    "pci": {"0000:00:1f.2": {"vendor": "Intel"}},
    "nics": {"eno1": {"mac": "52:54:00:12:34:56", "speed_mbps": 1000}},
}
COLLECTORS: dict[str, Any] = {
    "lshw": {"status": "ok", "duration_ms": 912, "facts": ["mk_hw_nic_count", "mk_hw_cpu0_size", "mk_hw_x_json_str"]},
    "system": {"status": "ok", "duration_ms": 3, "facts": ["hostname", "kernel"]},
    "facter": {
        "status": "ok",
        "duration_ms": 7,
        "structured": {
            "networking": {"hostname": "n1", "ip": "192.0.2.1"},
            "memory": {"system": {"used": "1", "total": "2"}},
        },
    },
    "pci": {"status": "ok", "duration_ms": 20, "inventory": INVENTORY},
    "lldp": {"status": "pending"},
    "custom:rack.sh": {"status": "ok", "duration_ms": 5, "facts": ["rack"]},
    "ipmi": {"status": "timed_out", "duration_ms": 10000, "error": "did not end within 10 s"},
}  # fmt: skip
FACTS = {
    "mk_hw_nic_count": "2", "mk_hw_cpu0_size": "1GHz", "mk_hw_x_json_str": "{}", "hostname": "n1", "kernel": "Linux",
    "rack": "12",
}  # fmt: skip


class Node:
    """A node whose facts are collected."""

    def __init__(self, path: Path, out: Out) -> None:
        self.path = path
        self.out = out
        for name in ("run/mkctl", "run/mkweb", "run/mk-facts", "etc/mk", "proc", "sys/class/net"):
            (path / name).mkdir(parents=True)
        self.write("run/mk-facts/facts.json", {
            "version": 1, "generation": 3, "complete": True, "boottime_usec": 1, "uevent_seqnum": 1,
            "collectors": COLLECTORS, "facts": FACTS,
        })  # fmt: skip

    def write(self, name: str, content: Any) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (self.path / name).write_text(text, encoding="utf-8")

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run `mkctl facts`; returns standard output, or standard error's line for another status."""
        assert main(["facts", "--root", str(self.path), *arguments]) == status
        captured = self.out.readouterr()
        assert captured.err.count("\n") == (1 if status else 0)
        return captured.err if status else captured.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run("--json", *arguments))


@pytest.fixture
def node(tmp_path: Path, capsys: Out) -> Node:
    return Node(tmp_path, capsys)


def test_the_default_sets_are_the_originals_facts(node: Node) -> None:
    assert node.run().splitlines() == [
        "hostname = n1",
        "interfaces = ",
        "mk_hw_cpu0_size = 1GHz",
        "mk_hw_nic_count = 2",
        "rack = 12",
    ]


def test_sets_from_the_command_line_and_from_the_configuration(node: Node) -> None:
    assert node.json("--set", "custom") == {"rack": "12"}
    both = node.json("--set", "custom, structured", "--set", "inventory")
    assert list(both) == ["memory", "mk_inventory", "networking", "rack"]
    assert json.loads(both["mk_inventory"]) == {"schema_version": 1, **INVENTORY}
    node.write("etc/mk/mk.toml", '[facts]\nsets = ["structured"]\n')
    assert list(node.json()) == ["memory", "networking"]
    with pytest.raises(SystemExit) as stopped:
        main(["facts", "--set", "lshw"])
    assert stopped.value.code == 64
    assert f"'lshw' is not a set of facts: {', '.join(FACT_SETS)}" in node.out.readouterr().err


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["networking.hostname"], ["networking.hostname = n1"]),
        (["system.serial", "rack"], ["system.serial = S1", "rack = 12"]),
        (["disks.*.size_bytes"], ["disks.sda.size_bytes = 512", "disks.nvme0n1.size_bytes = 1024"]),
        (["pci.0000:00:1f.2.vendor"], ["pci.0000:00:1f.2.vendor = Intel"]),
        (["mk_hw_nic*"], ["mk_hw_nic_count = 2"]),
        (["memory.system"], ['memory.system = {"used": "1", "total": "2"}']),
    ],
)
def test_names_with_dots_reach_into_structures(node: Node, names: list[str], found: list[str]) -> None:
    assert node.run(*names).splitlines() == found


def test_what_is_not_sent_is_not_called_unknown(node: Node) -> None:
    assert node.run("kernel", "rack", status=75) == "mkctl: not sent: kernel (mkctl facts --explain kernel)\n"
    assert node.json("mk_inventory.disks.sda.serial") == {"mk_inventory.disks.sda.serial": "D1"}
    assert node.json("mk_inventory") == {"mk_inventory": {"schema_version": 1, **INVENTORY}}


def test_what_of_the_configuration_is_not_used_is_said_beside_the_facts(node: Node) -> None:
    """Whoever mistypes a set sees facts as before, and must not have to guess why."""
    node.write("etc/mk/mk.toml", '[facts]\nsets = ["hardwere"]\n')
    assert main(["facts", "--root", str(node.path), "rack"]) == 0
    captured = node.out.readouterr()
    assert captured.out == "rack = 12\n"
    assert captured.err.startswith(f"mkctl: not used: {node.path}/etc/mk/mk.toml: line 2: facts.sets: ")


def test_no_facts_at_all_are_no_empty_screen(node: Node) -> None:
    assert main(["facts", "--root", str(node.path), "--set", "json", "--json"]) == 0
    captured = node.out.readouterr()
    assert json.loads(captured.out) == {}
    assert captured.err == "mkctl: no facts would be sent: see facts.sets and facts.exclude (mkctl config)\n"


def test_who_may_not_read_the_facts_is_told_so(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = node.path / "run/mk-facts/facts.json"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        message = node.run(status=77)
    assert message == f"mkctl: {path}: permission denied; run as root or as a member of group mkctl\n"
    path.unlink()
    assert node.run(status=75) == f"mkctl: {path}: no facts yet (systemctl start mk-facts.service)\n"


def test_a_reader_that_goes_is_no_failure(node: Node) -> None:
    command = [sys.executable, "-m", "mkctl", "facts", "--root", str(node.path), "--schema"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_names_that_are_none(node: Node) -> None:
    for name in ("nothing", "networking.none", "disks.sdz.size_bytes", "disks.sda.size_bytes.x"):
        assert node.run(name, status=75) == f"mkctl: no fact of the name {name}\n"
    assert find_values("a.1", [{"a": [5, 6]}]) == {"a.1": 6}
    assert find_values("mk_inventory.a", [{"mk_inventory": "no document"}]) == {}


def test_the_inventory_document(node: Node) -> None:
    assert json.loads(node.run("--inventory")) == {"schema_version": 1, **INVENTORY}
    assert json.loads(node.run("--inventory", "disks.*.serial")) == {
        "disks.sda.serial": "D1",
        "disks.nvme0n1.serial": "D2",
    }
    assert node.run("--inventory", "bmc", status=75) == "mkctl: nothing in the inventory has the name bmc\n"
    assert json.loads(node.run("--inventory", "mk_inventory.disks.sda.serial")) == {
        "mk_inventory.disks.sda.serial": "D1"
    }


def test_the_schema_needs_no_facts(tmp_path: Path, capsys: Out) -> None:
    assert main(["facts", "--schema", "--root", str(tmp_path)]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema_version"]["const"] == 1
    assert main(["facts", "--schema", "disks", "--root", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"disks": schema["properties"]["disks"]}
    assert main(["facts", "--schema", "disk", "--root", str(tmp_path)]) == 75
    assert capsys.readouterr().err == "mkctl: nothing in the schema has the name disk\n"


def test_what_each_collector_cost(node: Node) -> None:
    lines = node.run("--timing").splitlines()
    assert lines[0].split() == ["COLLECTOR", "STATUS", "MS", "FACTS", "STRUCTURED", "INVENTORY"]
    assert lines[1].split() == ["ipmi", "timed_out", "10000", "0", "0", "0"]
    assert lines[2] == "  did not end within 10 s"
    assert lines[3].split() == ["lshw", "ok", "912", "3", "0", "0"]
    assert lines[4].split() == ["pci", "ok", "20", "0", "0", "4"]
    assert lines[-1].startswith("collection 3 of this boot, ")
    assert node.run("--timing", "lshv", status=75) == "mkctl: no collector of the name lshv\n"
    timing = node.json("--timing", "lshw")
    assert timing == {
        "lshw": {"status": "ok", "duration_ms": 912, "error": "", "facts": 3, "structured": 0, "inventory": 0}
    }


def test_what_changed_since_the_registration(node: Node) -> None:
    assert node.run("--diff", status=75) == "mkctl: not registered since this machine started\n"
    sets = ("--set", "facter,hardware,custom,structured,inventory")
    sent = node.json("--dialect", "hanlon", *sets)
    node.write("run/mkctl/registered-facts.json", {"server": "http://192.0.2.1", "facts": sent})
    assert node.run("--diff", *sets) == "nothing changed since the registration with http://192.0.2.1\n"
    older = json.loads(sent["mk_inventory"])
    older["disks"]["sda"]["serial"] = "D0"
    older["nics"]["eno1"]["speed_mbps"] = 100
    before = {
        **sent, "gone": "x", "mk_hw_nic_count": "1", "mk_hw_cpu0_size": "2GHz", "mk_inventory": json.dumps(older),
        "networking": {"hostname": "n0", "ip": "192.0.2.1"},
    }  # fmt: skip
    del before["rack"]
    node.write("run/mkctl/registered-facts.json", {"server": "http://192.0.2.1", "facts": before})
    volatile = "  (volatile: no reason to register again)"
    assert node.run("--diff", *sets).splitlines() == [
        "- gone = x",
        f"~ mk_hw_cpu0_size = 2GHz -> 1GHz{volatile}",
        "~ mk_hw_nic_count = 1 -> 2",
        "~ mk_inventory.disks.sda.serial = D0 -> D1",
        f"~ mk_inventory.nics.eno1.speed_mbps = 100 -> 1000{volatile}",
        "~ networking.hostname = n0 -> n1",
        "+ rack = 12",
    ]
    assert node.run("--diff", *sets, "mk_hw_nic*").splitlines() == ["~ mk_hw_nic_count = 1 -> 2"]
    assert node.run("--diff", *sets, "mk_hw_mem*").startswith("nothing of that name changed since the registration")
    document = node.json("--diff", *sets)
    assert document["server"] == "http://192.0.2.1"
    assert document["added"] == {"rack": {"after": "12", "volatile": False}}
    assert document["removed"] == {"gone": {"before": "x", "volatile": False}}
    assert document["changed"]["mk_hw_nic_count"] == {"before": "1", "after": "2", "volatile": False}
    node.write("run/mkctl/registered-facts.json", "{")
    assert "registered-facts.json" in node.run("--diff", status=65)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("mk_hw_nic_count", ["set: hardware", "source: lshw -json, /sys/block", "parser: mkctl/probe/flatten.py",
                             "protocol: 6.5, 6.6, 6.10", "collector: lshw (ok, 912 ms)", "sent: yes",
                             "change: makes the node register again"]),
        ("mk_hw_cpu0_size", ["sent: yes", "change: no reason to register again"]),
        ("mk_hw_x_json_str", ["set: json", "sent: no: facts.exclude matches its name"]),
        ("kernel", ["source: uname(2)", "sent: no: facts.exclude matches its name"]),
        ("networking.hostname", ["set: structured", "protocol: 6.8 (Facter 4)", "collector: facter (ok, 7 ms)",
                                 "sent: no: the set structured is not in facts.sets"]),
        ("nics.eno1.mac", ["set: inventory", "parser: mkctl/probe/nics.py", "collector: pci (ok, 20 ms)",
                           "sent: no: the set inventory is not in facts.sets"]),
        ("rack", ["set: custom", "collector: custom:rack.sh (ok, 5 ms)", "sent: yes"]),
        ("interfaces", ["set: facter", "parser: mkcore/interfaces.py", "collector: mkctl, when it registers"]),
        ("mk_ipmi_IP_Address", ["collector: none: this machine has no such fact", "sent: no: nothing was collected"]),
    ],
)  # fmt: skip
def test_where_a_fact_comes_from(node: Node, name: str, lines: list[str]) -> None:
    shown = [" ".join(line.split()) for line in node.run("--explain", name).splitlines()]
    assert shown[0].startswith(name if "nothing was collected" in lines[-1] else f"{name} =")
    assert set(lines) <= set(shown), shown


def test_volatile_values_of_the_inventory_are_explained(node: Node) -> None:
    arguments = ("--set", "inventory", "--explain", "nics.eno1.speed_mbps", "--explain", "system.serial")
    speed, serial = node.json(*arguments)
    assert (speed["value"], speed["change"]) == (1000, "no reason to register again")
    assert (serial["value"], serial["change"]) == ("S1", "makes the node register again")
    assert node.json("--set", "inventory", "--explain", "mk_inventory")[0]["sent"] == "yes"
    assert node.json("--explain", "mk_inventory")[0]["value"] == {"schema_version": 1, **INVENTORY}
    assert node.run("--explain", "no_such_fact", status=75) == "mkctl: no fact of the name no_such_fact\n"


def test_patterns_and_values_in_the_site_s_facts_are_explained(node: Node) -> None:
    collectors = {**COLLECTORS, "custom": {"status": "ok", "facts": ["place", "mk_hw_own"]}}
    facts = {**FACTS, "place": {"row": 3, "unit": 17}, "mk_hw_own": "1"}
    node.write("run/mk-facts/facts.json", {
        "version": 1, "generation": 3, "complete": True, "boottime_usec": 1, "uevent_seqnum": 1,
        "collectors": collectors, "facts": facts,
    })  # fmt: skip
    assert [(each["name"], each["set"]) for each in node.json("--explain", "mk_hw_*")] == [
        ("mk_hw_nic_count", "hardware"), ("mk_hw_cpu0_size", "hardware"), ("mk_hw_x_json_str", "json"),
        ("mk_hw_own", "custom"),
    ]  # fmt: skip
    (unit,) = node.json("--explain", "place.unit")
    assert (unit["name"], unit["value"], unit["set"], unit["sent"]) == ("place.unit", 17, "custom", "yes")
    (unit,) = node.json("--explain", "place.unit", "--dialect", "razor")
    assert unit["sent"] == "no: Razor's protocol knows texts alone"
    assert node.json("--explain", "rack", "--dialect", "razor")[0]["sent"] == "yes"
    node.write("etc/mk/mk.toml", '[facts]\nexclude = "^place$"\n')
    assert node.json("--explain", "place.unit")[0]["sent"] == "no: facts.exclude matches its name"
    assert main(["facts", "--root", str(node.path), "--explain", "nothing", "rack", "none"]) == 75
    captured = node.out.readouterr()
    assert captured.out.startswith("rack = 12\n")
    assert captured.err == "mkctl: no fact of the name nothing, none\n"
    assert node.run("--explain", "mk_ipmi*", status=75) == "mkctl: no fact of the name mk_ipmi*\n"


def test_only_one_question_at_a_time(node: Node) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["facts", "--diff", "--timing"])
    assert stopped.value.code == 64
    assert node.out.readouterr().err.startswith("mkctl: argument --timing: not allowed with argument --diff")

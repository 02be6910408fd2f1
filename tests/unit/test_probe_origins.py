"""Everything that can be sent has an origin, and the origin names files that exist."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from probe_tree import make_tool, make_tree
from test_probe_process import LSCPU, LSHW, MACHINE

from mkctl.probe.custom import FOLDERS
from mkctl.probe.model import FactsFile, parse_facts_file
from mkctl.probe.origins import FLAT, INVENTORY, STRUCTURED, Origin, find_origin
from mkctl.probe.schema import build_schema
from mkctl.probe.sources import build_collectors

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/captures"


def collect(*arguments: str, path: str) -> FactsFile:
    """What mk-facts prints."""
    environment = {"PATH": path, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkctl.probe", "--print", *arguments]
    finished = subprocess.run(command, env=environment, capture_output=True, timeout=300, check=True)
    return parse_facts_file(finished.stdout)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> list[FactsFile]:
    """This machine, and a made one with a management controller."""
    folder = tmp_path_factory.mktemp("origins")
    tree = {"dev/ipmi0": "", "etc/os-release": 'ID=debian\nVERSION_ID="13"\n', "proc/filesystems": "\text4\n"}
    root = make_tree(folder / "root", {**MACHINE, **tree})
    make_tool(folder / "bin", "lscpu", LSCPU)
    make_tool(folder / "bin", "lshw", LSHW)
    make_tool(
        folder / "bin",
        "ipmitool",
        f"""case "$*" in
      *"bmc info"*) cat '{DATA}/ipmi-sim-bmc-info.txt';; *"lan print"*) cat '{DATA}/ipmi-sim-lan-print.txt';;
      *fru*) cat '{DATA}/ipmi-sim-fru-print.txt';; *) cat '{DATA}/ipmi-sim-channel-info.txt';; esac""",
    )
    made = collect("--root", str(root), path=f"{folder / 'bin'}:/usr/bin:/bin")
    return [made, collect(path=os.environ["PATH"])]


def test_every_fact_of_every_collector_has_an_origin(contents: list[FactsFile]) -> None:
    names = {name for content in contents for name in content.facts if name not in content.custom_names}
    assert {"mk_hw_nic_count", "mk_hw_lscpu_Architecture", "memorysize", "uptime", "os"} <= names
    assert [name for name in sorted(names) if not find_origin(name, FLAT)] == []
    structured = {name for content in contents for name in content.structured}
    assert {"memory", "processors", "os"} <= structured
    assert [name for name in sorted(structured) if not find_origin(name, STRUCTURED)] == []
    sections = {name for content in contents for name in content.inventory}
    assert [name for name in sorted(sections) if not find_origin(name, INVENTORY)] == []


def test_whole_documents_are_of_the_published_form(contents: list[FactsFile]) -> None:
    validator = jsonschema.Draft202012Validator(build_schema())
    for content in contents:
        found = validator.iter_errors(content.inventory)
        wrong = [f"{'/'.join(map(str, error.path))}: {error.message}" for error in found]
        assert wrong == []


def test_every_section_of_the_schema_has_an_origin() -> None:
    properties = build_schema()["properties"]
    assert isinstance(properties, dict)
    assert [name for name in properties if not find_origin(name, INVENTORY)] == []


@pytest.mark.parametrize(
    "name",
    ["mk_ipmi_IP_Address", "mk_ipmi_8021q_VLAN_ID", "mk_ipmi_fru_0_Board_Serial", "mk_ipmi_Firmware_Revision",
     "lldp_neighbor_pvid_eno1", "mk_hw_mem_slot_count", "mk_hw_mem_slot0_size", "mk_hw_fw_version", "vlans",
     "dhcp_servers", "mk_inventory", "boardserialnumber", "bios_vendor", "type", "uuid", "ipaddress_eth0"],
)  # fmt: skip
def test_names_of_the_protocol_have_origins(name: str) -> None:
    assert find_origin(name, FLAT)


@pytest.mark.parametrize("origin", [*FLAT, *STRUCTURED, *INVENTORY], ids=lambda origin: origin.names)
def test_the_parser_of_an_origin_exists(origin: Origin) -> None:
    path = origin.module if "." in origin.module else f"mkctl.probe.{origin.module}"
    assert (ROOT / f"{path.replace('.', '/')}.py").is_file()
    assert origin.source and origin.section


def test_nothing_that_is_no_fact_has_an_origin() -> None:
    assert find_origin("no_such_fact", FLAT) == []
    assert len(FOLDERS) == 3


def test_each_part_of_the_inventory_that_is_explained_is_one() -> None:
    sections = set(build_schema()["properties"])  # type: ignore[arg-type,call-overload]
    explained = {name for each in INVENTORY for name in each.names.split("|")}
    assert explained == sections


def test_the_manual_names_every_collector() -> None:
    """disk-health is one only where its tool is installed."""
    manual = (ROOT / "man/mk-facts.8").read_text(encoding="utf-8")
    table = manual.partition(".TS")[2].partition(".TE")[0]
    names = {collector.name.partition(":")[0] for collector in build_collectors()} | {"disk-health"}
    assert [name for name in sorted(names) if f"\\fB{name}\\fR" not in table] == []

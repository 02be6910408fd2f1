"""The machine's name: which one it is, and that the facts have it (row 19, B15)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mkcore.jsonfields import Json
from mkctl.cmdline import parse_cmdline, read_cmdline
from mkctl.hostname import build_name
from mkctl.probe.model import CollectorState, FactsFile, Status
from mkctl.registration import choose_facts, rename

CARD = "00:0c:29:c9:52:c4\n"
MACS = ("00:0c:29:c9:52:ba", "00:0c:29:c9:52:c4")


@pytest.mark.parametrize(
    ("line", "macs", "name"),
    [
        ("quiet", MACS, "mk000C29C952BA"),
        ("BOOTIF=01-00-0c-29-c9-52-c4", MACS, "mk000C29C952C4"),
        ("BOOTIF=eth0", MACS, "mk000C29C952BA"),
        ("quiet", (), ""),
    ],
)
def test_the_boot_card_s_address_whatever_the_card_is_called(line: str, macs: tuple[str, ...], name: str) -> None:
    assert build_name(parse_cmdline(line), macs) == name


@pytest.mark.parametrize(
    ("facts", "renamed"),
    [
        ({"hostname": "localhost", "fqdn": "localhost"}, {"hostname": "mk0", "fqdn": "mk0"}),
        ({"hostname": "a", "fqdn": "a.lab.test"}, {"hostname": "mk0", "fqdn": "mk0.lab.test"}),
        ({"hostname": "a", "fqdn": "other.lab.test"}, {"hostname": "mk0"}),
        ({"hostname": "a"}, {"hostname": "mk0"}),
        ({"processorcount": 2}, {}),
    ],
)
def test_facts_that_were_collected_before_the_name(facts: dict[str, Json], renamed: dict[str, Json]) -> None:
    assert rename(facts, "mk0") == renamed
    assert rename(facts, "") == {}


def test_the_name_is_in_what_is_sent_flat_and_structured() -> None:
    networking = CollectorState(Status.OK, structured={"networking": {"hostname": "localhost", "mtu": 1500}})
    content = FactsFile(
        facts={"hostname": "localhost", "fqdn": "localhost", "domain": "lab.test"}, collectors={"facter": networking}
    )
    chosen = choose_facts(content, {"facter", "structured"}, "mk0")
    assert chosen.flat == {"hostname": "mk0", "fqdn": "mk0", "domain": "lab.test"}
    assert chosen.on_top == {"networking": {"hostname": "mk0", "mtu": 1500}}
    assert choose_facts(content, {"hardware"}, "mk0").flat == {}


@pytest.mark.parametrize(
    ("line", "name"), [("quiet", "mk000C29C952C4"), ("BOOTIF=00-0c-29-c9-52-ba", "mk000C29C952BA")]
)
def test_a_credential_names_the_card_where_the_line_names_none(tmp_path: Path, line: str, name: str) -> None:
    (tmp_path / "cmdline").write_text(line)
    (tmp_path / "mk.bootif").write_text(CARD)
    assert build_name(read_cmdline(tmp_path, tmp_path), MACS) == name
    assert build_name(read_cmdline(tmp_path), ()) == ("" if line == "quiet" else name)

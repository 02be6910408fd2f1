"""The table of what is installed on a node, made of a stranger's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mkserver_live import Live

from mkserver.software import software_tables

UUID = "4C4C4544-0042-3510-8052-000000000001"
SECTION: dict[str, Any] = {
    "installed": {
        "tools.raw": {"kind": "sysext", "by": "push", "mirror": "http://m/tc", "signed_by": "F" * 40},
        "nano.tcz": {"kind": "tcz", "by": "admin"},
    },
    "packages": {"foo": {"version": "1.0", "by": "site", "mirror": "http://m/gem"}},
    "kernel_modules": {"vmci": {"state": "skipped", "by": "push", "reason": "not VMware"}},
    "refused": {"<b>x</b>.tcz": {"by": "push", "reason": "SHA256SUMS: it is not signed"}},
}
ROWS = [
    ["nano.tcz", "tcz", "installed", "admin", ""],
    ["tools.raw", "sysext", "installed", "push", f"http://m/tc, signed by {'F' * 40}"],
    ["foo", "package 1.0", "installed", "site", "http://m/gem"],
    ["vmci", "module", "skipped", "push", "not VMware"],
    ["<b>x</b>.tcz", "", "refused", "push", "SHA256SUMS: it is not signed"],
]


def test_from_the_inventory() -> None:
    """All that the node says of it."""
    (table,) = software_tables({"extensions": SECTION}, {"mk_extensions": "other.raw"})
    assert (table["title"], table["count"], table["rows"]) == ("Extensions", 5, ROWS)


def test_from_the_flat_facts() -> None:
    """Names alone, of a node that sends no inventory."""
    (table,) = software_tables({}, {"mk_extensions": "a.raw,b.tcz", "mk_extensions_refused": "x.tcz"})
    assert [row[:3] for row in table["rows"]] == [
        ["a.raw", "", "installed"], ["b.tcz", "", "installed"], ["x.tcz", "", "refused"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "section", [None, 1, [], {"installed": 5}, {"installed": {"a": 1}}, {"refused": [{}]}, {"packages": {}}]
)
def test_what_is_no_such_section_gives_no_table(section: Any) -> None:
    """Nothing in it is taken for granted."""
    assert software_tables({"extensions": section}, {}) == []


def test_long_and_odd_words_are_cut() -> None:
    """As everywhere on the page."""
    refused = {f"{n}\n{'x' * 5000}": {"reason": "a\x1b[2J\nb" + "y" * 5000, "by": ["z"]} for n in range(400)}
    (table,) = software_tables({"extensions": {"refused": refused}}, {})
    assert (len(table["rows"]), table["note"]) == (256, "144 more are not shown")
    assert all(len(cell) <= 200 and cell.isprintable() for row in table["rows"] for cell in row)


@pytest.mark.parametrize("with_inventory", [True, False])
def test_it_stands_on_the_page(tmp_path: Path, with_inventory: bool) -> None:
    """Escaped."""
    facts = {"hostname": "x", "mk_extensions": "tools.raw", "mk_extensions_refused": "<b>x</b>.tcz"}
    if with_inventory:
        facts["mk_inventory"] = json.dumps({"schema_version": 1, "extensions": SECTION})
    with Live(tmp_path) as live:
        live.register(UUID, facts)
        (node,) = live.get("/api/nodes").json["nodes"]
        page = live.get(f"/nodes/{node['id']}").text
    assert 'id="hw-extensions"' in page and "tools.raw" in page
    assert "<b>x</b>" not in page and "&lt;b&gt;x&lt;/b&gt;.tcz" in page
    assert ("not VMware" in page) is with_inventory

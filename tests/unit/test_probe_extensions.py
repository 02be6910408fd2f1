"""What was installed, as facts and in the inventory; and that a run sees what is installed while it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inventory_schema import check_schema
from probe_tree import make_tool, make_tree
from test_probe_process import LSCPU, LSHW, MACHINE, probe, read, tools

from mkcore.errors import BadInput
from mkcore.jsonfields import Json
from mkctl.probe.collect import Collected
from mkctl.probe.extensions import NAMES_LIMIT, Tables, build_section, collect_extensions, parse_tables
from mkctl.registration import choose_facts

ROOT = Path(__file__).resolve().parents[2]
INSTALLED: dict[str, Any] = {
    "version": 1,
    "extensions": {
        "nano.tcz": {"kind": "tcz", "by": "admin", "mirror": "http://m/tc", "needs": ["ncurses.tcz"]},
        "debug-tools.raw": {
            "kind": "sysext", "by": "push", "mirror": "http://m/tc", "sha256": "ab" * 32, "size_bytes": 4096,
            "needs": [], "units": ["x.service"], "signed_by": "F" * 40, "installed_usec": 81,
        },
    },
    "packages": {"foo": {"version": "1.0", "file": "foo-1.0-py3-none-any.whl", "by": "site", "installed_usec": 9}},
    "modules": {"vmci": {"by": "push", "state": "skipped", "reason": "not VMware"}},
    "refused": {"x.tcz": {"by": "push", "reason": "SHA256SUMS: it is not signed", "at_usec": 7}},
    "signed": {"http://m/tc/sysext/x86_64": 1},
}  # fmt: skip


def write(path: Path, body: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")
    return path


def test_facts_and_section(tmp_path: Path) -> None:
    """Names for rules, the rest for people; no times, which mean nothing to a server."""
    found = collect_extensions(write(tmp_path / "installed.json", INSTALLED))
    assert dict(found.facts) == {"mk_extensions": "debug-tools.raw,nano.tcz", "mk_extensions_refused": "x.tcz"}
    assert found.inventory == {
        "extensions": {
            "installed": {
                "debug-tools.raw": {
                    "kind": "sysext", "by": "push", "mirror": "http://m/tc", "sha256": "ab" * 32, "size_bytes": 4096,
                    "signed_by": "F" * 40,
                },
                "nano.tcz": {"kind": "tcz", "by": "admin", "mirror": "http://m/tc"},
            },
            "packages": {"foo": {"version": "1.0", "by": "site"}},
            "kernel_modules": {"vmci": {"state": "skipped", "by": "push", "reason": "not VMware"}},
            "refused": {"x.tcz": {"by": "push", "reason": "SHA256SUMS: it is not signed"}},
        }
    }  # fmt: skip
    check_schema(found.inventory)


@pytest.mark.parametrize("body", [None, {"version": 1}, {"version": 1, "extensions": {}, "refused": {}}])
def test_nothing_installed_is_no_fact(tmp_path: Path, body: Any) -> None:
    """A server that knows no such facts sees no change."""
    path = tmp_path / "installed.json" if body is None else write(tmp_path / "installed.json", body)
    assert collect_extensions(path) == Collected()


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"version": 2}, "version"),
        ({"version": 1, "extensions": []}, "extensions"),
        ({"version": 1, "extensions": {"a.raw": 1}}, "extensions.a.raw"),
        ({"version": 1, "refused": {"a": {"reason": 1}}}, "refused.a.reason"),
        ("{", "not JSON"),
    ],
)
def test_a_damaged_list_is_one_line(tmp_path: Path, body: Any, place: str) -> None:
    """It names the file and the key; the collector fails, the others do not."""
    path = write(tmp_path / "installed.json", body)
    with pytest.raises(BadInput) as caught:
        collect_extensions(path)
    assert str(path) in str(caught.value) and place in str(caught.value) and "\n" not in str(caught.value)


def test_what_somebody_wrote_is_made_fit_to_show() -> None:
    """A refused name is a stranger's: any characters, any length, any number."""
    names = {f"{number:04}\x1b[2J\n{'x' * 5000}": {"by": "push", "reason": "a\nb\0"} for number in range(500)}
    found = parse_tables({"version": 1, "refused": dict(names)}, "x")
    from mkctl.probe.extensions import build_section, extension_facts

    fact = str(extension_facts(found)["mk_extensions_refused"])
    assert fact.isprintable() and len(fact) < 310 * NAMES_LIMIT and fact.endswith(",and 300 more")
    section: Any = build_section(found)["extensions"]
    assert len(section["refused"]) == NAMES_LIMIT
    assert {each["reason"] for each in section["refused"].values()} == {"a b"}


def test_they_are_sent_with_the_site_s_own_facts(tmp_path: Path) -> None:
    """By default, and not when the set is switched off."""
    root = make_tree(tmp_path / "root", MACHINE)
    write(root / "run/mk-extensions/installed.json", INSTALLED)
    assert probe(root, tools(tmp_path, lscpu=LSCPU, lshw=LSHW)).returncode == 0
    content = read(root)
    assert choose_facts(content, ("custom",)).flat["mk_extensions"] == "debug-tools.raw,nano.tcz"
    assert "mk_extensions" not in choose_facts(content, ("facter", "hardware", "json")).flat
    assert content.inventory["extensions"]


def test_what_is_installed_during_a_run_is_collected_by_it(tmp_path: Path) -> None:
    """The start request that tells of it merges into the run: new programs in facts.d must not be lost."""
    root = make_tree(tmp_path / "root", {**MACHINE, "usr/lib/mk/facts.d/": "", "etc/mk/facts.d/": ""})
    (root / "usr/lib/mk/facts.d").chmod(0o755)
    (root / "etc/mk/facts.d").chmod(0o755)
    path = tools(tmp_path, lscpu=LSCPU, lshw=LSHW)
    new = write(tmp_path / "new.json", INSTALLED)
    target = root / "run/mk-extensions/installed.json"
    target.parent.mkdir(parents=True)
    brought = root / "usr/lib/mk/facts.d/brought"
    script = f"""[ -e '{target}' ] || {{
        printf '#!/bin/sh\\necho brought=yes\\n' > '{brought}'; chmod 755 '{brought}'; mv '{new}' '{target}'; }}
    echo site=1"""
    make_tool(root / "etc/mk/facts.d", "installs", script)
    finished = probe(root, path)
    assert finished.returncode == 0, finished.stderr
    content = read(root)
    assert (content.facts["site"], content.facts["brought"]) == ("1", "yes")
    assert content.facts["mk_extensions"] == "debug-tools.raw,nano.tcz"
    assert content.generation == 2


def test_removal_takes_the_facts_away(tmp_path: Path) -> None:
    """Those of the list and those of what it brought."""
    root = make_tree(tmp_path / "root", {**MACHINE, "usr/local/lib/mk/facts.d/": ""})
    (root / "usr/local/lib/mk/facts.d").chmod(0o755)
    path = tools(tmp_path, lscpu=LSCPU, lshw=LSHW)
    write(root / "run/mk-extensions/installed.json", INSTALLED)
    make_tool(root / "usr/local/lib/mk/facts.d", "brought", "echo brought=yes")
    probe(root, path)
    assert read(root).facts["brought"] == "yes"
    (root / "usr/local/lib/mk/facts.d/brought").unlink()
    write(root / "run/mk-extensions/installed.json", {"version": 1})
    probe(root, path)
    assert not {"brought", "mk_extensions", "mk_extensions_refused"} & set(read(root).facts)
    assert "extensions" not in read(root).inventory


def test_programs_of_facts_d_find_what_extensions_brought(tmp_path: Path) -> None:
    """The unit says where Python packages lie; the probe itself does not look there."""
    unit = (ROOT / "units/systemd/mk-facts.service").read_text(encoding="utf-8")
    assert "Environment=PYTHONPATH=/run/mk-extensions/python/lib" in unit.splitlines()
    folder = tmp_path / "lib"
    write(folder / "brought.py", "VALUE = 'yes'\n")
    write(folder / "json.py", "raise SystemExit('the library of the suite was replaced')\n")
    root = make_tree(tmp_path / "root", {**MACHINE, "etc/mk/facts.d/": ""})
    (root / "etc/mk/facts.d").chmod(0o755)
    uses = 'import brought; print("b=" + brought.VALUE)'
    make_tool(root / "etc/mk/facts.d", "uses", f"exec {sys.executable} -c '{uses}'")
    program = (
        f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['mk-facts', '--root', {str(root)!r}]; "
        "runpy.run_module('mkctl.probe', run_name='__main__')"
    )
    environment = {"PATH": f"{tools(tmp_path, lscpu=LSCPU, lshw=LSHW)}:/usr/bin:/bin", "PYTHONPATH": str(folder)}
    run = subprocess.run([sys.executable, "-I", "-c", program], env=environment, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert read(root).facts["b"] == "yes"


def test_thousands_of_modules_do_not_fill_the_inventory() -> None:
    many: dict[str, dict[str, Json]] = {f"m{number:05}": {"state": "skipped", "by": "push"} for number in range(5_000)}
    section = build_section(Tables(many, many, many, many))["extensions"]
    assert isinstance(section, dict)
    counts = {part: len(table) for part, table in section.items() if isinstance(table, dict)}
    assert counts == {"installed": 1_000, "packages": 1_000, "kernel_modules": 200, "refused": 200}

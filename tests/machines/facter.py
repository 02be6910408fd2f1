"""The real Facter beside the probe's collectors: both look at the same machine, one after the other.

Both run in namespaces of their own (mounts, network, host name, processes), made to the scenario's taste: files laid
over the machine's, interfaces, mounts. The probe looks before and after Facter, so that what changes by itself shows.
The process namespace is there because Facter wants to read /proc/1/environ, which hosts may deny even to root.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT_S = 120
COLLECTORS = ("system", "time", "memory", "processors", "dmi", "networking", "mounts", "partitions")
MARK = "--- next ---"
PROGRAM = """
import json, sys
from mkctl.probe.sources import build_collectors
found = {}
for collector in build_collectors():
    if collector.name in sys.argv[1:]:
        result = collector.collect()
        assert not result.error, f"{collector.name}: {result.error}"
        found.update(result.structured)
json.dump(found, sys.stdout)
"""
ABSENT = "(absent)"


@dataclass(frozen=True)
class Scenario:
    """How the machine is changed before both look.

    files: path -> content, laid over the file of that path, which must exist. commands: shell, after these. facts: only
    these names, all when empty. network: in a network namespace of its own, with a /sys that shows it. variables: of
    the environment of process 1 and of everything that runs.
    """

    name: str
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    commands: str = ""
    facts: tuple[str, ...] = ()
    network: bool = False
    variables: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Look:
    """What each saw: the probe, then Facter, then the probe again."""

    before: dict[str, Any]
    facter: dict[str, Any]
    after: dict[str, Any]


def look(scenario: Scenario, place: Path) -> Look:
    """Run the scenario; `place` is a folder for its files."""
    script = [*_preparation(scenario, place), scenario.commands]
    ours = shlex.join([sys.executable, "-c", PROGRAM, *COLLECTORS])
    script += [ours, f"echo; echo '{MARK}'", shlex.join(["facter", "--json", *scenario.facts])]
    script += [f"echo; echo '{MARK}'", ours]
    argv = ["unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", *(["--net"] if scenario.network else [])]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **scenario.variables}
    done = subprocess.run(
        [*argv, "bash", "-euc", "\n".join(script)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env=variables,
        cwd="/",
    )
    assert done.returncode == 0, f"{scenario.name}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr}"
    documents = [json.loads(text) for text in done.stdout.split(MARK)]
    wanted = scenario.facts or None
    return Look(*({name: each[name] for name in each if not wanted or name in wanted} for each in documents))


def _preparation(scenario: Scenario, place: Path) -> Iterator[str]:
    if scenario.network:
        yield "mount -t sysfs sysfs /sys"
    for number, (path, content) in enumerate(scenario.files.items()):
        file = place / f"file{number}"
        file.write_text(content, encoding="utf-8")
        file.chmod(0o755)
        yield shlex.join(["mount", "--bind", str(file), path])


def differences(ours: object, theirs: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield path, our value and theirs of everything that is not equal, in value or in type; keys joined by " > "."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            inner = f"{path} > {key}" if path else str(key)
            yield from differences(ours.get(key, ABSENT), theirs.get(key, ABSENT), inner)
    elif ours != theirs or type(ours) is not type(theirs):
        yield path, ours, theirs


def common(ours: object, theirs: object, path: str = "") -> Iterator[str]:
    """Yield the paths of the values that both have."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours} & {*theirs}):
            yield from common(ours[key], theirs[key], f"{path} > {key}" if path else str(key))
    else:
        yield path


@dataclass(frozen=True)
class Accepted:
    """A difference that is none: where (a pattern for the whole path), of which of the two kinds, and why."""

    path: str
    kind: str
    why: str

    def covers(self, path: str) -> bool:
        """Tell whether it is about this path."""
        return bool(re.fullmatch(self.path, path))


def table(rows: list[tuple[str, str, object, object, str]]) -> str:
    """Write the differences as a table in Markdown: scenario, path, ours, Facter's, reason."""
    lines = ["| scenario | fact | probe | facter | reason |", "| --- | --- | --- | --- | --- |"]
    for scenario, path, ours, theirs, reason in rows:
        cells = (scenario, path, json.dumps(ours), json.dumps(theirs), reason)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"

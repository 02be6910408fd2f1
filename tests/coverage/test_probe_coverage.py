"""The repository alone covers the parsers: their lines run without the captures of real machines.

The probe's unit tests run once more in a process of their own, with MK_CAPTURES unset and the lines counted.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROBE = ROOT / "mkctl/probe"
LEAST_PERCENT = 95.0
DEADLINE_S = 900
SKIPPED = {"test_probe_bad_tools.py"}
"""What takes its time to hang."""


def parser_modules() -> list[str]:
    """The modules with a public function parse_*."""
    return sorted(
        path.stem
        for path in PROBE.glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("parse_")
    )


def find_tests() -> list[str]:
    """The unit tests that import the probe, but for those that are not asked."""
    paths = sorted(path for path in (ROOT / "tests/unit").glob("test_*.py") if path.name not in SKIPPED)
    return [str(path) for path in paths if re.search(r"^(from|import) mkctl\.probe", path.read_text("utf-8"), re.M)]


@pytest.fixture
def place() -> Iterator[str]:
    """A folder of the inner pytest's own: it would close the common one to whom tests beside it run programs as.

    Its path is short, as those of sockets in it have to be.
    """
    with tempfile.TemporaryDirectory(prefix="mk") as folder:
        yield folder


def test_parsers_are_covered_without_captures(tmp_path: Path, place: str) -> None:
    data = tmp_path / "coverage"
    environment = {name: value for name, value in os.environ.items() if name not in ("MK_CAPTURES", "MK_FULL")}
    environment.update(COVERAGE_FILE=str(data), PYTEST_DEBUG_TEMPROOT=place)
    command = [sys.executable, "-m", "coverage", "run", "--source", "mkctl/probe", "-m", "pytest", "-q"]
    run = subprocess.run(
        [*command, "-p", "no:xdist", "-p", "no:cacheprovider", *find_tests()],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    report = tmp_path / "coverage.json"
    made = [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)]
    subprocess.run(made, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=DEADLINE_S)
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    covered = {name: files[f"mkctl/probe/{name}.py"] for name in dict.fromkeys(parser_modules())}
    low = {
        name: (round(entry["summary"]["percent_covered"], 1), entry["missing_lines"])
        for name, entry in covered.items()
        if entry["summary"]["percent_covered"] < LEAST_PERCENT
    }
    assert covered
    assert not low

"""``make test-full``: every cell of the matrices, one after the other, resumable.

``build/full.json`` maps a cell's name to ``{"commit", "result", "seconds"}``; a cell that passed at this commit, with
nothing uncommitted, is not run again. A cell whose means are not on this machine is a failure with its reason, never
left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.parsers import PARSERS
from tests.machines import first_stage, forms, matrix

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "build/full.json"
PYTEST = (str(ROOT / "build/venv/bin/python"), "-m", "pytest", "-q")


@dataclass(frozen=True)
class Cell:
    """One cell: the command, what it adds to the environment, and the interpreter that it needs a venv of, if any."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = ""


def _python(version: str) -> Cell:
    folder = ROOT / f"build/venv-{version}"
    argv = (str(folder / "bin/python"), "-m", "pytest", "-q", "-n", "2", "tests/unit", "tests/bus")
    return Cell(f"python-{version}", (*argv, "--deselect", "tests/unit/test_linters.py"), python=version)


def _fuzz(parser: str) -> Cell:
    test = f"tests/fuzz/test_fuzz_parsers.py::test_no_exception_but_ours_and_no_hang[{parser}]"
    return Cell(f"fuzz-{parser}", (*PYTEST, test), {"MK_FUZZ_INPUTS": "200000"})


def _first_stage(name: str) -> Cell:
    return Cell(f"first-stage-{name}", (*PYTEST, "tests/image/test_first_stage.py"), {"MK_FIRST_STAGE": name})


def _machine(name: str) -> Cell:
    return Cell(f"machine-{name}", (*PYTEST, "tests/image/test_hardware.py"), {"MK_MACHINE": name})


def _form(name: str) -> Cell:
    return Cell(f"form-{name}", (*PYTEST, "tests/image/test_forms.py"), {"MK_FORM": name})


CELLS = (
    Cell("check", (*PYTEST, "-n", "2", "tests/unit", "tests/fuzz", "tests/bus", "tests/units", "tests/coverage")),
    _python("3.9"),
    _python("3.13"),
    Cell("browser", (*PYTEST, "tests/browser")),
    Cell("system-trixie", (*PYTEST, "tests/system")),
    Cell("system-bookworm", (*PYTEST, "tests/system"), {"MK_SYSTEM_RELEASE": "bookworm"}),
    Cell("image", (*PYTEST, "tests/image")),
    Cell("reproducible", (*PYTEST, "tests/image/test_reproducible.py"), {"MK_REPRODUCE": "1"}),
    Cell("arm64", (*PYTEST, "tests/image/test_arm64.py"), {"MK_ARM64": "1"}),
    Cell("quiet-half-hour", (*PYTEST, "tests/image/test_hardware.py", "-k", "well or again"), {"MK_QUIET_S": "1800"}),
    *(_first_stage(name) for name in first_stage.CONDITIONS),
    *(_form(name) for name in forms.WAYS if name != forms.IN_MAKE_TEST),
    *(_machine(name) for name in matrix.MACHINES if name != matrix.IN_MAKE_TEST),
    *(_fuzz(parser.name) for parser in PARSERS),
)


def find_python(version: str) -> str:
    """Return an interpreter of that version: on PATH, or of pyenv; "" when there is none."""
    found = [shutil.which(f"python{version}") or ""]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found += [str(path) for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python3"))]
    for path in found:
        if path and subprocess.run([path, "-c", ""], check=False, capture_output=True).returncode == 0:
            return path
    return ""


def make_venv(version: str) -> str:
    """Make build/venv-VERSION with what pyproject asks for; return "" or why that is impossible here."""
    folder = ROOT / f"build/venv-{version}"
    if (folder / "bin/pytest").exists():
        return ""
    interpreter = find_python(version)
    if not interpreter:
        return f"no Python {version} on this machine"
    subprocess.run([interpreter, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
    wanted = (ROOT / "build/venv/.requirements").read_text(encoding="utf-8").split("\n")
    linters = ("ruff", "mypy", "pyright", "types-")
    names = [name for name in wanted if name and not name.startswith(linters)]
    return "" if subprocess.run([*pip, *names], check=False).returncode == 0 else f"pip failed for Python {version}"


def commit() -> str:
    """Return the commit under test, with a mark when something is not committed: then nothing counts as shown."""
    run = ["git", "-C", str(ROOT)]
    head = subprocess.run([*run, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    dirty = subprocess.run([*run, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    return f"{head}-dirty" if dirty.strip() else head


def run_cell(cell: Cell) -> str:
    """Run one cell; return "passed", or what went wrong."""
    if cell.python and (reason := make_venv(cell.python)):
        return f"not run: {reason}"
    environment = {**os.environ, "MK_REQUIRE_TIERS": "1", "MK_FULL": "1", **cell.environment}
    status = subprocess.run(cell.argv, cwd=ROOT, env=environment, check=False).returncode
    return "passed" if status == 0 else f"failed (status {status})"


def main() -> int:
    """Run every cell that has not passed at this commit; print the table; 1 when one did not pass."""
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    head = commit()
    for cell in CELLS:
        known = record.get(cell.name, {})
        if known.get("commit") == head and known.get("result") == "passed" and not head.endswith("-dirty"):
            continue
        print(f"full: {cell.name}", flush=True)
        began = time.monotonic()
        result = run_cell(cell)
        record[cell.name] = {"commit": head, "result": result, "seconds": round(time.monotonic() - began)}
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for cell in CELLS:
        print(f"{cell.name:40} {record[cell.name]['seconds']:>5} s  {record[cell.name]['result']}")
    subprocess.run([str(ROOT / "packaging/image/forms/table.py"), "--image", str(ROOT / "build/image")], check=False)
    return 0 if all(record[cell.name]["result"] == "passed" for cell in CELLS) else 1


if __name__ == "__main__":
    sys.exit(main())

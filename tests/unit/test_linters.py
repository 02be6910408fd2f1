"""Linters are tests too: ruff, mypy --strict, pyright (strict) and shellcheck over everything that ships."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ["mkcore", "mkctl", "mkweb", "mkmirror", "mkserver"]
BIN = Path(sys.executable).parent

COMMANDS = {
    "ruff": [str(BIN / "ruff"), "check", "--no-cache", *PACKAGES, "tests", "bench"],
    "mypy": [str(BIN / "mypy"), "--no-error-summary", *PACKAGES, "bench"],
    "pyright": [str(BIN / "pyright"), "--pythonpath", sys.executable],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_linter(name: str) -> None:
    if sys.version_info[:2] < (3, 10):
        pytest.skip("the linters run once, on the newer Python")
    command = COMMANDS[name]
    if not Path(command[0]).exists():
        pytest.skip(f"{name} is not in this environment (packaging/setup check installs it)")
    run = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
    )
    assert run.returncode == 0, run.stdout + run.stderr


def shell_scripts() -> list[Path]:
    """Every tracked file whose first line names a shell."""
    found = []
    for folder in ("packaging", ".ci", "units", "tests", "bench"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.stat().st_size < 100_000:
                with path.open("rb") as file:
                    first = file.readline(80)
                if first.startswith(b"#!") and (b"/sh" in first or b"bash" in first):
                    found.append(path)
    return sorted(found)


def test_shellcheck() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed (packaging/setup check installs it)")
    scripts = shell_scripts()
    assert scripts, "no shell scripts found: the search is wrong"
    run = subprocess.run(["shellcheck", *map(str, scripts)], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout

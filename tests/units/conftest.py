"""The suite installed into a folder by the one recipe, for the tests of what systemd and its companions read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix with the whole suite in it; its units name the programs of this prefix, so that these exist."""
    top = tmp_path_factory.mktemp("installed")
    variables = [f"PREFIX={top}/usr", f"SYSCONFDIR={top}/etc"]
    command = ["make", "--silent", "-f", "packaging/install.mk", "install", *variables]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return top / "usr"

"""packaging/extensions: what goes into the image's own mirror, and how."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PACKAGING = Path(__file__).resolve().parent.parent.parent / "packaging"

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="these scripts run on the Python of a Debian host")


def load(name: str) -> ModuleType:
    """Import a script, whose name ends in no .py."""
    loader = importlib.machinery.SourceFileLoader(f"{name}_build", str(PACKAGING / name / "build"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = dont_write
    return module


def test_recipes_are_whole() -> None:
    recipes = load("extensions").read_recipes()
    assert {"open-vm-tools", "debug-tools", "firmware", "infiniband", "smart", "burnin"} == set(recipes)
    assert [name for name, recipe in recipes.items() if recipe.get("image")] == ["open-vm-tools"]
    for recipe in recipes.values():
        assert recipe["description"] and (recipe.get("packages") or recipe.get("modules"))
        assert all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name) for name in recipe.get("packages", ()))
    assert recipes["open-vm-tools"]["when"] == ["virtualization vmware"]


def test_own_packages_are_not_in_the_base(tmp_path: Path) -> None:
    """Else each version of ours would make every extension anew."""
    status = tmp_path / "status"
    status.write_text("Package: mkctl\nVersion: 1\n\nPackage: libc6\nVersion: 2\n\nPackage: mk-core\nVersion: 1\n\n")
    assert load("extensions").read_base(status) == "Package: libc6\nVersion: 2\n"


def test_no_base_says_what_makes_it(tmp_path: Path) -> None:
    script = [
        sys.executable,
        str(PACKAGING / "extensions/build"),
        "--base",
        str(tmp_path / "no"),
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "run make image" in done.stderr and "Traceback" not in done.stderr


def test_unknown_recipe_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Package: libc6\n")
    script = [sys.executable, str(PACKAGING / "extensions/build"), "--base", str(tmp_path / "status")]
    done = subprocess.run(
        [*script, "--out", str(tmp_path), "x"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("packaging/extensions/build: there is no recipe for x; there are open-vm-tools, ")

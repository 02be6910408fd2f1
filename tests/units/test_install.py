"""The one installation recipe: what it installs, where, and that it is what the Debian packages hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mkcore.version import VERSION

ROOT = Path(__file__).resolve().parent.parent.parent
DEBIAN = ROOT / "packaging/debian"
COMMANDS = ("mkctl", "mkmirror", "mkserver", "mkweb")
MODULES = ("mkcore", *COMMANDS)


def files(top: Path) -> set[str]:
    """Return the paths of all files below a folder."""
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}


def test_everything_is_installed_once(prefix: Path) -> None:
    """Every file of the packages and of units/ has its place; nothing else is there, and no byte code."""
    sources = {
        f"lib/python3/dist-packages/{path.relative_to(ROOT)}"
        for module in MODULES
        for path in (ROOT / module).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc" and path.name != "mk.toml"
    }
    installed = files(prefix)
    assert {path for path in installed if path.startswith("lib/python3/")} == sources
    units = {path.name for path in (ROOT / "units").rglob("*") if path.is_file() and path.parent.name != "networkd"}
    assert {Path(path).name for path in installed} >= units
    rest = {path for path in installed - sources if Path(path).name not in units and not path.startswith("share/man/")}
    assert rest == {*(f"bin/{name}" for name in COMMANDS), "lib/mk/mk.toml"}
    assert (prefix.parent / "etc/mk/mk.toml.d").is_dir() and not files(prefix.parent / "etc")


def test_manual_pages(prefix: Path) -> None:
    """Every command and the configuration file have one, and every unit's Documentation= exists."""
    pages = {Path(path).name for path in files(prefix / "share/man")}
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "units/systemd").iterdir())
    documented = {f"{name}.{section}" for name, section in re.findall(r"man:([\w.-]+)\((\d)\)", text)}
    assert pages >= documented, f"no page for {sorted(documented - pages)}"


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_isolated(prefix: Path, name: str) -> None:
    """A command takes nothing from the environment: Python's isolated mode, and a traceback for nobody."""
    script = prefix / "bin" / name
    assert script.read_text(encoding="utf-8").splitlines()[0] == "#!/usr/bin/python3 -I"
    assert os.access(script, os.X_OK)


def test_destination(tmp_path: Path) -> None:
    """DESTDIR holds everything, and the files in it name their final place."""
    command = ["make", "--silent", "-f", "packaging/install.mk", "install", f"DESTDIR={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etc", "usr"]
    for path in (ROOT / "units/systemd").iterdir():
        assert (tmp_path / "usr/lib/systemd/system" / path.name).read_bytes() == path.read_bytes()
    program = [sys.executable, "-m", "mkctl", "version"]
    done = subprocess.run(
        program, cwd=tmp_path / "usr/lib/python3/dist-packages", capture_output=True, text=True, check=False
    )
    assert VERSION in done.stdout, done.stderr


def test_packages_agree_with_the_recipe(prefix: Path) -> None:
    """What debian/*.install lists is what the recipe installs: each file in exactly one package."""
    lists = {path.stem: path.read_text(encoding="utf-8").split() for path in DEBIAN.glob("*.install")}
    for path in sorted(files(prefix)):
        if not path.startswith("share/man/"):
            owners = [
                name for name, entries in lists.items() if any(_covers(entry, f"usr/{path}") for entry in entries)
            ]
            assert len(owners) == 1, f"{path} is in {owners or 'no package'}"


def _covers(entry: str, path: str) -> bool:
    return path == entry or path.startswith(f"{entry}/")


def test_version_is_one() -> None:
    """The Debian changelog, the Python project and the program say the same version."""
    changelog = (DEBIAN / "changelog").read_text(encoding="utf-8")
    assert re.match(r"mksuite \((.*?)\)", changelog)[1] == VERSION  # type: ignore[index]
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_packages_depend_on_what_they_import() -> None:
    """The dependencies of pyproject.toml are in debian/control under Debian's names."""
    control = (DEBIAN / "control").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = re.findall(r'^\s*"([a-z-]+)>=', project.partition("[project.scripts]")[0].partition("test = ")[0], re.M)
    wanted += re.findall(r'^server = \["([a-z]+)[^"]*", "([a-z]+)', project, re.M)[0]
    assert len(wanted) >= 8
    missing = [name for name in wanted if f" python3-{name}," not in control and f"python3-{name}\n" not in control]
    assert not missing or (missing == ["tomli"] and "| python3-tomli" in control), missing

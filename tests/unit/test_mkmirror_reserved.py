"""What no extension may bring, so that it cannot come between the suite and what that runs with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mkmirror import reserved, tce_install
from tests.unit.mirror_trees import REPO

DIST = "usr/local/lib/python3.13/dist-packages"


@pytest.mark.parametrize("path", [f"{DIST}/requests/__init__.py", DIST, "usr/local/lib/python3/dist-packages/x"])
def test_modules_that_the_systems_python_would_import(path: str) -> None:
    assert reserved.reason(path) == "would be imported by the programs of the suite"


def test_where_this_python_looks_for_modules() -> None:
    folders = ("/usr/local/lib64/python3.9/site-packages",)
    assert reserved.reason("usr/local/lib64/python3.9/site-packages/x.py", folders)
    assert reserved.reason("usr/local/lib64/python3.9/site-packages-x", folders) == ""
    assert all(each.startswith(("/usr/local/", "/opt/")) for each in reserved.system_folders())


@pytest.mark.parametrize("path", ["usr/local/bin/mkctl", "usr/local/lib/systemd/system/mk-fetch.service"])
def test_what_is_reserved_for_native_extensions_is_so_for_all(path: str) -> None:
    assert reserved.reason(path)


@pytest.mark.parametrize(
    "path",
    ["usr/local/lib/python3.9/site-packages/x.py", "usr/local/bin/python3", "usr/local/lib/systemd/system/x.service"],
)
def test_tiny_cores_own_python_and_units_are_welcome(path: str) -> None:
    assert reserved.reason(path) == ""


@pytest.mark.parametrize("unit", ["mk-facts", "mk-fetch", "mk-extensions"])
def test_programs_of_the_system_come_before_those_of_extensions(unit: str) -> None:
    lines = (REPO / f"units/systemd/{unit}.service").read_text().splitlines()
    (path,) = [line.partition("PATH=")[2].split(":") for line in lines if line.startswith("Environment=PATH=")]
    assert path.index("/usr/local/sbin") > path.index("/usr/bin")


def test_libraries_of_the_system_come_before_those_of_extensions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real ldconfig, on a small root whose configuration has /usr/local/lib first, as Debian's."""
    root = tmp_path / "root"
    for folder in ("etc", "usr/lib/x86_64-linux-gnu", "usr/local/lib", "lib", "var/cache/ldconfig"):
        (root / folder).mkdir(parents=True)
    (root / "etc/ld.so.conf").write_text("/usr/local/lib\n/usr/lib/x86_64-linux-gnu\n")
    library = next(Path("/usr/lib").glob("*-linux-gnu*/libz.so.1"))
    for folder in ("usr/lib/x86_64-linux-gnu", "usr/local/lib"):
        (root / folder / "libz.so.1").write_bytes(library.read_bytes())
    (tmp_path / "systemd-run").write_text(
        f'#!/bin/bash\nwhile [ "$1" != -- ]; do shift; done\nshift 2\nexec /sbin/ldconfig -r {root} "${{@#{root}}}"\n'
    )
    (tmp_path / "systemd-run").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    tce_install.refresh_libraries(root)
    shown = subprocess.run(["/sbin/ldconfig", "-r", root, "-p"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in shown.splitlines() if "=>" in line] == [
        "/usr/lib/x86_64-linux-gnu/libz.so.1",
        "/usr/local/lib/libz.so.1",
    ]

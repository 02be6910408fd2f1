"""Extensions of Tiny Core on /usr/local: scenarios on real mounts, and the pure parts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mkmirror import overlay, tce_install
from tests.unit.mirror_trees import REPO
from tests.unit.mount_scenarios import SCENARIOS


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
@pytest.mark.parametrize("name", [each.__name__ for each in SCENARIOS])
def test_on_real_mounts(name: str, tmp_path: Path) -> None:
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.unit.mount_scenarios"]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [*command, name, str(tmp_path)],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mount_points_are_read() -> None:
    text = (
        "22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
        "30 28 0:26 / /a\\040b\\134c rw - tmpfs tmpfs rw\n"
        "broken\n\n"
    )
    assert overlay.parse_mountinfo(text) == ((Path("/sys"), "sysfs"), (Path("/a b\\c"), "tmpfs"))


def test_options_fit_into_a_page() -> None:
    few = overlay.build_options(2, Path("/u"), Path("/w")).split(",")
    assert few[:3] == ["lowerdir=0:1", "upperdir=/u", "workdir=/w"]
    assert {"nodev", "nosuid"} <= set(few)
    assert len(overlay.build_options(480, Path("/u" * 100), Path("/w" * 100))) < 4000


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("nano.tcz", "mk-tce-nano.service"),
        ("gtk+-3.tcz", "mk-tce-gtk\\x2b\\x2d3.service"),
        ("a~b.tcz", "mk-tce-a\\x7eb.service"),
    ],
)
def test_units_of_start_scripts(name: str, unit: str) -> None:
    assert tce_install.unit_of(name) == unit

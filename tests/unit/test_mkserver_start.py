"""What `mkserver run` takes where its command line names nothing: the image in the data directory, the way back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mkserver.boot import expand_args
from mkserver.cli import build_parser
from mkserver.serve import check_image, place_image
from mkserver.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_image_of_the_data_directory(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    check_image(settings)
    placed = place_image(settings)
    assert (placed.kernel, placed.initrd) == (tmp_path / "image/vmlinuz", tmp_path / "image/initrd")
    named = Settings(data=tmp_path, kernel=tmp_path / "k", initrd=tmp_path / "i", mirror=tmp_path)
    assert place_image(named) == named


@pytest.mark.parametrize("base", ["192.0.2.1:8026", "[2001:db8::1]:8026", "lab.example"])
def test_kernel_line_leads_back(base: str) -> None:
    options = build_parser().parse_args(["run"])
    assert expand_args(options.cmdline, base=base, uuid="N1") == f"hanlon.uri=http://{base}"


def test_wrong_usage_is_one_line() -> None:
    for words in ([], ["nonsense"], ["nodes", "--state", "x"]):
        command = [sys.executable, "-m", "mkserver", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 64
        assert len(done.stderr.splitlines()) == 1
        assert "--help)" in done.stderr

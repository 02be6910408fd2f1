"""The benchmarks' programs that are text here and run inside the image, where no linter looks."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.image import BESIDE, PSS


def test_the_bare_imports_say_what_they_hold() -> None:
    argv = [sys.executable, "-I", "-c", BESIDE, str(os.getpid())]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    ours, bare = map(int, done.stdout.split())
    assert min(ours, bare) > 1000, "kB"


def test_the_sum_over_the_slice_is_a_program() -> None:
    compile(PSS, "PSS", "exec")

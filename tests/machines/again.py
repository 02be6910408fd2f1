"""A second build of the same commit, where nothing is as it was in the first: what it makes must be the same bytes.

Other are the path and its depth, the umask, the host's name, the clock (a day and two hours ahead), the time zone, the
language, the home folder and the number of processors; all caches are empty. The same are the commit and, for the
image, the recorded list of packages.

Source: the variations of reprotest(1).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .server import ROOT

FOLDER = ROOT / "build/again"
FIRST = FOLDER / "first"
TREE = FOLDER / "of/another/depth"
SIGNED = (".gpg",)
"""Endings of files that hold the time at which they were made, by their nature."""
_HOST = "another-host"
_AHEAD = "+26h"


class AgainError(Exception):
    """The second build failed; the text ends with its last words."""


def check_out(tree: Path = TREE, umask: str = "027") -> Path:
    """Make a fresh clone of this tree's commit, and return it; with the umask its files cannot be read by others."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.parent.mkdir(parents=True, exist_ok=True)
    clone = f"umask {umask}; git clone --quiet {shlex.quote(str(ROOT))} {shlex.quote(str(tree))}"
    subprocess.run(["sh", "-c", clone], check=True)
    return tree


def build(tree: Path, words: Sequence[str], timeout_s: float) -> None:
    """Run make in a clone. AgainError has its last words."""
    _run(["make", *words], tree, dict(os.environ), timeout_s)


def build_elsewhere(tree: Path, words: Sequence[str], timeout_s: float) -> None:
    """Run make in a clone as another host would. AgainError has its last words."""
    home = tree.parent / "home"
    home.mkdir(exist_ok=True)
    command = shlex.join(["faketime", "-f", _AHEAD, "taskset", "--cpu-list", "0", "make", *words])
    argv = ["unshare", "--uts", "sh", "-c", f"hostname {_HOST}; umask 027; exec {command}"]
    kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    environment = {**kept, "PATH": os.environ["PATH"], "HOME": str(home), "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    _run(argv, tree, environment, timeout_s)


def _run(argv: Sequence[str], tree: Path, environment: dict[str, str], timeout_s: float) -> None:
    log = tree.with_name(f"{tree.name}.log")
    with log.open("wb") as out:
        done = subprocess.run(
            argv, cwd=tree, env=environment, stdout=out, stderr=subprocess.STDOUT, timeout=timeout_s, check=False
        )
    if done.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]
        raise AgainError("\n".join([*said, f"{log}: the build ended with status {done.returncode}"]))


def find_differences(first: Path, second: Path, names: Sequence[str]) -> list[str]:
    """Return a line for each file that is not the same in both folders, and lines for what differs in a squashfs."""
    lines = []
    for name in names:
        one, other = first / name, second / name
        if not other.exists():
            lines.append(f"{name}: the second build made none")
        elif subprocess.run(["cmp", "--quiet", str(one), str(other)], check=False).returncode:
            lines.append(f"{name}: {one.stat().st_size} bytes, then {other.stat().st_size}")
            lines += _look_into(one, other) if name.endswith(".squashfs") else []
    return lines


def _look_into(first: Path, second: Path, most: int = 40) -> list[str]:
    """Tell which files of two squashfs differ, in content, owner, rights or time."""
    trees = []
    for number, image in enumerate((first, second)):
        tree = FOLDER / f"unpacked-{number}"
        shutil.rmtree(tree, ignore_errors=True)
        command = ["unsquashfs", "-quiet", "-no-progress", "-dest", str(tree), str(image)]
        subprocess.run(command, check=False, capture_output=True)
        trees.append(tree)
    diff = ["diff", "--recursive", "--brief", "--no-dereference", *map(str, trees)]
    found = subprocess.run(diff, capture_output=True, text=True, errors="replace", check=False).stdout.splitlines()
    listings = [_list(image) for image in (first, second)]
    found += [f"- {line}" for line in sorted(listings[0] - listings[1])]
    found += [f"+ {line}" for line in sorted(listings[1] - listings[0])]
    return [f"    {line}" for line in found[:most]]


def _list(image: Path) -> set[str]:
    command = ["unsquashfs", "-lln", "-UTC", str(image)]
    return set(
        subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout.splitlines()
    )

"""Debian's packages and ours as a tree of files, by mkosi.

Source: mkosi(1).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .places import BUILD, HERE, NETWORKS, ROOT, STATE, BuildError


def find_mkosi() -> list[str]:
    """Return the command of mkosi >= 25: the copy that packaging/setup unpacked, else the host's."""
    private = BUILD / "tools/mkosi/run"
    if private.exists():
        return [str(private)]
    if not shutil.which("mkosi"):
        raise BuildError("mkosi is missing: run packaging/setup image")
    return ["mkosi"]


def prepare_sandbox() -> Path:
    """Write the apt sources that mkosi uses: the host's mirrors, Debian 13."""
    sandbox = STATE / "sandbox"
    sources = sandbox / "etc/apt/sources.list.d/mkosi.sources"
    sources.parent.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(
        [str(ROOT / "packaging/mirror"), "sources", "trixie"], stdout=subprocess.PIPE, text=True, check=False
    )
    if run.returncode:
        raise BuildError("this host's apt names no Debian mirror (see above)")
    sources.write_text(run.stdout, encoding="utf-8")
    return sandbox


def build_command(staging: Path, debs: Path, epoch: int, *, fresh: bool) -> list[str]:
    """Build mkosi's command line."""
    return [
        *find_mkosi(),
        *("--directory", str(HERE), "--sandbox-tree", str(prepare_sandbox()), "--output-directory", str(staging)),
        *("--cache-directory", str(STATE / "cache"), "--package-cache-directory", str(STATE / "pkgcache")),
        *("--workspace-directory", str(STATE / "workspace"), "--volatile-package-directory", str(debs)),
        *("--extra-tree", f"{NETWORKS}:/usr/lib/systemd/network", "--source-date-epoch", str(epoch)),
        *("-ff" if fresh else "-f", "build"),
    ]


def run_mkosi(packages: list[Path], epoch: int, *, fresh: bool, verbose: bool) -> Path:
    """Run mkosi and return its output directory with initrd.cpio, initrd.manifest and vmlinuz.

    Its words go into a log.
    """
    staging, debs = STATE / "output", STATE / "packages"
    for folder in (staging, debs):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (staging, debs, STATE / "cache", STATE / "pkgcache", STATE / "workspace"):
        folder.mkdir(parents=True, exist_ok=True)
    for path in packages:
        shutil.copy(path, debs)
    command = build_command(staging, debs, epoch, fresh=fresh)
    log = STATE / "log"
    with log.open("wb") as out:
        status = subprocess.run(
            command, stdout=None if verbose else out, stderr=subprocess.STDOUT, check=False
        ).returncode
    if status:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:]
        raise BuildError("\n".join([*tail, f"mkosi failed with status {status}; its whole log: {log}"]))
    return staging

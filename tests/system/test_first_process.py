"""The first process (packaging/image/init) in namespaces of this host: layers, a site's files, what goes wrong.

A tmpfs is its first file system, and a shell script, in a layer, what it starts at the end. Modules are not loaded: the
host's kernel has its own. The real kernel's part is shown on machines (tests/image).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "packaging/image/init/init.c"
BUSYBOX = (ROOT / "build/tools/busybox/usr/bin/busybox", Path("/bin/busybox"))
SYSTEM = """\
#!/bin/sh
export PATH=/bin
echo "started $*"
cat /etc/both /etc/low /etc/site 2>/dev/null
busybox mount | busybox grep ' / '
busybox ls -d /layers /site /init 2>/dev/null || echo clean
"""
ENTER = """\
set -e
mount --make-rprivate /
mount -t tmpfs none /mnt
cp -a "$1/." /mnt/
cd /mnt
mkdir -p old bin
cp "$2" bin/busybox
exec unshare --mount /mnt/bin/busybox sh -c 'cd /mnt && /mnt/bin/busybox pivot_root . old && cd / &&
    exec /bin/busybox sh -c "/bin/busybox umount -l /old; exec /init one two"'
"""


@pytest.fixture(scope="module")
def tools() -> tuple[str, Path]:
    """The compiler, and a busybox that needs no library."""
    busybox = [path for path in BUSYBOX if path.exists()]
    if not shutil.which("musl-gcc") or not busybox or not shutil.which("mksquashfs"):
        if os.environ.get("MK_REQUIRE_TIERS"):
            pytest.fail("musl-gcc, busybox or mksquashfs is missing: run packaging/setup image", pytrace=False)
        pytest.skip("musl-gcc, busybox or mksquashfs is not installed (packaging/setup image installs them)")
    return "musl-gcc", busybox[0]


@pytest.fixture
def first(tools: tuple[str, Path], tmp_path: Path) -> Path:
    """The folder that the first file system is made of: the first process, and a layer with what it starts."""
    folder = tmp_path / "first"
    (folder / "layers").mkdir(parents=True)
    sys.path.insert(0, str(ROOT / "packaging/image"))
    try:
        from lib.first_process import compile_init  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    compile_init(folder / "init")
    system = tmp_path / "system"
    for name in ("bin", "dev", "proc", "sys", "run", "etc", "usr/lib/systemd"):
        (system / name).mkdir(parents=True)
    shutil.copy(tools[1], system / "bin/busybox")
    for name in ("sh", "cat"):
        (system / "bin" / name).symlink_to("busybox")
    (system / "usr/lib/systemd/systemd").write_text(SYSTEM)
    (system / "usr/lib/systemd/systemd").chmod(0o755)
    (system / "etc/both").write_text("of the lower layer\n")
    (system / "etc/low").write_text("of the lower layer alone\n")
    pack(system, folder / "layers/10-root.squashfs")
    return folder


def pack(tree: Path, target: Path) -> None:
    """Make a layer of a folder."""
    subprocess.run(["mksquashfs", str(tree), str(target), "-noappend", "-quiet", "-no-progress"], check=True)


def start(first: Path, tools: tuple[str, Path], timeout_s: float = 60.0) -> str:
    """Start the first process in namespaces of its own; return what is said from then on."""
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "bash", "-c", ENTER, "-", str(first)]
    done = subprocess.run([*command, str(tools[1])], capture_output=True, text=True, timeout=timeout_s, check=False)
    return done.stdout + done.stderr


def test_layers_lie_over_each_other_and_a_sites_files_over_them(first: Path, tools: tuple[str, Path]) -> None:
    upper = first.parent / "upper/etc"
    upper.mkdir(parents=True)
    (upper / "both").write_text("of the upper layer\n")
    pack(upper.parent, first / "layers/60-site.squashfs")
    (first / "site/etc").mkdir(parents=True)
    (first / "site/etc/site").write_text("of the site\n")
    lines = start(first, tools).splitlines()
    assert lines[:4] == ["started one two", "of the upper layer", "of the lower layer alone", "of the site"], lines
    assert lines[4].startswith("overlay on / ") and "lowerdir=/lower/1:/lower/0," in lines[4]
    assert lines[5] == "clean"

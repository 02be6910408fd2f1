"""The first process (packaging/image/init) in namespaces of this host: layers, a site's files, what goes wrong.

A tmpfs is its first file system, and a shell script, in a layer, what it starts at the end. Modules are not loaded: the
host's kernel has its own. What a kernel of its own takes part in is shown on machines: here, with MK_FULL, where the
shipped image cannot start, else in tests/image.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.machines.accel import choose_accel
from tests.machines.qemu import ACCELERATORS, PROGRAM
from tests.machines.server import IMAGE

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ROOT / "packaging/image/init"
WAIT = "#define WAIT_S 60\n"
IN_FULL = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full boots machines for it")
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
    compile_first(SOURCES, folder / "init")
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


def compile_first(sources: Path, target: Path) -> None:
    """Compile the first process, as the image's own is, of a folder of sources."""
    sys.path.insert(0, str(ROOT / "packaging/image"))
    try:
        from lib import first_process  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    shipped, first_process.SOURCES = first_process.SOURCES, sources
    try:
        first_process.compile_init(target)
    finally:
        first_process.SOURCES = shipped


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


def hasten(first: Path) -> None:
    """Have the first process restart the machine at once, not after sixty seconds."""
    sources = first.parent / "sources"
    shutil.copytree(SOURCES, sources)
    text = (sources / "init.c").read_text(encoding="utf-8")
    assert text.count(WAIT) == 1
    (sources / "init.c").write_text(text.replace(WAIT, "#define WAIT_S 0\n"), encoding="utf-8")
    compile_first(sources, first / "init")


class KernelLog:
    """What is written to the host's kernel log from now on: where it can be written, the first process speaks there."""

    def __init__(self) -> None:
        self._log = -1
        if not Path("/dev/kmsg").exists():
            return
        try:
            self._log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        except PermissionError:
            pytest.skip("this host's kernel log cannot be read")
        os.lseek(self._log, 0, os.SEEK_END)

    def read(self) -> str:
        """Return the lines since, without what the kernel says of each."""
        found = b""
        while self._log >= 0 and (record := self._next()):
            found += record.partition(b";")[2].split(b"\n")[0] + b"\n"
        return found.decode("utf-8", "replace")

    def _next(self) -> bytes:
        """Return a record, none at the end."""
        try:
            return os.read(self._log, 16384)
        except BrokenPipeError:  # what came in between is gone
            return self._next()
        except BlockingIOError:
            os.close(self._log)
            return b""


def fails(first: Path, tools: tuple[str, Path]) -> str:
    """Start the first process, which has to fail, say so in one line and restart; return the reason in that line."""
    hasten(first)
    log = KernelLog()
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "bash", "-c", ENTER, "-", str(first)]
    done = subprocess.run([*command, str(tools[1])], capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in (log.read() + done.stderr).splitlines() if line.startswith("mk: ")]
    assert len(said) == 1, (said, done.stdout, done.stderr)
    match = re.fullmatch(r"mk: cannot start: (.+); restarting in 0 s", said[0])
    assert match, said
    # a restart asked for in a namespace of processes ends its first one by this signal (pid_namespaces(7))
    assert -done.returncode == signal.SIGHUP or done.returncode == 128 + signal.SIGHUP, done.returncode
    return match[1]


def test_no_layer(first: Path, tools: tuple[str, Path]) -> None:
    (first / "layers/10-root.squashfs").rename(first / "layers/10-root.erofs")
    assert fails(first, tools) == "/layers holds no layer (a file NAME.squashfs)"


def test_layer_that_is_none(first: Path, tools: tuple[str, Path]) -> None:
    (first / "layers/20-site.squashfs").write_bytes(b"<html>not found</html>" * 1000)
    said = "/layers/20-site.squashfs is broken, or no squashfs that this kernel knows (Invalid argument)"
    assert fails(first, tools) == said


def test_layer_that_is_cut_off_says_how_much_of_it_there_is(first: Path, tools: tuple[str, Path]) -> None:
    """The mark of an archive that did not fit into memory."""
    layer = first / "layers/10-root.squashfs"
    wanted = int.from_bytes(layer.read_bytes()[40:48], "little")
    os.truncate(layer, 500_000)
    begins = f"/layers/10-root.squashfs ends after 500 of {wanted // 1000} kB: "
    said = fails(first, tools)
    assert said.startswith(begins), said
    assert re.fullmatch(r"the memory of \d+ MB is too small, or the download broke off", said[len(begins) :])


def test_too_many_layers(first: Path, tools: tuple[str, Path]) -> None:
    for number in range(32):
        (first / f"layers/5{number:02}-site.squashfs").touch()
    assert fails(first, tools) == "/layers holds 33 layers; 32 is the most"


def test_module_that_is_none(first: Path, tools: tuple[str, Path]) -> None:
    (first / "modules").mkdir()
    (first / "modules/00-loop.ko.xz").write_bytes(b"no module")
    assert re.fullmatch(r"the kernel does not take its module /modules/00-loop\.ko\.xz \(.+\)", fails(first, tools))


def test_site_file_that_cannot_be_copied(first: Path, tools: tuple[str, Path]) -> None:
    (first / "site/etc").mkdir(parents=True)
    os.mkfifo(first / "site/etc/pipe")
    assert fails(first, tools) == "/site/etc/pipe is neither file, folder nor link"


def test_site_file_where_the_system_has_a_folder(first: Path, tools: tuple[str, Path]) -> None:
    (first / "site").mkdir()
    (first / "site/etc").write_text("a file")
    assert fails(first, tools) == "/site/etc cannot be copied to /root/etc (File exists)"


def test_layers_that_are_no_system(first: Path, tools: tuple[str, Path]) -> None:
    layer = first / "layers/10-root.squashfs"
    tree = first.parent / "tree"
    layer.unlink()
    for name in ("dev", "proc", "sys"):
        (tree / name).mkdir(parents=True)
    pack(tree, layer)
    assert fails(first, tools) == "/usr/lib/systemd/systemd cannot be started (No such file or directory)"


def boot(initrd: Path, memory_mib: int, until: str, timeout_s: float = 600.0) -> str:
    """Boot the shipped kernel with an archive until its console says something, and on to the end of that line.

    Returns the console's text. A machine that restarts ends.
    """
    console = ["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-m", str(memory_mib)]
    command = [PROGRAM, *ACCELERATORS[choose_accel()], *console, "-kernel", str(IMAGE / "vmlinuz")]
    command += ["-initrd", str(initrd), "-append", "quiet console=ttyS0"]
    said = ""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
        assert machine.stdout
        stop = threading.Timer(timeout_s, machine.kill)
        stop.start()
        for line in machine.stdout:
            said += line.decode("utf-8", "replace").replace("\r", "")
            if until in said:
                break
        stop.cancel()
        machine.kill()
    assert until in said, said[-3000:]
    return said


@IN_FULL
def test_machine_with_too_little_memory() -> None:
    """What the kernel unpacks ends where its memory does; the first process is there, and says so."""
    said = boot(IMAGE / "initrd", 128, "cannot start: ")
    assert re.search(
        r"mk: cannot start: /layers/10-root\.squashfs ends after \d+ of \d+ kB: the memory of \d+ MB is too small,"
        r" or the download broke off; restarting in 60 s\n",
        said,
    ), said[-3000:]
    assert said.count("mk: ") == 1


@IN_FULL
def test_kernel_without_loop_devices(first: Path, tmp_path: Path) -> None:
    """Where the modules are missing that belong to the archive."""
    names = "init\nlayers\nlayers/10-root.squashfs\n"
    archive = tmp_path / "initrd"
    with archive.open("wb") as out:
        pack_archive = ["cpio", "--create", "--format=newc", "--owner=0:0", "--quiet"]
        subprocess.run(pack_archive, cwd=first, input=names.encode(), stdout=out, check=True)
    said = boot(archive, 256, "cannot start: ")
    ends = "mk: cannot start: there are no loop devices (No such file or directory); restarting in 60 s\n"
    assert said.endswith(ends), said[-3000:]


@IN_FULL
def test_site_archive_that_is_damaged_costs_itself_alone(tmp_path: Path) -> None:
    """The kernel says that it cannot unpack it, and the system starts without."""
    archive = tmp_path / "initrd"
    archive.write_bytes((IMAGE / "initrd").read_bytes() + b"this is no archive" * 100)
    said = boot(archive, 512, "MK Loaded: v")
    assert said.count("Initramfs unpacking failed") == 1, said[-3000:]

"""One extension of 20 MB, from the mirror to the running system, in a VM of the shipped image.

Ours is `mkmirror install` as a person types it: sums and signature, download, both checks, merge, record. Beside it the
steps of Tiny Core's tce-load for the same image from the same nginx: download, md5sum, mount, links, ldconfig; as a
shell does them that has nothing to decide, with the programs of a busybox, which Tiny Core has, too. Both take turns,
and both are taken away again before the other's.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Union

from bench.mirror import free_port
from bench.rows import Row, against
from mkcore import events
from tests.machines.accel import choose_accel
from tests.machines.first_stage import BUSYBOX
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.mirrors import append_mirror
from tests.machines.qemu import Machine, Nic, VirtualMachine
from tests.machines.web import Nginx
from tests.unit.mirror_trees import make_squashfs, run_mkmirror
from tests.unit.pgp_keys import Gpg

NAME = "bench-twenty.raw"
FOLDER = f"tinycorelinux/sysext/{os.uname().machine}"
FILES, BYTES = 200, 20_000_000
ROUNDS = 5
DEADLINE_S = 600.0
HOST = "10.0.2.2"  # the host's loopback, as QEMU's user network has it
SITE = '[mirror]\ntce_mirror_uri = "http://{host}:{port}/tinycorelinux"\n'

# argv[1]: JSON {"rounds": 5, "entries": {"NAME": [[INSTALL...], [REMOVE...]]}}; prints the seconds of each INSTALL.
PROGRAM = """
import json, subprocess, sys, time

def run(argv):
    began = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{argv}: {done.returncode}: {done.stdout}{done.stderr}")
    return time.perf_counter() - began

asked = json.loads(sys.argv[1])
took = {name: [] for name in asked["entries"]}
for _ in range(asked["rounds"]):
    for name, (install, remove) in asked["entries"].items():
        took[name].append(run(install))
        run(["ls", "/usr/share/bench/file0"])
        run(remove)
json.dump(took, sys.stdout)
"""
TOOLS = "opt/tce"
TCE_LOAD = """
set -e
b=$0 url=$1 name=$2
mkdir -p /tmp/tce /tmp/tcloop/bench
cd /tmp/tce
$b wget -cq "$url/$name.md5.txt"
$b wget -cq "$url/$name"
$b md5sum -c "$name.md5.txt"
$b mount -t squashfs -o loop,ro "$name" /tmp/tcloop/bench
$b cp -as /tmp/tcloop/bench/* /
ldconfig
"""
UNDO = """
set -e
rm -r /usr/share/bench /usr/lib/extension-release.d/*.bench-twenty
umount /tmp/tcloop/bench
rm -r /tmp/tce
"""


def measure(root: Path) -> list[Row]:
    """Measure the installation."""
    work = root / "build/bench/extensions"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    port = free_port()
    key = make_mirror(work / "mirror")
    with (
        Nginx(work / "mirror", work / "nginx", "127.0.0.1", port),
        VirtualMachine(build_machine(root, work, key, port), work / "machine") as vm,
    ):
        took = run_inside(Channel(vm), port)
    for name, values in took.items():
        print(f"bench: {name}: {min(values):.2f} to {max(values):.2f} s", file=sys.stderr)
    ours, theirs = (statistics.median(took[name]) for name in ("mkmirror", "tce-load"))
    return [against("extensions.install_s", ours, "s", "tce-load's steps", theirs)]


def make_mirror(folder: Path) -> bytes:
    """Make the mirror with the one extension, whose content cannot be compressed; return the key that signed it."""
    files: dict[str, Union[str, bytes]] = {
        f"usr/share/bench/file{number}": os.urandom(BYTES // FILES) for number in range(FILES)
    }
    release = f"usr/lib/extension-release.d/extension-release.{NAME.removesuffix('.raw')}"
    make_squashfs(folder / FOLDER / NAME, {**files, release: "ID=_any\n"})
    made = subprocess.run(["md5sum", NAME], cwd=folder / FOLDER, check=True, capture_output=True)
    (folder / FOLDER / f"{NAME}.md5.txt").write_bytes(made.stdout)
    with tempfile.TemporaryDirectory() as home:
        gpg = Gpg(Path(home))
        try:
            gpg.make_key("bench")
            run_mkmirror("index", folder, "--sign", "bench@mk.example", "--homedir", gpg.home, "--quiet")
            return gpg.export("bench")
        finally:
            gpg.close()


def build_machine(root: Path, work: Path, key: bytes, port: int) -> Machine:
    """Describe the machine: the shipped image, the peer's tools behind it, whose site names the mirror and its key."""
    image, tools, initrd = root / "build/image", work / "tools", work / "initrd"
    tools.mkdir()
    shutil.copy(BUSYBOX, tools)
    append_mirror(image / "initrd", tools, TOOLS, initrd, {})
    site = SITE.format(host=HOST, port=port).encode()
    return Machine(
        uuid="00000000-0000-4000-8000-00000000e870",
        nics=(Nic("52:54:00:be:4c:03", "user"),),
        accel=choose_accel(),
        kernel=image / "vmlinuz",
        initrd=initrd,
        cmdline="console=ttyS0 quiet",
        credentials=build_credentials({"mk.toml": site, "mk.trust": key}),
        channels=CHANNELS,
        memory_mib=2048,
    )


def run_inside(channel: Channel, port: int) -> dict[str, list[float]]:
    """Wait until the machine is at rest, then measure."""
    channel.wait_event(events.FACTS_COLLECTED, DEADLINE_S)
    channel.run("systemctl", "stop", "mkctl.service", "mk-facts.timer", "mk-facts-hotplug.timer")
    channel.run("systemctl", "mask", "--runtime", "mk-facts.service")  # it follows each installation
    deadline = time.monotonic() + DEADLINE_S
    idle = ("systemctl", "is-active", "mk-fetch.service", "mk-extensions.service", "mk-facts.service")
    while "activating" in channel.run(*idle, check=False).stdout:
        if time.monotonic() > deadline:
            raise TimeoutError("the machine does not come to rest")
        time.sleep(1)
    busybox = f"/{TOOLS}/{BUSYBOX.name}"
    peer = [busybox, "sh", "-c", TCE_LOAD, busybox, f"http://{HOST}:{port}/{FOLDER}", NAME]
    entries = {
        "mkmirror": [["mkmirror", "install", NAME], ["mkmirror", "remove", NAME]],
        "tce-load": [peer, ["sh", "-c", UNDO]],
    }
    asked = json.dumps({"rounds": ROUNDS, "entries": entries})
    text = channel.run("/usr/bin/python3", "-I", "-c", PROGRAM, asked, timeout_s=3 * DEADLINE_S).stdout
    found: dict[str, list[float]] = json.loads(text)
    return found

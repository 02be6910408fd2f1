"""The same comparison inside a virtual machine that runs the shipped image, with the peers on a disk of their own.

The peers' disk is a Debian 13 with Facter, lshw, ipmitool and ironic-python-agent, made once; it is attached, mounted
and entered by chroot, so that all read the same kernel. It is a squashfs, as the image has no driver of ext4, and not
compressed, as the peers shall not pay for that; what they write goes to memory. mk-facts is the image's own. What else
the image runs is stopped first. Under emulation one `lshw` has no steady relation to the interpreter, so that ratio is
the host's alone.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.facts import IPA, ORIGINALS, PEER, PYTHON, build_argv, parse_measured
from bench.rows import Row, against
from mkcore import events
from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.qemu import Disk, Machine, Nic, VirtualMachine
from tests.machines.tree import bootstrap, locked

ROUNDS = 11
RELEASE, PYTHON_VERSION = "trixie", "3.13"
PACKAGES = ("facter", "ipmitool", "lshw", "util-linux", "python3", "udev", "iproute2", "kmod", "pciutils", "hdparm")
PEERS = "/run/peers"
PARTS = "/run/peers-parts"
# Makes of the disk, which nobody writes to, and of memory, what the peers are started in.
MOUNT = f"""
mkdir -p {PEERS} {PARTS}/disk {PARTS}/memory
mount -t squashfs -o ro /dev/disk/by-id/virtio-PEERS {PARTS}/disk
mount -t tmpfs -o size=512m tmpfs {PARTS}/memory
mkdir {PARTS}/memory/upper {PARTS}/memory/work
mount -t overlay -o lowerdir={PARTS}/disk,upperdir={PARTS}/memory/upper,workdir={PARTS}/memory/work overlay {PEERS}
"""
SITE = "opt/ipa"
UNCOMPRESSED = ("-noI", "-noD", "-noF", "-noX")
DEADLINE_S = 600.0
MEASURE_S = 3600.0


def machine(root: Path) -> list[Row]:
    """Measure in the machine."""
    with VirtualMachine(build_machine(root), root / "build/bench/facts") as vm:
        channel = Channel(vm)
        channel.wait_event(events.FACTS_COLLECTED, DEADLINE_S)
        for argv in (
            # masked: a device that comes now would start it again, and that cancels the job that stops it
            ("systemctl", "mask", "--runtime", "mk-facts.timer", "mk-facts-hotplug.timer"),
            ("systemctl", "stop", "mk.target", "mk-facts.timer", "mk-facts-hotplug.timer"),
            ("sh", "-ec", MOUNT),
            *(("mount", "--rbind", f"/{name}", f"{PEERS}/{name}") for name in ("proc", "sys", "dev", "run")),
            ("udevadm", "settle"),
            (PYTHON, "-I", "-m", "mkctl.probe"),
        ):
            channel.run(*argv, timeout_s=DEADLINE_S)
        inside = ("chroot", PEERS)
        entries: dict[str, list[Sequence[str]]] = {
            "mk-facts": [(PYTHON, "-I", "-m", "mkctl.probe")],
            "originals": [(*inside, *command) for command in ORIGINALS],
            "ipa": [(*inside, "env", f"PYTHONPATH=/{SITE}", PYTHON, "-c", IPA)],
        }
        text = channel.run(*build_argv(root, entries, ROUNDS), timeout_s=MEASURE_S).stdout
    figures = parse_measured(text, free=("originals",))
    ours = figures["mk-facts"].wall_s
    return [
        against("facts.wall_over_originals_vm", ours, "s", PEER, figures["originals"].wall_s),
        against("facts.wall_over_ipa_vm", ours, "s", "ironic-python-agent", figures["ipa"].wall_s),
        Row("facts.wall_vm_s", round(ours, 2), "s"),
    ]


def build_machine(root: Path) -> Machine:
    """Describe the machine: the shipped image, disks on three kinds of bus, two kinds of card, and the peers' disk."""
    disks, folder = root / "build/bench/disks", root / "build/image"
    return Machine(
        uuid="00000000-0000-4000-8000-0000000fac75",
        nics=(Nic("52:54:00:be:4c:01", "user,restrict=on"), Nic("52:54:00:be:4c:02", "user,restrict=on", "e1000e")),
        disks=(
            Disk(disks / "scsi", "BENCH-SCSI", 64 << 20, "scsi"),
            Disk(disks / "nvme", "BENCH-NVME", 96 << 20, "nvme"),
            Disk(disks / "sata", "BENCH-SATA", 32 << 20, "sata"),
            Disk(make_peers(root), "PEERS", throw_away=True),
        ),
        accel=choose_accel(),
        kernel=folder / "vmlinuz",
        initrd=folder / "initrd",
        cmdline="console=ttyS0 quiet",
        credentials=build_credentials(),
        channels=CHANNELS,
        memory_mib=2048,
    )


def make_peers(root: Path) -> Path:
    """Return the peers' disk, a squashfs; some minutes when it has to be made, else no time."""
    key = hashlib.sha256(repr((RELEASE, PACKAGES, SITE)).encode()).hexdigest()[:12]
    folder = root / "build/bench/peers"
    image = folder / f"peers-{key}.squashfs"
    with locked("peers"):
        if image.exists():
            return image
        print("bench: making the peers' disk …", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        tree, fresh = folder / "tree", folder / "fresh.squashfs"
        bootstrap(tree, RELEASE, list(PACKAGES))
        _install_agent(root, tree)
        subprocess.run(["mksquashfs", str(tree), str(fresh), "-quiet", "-no-progress", *UNCOMPRESSED], check=True)
        shutil.rmtree(tree)
        fresh.rename(image)
    return image


def _install_agent(root: Path, tree: Path) -> None:
    """Put ironic-python-agent into the tree, as wheels for its Python."""
    platforms = ("any", "manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64")
    tag = PYTHON_VERSION.replace(".", "")
    command = [
        str(root / "build/venv-ipa/bin/pip"),
        *("install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--target", str(tree / SITE)),
        *("--python-version", PYTHON_VERSION, "--implementation", "cp"),
        *(word for abi in (f"cp{tag}", "abi3", "none") for word in ("--abi", abi)),
        *(word for platform in platforms for word in ("--platform", platform)),
        "ironic-python-agent",
    ]
    subprocess.run(command, check=True)

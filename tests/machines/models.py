"""A machine with one device of each model that QEMU has, and the driver that belongs to it.

What hangs on a controller is found again by its size, which no two disks share, and a card by its address: nothing
depends on the names that the kernel gives.

Source: the device models of QEMU (`-device help`); the kernel's module names.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .journal import Channel
from .qemu import PROGRAM, Nic

_MIB = 1 << 20
_FIRST_DISK_MIB = 17


@dataclass(frozen=True)
class Model:
    """One model: its name in QEMU, the driver that takes it, what is attached to it and how.

    ``disk``: options of the disk on this controller, in which {id} stands for the controller's; "" when the model is a
    disk itself.
    """

    name: str
    driver: str
    disk: str = ""
    options: str = ""


NICS = (
    Model("e1000", "e1000"),
    Model("e1000e", "e1000e"),
    Model("vmxnet3", "vmxnet3"),
    Model("rtl8139", "8139cp"),
    Model("virtio-net-pci", "virtio_net"),
    Model("igb", "igb"),
    Model("i82559er", "e100"),
    Model("ne2k_pci", "ne2k_pci"),
    Model("pcnet", "pcnet32"),
    Model("tulip", "tulip"),
)
"""Network cards. igb is of QEMU 8.0."""

_SCSI_DISK = "scsi-hd,bus={id}.0"

STORAGE = (
    Model("ich9-ahci", "ahci", "ide-hd,bus={id}.0"),
    Model("nvme", "nvme", options="serial=models"),
    Model("megasas", "megaraid_sas", _SCSI_DISK),
    Model("megasas-gen2", "megaraid_sas", _SCSI_DISK),
    Model("lsi53c895a", "sym53c8xx", _SCSI_DISK),
    # Its disks are found by the address of their phy, which the first and one without a name have not.
    Model("mptsas1068", "mptsas", f"{_SCSI_DISK},scsi-id=1,wwn=0x5000c5000d4b0001"),
    Model("pvscsi", "vmw_pvscsi", _SCSI_DISK),
    Model("virtio-blk-pci", "virtio_blk"),
    Model("virtio-scsi-pci", "virtio_scsi", _SCSI_DISK),
    Model("usb-storage", "usb-storage", options="bus=usb.0"),
    Model("usb-uas", "uas", "scsi-hd,bus={id}.0,scsi-id=0,lun=0", "bus=usb.0"),
)
"""Controllers with a disk on each, and disks that are devices themselves.

Without am53c974: an interrupt comes from QEMU's before its driver is ready, and the kernel panics.
"""


@functools.lru_cache(maxsize=1)
def list_known() -> frozenset[str]:
    """Return the names of all device models that this QEMU has; none where there is no QEMU."""
    if not shutil.which(PROGRAM):
        return frozenset()
    said = subprocess.run([PROGRAM, "-device", "help"], capture_output=True, text=True, timeout=60, check=True).stdout
    return frozenset(line.split('"')[1] for line in said.splitlines() if line.startswith('name "'))


def is_known(model: Model) -> bool:
    """Whether this host's QEMU has a model."""
    return model.name in list_known()


@dataclass(frozen=True)
class Collection:
    """Models that one machine has, all at once."""

    nics: tuple[Model, ...] = field(default_factory=lambda: tuple(filter(is_known, NICS)))
    storage: tuple[Model, ...] = field(default_factory=lambda: tuple(filter(is_known, STORAGE)))

    def mac(self, model: Model) -> str:
        """Return the address of the card of a model."""
        return f"52:54:00:6d:6f:{NICS.index(model):02x}"

    def size_bytes(self, model: Model) -> int:
        """Return the size of the disk on a model."""
        return (_FIRST_DISK_MIB + STORAGE.index(model)) * _MIB

    def build_nics(self, first: str) -> tuple[Nic, ...]:
        """Build the cards; the first is on a network in QEMU's words, the others on dead ends."""
        nets = (first, *(f"user,restrict=on,ipv6=off,net=10.77.{number}.0/24" for number in range(len(self.nics))))
        return tuple(Nic(self.mac(model), net, model.name) for model, net in zip(self.nics, nets))

    def build_argv(self, folder: Path) -> tuple[str, ...]:
        """Build the command line's part for controllers and disks; the disks are made in ``folder``, empty."""
        folder.mkdir(parents=True, exist_ok=True)
        argv = ["-device", "qemu-xhci,id=usb"]
        for number, model in enumerate(self.storage):
            name, path = f"model{number}", folder / model.name
            with path.open("wb") as file:
                file.truncate(self.size_bytes(model))
            argv += ["-drive", f"if=none,id={name}-drive,format=raw,cache=unsafe,file={path}"]
            own = f"{model.name},id={name}" + (f",{model.options}" if model.options else "")
            disk = model.disk.format(id=name)
            argv += ["-device", own, "-device", f"{disk},drive={name}-drive"] if disk else []
            argv += [] if disk else ["-device", f"{own},drive={name}-drive"]
        return tuple(argv)


_LOOK = """\
import glob, json, os
def read(path):
    with open(path) as file:
        return file.read().strip()
def drivers(path):
    found, path = [], os.path.realpath(path)
    while path.startswith("/sys/devices/"):
        if os.path.exists(path + "/driver"):
            found.append(os.path.basename(os.path.realpath(path + "/driver")))
        path = os.path.dirname(path)
    return found
nics = {read(path + "/address"): drivers(path + "/device") for path in glob.glob("/sys/class/net/*")}
disks = {int(read(path + "/size")) * 512: drivers(path + "/device")
         for path in glob.glob("/sys/block/*") if os.path.exists(path + "/device")}
bare = [os.path.basename(path) + " class " + read(path + "/class") for path in glob.glob("/sys/bus/pci/devices/*")
        if read(path + "/class")[:4] in ("0x01", "0x02") and not os.path.exists(path + "/driver")]
print(json.dumps({"nics": nics, "disks": list(disks.items()), "bare": sorted(bare)}))
"""


@dataclass(frozen=True)
class Found:
    """What a machine has: drivers of each card by its address, of each disk by its size, devices without a driver."""

    nics: dict[str, Sequence[str]]
    disks: dict[int, Sequence[str]]
    bare: Sequence[str]


def look(channel: Channel) -> Found:
    """Read from a running machine which drivers have taken its devices."""
    said: dict[str, Any] = json.loads(channel.run("python3", "-I", "-c", _LOOK).stdout)
    return Found(said["nics"], {int(size): names for size, names in said["disks"]}, said["bare"])

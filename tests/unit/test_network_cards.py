"""Cards whose firmware came late: the image's script that offers them to the drivers and to networkd anew (row 16)."""

from __future__ import annotations

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent.parent / "packaging/image/mkosi.extra/usr/lib/mk/probe-cards"


def make(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run(folder: Path) -> tuple[str, str]:
    """Return what was written to the bus and what networkd was asked."""
    (folder / "networkctl").write_text(f'#!/bin/sh\necho "$*" >> {folder}/asked\n')
    (folder / "networkctl").chmod(0o755)
    argv = ["sh", str(SCRIPT), str(folder / "sys"), str(folder / "networkctl")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    asked = folder / "asked"
    return (folder / "sys/bus/pci/drivers_probe").read_text(), asked.read_text() if asked.exists() else ""


def test_only_what_does_not_work_is_touched(tmp_path: Path) -> None:
    """A card without a driver is probed, a disk without one is not; a card that is down is brought up."""
    make(
        tmp_path / "sys",
        {
            "bus/pci/drivers_probe": "",
            "bus/pci/devices/0000:01:00.0/class": "0x020000\n",
            "bus/pci/devices/0000:02:00.0/class": "0x020000\n",
            "bus/pci/devices/0000:02:00.0/driver/uevent": "",
            "bus/pci/devices/0000:03:00.0/class": "0x010802\n",
            "class/net/eno1/flags": "0x1003\n",
            "class/net/eno1/device/uevent": "",
            "class/net/eno2/flags": "0x1002\n",
            "class/net/eno2/device/uevent": "",
            "class/net/lo/flags": "0x8\n",
        },
    )
    assert run(tmp_path) == ("0000:01:00.0\n", "reconfigure eno2\n")


def test_a_machine_whose_cards_all_work(tmp_path: Path) -> None:
    make(tmp_path / "sys", {"bus/pci/drivers_probe": "", "class/net/eno1/flags": "0x1003\n"})
    assert run(tmp_path) == ("", "")

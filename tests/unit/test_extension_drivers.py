"""Extensions that bring drivers: how they are packed out of the kernel's package, and what is loaded on a machine."""

from __future__ import annotations

import importlib
import lzma
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Union

import pytest

from tests.unit.mirror_trees import make_deb, write_tree

PACKAGING = Path(__file__).resolve().parent.parent.parent / "packaging/extensions"
KERNEL = "6.12.9+deb13-amd64"
STATUS = f"""\
Package: libc6
Status: install ok installed
Version: 2.41-12

Package: linux-image-{KERNEL}
Status: install ok installed
Source: linux-signed-amd64 (6.12.9+1)
Version: 6.12.9-1
Description: a kernel
 of two lines

Package: linux-image-amd64
Version: 6.12.9-1
"""
MODINFO = r"""#!/bin/sh
sed -n "s/^$2=//p" "$3"
"""
LOADED = r"""#!/bin/sh
name=$(basename "$1" .ko)
echo "$(basename "$0") $name" >> "$MACHINE/did"
if grep -q broken "$1" 2> /dev/null; then echo "$(basename "$0"): ERROR: could not insert $1" >&2; exit 1; fi
mkdir -p "$MACHINE/sys/module/$name"
"""
MODULES = {
    "ib_core.ko": "",
    "ib_cm.ko": "depends=ib_core\n",
    "ib_ipoib.ko": "depends=ib_core,ib_cm\n",
    "mlx4_ib.ko": "alias=auxiliary:mlx4_core.ib\ndepends=ib_core,mlx4_core\n",
    "mthca.ko": "alias=pci:v000015B3d00005A44sv*sd*bc*sc*i*\nalias=pci:v000015B3d00006282sv*\ndepends=ib_core\n",
    "qib.ko": "alias=pci:v00001077d*\ndepends=rdmavt,dca\n",
    "rdmavt.ko": "depends=ib_core\n",
}


class Machine:
    """A machine with devices, whose tools write down what they are asked."""

    def __init__(self, top: Path) -> None:
        self.top, self.folder = top, top / "modules"
        tools = {"modinfo": MODINFO, "insmod": LOADED, "modprobe": LOADED}
        write_tree(top, {f"modules/{name}": text for name, text in MODULES.items()})
        write_tree(top, {f"bin/{name}*": text for name, text in tools.items()})
        (top / "sys/module").mkdir(parents=True)
        (top / "sys/devices").mkdir()
        text = (PACKAGING / "load-drivers").read_text(encoding="utf-8")
        (top / "load").write_text(text.replace("/sys/", f"{top}/sys/"))

    def load(self, *devices: str, folder: str = "modules") -> subprocess.CompletedProcess[str]:
        """Run the loader where these devices are."""
        write_tree(self.top, {f"sys/devices/{at}/modalias": f"{each}\n" for at, each in enumerate(devices)})
        environment = {"PATH": f"{self.top / 'bin'}:{os.environ['PATH']}", "MACHINE": str(self.top)}
        command = ["sh", str(self.top / "load"), str(self.top / folder), "ib_ipoib"]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)

    def did(self) -> list[str]:
        """Return what was loaded, in its order."""
        return (self.top / "did").read_text().splitlines() if (self.top / "did").exists() else []


def test_what_a_machine_has_no_device_for_is_not_loaded(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    done = machine.load("pci:v00008086d00001533sv00bc02sc00i00", "auxiliary:mlx5_core.eth.0")
    assert (done.returncode, done.stderr, machine.did()) == (0, "", [])
    assert done.stdout == "no device of this machine is for a driver of this extension: nothing is loaded\n"


def test_driver_of_a_device_with_what_it_needs_and_what_hangs_on_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "sys/module/mlx4_core").mkdir()
    done = machine.load("auxiliary:mlx4_core.ib", "pci:v000015B3d00001003sv1")
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.did() == ["insmod ib_core", "insmod mlx4_ib", "insmod ib_cm", "insmod ib_ipoib"]
    assert done.stdout.splitlines()[1] == "mlx4_ib: loaded"


def test_the_kernels_own_modules_are_loaded_where_a_driver_needs_them(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.load("pci:v00001077d00007322sv1").returncode == 0
    assert machine.did()[:4] == ["insmod ib_core", "insmod rdmavt", "modprobe dca", "insmod qib"]


def test_one_that_cannot_be_loaded_fails_the_unit_and_costs_itself_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    write_tree(tmp_path, {"modules/mthca.ko": MODULES["mthca.ko"] + "broken\n"})
    done = machine.load("pci:v000015B3d00006282sv1", "pci:v00001077d1")
    assert done.returncode == 1 and "insmod: ERROR: could not insert" in done.stderr
    assert "insmod qib" in machine.did() and machine.did()[-1] == "insmod ib_ipoib"


def test_extension_of_another_image_says_so(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    done = machine.load("pci:v00001077d1", folder="other")
    assert done.returncode == 1 and machine.did() == []
    assert done.stderr.startswith("this extension has no drivers for the kernel ") and done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this runs on the Python of a Debian host")
class TestPackage:
    """The package that the drivers become."""

    def test_kernel_of_an_image(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drivers = _import(monkeypatch)
        assert drivers.find_kernel(STATUS) == (f"linux-image-{KERNEL}", "6.12.9-1")
        assert drivers.find_kernel(STATUS).release == KERNEL
        with pytest.raises(drivers.ModulesError, match="has 0 kernels, expected one: run make image"):
            drivers.find_kernel("Package: libc6\nVersion: 1\n")

    def test_modules_of_a_recipe_come_uncompressed_with_unit_loader_and_licence(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        drivers = _import(monkeypatch)
        deb = make_kernel(tmp_path)
        recipe = {"modules": [r"^drivers/infiniband/(core/ib_core|ulp/.*)\.ko"], "load": ["ib_ipoib"]}
        tree = drivers.make_tree("ib", recipe, drivers.find_kernel(STATUS), deb, "amd64", tmp_path / "tree")
        folder = tree / f"usr/lib/modules/{KERNEL}/updates/ib"
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"ib_core.ko": b"core", "a.ko": b"a"}
        unit = (tree / "usr/lib/systemd/system/ib-drivers.service").read_text()
        loader = "/usr/lib/mk/extensions/ib/load-drivers"
        assert f"\nExecStart={loader} /usr/lib/modules/%v/updates/ib ib_ipoib\n" in unit
        assert os.access(tree / loader[1:], os.X_OK)
        assert "Source: linux (6.12.9-1)\n" in (tree / "DEBIAN/control").read_text()
        assert (tree / "usr/share/doc/ib-drivers/copyright").read_text() == "free words\n"

    def test_driver_that_the_kernel_lacks_is_one_line(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        drivers = _import(monkeypatch)
        with pytest.raises(drivers.ModulesError) as raised:
            drivers.unpack(make_kernel(tmp_path), ["^drivers/gone"], tmp_path)
        assert str(raised.value).endswith("is ^drivers/gone: renamed, or built into the kernel")
        (tmp_path / "broken.deb").write_bytes(b"none")
        with pytest.raises(drivers.ModulesError, match="cannot be read as the package of a kernel"):
            drivers.unpack(tmp_path / "broken.deb", [], tmp_path)


def make_kernel(folder: Path) -> Path:
    """Make a kernel's package with two modules of InfiniBand, one of them compressed, and another."""
    place = f"usr/lib/modules/{KERNEL}/kernel/drivers"
    content: dict[str, Union[str, bytes]] = {
        f"{place}/infiniband/core/ib_core.ko.xz": lzma.compress(b"core"),
        f"{place}/infiniband/ulp/a.ko": "a",
        f"{place}/net/b.ko": "b",
        f"usr/share/doc/linux-image-{KERNEL}/copyright": "free words\n",
    }
    return make_deb(folder, "kernel", content)


def _import(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PACKAGING))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return importlib.import_module("kernel_modules")

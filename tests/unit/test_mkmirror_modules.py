"""Kernel modules on a made-up machine: its trees are real, insmod and rmmod change its list of loaded ones."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from mkmirror import modules
from mkmirror.installed import Module
from mkmirror.staged import By, Modules

# A module's file holds what modinfo would say of it: `depends`, and `broken` for one that cannot be loaded.
INSMOD = r"""#!/bin/sh
echo "insmod $1" >>"$MACHINE/did"
name=$(basename "$1" | sed 's/\..*//; s/-/_/g')
if grep -q broken "$1"; then echo "insmod: ERROR: could not insert module $1: Invalid module format" >&2; exit 1; fi
if grep -q "^$name " "$MACHINE/proc/modules"; then echo "insmod: ERROR: File exists" >&2; exit 1; fi
echo "$name 4096 0 - Live 0x0" >>"$MACHINE/proc/modules"
"""
RMMOD = r"""#!/bin/sh
echo "rmmod $1" >>"$MACHINE/did"
if [ -e "$MACHINE/stuck" ]; then echo "rmmod: ERROR: Module $1 is busy" >&2; exit 1; fi
sed -i "/^$1 /d" "$MACHINE/proc/modules"
"""
SYSTEMD_RUN = r"""#!/bin/bash
[ ! -e "$MACHINE/deaf" ] || exit 1
while [ "$1" != -- ]; do shift; done
shift
exec "${@//\$\$/\$}"
"""
MODINFO = r"""#!/bin/sh
for file; do
  echo "filename:       $file"
  echo "license:        GPL"
  echo "depends:        $(sed -n 's/depends=//p' "$file")"
done
"""


class Machine:
    """Trees of modules, /proc, /sys, and the three programs."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        self.top = top
        self.places = modules.Places(top / "kernel", top / "local", top / "proc", top / "sys")
        self.caplog = caplog
        for each in (*self.places, top / "bin", top / "sys/class/net"):
            each.mkdir(parents=True, exist_ok=True)
        tools = (("insmod", INSMOD), ("rmmod", RMMOD), ("modinfo", MODINFO), ("systemd-run", SYSTEMD_RUN))
        for name, text in tools:
            (top / "bin" / name).write_text(text)
            (top / "bin" / name).chmod(0o755)
        self.loaded()
        monkeypatch.setenv("PATH", f"{top / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setenv("MACHINE", str(top))

    def kernel(self, needs: str, builtin: str = "") -> None:
        """Have the kernel's own modules: the text of modules.dep."""
        (self.places.kernel / "modules.dep").write_text(needs)
        (self.places.kernel / "modules.builtin").write_text(builtin)
        for line in needs.splitlines():
            self.file(self.places.kernel / line.partition(":")[0])

    def file(self, path: Path, text: str = "") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def loaded(self, *lines: str) -> None:
        (self.places.proc / "modules").write_text("".join(f"{line}\n" for line in lines))

    def interface(self, name: str, driver: str, flags: str) -> None:
        folder = self.places.sys / "class/net" / name
        (folder / "device/driver").mkdir(parents=True)
        (folder / "flags").write_text(f"{flags}\n")
        (self.places.sys / "module" / driver).mkdir(parents=True, exist_ok=True)
        (folder / "device/driver/module").symlink_to(self.places.sys / "module" / driver)

    def did(self) -> list[str]:
        file = self.top / "did"
        done = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [re.sub(re.escape(str(self.top)) + "/", "", line) for line in done]

    def apply(self, *entries: str, virtual: str = "none", **more: object) -> dict[str, tuple[str, str]]:
        before, brought = more.get("before", {}), more.get("brought", ())
        assert isinstance(before, dict)
        assert isinstance(brought, tuple)
        self.caplog.clear()
        found = modules.apply(self.places, [Modules(By.SITE, entries)], brought, before, virtual)
        self.result = found
        return {name: (each.state, each.reason) for name, each in found.items()}

    def events(self) -> list[str]:
        return [each.getMessage() for each in self.caplog.records if hasattr(each, "journal_fields")]

    def event(self) -> str:
        (found,) = self.events()
        return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Machine:
    return Machine(tmp_path, monkeypatch, caplog)


DEP = (
    "kernel/drivers/misc/vmci.ko.xz:\n"
    "kernel/net/vsock/vsock.ko: kernel/net/base.ko.gz\n"
    "kernel/net/base.ko.gz:\n"
    "kernel/drivers/net/vmxnet3.ko:\n"
    "kernel/drivers/net/e1000.ko:\n"
)


def test_new_ones_are_loaded_after_what_they_need(machine: Machine) -> None:
    machine.kernel(DEP)
    assert machine.apply("net/vsock/vsock.ko") == {"vsock": ("loaded", "")}
    assert machine.did() == ["insmod kernel/kernel/net/base.ko.gz", "insmod kernel/kernel/net/vsock/vsock.ko"]
    assert machine.event() == "kernel modules: base+ vsock+"
    assert machine.result["vsock"].by == "site"


def test_loaded_ones_are_replaced_once_and_stay_later(machine: Machine) -> None:
    machine.kernel(DEP)
    machine.loaded("e1000 4096 0 - Live 0x0", "my_e1000 4096 0 - Live 0x0")
    assert machine.apply("e1000") == {"e1000": ("replaced", "")}
    assert machine.did() == ["rmmod e1000", "insmod kernel/kernel/drivers/net/e1000.ko"]
    assert machine.event() == "kernel modules: e1000/"
    assert machine.apply("e1000", before=machine.result) == {"e1000": ("replaced", "")}
    assert machine.did() == [], "each later list would cut the network off for a moment"
    assert machine.event() == "kernel modules: nothing changed"


def test_vmwares_are_loaded_there_alone_and_never_unloaded_elsewhere(machine: Machine) -> None:
    machine.kernel(DEP)
    machine.loaded("vmxnet3 4096 0 - Live 0x0")
    said = "only for machines of VMware"
    assert machine.apply("vmci.ko", "vmxnet3", virtual="kvm") == {"vmci": ("skipped", said), "vmxnet3": ("kept", said)}
    assert machine.did() == []
    assert machine.apply("vmci.ko", "vmxnet3", virtual="vmware") == {
        "vmci": ("loaded", ""),
        "vmxnet3": ("replaced", ""),
    }


def test_the_driver_of_an_interface_that_is_up_stays(machine: Machine) -> None:
    machine.kernel(DEP)
    machine.loaded("e1000 4096 0 - Live 0x0")
    machine.interface("eth0", "e1000", "0x1003")
    machine.interface("eth1", "e1000", "0x1002")
    assert machine.apply("e1000") == {"e1000": ("kept", "drives eth0, which is up")}
    assert machine.did() == []
    assert machine.event() == "kernel modules: nothing changed (e1000: drives eth0, which is up)"
    machine.file(machine.places.local / "updates/e1000.ko")
    assert machine.apply("e1000") == {"e1000": ("replaced", "")}, "unless an extension brings another one"
    assert machine.did() == ["rmmod e1000", "insmod local/updates/e1000.ko"]


def test_nothing_is_unloaded_when_interfaces_are_not_known(machine: Machine) -> None:
    machine.kernel(DEP)
    machine.loaded("e1000 4096 0 - Live 0x0")
    (machine.top / "deaf").touch()
    assert machine.apply("e1000", "vsock")["vsock"] == ("loaded", "")
    assert machine.result["e1000"] == Module("site", "kept", "may drive an interface that is up")


def test_one_in_use_stays(machine: Machine) -> None:
    machine.kernel(DEP)
    machine.loaded("base 4096 1 other, Live 0x0", "other 4096 1 - Live 0x0", "e1000 4096 0 - Live 0x0")
    assert machine.apply("base") == {"base": ("kept", "is in use by other")}
    (machine.top / "stuck").touch()
    assert machine.apply("e1000") == {
        "e1000": ("kept", "cannot be unloaded: rmmod ended with status 1: rmmod: ERROR: Module e1000 is busy")
    }


def test_one_that_cannot_be_loaded_costs_itself(machine: Machine) -> None:
    machine.kernel(DEP)
    machine.file(machine.places.kernel / "kernel/drivers/net/e1000.ko", "broken")
    machine.loaded("e1000 4096 0 - Live 0x0")
    found = machine.apply("e1000", "vsock", "nothing", "../../etc/passwd")
    assert found["vsock"] == ("loaded", "")
    assert found["e1000"][0] == "skipped"
    assert "Invalid module format" in found["e1000"][1]
    assert found["nothing"] == ("skipped", "nothing: there is no such module for this kernel")
    assert "there is no such module" in found["passwd"][1]
    assert machine.event().startswith("kernel modules: base+ e1000- vsock+ (e1000: cannot be loaded: insmod")


def test_an_ambiguous_name_changes_nothing_and_a_path_decides(machine: Machine) -> None:
    machine.kernel("kernel/a/x.ko:\nkernel/b/x.ko:\n")
    machine.loaded("x 4096 0 - Live 0x0")
    said = "x can mean kernel/a/x.ko, kernel/b/x.ko: give more of the path"
    assert machine.apply("x") == {"x": ("kept", said)}
    assert machine.did() == []
    assert machine.apply("b/x.ko") == {"x": ("replaced", "")}
    assert machine.did() == ["rmmod x", "insmod kernel/kernel/b/x.ko"]


def test_modules_of_extensions_go_before_the_kernels_own(machine: Machine) -> None:
    """Found below /usr/local/lib/modules, with what they need there and among the kernel's own."""
    machine.kernel(DEP + "kernel/fs/vboxsf.ko:\n", "kernel/lib/crc.ko\n")
    machine.file(machine.places.local / "kernel/vbox/vboxsf.ko.xz", "depends=vboxguest,crc")
    machine.file(machine.places.local / "kernel/vbox/vboxguest.ko", "depends=vsock")
    assert machine.apply("vboxsf") == {"vboxsf": ("loaded", "")}
    assert machine.did() == [
        "insmod kernel/kernel/net/base.ko.gz",
        "insmod kernel/kernel/net/vsock/vsock.ko",
        "insmod local/kernel/vbox/vboxguest.ko",
        "insmod local/kernel/vbox/vboxsf.ko.xz",
    ]


def test_modules_of_native_extensions_lie_beside_the_kernels(machine: Machine) -> None:
    machine.kernel(DEP + "updates/known.ko: kernel/net/base.ko.gz\n")
    machine.file(machine.places.kernel / "updates/dkms/new.ko.xz", "depends=known")
    assert machine.apply("updates/dkms/new.ko") == {"new": ("loaded", "")}
    assert machine.did() == [
        "insmod kernel/kernel/net/base.ko.gz",
        "insmod kernel/updates/known.ko",
        "insmod kernel/updates/dkms/new.ko.xz",
    ]


def test_modules_that_need_each_other_are_loaded_once(machine: Machine) -> None:
    machine.kernel("")
    machine.file(machine.places.local / "a.ko", "depends=b")
    machine.file(machine.places.local / "b.ko", "depends=a")
    assert machine.apply("a", "b") == {"a": ("loaded", ""), "b": ("loaded", "")}


def test_a_map_says_where_a_module_of_an_extension_is_found(machine: Machine) -> None:
    machine.kernel(DEP)
    place = machine.top / "tcz/vmtools.tcz"
    machine.file(place / "usr/local/lib/vm/vmhgfs-mod.ko", "depends=vmci")
    table = machine.file(machine.top / "vmtools.tcz.map", "usr/local/lib/vm/vmhgfs-mod.ko  misc/vmhgfs-mod.ko\n")
    brought = (modules.Brought(place, table),)
    assert machine.apply("misc/vmhgfs_mod", virtual="vmware", brought=brought) == {"vmhgfs_mod": ("loaded", "")}
    assert machine.did()[-1] == "insmod tcz/vmtools.tcz/usr/local/lib/vm/vmhgfs-mod.ko"


@pytest.mark.parametrize("text", ["../../etc/x misc/x.ko\n", "one\n", "a b c\n", "a ../../x.ko\n"])
def test_a_damaged_map_costs_itself(text: str, machine: Machine) -> None:
    machine.kernel(DEP)
    brought = (modules.Brought(machine.top, machine.file(machine.top / "x.map", text)),)
    assert machine.apply("e1000", brought=brought) == {"e1000": ("loaded", "")}
    assert [each.getMessage() for each in machine.caplog.records if "not found by lists" in each.getMessage()]


def test_parts_of_the_kernel_and_empty_lists(machine: Machine) -> None:
    machine.kernel(DEP, "kernel/drivers/net/loop.ko\n")
    assert machine.apply("loop.ko") == {"loop": ("skipped", "is a part of the kernel")}
    assert machine.apply() == {}
    assert machine.events() == [], "nothing was asked for"


def test_several_lists_are_one(machine: Machine) -> None:
    machine.kernel(DEP)
    lists = [Modules(By.BUILTIN, ("vsock", "e1000.ko")), Modules(By.PUSH, ("e1000", "net/vsock/vsock.ko", "base"))]
    found = modules.apply(machine.places, lists, (), {}, "none")
    assert found == {
        "vsock": Module("builtin", "loaded"),
        "e1000": Module("builtin", "loaded"),
        "base": Module("push", "loaded"),
    }
    assert len(machine.did()) == 3


def test_modinfo_of_several_files_is_read() -> None:
    text = "filename:       /a.ko\ndepends:        x-y,z\nfilename:       /b.ko\nname: b\nfilename: /c.ko\ndepends:\n"
    assert modules.parse_modinfo(text) == {"/a.ko": ("x_y", "z"), "/b.ko": (), "/c.ko": ()}


def test_interfaces_are_read() -> None:
    text = "eth0 0x1003 ../../../../module/e1000\neth1 0x1002 ../../module/e1000\nlo\nx 1 y\nwl-an 0x1 /m/snd-x\n"
    assert modules.parse_interfaces(text) == {"e1000": ["eth0"], "snd_x": ["wl-an"]}


def test_the_running_kernels_places() -> None:
    release = os.uname().release
    assert modules.places().kernel == Path("/usr/lib/modules") / release
    assert modules.places("6.1-x").local == Path("/usr/local/lib/modules/6.1-x")


def test_lists_of_modules_without_end() -> None:
    """A list with which all would be too many is left out whole; what it named before is remembered no longer."""
    lists = [Modules(By.PUSH, tuple(f"{start}-{n}" for n in range(600)), str(start)) for start in range(2)]
    small = Modules(By.SITE, ("a",), "small")
    assert modules.bounded([*lists, small]) == ((lists[0], small), (lists[1],))
    before = {"old": Module("push", "skipped", "no"), "there": Module("push", "loaded")}
    now = {"new": Module("push", "skipped", "no")}
    assert set(modules.remembered(before, now)) == {"there", "new"}


def test_a_chain_longer_than_the_stack() -> None:
    needs = {f"m{number}.ko": [f"m{number + 1}.ko"] for number in range(5_000)}
    by_name = {f"m{number}": f"m{number}.ko" for number in range(5_001)}
    found = modules._close("m0.ko", {}, needs, by_name)  # pyright: ignore[reportPrivateUsage]
    assert found == [f"m{number}.ko" for number in range(5_000, 0, -1)]
    assert modules._close("a", {"a": ["b", "c"], "b": ["c", "a"]}, {}, {}) == ["c", "b"]  # pyright: ignore[reportPrivateUsage]

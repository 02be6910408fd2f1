"""Extensions on the shipped image: built in, from other mirrors, by hand, and from a mirror that means harm.

One story, told in order on one machine, which says that VMware made it. Its initrd is the shipped one with a site's own
mirror behind it, as the README describes. The remote mirror is handed out by a stock nginx, and by mkserver.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mkcore import events
from tests.image.conftest import CMDLINE, PASSWORD
from tests.machines import mirrors
from tests.machines.accel import choose_accel
from tests.machines.journal import CHANNELS, Channel, build_credentials
from tests.machines.mirrors import CHAIN, MODULE, SINGLES, TRICKS, Mirrors
from tests.machines.network import Lab
from tests.machines.node import Node
from tests.machines.qemu import Machine, Nic, VirtualMachine
from tests.machines.server import IMAGE, PORT, ROOT, Server, read_manifest
from tests.machines.web import Nginx
from tests.machines.wire import Wire

FOLDER = ROOT / "build/image-tests/extensions"
WEB_PORT = 8080
BOOT_S = 600.0
INSTALL_S = 300.0
"""From a push to what was installed by it: about 40 s under TCG."""
SITE = b"""\
[apply]
min_spacing_s = 0
[extensions]
builtin_wait_s = 60
"""
INSTALLED = "/run/mk-extensions/installed.json"
TOTAL_OF_ROOT = "df --output=size / | tail -n 1"
TOTAL_OF_MEMORY = "sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"
IN_FULL = pytest.mark.skipif(not os.environ.get("MK_FULL"), reason="make test-full installs these, too: two minutes")


@dataclass(frozen=True)
class Place:
    """The machine with the mirrors around it."""

    node: Node
    nginx: Nginx
    kernel: str
    certificate: str

    def installed(self) -> dict[str, Any]:
        """Return what mk-extensions wrote down."""
        return dict(json.loads(self.node.channel.run("cat", INSTALLED).stdout))

    def say(self, *argv: str) -> str:
        """Return what a command in the machine says; it has to succeed."""
        return self.node.channel.run(*argv, timeout_s=INSTALL_S).stdout.strip()

    def push(self, **values: object) -> int:
        """Have the server push these values; return the journal's mark from before, once they are confirmed."""
        mark = self.node.channel.mark()
        self.node.server.send("PATCH", "/api/config", {"set": values})
        self.node.check_in(check=False)
        self.node.channel.wait_event(events.CONFIG_CONFIRMED, INSTALL_S, mark)
        return mark

    def wait_installed(self, name: str, mark: int = 0) -> dict[str, str]:
        """Wait until an extension or package is installed; return the journal's entry."""
        return dict(self.node.channel.wait_event(events.EXTENSION_INSTALLED, INSTALL_S, mark, MK_EXTENSION=name))

    def wait_refused(self, name: str, mark: int = 0) -> str:
        """Wait until an extension is refused; return the reason."""
        return self.node.channel.wait_event(events.EXTENSION_REFUSED, INSTALL_S, mark, MK_EXTENSION=name)["MESSAGE"]


def build_machine(made: Mirrors, tap: str) -> Machine:
    """Describe the machine: booted by QEMU itself, the key of the remote mirror given as a credential."""
    initrd = FOLDER / "initrd"
    mirrors.append_mirror(IMAGE / "initrd", made.local, "var/lib/mk/mirror", initrd, {"lab.note": b"from beside"})
    return Machine(
        uuid="3f0c9b52-6d0e-4c58-8a36-7b1d5a2e9f10",
        nics=(Nic("52:54:00:4d:4b:51", tap),),
        accel=choose_accel(),
        kernel=IMAGE / "vmlinuz",
        initrd=initrd,
        cmdline=CMDLINE.format(host=Lab.address),
        credentials=build_credentials({"mk.trust": made.key, "mk.toml": SITE}),
        channels=CHANNELS,
        smbios=("type=1,manufacturer=VMware,, Inc.,product=VMware7,,1",),
        cpu_options=",-hypervisor",
    )


@pytest.fixture(scope="module")
def place(image: dict[str, str]) -> Iterator[Place]:
    """A machine that was just switched on, and every mirror of its story."""
    kernel = str(read_manifest()["kernel"])
    made = mirrors.make_mirrors(FOLDER / "mirrors", kernel)
    with Lab("mk-extensions", FOLDER / "lab") as lab:
        reach = {"prefix": lab.prefix, "where": lab.call}
        with (
            Server(FOLDER / "server", address=lab.address, password=PASSWORD, mirror=made.remote, **reach) as server,
            Nginx(FOLDER / "mirrors", FOLDER / "nginx", lab.address, WEB_PORT, lab.prefix) as nginx,
            Wire(lab.call, "br0", PORT) as wire,
            VirtualMachine(build_machine(made, lab.add_tap()), FOLDER / "machine", prefix=lab.prefix) as vm,
        ):
            yield Place(Node(vm, Channel(vm), server, wire), nginx, kernel, made.certificate.decode())


@pytest.fixture
def node(place: Place) -> Node:
    """The machine; its journal stands with a failure."""
    return place.node


def test_built_in_list_is_merged_before_the_first_registration(place: Place, node: Node) -> None:
    """What the lists of the machine's own mirror name is there before the server hears of the machine."""
    registered = node.channel.wait_event(events.REGISTERED, BOOT_S)
    for name in ("open-vm-tools.raw", "lab-local.raw", "lablocal"):
        merged = place.wait_installed(name)
        assert int(merged["__MONOTONIC_TIMESTAMP"]) < int(registered["__MONOTONIC_TIMESTAMP"]), name
    found = place.installed()
    assert {each["by"] for each in [*found["extensions"].values(), *found["packages"].values()]} == {"builtin"}
    assert found["packages"]["lablocal"]["version"] == "1.10"


def test_root_is_compressed_layers_under_a_bounded_memory_file_system(place: Place) -> None:
    """Nothing of what was loaded is in memory beside them, and what is written has at most half of it."""
    shown = place.say("findmnt", "--noheadings", "--output=FSTYPE,OPTIONS", "/")
    assert shown.startswith("overlay") and "lowerdir=/lower/2:/lower/1:/lower/0," in shown
    total_kib, of_memory_kib = (int(place.say("sh", "-c", each)) for each in (TOTAL_OF_ROOT, TOTAL_OF_MEMORY))
    assert 0.45 * of_memory_kib < total_kib < 0.55 * of_memory_kib
    assert place.say("sh", "-c", "ls -d /layers /modules /site 2>/dev/null || echo none") == "none"


def test_owners_are_the_packages_own(place: Place) -> None:
    """polkitd reads its rules by its group, and only root may change what is below /usr."""
    assert place.say("stat", "--format=%U:%G %a", "/etc/polkit-1/rules.d") == "root:polkitd 750"
    assert place.say("find", "/usr", "-xdev", "-not", "-user", "root") == ""


def test_a_file_of_a_layer_is_edited_in_place(place: Place) -> None:
    """What comes from a layer is copied as it is written to; the machine's own name stays known meanwhile."""
    place.say("sed", "--in-place", "s/^127.0.0.1 /&lab-edited /", "/etc/hosts")
    assert place.say("getent", "hosts", "lab-edited").split()[0] == "127.0.0.1"
    assert place.say("getent", "ahostsv4", "localhost").split()[0] == "127.0.0.1"


def test_version_is_said_and_written(place: Place) -> None:
    """In the boot's messages and in a file, as the originals (protocol 1.5 step 16, 1.9), and where systemd's tools
    look.
    """
    version = str(read_manifest()["version"])
    assert f"MK Loaded: v{version}" in place.say("journalctl", "--boot", "--dmesg", "--output=cat")
    assert place.say("cat", "/etc/mk-version.yaml") == f"mk_version: {version}"
    release = place.say("cat", "/etc/os-release").splitlines()
    assert "IMAGE_ID=mk" in release and f"IMAGE_VERSION={version.replace('+', '_')}" in release


def test_credentials_beside_a_unified_kernel_image_reach_systemd(place: Place) -> None:
    """Nothing vouches for them, so this is so without Secure Boot alone."""
    assert place.say("systemd-creds", "--system", "cat", "lab.note") == "from beside"
    assert place.say("sh", "-c", "ls -d /.extra 2>/dev/null || echo none") == "none"


def test_built_in_extension_comes_over_loopback_http(node: Node) -> None:
    """It takes the same way as from any other mirror: mkmirror's journal has the request."""
    said = node.channel.run("journalctl", "--boot", "--unit=mkmirror.service", "--output=cat").stdout
    assert "GET /tinycorelinux/sysext/x86_64/open-vm-tools.raw" in said
    assert "GET /gem-mirror/wheels/lablocal-1.10-py3-none-any.whl" in said


def test_vmwares_tools_are_there_on_vmware_alone(place: Place, node: Node) -> None:
    """The built-in extension is merged here, libraries and default configuration included; one that is for another
    hypervisor was passed over by the same list. (Its daemon ends at once, as there is no VMware to talk to.)
    """
    assert place.say("systemd-detect-virt") == "vmware"
    assert "Service to support SAML token" in place.say("VGAuthService", "-h")
    assert "[logging]" in place.say("cat", "/etc/vmware-tools/tools.conf")
    assert "lab-xen.raw" not in place.installed()["extensions"]
    assert "mk_extensions" in node.known()["facts"]


def test_extensions_collector_and_unit_are_in_use(place: Place, node: Node) -> None:
    """A collector that an extension brought is in the first registration, a unit that it brought runs."""
    assert node.known()["registrations"] == 1
    assert node.known()["facts"]["lab_place"] == "rack12"
    assert node.show("lab-local.service", "ActiveState") == ["active"]


def test_removal_takes_both_away(place: Place, node: Node) -> None:
    """Removed: the unit is stopped, the program is gone, and the next registration is without the facts."""
    place.say("mkmirror", "remove", "lab-local.raw")
    assert node.show("lab-local.service", "ActiveState", "LoadState") == ["inactive", "not-found"]
    assert node.channel.run("test", "-e", "/usr/bin/lab-local", check=False).status == 1
    node.vm.wait_until(lambda: "lab_place" not in node.known()["facts"], "the facts are gone", INSTALL_S)


def test_pushed_remote_mirror_is_used(place: Place, node: Node) -> None:
    """Changed over to a stock nginx by Hanlon's key: native extensions, twenty of Tiny Core's with three levels of
    dependencies, a kernel module and a Python package, all of its lists.
    """
    base = f"{place.nginx.uri}/remote"
    mark = place.push(mk_tce_mirror=f"{base}/tinycorelinux", mk_gem_mirror=f"{base}/gem-mirror")
    for name in ("remote.raw", "top.tcz", SINGLES[-1], "labtool"):
        place.wait_installed(name, mark)
    modules = node.channel.wait_event(events.MODULES_LOADED, INSTALL_S, mark)["MK_MODULES"]
    assert f"{MODULE}+" in modules.split()
    found = place.installed()
    chain = [name.format(kernel=place.kernel) for name in CHAIN]
    assert {"remote.raw", *chain, *SINGLES} <= set(found["extensions"])
    assert found["packages"]["labtool"]["version"] == "2.0"
    assert MODULE in place.say("lsmod")
    assert "GET /remote/tinycorelinux/15.x/x86_64/tcz/top.tcz.dep" in place.nginx.asked()


def test_what_was_installed_runs(place: Place) -> None:
    """Each program answers, and what start scripts wrote is there."""
    assert place.say("lab-remote") == "remote"
    assert place.say("/usr/local/bin/labtool") == "labtool 2.0"
    for name in [*(name.format(kernel=place.kernel) for name in CHAIN), *SINGLES]:
        plain = name[: -len(".tcz")]
        assert place.say(f"/usr/local/bin/{plain}") == plain
        assert place.say("cat", f"/usr/local/share/{plain}/{plain}.conf") == "a=1"


@IN_FULL
def test_installed_by_hand(place: Place) -> None:
    """An administrator names one that no list has; it is listed with who asked, and can be verified."""
    place.say("mkmirror", "install", "by-hand.raw")
    assert place.say("lab-by-hand") == "by-hand"
    listed = json.loads(place.say("mkmirror", "list", "--json"))
    assert listed["extensions"]["by-hand.raw"]["by"] == "admin"


@IN_FULL
def test_image_with_verity_data_is_checked_by_the_kernel(place: Place, node: Node) -> None:
    """A signed dm-verity image is merged where its certificate is known; one that was damaged is refused."""
    node.write("/run/verity.d/lab.crt", place.certificate)
    place.say("mkmirror", "install", "sealed.raw")
    assert place.say("lab-sealed") == "sealed"
    mark = node.channel.mark()
    assert node.channel.run("mkmirror", "install", "broken.raw", timeout_s=INSTALL_S, check=False).status != 0
    assert "\n" not in place.wait_refused("broken.raw", mark)
    assert place.say("lab-sealed") == "sealed"
    place.say("mkmirror", "remove", "broken.raw")  # it is wanted no longer, and not tried again with what comes next


@IN_FULL
def test_configuration_extends_etc_and_leaves_it_writable(place: Place, node: Node) -> None:
    """A confext: its file is there, /etc can be written as before, and its removal takes away nothing else."""
    place.say("mkmirror", "install", "lab-etc.confext.raw")
    assert place.say("cat", "/etc/lab-etc.conf") == "a=1"
    assert place.installed()["extensions"]["lab-etc.confext.raw"]["kind"] == "confext"
    node.write("/etc/lab-own.conf", "b=2\n")
    place.say("mkmirror", "remove", "lab-etc.confext.raw")
    assert place.say("sh", "-c", "ls /etc/lab-*.conf") == "/etc/lab-own.conf"
    assert place.say("cat", "/etc/lab-own.conf") == "b=2"


@IN_FULL
def test_attributes_in_erofs_that_hide_the_systems_folders(place: Place, node: Node) -> None:
    """Of this file system the head does not tell: the mounted image is looked through, and not merged."""
    place.say("mkmirror", "install", "plain.raw")
    assert place.say("lab-plain") == "plain"
    mark = node.channel.mark()
    assert node.channel.run("mkmirror", "install", "opaque.raw", timeout_s=INSTALL_S, check=False).status != 0
    assert "has extended attributes, by which it could hide what the system has" in place.wait_refused(
        "opaque.raw", mark
    )
    assert place.say("sh", "-c", "command -v lab-opaque || test -e /usr/lib/os-release && echo whole") == "whole"
    place.say("mkmirror", "remove", "opaque.raw")


@IN_FULL
@pytest.mark.parametrize(
    ("switch", "path", "said"),
    [
        ("CapabilityBoundingSet=~CAP_SYS_MODULE", "drivers/scsi/aacraid/aacraid.ko", "not permitted"),
        ("SystemCallFilter=~@module", "drivers/scsi/hpsa.ko", "not permitted"),
        ("ProtectKernelModules=yes", "drivers/scsi/smartpqi/smartpqi.ko", "no such module for this kernel"),
    ],
)
def test_what_loading_a_module_takes(place: Place, node: Node, switch: str, path: str, said: str) -> None:
    """Without the capability, the system calls or the sight of its file it stays out, and the run says so; with all of
    them, see the lists above.
    """
    assert place.say("find", "/usr/lib/modules", "-path", f"*/{path}*"), "the image has it"
    drop_in, site = "/run/systemd/system/mk-extensions.service.d/50-test.conf", "/etc/mk/mk.toml.d/50-test.toml"
    node.write(drop_in, f"[Service]\n{switch}\n")
    node.write(site, f'[extensions]\nmodules = ["{path}"]\n')
    place.say("systemctl", "daemon-reload")
    mark, module = node.channel.mark(), path.rpartition("/")[2][: -len(".ko")]
    try:
        place.say("systemctl", "start", "mk-fetch.service")
        loaded = node.channel.wait_event(events.MODULES_LOADED, INSTALL_S, mark)
    finally:
        place.say("rm", drop_in, site)
        place.say("systemctl", "daemon-reload")
    assert said in loaded["MESSAGE"]
    assert place.installed()["modules"][module]["state"] == "skipped"
    assert module not in place.say("lsmod").split()


def test_razors_keys_and_a_later_list(place: Place, node: Node) -> None:
    """Another list is pushed while the machine runs, under Razor's names and from mkserver's own mirror."""
    base = f"http://{node.server.address}:{PORT}/mirror/tinycorelinux"
    mark = place.push(mk_tce_mirror_uri=base, mk_tce_install_list_uri=f"{base}/second-list")
    assert place.wait_installed("second.raw", mark)["MK_BY"] == "push"
    assert place.installed()["extensions"]["second.raw"]["mirror"].startswith(base)
    assert place.say("lab-second") == "second"
    for name in ("sysext/x86_64/remote.raw", "15.x/x86_64/tcz/top.tcz"):
        asked = place.nginx.asked().count(f"GET /remote/tinycorelinux/{name} ")
        assert asked == 1, f"{name} is installed already, and was fetched {asked} times"


def test_stranger_gets_nothing_installed(place: Place, node: Node) -> None:
    """Who controls mirror and pushes, but no key that is trusted, changes nothing: one clear line, and all goes on."""
    before, base = place.installed(), f"{place.nginx.uri}/hostile/tinycorelinux"
    mark = place.push(mk_tce_mirror_uri=base, mk_tce_install_list_uri=f"{base}/tce-install-list")
    reason = place.wait_refused("trojan.raw", mark)
    assert "trojan.raw" in reason and "\n" not in reason
    found = node.channel.find(events.EXTENSION_REFUSED, mark)
    refused = [entry["MESSAGE"] for entry in found if entry["MK_BY"] == "push"]
    assert len(refused) == 1 + len(TRICKS) and not any("\n" in message for message in refused)
    assert node.channel.run("test", "-e", "/usr/bin/lab-trojan", check=False).status == 1
    assert place.installed()["extensions"] == before["extensions"]
    node.check_in()


def test_back_to_the_mirror_of_the_machine(place: Place, node: Node) -> None:
    """The server takes its keys back: the machine's own mirror is the one that is asked."""
    mark = node.channel.mark()
    names = ["mk_tce_mirror", "mk_gem_mirror", "mk_tce_mirror_uri", "mk_tce_install_list_uri"]
    node.server.send("PATCH", "/api/config", {"unset": names})
    node.check_in(check=False)
    node.channel.wait_event(events.CONFIG_CONFIRMED, INSTALL_S, mark)
    place.say("mkmirror", "install", "lab-local.raw")
    assert node.show("lab-local.service", "ActiveState") == ["active"]
    assert place.installed()["extensions"]["lab-local.raw"]["mirror"].startswith("http://localhost:2157/")
    assert "lab-local" not in place.nginx.asked()


def test_nothing_failed(node: Node) -> None:
    """After all this no unit has failed (but VMware's daemon without a VMware), and mkctl was not ended by a fault."""
    failed = node.failed_units().splitlines()
    assert [line for line in failed if not line.startswith("open-vm-tools.service")] == []
    assert node.show("mkctl.service", "ActiveState", "NRestarts") == ["active", "0"]

"""Each form of the image, booted as it is shipped by the firmware it is made for, until the machine has registered.

``MK_FORM`` chooses the way (see `tests.machines.forms`); without it the fastest is shown, and `make test-full` has a
cell for each. What was shown is entered into build/image/booted.json, which `make image` prints.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.machines import firmware, forms
from tests.machines.booted import record_booted
from tests.machines.forms import FOLDER, WAYS, WEB_PORT, Way
from tests.machines.journal import Channel
from tests.machines.network import Lab
from tests.machines.qemu import VirtualMachine
from tests.machines.server import IMAGE, PORT, ROOT, Server
from tests.machines.stages import strip_escapes
from tests.machines.web import Nginx

BOOT_S, PROMPT_S = 1500.0, 240.0
"""Ten times what is usual under TCG."""
PASSWORD = "password of the lab"
CHOSEN = os.environ.get("MK_FORM", forms.IN_MAKE_TEST)


@dataclass(frozen=True)
class Site:
    """A network with what a way needs: server, web server, what DHCP offers."""

    way: Way
    lab: Lab
    server: Server
    folder: Path

    def boot(self) -> VirtualMachine:
        """Switch a machine on."""
        iso = IMAGE / "mk.iso"
        if self.way.addressed:
            iso = self.folder / "site.iso"
            words = ["--site", f"mk.ip={self.lab.address}", "--out", str(iso)]
            subprocess.run(["/usr/bin/python3", str(ROOT / "packaging/image/forms/iso.py"), *words], check=True)
        address = f"http://{self.lab.address}:{PORT}"
        machine = forms.build_machine(self.way, self.folder, self.lab.add_tap(), address, iso)
        return VirtualMachine(machine, self.folder / "machine", prefix=self.lab.prefix)

    def registered(self) -> bool:
        """Whether the server has the machine's facts."""
        return bool((self.server.node(forms.UUID) or {}).get("registered_ms"))

    def type(self, vm: VirtualMachine) -> None:
        """Type the server's address at the medium's prompt."""
        vm.wait_until(lambda: "boot:" in vm.console(), "the prompt of the medium", PROMPT_S)
        for keys in forms.build_keys(f"mk mk.ip={self.lab.address}\n"):
            vm.qmp.execute("send-key", keys=[{"type": "qcode", "data": key} for key in keys])
            time.sleep(0.2)  # the firmware's own buffer has place for fifteen
        # The firmware moves the cursor now and then between two letters.
        typed = f"mk.ip={self.lab.address}"
        vm.wait_until(lambda: typed in strip_escapes(vm.console()), "the words typed", PROMPT_S)


@pytest.fixture(scope="module")
def web(image: dict[str, str]) -> Path:
    """A folder that a web server hands out: the same form, signed with a test key."""
    folder = FOLDER / "web"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "signed").mkdir(parents=True)
    for name in ("vmlinuz", "initrd", "manifest.json"):
        os.link(IMAGE / name, folder / "signed" / name)
    key = firmware.write_test_key(FOLDER / "keys")
    argv = [str(ROOT / "packaging/image/forms/uki.py"), "--image", str(folder / "signed"), "--sign", str(key)]
    subprocess.run(["/usr/bin/python3", *argv], check=True)
    return folder


@pytest.fixture
def site(request: pytest.FixtureRequest, image: dict[str, str]) -> Iterator[Site]:
    """The network of the chosen way, started."""
    way = WAYS[CHOSEN]
    folder = FOLDER / CHOSEN
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("mk-form-tests", folder / "lab", forms.build_dhcp(way, Lab.address)))
        reach: dict[str, Any] = {"prefix": lab.prefix, "where": lab.call}
        made = Server(folder / "server", address=lab.address, password=PASSWORD, cmdline=forms.CMDLINE, **reach)
        server = stack.enter_context(made)
        lab.offer(server.bootstrap(f"{lab.address}:{PORT}"))
        shutil.copy(forms.IPXE_EFI, folder / "lab/tftp")
        if way.http.startswith("signed/"):
            root = request.getfixturevalue("web")
            stack.enter_context(Nginx(root, folder / "nginx", lab.address, WEB_PORT, lab.prefix))
        yield Site(way, lab, server, folder)


def test_it_registers(site: Site) -> None:
    """The form as it is shipped boots by the chosen way and registers; or the firmware refuses it, where it must."""
    with site.boot() as vm:
        if site.way.refused:
            vm.wait_until(lambda: "Access Denied" in vm.console(), "the firmware's refusal", BOOT_S)
            assert "Linux version" not in vm.console()
            return
        if site.way.typed:
            site.type(vm)
        vm.wait_until(site.registered, f"registered by {site.way.how}", BOOT_S)
        took_s = time.monotonic() - vm.began
        channel = Channel(vm)
        check_lockdown(channel, bool(site.way.keys))
        check_memory(channel, vm)
    record_booted(site.way.how, *site.way.files)
    print(f"{CHOSEN}: registered after {took_s:.0f} s with {site.way.memory_mib} MB")


def check_memory(channel: Channel, vm: VirtualMachine) -> None:
    """Row 1: the system is in memory alone, whatever it was booted from; no processor is hidden from it (B02)."""
    mounted = [line.split()[:2] for line in channel.run("cat", "/proc/mounts").stdout.splitlines()]
    devices = {source for source, _ in mounted if source.startswith("/dev/") and not source.startswith("/dev/loop")}
    assert devices == set(), mounted
    assert channel.run("cat", "/proc/swaps").stdout.count("\n") == 1
    assert channel.run("nproc").stdout.strip() == str(vm.machine.cpus)


def check_lockdown(channel: Channel, secure: bool) -> None:
    """Under Secure Boot the kernel is locked down, and every module that it loaded has a signature it knows."""
    said = channel.run("cat", "/sys/kernel/security/lockdown", "/proc/sys/kernel/tainted", check=False).stdout
    assert ("[integrity]" in said or "[confidentiality]" in said) == secure, said
    assert int(said.split()[-1]) & (1 << 13) == 0, "a module without a good signature was loaded"
    assert channel.run("lsmod").stdout.count("\n") > 5

"""The container on a host with systemd: up to its registration, with the host's facts, and the host's power switch.

The host is a booted Debian with Podman and mk-host, in a container itself: what its kernel shows of hardware is this
machine's, on both sides. Its own mk-facts, which runs on it and not in the container, is what the container is
compared with. The server is on the host's loopback interface, which the container shares.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mkcore import events
from mkcore.keys import VOLATILE
from mkctl.factsview import compile_volatile
from mkctl.registration import Steady
from tests.machines import nspawn, tree
from tests.machines.booted import record_booted
from tests.machines.server import IMAGE, read_manifest

ARCHIVE = "mk-oci.tar"
UUID = "4C4C4544-0042-4410-8051-C3C04F395932"
PODMAN = ("podman", "crun", "netavark")
SITE = """\
[server]
uri = "http://127.0.0.1:8026"
[apply]
min_spacing_s = 0
[actions]
allow_power_orders = true
[facts]
sets = ["facter", "hardware", "ipmi", "lldp", "json", "custom", "structured", "inventory"]
"""
FILES = {
    "/etc/mk/mk.toml": SITE,
    "/etc/mk/facts.d/place.txt": "rack=12\n",
    # What Podman cannot have in a container: a key ring, a limit of processes, and another overlay on the overlay.
    "/etc/containers/containers.conf": "[containers]\nkeyring = false\npids_limit = 0\n",
    "/etc/containers/storage.conf": '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\n'
    'graphroot = "/var/lib/containers/storage"\n',
    # The SMBIOS files of this host lie on a file system of the test's above its sysfs: Podman's own view has them not.
    "/etc/containers/systemd/mk.container.d/test.conf": "[Container]\nVolume=/sys:/sys\n",
}
OPTIONS = ["--capability=all", "--system-call-filter=add_key keyctl bpf"]
"""What Podman needs of the container that stands for the host: crun joins a key ring, and allows devices by BPF."""
START_S = 300.0
CONTROLLER = ("org.mksuite.Controller1", "/org/mksuite/Controller1", "org.mksuite.Controller1")
OTHERS_OF_THE_CONTAINER = {
    "path": "the environment of the one who asks",
    "id": "likewise",
}
"""Facts that may differ, with the reason."""


@pytest.fixture(scope="module")
def layers() -> list[Path]:
    """A Debian with Podman, our packages and what they need."""
    upper, base = tree.make_layer("podman", PODMAN)
    installed = tree.BUILD / "tree/podman-installed"
    shutil.rmtree(installed, ignore_errors=True)
    with tree.overlay([upper, base], installed) as root:
        copies = root / "var/tmp/debs"
        copies.mkdir()
        for deb in tree.read_debs():
            shutil.copy(deb, copies)
        command = ["chroot", str(root), "sh", "-c", "dpkg --install /var/tmp/debs/*.deb && rm -r /var/tmp/debs"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return [installed / "upper", upper, base]


@pytest.fixture(scope="module")
def host(layers: list[Path]) -> Iterator[nspawn.Machine]:
    """The host, with the server, and the image where mk-host's unit takes it from."""
    assert ARCHIVE in read_manifest()["files"], "no container: run make image"
    options = [*OPTIONS, f"--bind-ro={IMAGE / ARCHIVE}:/var/lib/mk-host/{ARCHIVE}"]
    with nspawn.boot("container", layers, uuid=UUID, files=FILES, options=options) as machine:
        machine.run("systemctl", "enable", "--now", "mkserver.service")
        yield machine


def inside(host: nspawn.Machine, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in the container."""
    return host.run("podman", "exec", "mk", *argv, check=check)


def events_inside(host: nspawn.Machine, event: events.Event) -> list[dict[str, Any]]:
    """Return the container's journal entries of an event."""
    done = inside(host, "journalctl", "--output=json", "--all", f"MESSAGE_ID={event.id}", check=False)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_nothing_starts_by_itself(host: nspawn.Machine) -> None:
    """Both units are there, neither is enabled."""
    for unit in ("mk.service", "mk-container.service"):
        assert host.show(unit, "LoadState", "ActiveState") == {"LoadState": "loaded", "ActiveState": "inactive"}
    assert host.output("podman", "ps", "--all", "--quiet") == ""


def test_it_registers(host: nspawn.Machine) -> None:
    """Under its Quadlet unit: ready once its systemd has started everything; then the server knows the machine."""
    host.run("systemctl", "start", "--no-block", "mk.service")
    host.wait_until(lambda: host.property("mk.service", "ActiveState") == "active", "mk.service", START_S)
    host.wait_until(lambda: events_inside(host, events.REGISTERED), "a registration", START_S)
    (node,) = json.loads(host.output("mkserver", "nodes", "--json"))["nodes"]
    assert UUID in json.dumps(node)
    record_booted("Quadlet", ARCHIVE)


def test_everything_in_it_runs(host: nspawn.Machine) -> None:
    """No unit failed, and nothing that would set up the machine runs."""
    assert inside(host, "systemctl", "--failed", "--plain", "--no-legend").stdout == ""
    listed = inside(host, "systemctl", "list-units", "--plain", "--no-legend", "--state=active").stdout
    active = {line.split()[0] for line in listed.splitlines()}
    assert {"mkctl.service", "mkweb.socket", "mkmirror.socket", "polkit.service", "dbus.service"} <= active
    forbidden = ("systemd-udev", "systemd-network", "systemd-resolve", "systemd-logind", "getty", "modprobe@")
    assert not {each for each in active if each.startswith(forbidden)}


def test_its_facts_are_the_hosts(host: nspawn.Machine) -> None:
    """What was registered is what mk-facts finds on the host itself, custom facts and names of it included."""
    host.run("systemctl", "start", "mk-facts.service")
    theirs: dict[str, Any] = host.read_json("/run/mk-facts/facts.json")["facts"]
    registered = json.loads(inside(host, "cat", "/run/mkctl/registered-facts.json").stdout)["facts"]
    ours = json.loads(inside(host, "cat", "/run/mk-facts/facts.json").stdout)["facts"]
    assert ours["operatingsystem"] == "Debian" and ours["hostname"] == host.output("uname", "--nodename")
    assert (ours["virtual"], registered["rack"]) == ("systemd_nspawn", "12")
    assert ours.get("uuid") == theirs.get("uuid")
    differ = set(Steady(compile_volatile(VOLATILE)).changed_names(theirs, ours)) - OTHERS_OF_THE_CONTAINER.keys()
    assert not differ, {name: (theirs.get(name), ours.get(name)) for name in differ}


def test_a_management_controller_that_comes_later_is_seen(host: nspawn.Machine) -> None:
    """Defect B09. The device appears on the host after the container was made; drivers are a machine's matter."""
    host.run("touch", "/dev/ipmi0")
    inside(host, "systemctl", "start", "mk-facts.service")
    host.run("rm", "/dev/ipmi0")
    collectors = json.loads(inside(host, "cat", "/run/mk-facts/facts.json").stdout)["collectors"]
    assert collectors["bmc"]["inventory"]["bmc"]["device"] == "/dev/ipmi0"


def test_a_push_restarts_the_container_s_own_controller(host: nspawn.Machine) -> None:
    """Over the container's bus: its mkctl starts anew, and nothing of the host does."""
    before = inside(host, "systemctl", "show", "--property=InvocationID", "mkctl.service").stdout
    host.run("mkserver", "config", "set", "--force", "mk_checkin_interval=55")
    inside(host, "busctl", "call", *CONTROLLER, "CheckIn", check=False)

    def restarted() -> bool:
        now = inside(host, "systemctl", "show", "--property=InvocationID,ActiveState", "mkctl.service").stdout
        return "ActiveState=active" in now and before.strip() not in now

    host.wait_until(restarted, "the restart", 60.0)
    assert host.property("mkctl.service", "ActiveState") == "inactive", "that of the host"
    assert host.property("mk.service", "NRestarts") == "0"


def test_the_host_grants_no_more(host: nspawn.Machine) -> None:
    """The controller's number is that of mk-host, who may have two targets started and say nothing else."""
    number = host.output("id", "--user", "mk-host")
    assert inside(host, "id", "--user", "mkctl").stdout.strip() == number
    manager = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
    for words in (("StartUnit", "ss", "rescue.target", "replace"), ("StopUnit", "ss", "mkserver.service", "replace")):
        refused = host.run("busctl", "call", *manager, *words, user="mk-host", check=False)
        assert refused.returncode and ("denied" in refused.stderr.lower() or "authentication" in refused.stderr), words


HANLON = """\
mkdir -p /srv/files/cmd-channels
mkfifo /srv/files/cmd-channels/node-state-channel
podman run --detach --name hnl_mk --privileged --network host \
    --volume /proc:/host-proc:ro --volume /dev:/host-dev:ro --volume /sys:/host-sys:ro --volume /srv/files:/tmp \
    --volume /sys:/sys localhost/mksuite:latest /bin/bash -c '/usr/local/bin/hnl_mk_init.rb && read line'
"""
"""What the historic server's cloud-config has its nodes do (protocol 1.6)."""
MK_CONF = """\
---
mk_register_path: /hanlon/api/v1/node/register
mk_uri: http://127.0.0.1:8026
mk_checkin_interval: 5
mk_checkin_path: /hanlon/api/v1/node/checkin
mk_checkin_skew: 0
mk_fact_excl_pattern: "(^facter.*$)|(^id$)"
mk_log_level: Logger::ERROR
"""


def test_as_a_hanlon_3_server_starts_it(host: nspawn.Machine) -> None:
    """The container takes the cloud-config's file, and its host hears a power order by the channel that it reads."""
    host.run("systemctl", "stop", "mk.service")
    host.run("mkserver", "config", "unset", "mk_checkin_interval")
    host.write("/srv/files/mk_conf.yaml", MK_CONF)
    host.run("sh", "-euc", HANLON)
    host.run("mkserver", "order", UUID, "poweroff")
    asked = ("timeout", "50", "cat", "/srv/files/cmd-channels/node-state-channel")
    heard = host.wait_until(lambda: host.run(*asked, check=False).stdout, "an order in the channel", 150.0)
    assert heard.split() == ["poweroff"]
    host.run("podman", "rm", "--force", "hnl_mk")
    host.run("systemctl", "start", "mk.service")


def test_a_power_order_reaches_the_host(host: nspawn.Machine) -> None:
    """The server's poweroff ends the machine, not only the container."""
    host.run("mkserver", "order", UUID, "poweroff")
    # Not awaited: whoever asks ends with the machine.
    with subprocess.Popen(host.command(["podman", "exec", "mk", "busctl", "call", *CONTROLLER, "CheckIn"])) as asking:
        try:
            assert host.wait_end(200.0) == nspawn.POWERED_OFF
        finally:
            asking.kill()

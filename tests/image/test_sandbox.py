"""What mk-facts.service is granted, one by one: without a grant something is missing from the facts, and only that.

On the richest of the declared machines, with SATA disks besides, where every grant has a device to be for. Each test
takes one grant away by a drop-in, runs the unit and compares with a run of the whole unit. SMART comes from a stand-in
for smartctl, which the image does not have: it sends the same commands to the disks by the same calls.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mkcore import events
from tests.machines import matrix
from tests.machines.declared import Declared, switch_on
from tests.machines.server import ROOT

BOOT_S, RUN_S = 600.0, 300.0
UNIT = ROOT / "units/systemd/mk-facts.service"
DROPIN = "/run/systemd/system/mk-facts.service.d/50-test.conf"
SMARTCTL = r"""#!/usr/bin/python3 -I
# smartctl -j ... DEVICE: IDENTIFY DEVICE by ATA pass-through, LOG SENSE to a SCSI disk, Get Log Page to a controller.
import ctypes, fcntl, json, os, struct, sys

device = sys.argv[-1]
data = ctypes.create_string_buffer(512)

def pass_through(descriptor, command):
    sense, block = ctypes.create_string_buffer(32), ctypes.create_string_buffer(bytes(command), len(command))
    addresses = [ctypes.addressof(each) for each in (data, block, sense)]
    head = (ord("S"), -3, len(command), 32, 0, 512, *addresses, 5000, 0, 0, 0)
    request = bytearray(struct.pack("iiBBHIPPPIIiP", *head) + bytes(32))
    fcntl.ioctl(descriptor, 0x2285, request)

descriptor = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
if "nvme" in device:
    head = struct.pack("=BBHI8xQQIII", 2, 0, 0, 0xFFFFFFFF, 0, ctypes.addressof(data), 0, 512, 127 << 16 | 2)
    fcntl.ioctl(descriptor, 0xC0484E41, bytearray(head.ljust(72, b"\0")))
else:
    name = os.path.basename(device)
    vendor = open(f"/sys/block/{name}/device/vendor").read().strip()
    ata = [0x85, 8, 0x0E, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xEC, 0]
    pass_through(descriptor, ata if vendor == "ATA" else [0x4D, 0, 0x40, 0, 0, 0, 0, 2, 0, 0])
print(json.dumps({"smartctl": {"exit_status": 0}, "smart_status": {"passed": True}}))
"""

MACHINE = replace(matrix.RICH, name="sandbox", controllers=(*matrix.RICH.controllers, matrix.MANY_NICS.controllers[0]))
"""With SATA disks besides."""

pytestmark = [
    pytest.mark.usefixtures("image"),
    pytest.mark.skipif("MK_FULL" not in os.environ, reason="grants are taken away one by one in make test-full"),
]


@dataclass(frozen=True)
class Grant:
    """One grant: the directive that is set anew without it, the word that goes, and where its lack must show.

    collector: whose error tells it, if one does. facts: what the names of the facts begin with that change or go.
    section: the part of the inventory that changes or goes. fatal: the whole run fails.
    listen: it is for the timer's runs alone.
    """

    name: str
    directive: str
    word: str
    collector: str = ""
    facts: tuple[str, ...] = ()
    section: str = ""
    fatal: bool = False
    listen: bool = False


GRANTS = (
    Grant("admin", "CapabilityBoundingSet", "CAP_SYS_ADMIN", facts=("mk_hw_nic",)),
    Grant("raw-io", "CapabilityBoundingSet", "CAP_SYS_RAWIO", collector="disk-health", section="disks"),
    Grant("raw-sockets", "CapabilityBoundingSet", "CAP_NET_RAW", section="lldp_neighbors", listen=True),
    Grant("packets", "RestrictAddressFamilies", "AF_PACKET", section="lldp_neighbors", listen=True),
    Grant("journal", "RestrictAddressFamilies", "AF_UNIX", fatal=True),
    Grant("netlink", "RestrictAddressFamilies", "AF_NETLINK", collector="networking"),
    Grant("interfaces", "RestrictAddressFamilies", "AF_INET", facts=("ipaddress", "netmask")),
    Grant("disks", "DeviceAllow", "block-* r", facts=("mk_hw_disk",)),
    Grant("scsi", "DeviceAllow", "char-sg rw", facts=("mk_hw_disk",)),
    Grant("bmc", "DeviceAllow", "char-ipmidev rw", collector="ipmi", facts=("mk_ipmi_",), section="bmc"),
    Grant("tpm", "DeviceAllow", "char-tpm rw", collector="tpm", section="tpm"),
)


def granted(directive: str) -> list[str]:
    """All that the unit sets by a directive, in its order; a list of words is one value."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{directive}=")]


def without(grant: Grant) -> str:
    """The drop-in that leaves this grant out."""
    values = granted(grant.directive)
    if grant.word in values:
        left = [value for value in values if value != grant.word]
    else:
        left = [" ".join(word for word in value.split() if word != grant.word) for value in values]
    assert left != values, f"{grant.directive}={grant.word} is not in the unit"
    return "".join(f"{grant.directive}={value}\n" for value in ["", *left])


def collect(declared: Declared, directives: str = "", listen: bool = False) -> dict[str, Any]:
    """Run the unit to its end and return what it found; listen: to neighbours, too, as the timer's runs do."""
    command = "ExecStart=\nExecStart=/usr/bin/python3 -I -m mkctl.probe --listen\n" if listen else ""
    declared.node.write(DROPIN, f"[Service]\n{command}{directives}")
    channel = declared.node.channel
    channel.run("systemctl", "daemon-reload", timeout_s=RUN_S)
    channel.run("rm", "-f", "/run/mk-facts/facts.json")  # what is missing is not kept from before
    channel.run("systemctl", "start", "mk-facts.service", timeout_s=RUN_S)
    return declared.read()


@pytest.fixture(scope="module")
def declared(image: dict[str, str]) -> Iterator[Declared]:
    """The machine, at rest: nothing but these tests starts mk-facts."""
    with switch_on(MACHINE, ROOT / "build/image-tests/sandbox") as machine:
        channel = machine.node.channel
        channel.wait_event(events.FACTS_COLLECTED, BOOT_S)
        channel.run("systemctl", "stop", "mk-facts.timer", "mk-facts-hotplug.timer", "mkctl.service", timeout_s=RUN_S)
        deadline = time.monotonic() + RUN_S
        while machine.node.show("mk-facts.service", "ActiveState") != ["inactive"] and time.monotonic() < deadline:
            time.sleep(1)
        machine.node.write("/usr/local/bin/smartctl", SMARTCTL)
        channel.run("chmod", "0755", "/usr/local/bin/smartctl")
        yield machine


@pytest.fixture(scope="module")
def whole(declared: Declared) -> dict[str, Any]:
    """What the unit finds as it is shipped."""
    return collect(declared, listen=True)


def test_nothing_is_missing_with_all_grants(whole: dict[str, Any]) -> None:
    assert whole["problems"] == {}
    disks = whole["inventory"]["disks"]
    assert {disk["transport"] for disk in disks.values() if "health" in disk} >= {"nvme", "sata"}


@pytest.mark.parametrize("grant", GRANTS, ids=lambda grant: grant.name)
def test_each_grant_is_needed(declared: Declared, whole: dict[str, Any], grant: Grant) -> None:
    if grant.fatal:
        with pytest.raises(AssertionError):
            collect(declared, without(grant))
        assert declared.node.show("mk-facts.service", "Result") == ["exit-code"]
        return
    found = collect(declared, without(grant), listen=grant.listen)
    if grant.collector:
        assert grant.collector in found["problems"]
    for start in grant.facts:
        before = {name: value for name, value in whole["facts"].items() if name.startswith(start)}
        assert before
        assert {name: found["facts"].get(name) for name in before} != before
    if grant.section:
        before = whole["inventory"][grant.section]
        assert json.dumps(found["inventory"].get(grant.section), sort_keys=True) != json.dumps(before, sort_keys=True)


def test_the_table_has_every_grant() -> None:
    """What the unit opens is what is tested here."""
    opened = {("DeviceAllow", value) for value in granted("DeviceAllow")}
    for directive in ("CapabilityBoundingSet", "RestrictAddressFamilies"):
        opened |= {(directive, word) for value in granted(directive) for word in value.split()}
    assert opened == {(grant.directive, grant.word) for grant in GRANTS}

"""One node's life, on the shipped image: it boots from the network, registers, obeys, takes configurations and
survives.

The tests are one story, told in order on one machine; each says in its first line what it shows. Time limits are ten
times what is usual under TCG and bound a hanging machine; nothing here waits for an amount of time but the outage,
whose length is what is tested.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from mkcore import events
from tests.machines.booted import record_booted
from tests.machines.node import Node
from tests.machines.server import PORT, read_manifest
from tests.machines.stages import build_truth, read_truth

BOOT_S = 600.0
"""From power on to the registration, under TCG: about 60 s."""
APPLY_S = 300.0
"""From a checkin that brings a configuration to its verdict: about 20 s."""
OUTAGE_S = 90.0
SITE = """\
[apply]
min_spacing_s = 0
allow_push = ["mk_uri"]
[checkin]
retry_ceiling_s = 15
"""
APPLIES = 14
"""How often a phase is waited for: one that lasts milliseconds can pass between two looks of a busy guest."""
KILLED_WITH = {"stored": 10, "restarting": 20, "probation": 0}
"""Phase -> the first value of mk_checkin_skew that is pushed for it: each push is one that was not there before."""

pytestmark = pytest.mark.usefixtures("image")


def push(node: Node, **values: object) -> int:
    """Set configuration on the server and have the node fetch it; returns the journal's mark from before."""
    mark = node.channel.mark()
    node.server.send("PATCH", "/api/config", {"set": values, "force": True})
    node.check_in(check=False)
    return mark


def restore(node: Node, *names: str) -> None:
    """Take keys out of the server's configuration again."""
    node.server.send("PATCH", "/api/config", {"unset": list(names)})


def speak(node: Node, dialect: str) -> None:
    """Have mkctl speak another dialect of the server from now on."""
    mark = node.channel.mark()
    node.write("/etc/mk/mk.toml.d/90-test.toml", f'[server]\ndialect = "{dialect}"\n')
    node.channel.run("systemctl", "restart", "mkctl.service")
    node.channel.wait_event(events.DIALECT_CHOSEN, APPLY_S, mark, MK_DIALECT=dialect)
    node.channel.wait_event(events.SERVER_FOUND, APPLY_S, mark)


@contextmanager
def fault(node: Node, directive: str) -> Iterator[None]:
    """Have mkctl's unit carry a fault for a while, by a drop-in of the running system."""
    dropin = "/run/systemd/system/mkctl.service.d/50-test.conf"
    node.write(dropin, f"[Service]\n{directive}\n")
    node.channel.run("systemctl", "daemon-reload")
    yield
    node.channel.run("rm", dropin)
    node.channel.run("systemctl", "daemon-reload")


def apply(node: Node, **values: object) -> None:
    """Push values and wait until they are confirmed."""
    mark = push(node, **values)
    node.channel.wait_event(events.CONFIG_CONFIRMED, APPLY_S, mark)


def test_boots_from_the_network_and_registers(node: Node) -> None:
    """PXE, iPXE and HTTP bring the image; systemd starts the suite; the node registers by itself."""
    node.channel.wait_event(events.REGISTERED, BOOT_S)
    assert node.known()["state"] == "active"
    assert node.channel.run("systemctl", "is-system-running", "--wait", timeout_s=BOOT_S).stdout == "running\n"
    assert node.show("mk.target", "ActiveState") == ["active"]
    record_booted("iPXE/BIOS", "vmlinuz", "initrd")


def test_first_checkin_says_so(node: Node) -> None:
    """The first checkin says first_checkin=true on the wire; none does after the registration."""
    node.check_in()
    lines = [sent.line for sent in node.wire.requests() if "/node/checkin?" in sent.line]
    checkins = [parse_qs(urlsplit(line.split(" ")[1]).query) for line in lines]
    assert checkins[0]["first_checkin"] == ["true"]
    assert "first_checkin" not in checkins[-1]


def test_registered_what_the_machine_is(node: Node) -> None:
    """UUID, MACs and disk serials that the server knows are those of QEMU's command line."""
    machine = node.vm.machine
    assert read_truth(node.known()["inventory"]) == build_truth(machine.uuid, machine.macs, machine.serials)


def test_hanlons_configuration_changes_nothing(node: Node) -> None:
    """A stock Hanlon server's client_config: ten checkins, no restart (B19, B20, B21)."""
    assert node.known()["sent_config"], "the server pushed nothing"
    before = node.show("mkctl.service", "InvocationID", "NRestarts")
    for _ in range(10):
        node.check_in()
    assert node.show("mkctl.service", "InvocationID", "NRestarts") == before
    assert node.config()["config"] == {}


def test_nothing_failed_and_nobody_complained(node: Node) -> None:
    """After boot, registration and ten checkins no unit has failed and no service of ours wrote a warning."""
    assert node.failed_units() == ""
    assert node.warnings() == ""


def test_no_python_starts_to_fetch_nothing(node: Node) -> None:
    """Nobody wants an extension here: mk-fetch was skipped, at boot and after the first checkin."""
    assert node.show("mk-fetch.service", "ConditionResult", "ExecMainPID", "ActiveState") == ["no", "0", "inactive"]
    assert node.channel.run("mkctl", "config", "--json").stdout.count("/usr/lib/mk/mk.toml") >= 2


def test_clock_is_not_older_than_the_image(node: Node) -> None:
    """The machine's own clock says 2001, and no server of the network tells the time (timesyncd asks nobody else)."""
    epoch = int(read_manifest()["source_date_epoch"])
    assert int(node.channel.run("date", "+%s").stdout) >= epoch
    assert node.show("systemd-timesyncd.service", "ActiveState") == ["active"]
    shown = node.channel.run("timedatectl", "show-timesync", "--property=FallbackNTPServers").stdout
    assert shown == "FallbackNTPServers=\n"


def test_its_own_name_is_resolved(node: Node) -> None:
    """The name that an address gave it, without a DNS that knows it (row 20)."""

    def name() -> str:
        return node.channel.run("hostnamectl", "hostname").stdout.strip()

    names = {f"mk{mac.replace(':', '').upper()}" for mac in node.vm.machine.macs}
    node.vm.wait_until(lambda: name() in names, "the machine to have its name", APPLY_S)
    found = [line.split() for line in node.channel.run("getent", "hosts", name()).stdout.splitlines()]
    assert {words[1] for words in found} == {name()}, found


def test_journal_is_bounded(node: Node) -> None:
    """The journal lies in memory and says itself that it takes 16 MiB of it at most."""
    usage = "MESSAGE_ID=ec387f577b844b8fa948f33cad9a75e6"  # SD_MESSAGE_JOURNAL_USAGE
    said = node.channel.run("journalctl", "--boot", "--output=json", usage).stdout.splitlines()
    limits = {(entry["MESSAGE"].split("(")[0], entry["MAX_USE"]) for entry in map(json.loads, said)}
    assert limits == {("Runtime Journal ", str(16 << 20))}


def test_memory_is_given_by_small_pages(node: Node) -> None:
    """Else each Python process holds one to two megabytes more, which it never uses."""
    assert "[madvise]" in node.channel.run("cat", "/sys/kernel/mm/transparent_hugepage/enabled").stdout


def test_razors_thirteen_keys_change_nothing(node: Node) -> None:
    """A stock Razor server's thirteen keys, its own address and paths among them: ten checkins, no restart."""
    speak(node, "razor")
    before = node.show("mkctl.service", "InvocationID", "NRestarts")
    for _ in range(10):
        node.check_in()
    assert node.show("mkctl.service", "InvocationID", "NRestarts") == before
    assert len([sent for sent in node.wire.requests() if "/razor/api/node/checkin?" in sent.line]) > 10
    known = node.server.node(node.vm.machine.macs[0])  # a Razor server knows nodes by their MACs
    assert known is not None
    assert len(known["client_config"]) == 13
    assert node.config()["config"] == {}
    speak(node, "hanlon")


def test_site_may_come_as_a_credential(node: Node) -> None:
    """A credential named mk.toml is the site's configuration: here it lets a push set the server's address."""
    node.write("/run/credstore/mk.toml", SITE)
    mark = node.channel.mark()
    node.channel.run("systemctl", "restart", "mkctl.service")
    node.channel.run("systemctl", "stop", "mkweb.service")
    node.channel.wait_event(events.SERVER_FOUND, APPLY_S, mark)
    shown = json.loads(node.channel.run("mkctl", "config", "--json").stdout)
    assert shown["values"]["apply.allow_push"] == ["mk_uri"]
    assert "credential" in shown["origins"]["apply.allow_push"]


def test_pushed_interval_is_taken_into_use(node: Node) -> None:
    """A pushed interval: systemd restarts mkctl, the same node goes on with it, the first good checkin confirms it."""
    before, known = node.invocation(), node.known()
    apply(node, mk_checkin_interval=10)
    assert node.invocation() != before
    config = node.config()
    assert config["apply"]["phase"] == "confirmed"
    assert config["config"]["mk_checkin_interval"] == 10
    assert node.property("ConfigDigest") == config["digest"]
    after = node.known()
    assert after["id"] == known["id"]
    if after["facts_digest"] == known["facts_digest"]:
        assert after["registrations"] == known["registrations"]


def test_new_interval_is_kept(node: Node) -> None:
    """The checkins of the wire are ten seconds apart, by themselves; a busy host delays one and hurries the next."""
    began = time.monotonic()
    sent = [each.at_s for each in node.wire.wait_requests(6, began, 300.0) if "/node/checkin" in each.line]
    gaps = [later - earlier for earlier, later in zip(sent[1:], sent[2:])]
    assert gaps and 5.0 < statistics.median(gaps) < 20.0, gaps


def test_invalid_push_is_refused(node: Node) -> None:
    """A value out of range: 422 and one line why; nothing changes, neither by the server's push nor by hand."""
    before, digest = node.invocation(), node.config()["digest"]
    mark = push(node, mk_checkin_interval=0)
    refused = node.channel.wait_event(events.CONFIG_REFUSED, APPLY_S, mark)
    assert "mk_checkin_interval" in str(refused["MESSAGE"])
    status, text = node.request("POST", "/setMkConfig", {"mk_checkin_interval": 0})
    assert status == 422, text
    assert "mk_checkin_interval" in json.loads(text)["error"]
    push(node, mk_checkin_interval=10)
    assert (node.invocation(), node.config()["digest"]) == (before, digest)


def test_failing_start_is_rolled_back(node: Node) -> None:
    """A configuration with which mkctl does not start: the previous one comes back, and the node goes on with it."""
    digest = node.config()["digest"]
    with fault(node, "ExecStartPre=/bin/sh /run/mk-test/refuse-skew-7\n"):
        node.write("/run/mk-test/refuse-skew-7", "! grep -q '\"mk_checkin_skew\": *7' /run/mkweb/config.json\n")
        mark = push(node, mk_checkin_skew=7)
        node.channel.wait_event(events.CONFIG_ROLLED_BACK, APPLY_S, mark)
        node.channel.wait_event(events.CONFIG_IN_USE, APPLY_S, mark, MK_DIGEST=digest)
        assert node.config()["digest"] == digest
        before = node.invocation()
        node.check_in()  # still pushed, but refused before: not taken until it changes
        assert node.invocation() == before
        restore(node, "mk_checkin_skew")


def test_lost_server_is_rolled_back(node: Node) -> None:
    """A configuration with which mkctl cannot reach its server any more: probation ends it, the node is back."""
    digest = node.config()["digest"]
    mark = push(node, mk_uri=f"http://{node.server.address}:{PORT + 1}")
    node.channel.wait_event(events.CONFIG_STORED, APPLY_S, mark)
    restore(node, "mk_uri")
    node.channel.wait_event(events.CONFIG_ROLLED_BACK, 4 * APPLY_S, mark)
    node.channel.wait_event(events.CONFIG_IN_USE, APPLY_S, mark, MK_DIGEST=digest)
    node.check_in()
    assert node.config()["digest"] == digest
    assert node.property("ServerUri") == f"http://{node.server.address}:{PORT}"


@pytest.mark.parametrize("phase", ["stored", "restarting", "probation"])
def test_mkweb_killed_in_an_apply_finishes_it(node: Node, phase: str) -> None:
    """mkweb killed while an apply is in this phase: its next start finishes it."""
    for attempt in range(APPLIES):
        skew, unit = KILLED_WITH[phase] + attempt, f"mk-test-{phase}-{attempt}.service"
        node.watch_mkweb(phase, unit)
        mark = push(node, mk_checkin_skew=skew)
        node.channel.wait_event(events.CONFIG_CONFIRMED, APPLY_S, mark)
        config = node.config()
        assert (config["apply"]["phase"], config["config"]["mk_checkin_skew"]) == ("confirmed", skew)
        assert node.property("ConfigDigest") == config["digest"]
        if node.was_killed(phase, unit):
            return
    pytest.fail(f"phase {phase} was too short to be met in {APPLIES} applies")


def test_killed_services_are_back_and_nothing_is_lost(node: Node) -> None:
    """kill -9 of mkctl, mkweb and mkmirror: each is back, with configuration and registration as before."""
    node.request("GET", "/", port=2157)
    digest, known = node.config()["digest"], node.known()
    units = ("mkctl.service", "mkweb.service", "mkmirror.service")
    before = [node.invocation(unit) for unit in units]
    mark = node.channel.mark()
    node.channel.run("systemctl", "kill", "--signal=KILL", *units)
    node.channel.wait_event(events.CONFIG_IN_USE, APPLY_S, mark, MK_DIGEST=digest)
    assert node.request("GET", "/", port=2157)[0] < 500
    assert node.config()["digest"] == digest
    node.check_in()
    after = [node.invocation(unit) for unit in units]
    assert all(new and new != old for new, old in zip(after, before))
    now = node.known()
    assert now["id"] == known["id"]
    if now["facts_digest"] == known["facts_digest"]:
        assert now["registrations"] == known["registrations"]


def test_outage_ends_without_a_burst(node: Node) -> None:
    """The server is away for 90 s: the node knocks now and then, goes on by itself, and catches nothing up."""
    node.check_in()
    mark, began = node.channel.mark(), time.monotonic()
    node.server.stop()
    node.channel.wait_event(events.SERVER_LOST, APPLY_S, mark)
    threading.Event().wait(began + OUTAGE_S - time.monotonic())
    knocked = [sent.at_s for sent in node.wire.attempts(began)]
    node.server.start()
    back = time.monotonic()
    node.channel.wait_event(events.SERVER_BACK, APPLY_S, mark)
    assert 3 <= len(knocked) <= OUTAGE_S / 2, knocked
    sent = [each.at_s for each in node.wire.wait_requests(3, back, 300.0) if "/node/checkin" in each.line]
    first = sent[0]
    assert len([at for at in sent if at < first + 8.0]) <= 2, sent


def test_reboot_order_is_obeyed(node: Node) -> None:
    """Ordered to reboot, the machine goes through its firmware again and registers again as the same node."""
    known, began, mark = node.known(), time.monotonic(), node.channel.mark()
    node.server.order(node.vm.machine.uuid, "reboot")
    node.check_in()
    node.channel.wait_event(events.POWER_ORDER_OBEYED, APPLY_S, mark)
    node.vm.wait_event("RESET", APPLY_S, began)
    node.channel.wait_event(events.REGISTERED, BOOT_S, mark)
    after = node.known()
    assert after["id"] == known["id"]
    assert (after["registrations"], after["boots"]) == (known["registrations"] + 1, known["boots"] + 1)
    assert node.failed_units() == ""


def test_poweroff_order_ends_the_machine(node: Node) -> None:
    """Ordered off, the machine is off: QEMU says so and ends."""
    mark, began = node.channel.mark(), time.monotonic()
    node.server.order(node.vm.machine.uuid, "poweroff")
    node.check_in(check=False)  # a configuration that is pushed after the boot restarts mkctl; its next start checks in
    node.channel.wait_event(events.POWER_ORDER_OBEYED, APPLY_S, mark)
    node.vm.wait_event("SHUTDOWN", APPLY_S, began)
    assert node.vm.wait_end(60) == 0

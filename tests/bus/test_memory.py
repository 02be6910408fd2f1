"""What mkctl keeps and reads: damaged or deleted files; facts that are absent, late or held back; odd machines."""

from __future__ import annotations

import shutil
import time

import pytest

from tests.bus.harness import FakeSystemd, Node, wait_until
from tests.bus.server import Server
from tests.fakes import Reset


def registered(node: Node) -> None:
    """Wait until a registration has been taken and saved."""
    wait_until(lambda: node.status().get("registered_digest"), "a registration")


DAMAGED = ["", "{", "[]", '{"version": 2}', '{"version": 1, "first_checkin": "yes"}', "\xff\x00"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_state_file(node: Node, server: Server, content: str) -> None:
    node.write("run/mkctl/state.json", content)
    with node.daemon() as daemon:
        registered(node)
        assert len(daemon.said("state.json.*going on as on the first start")) == 1
    assert "first_checkin" in server.checkins()[0]
    assert node.read("run/mkctl/state.json")["registered"]["server"] == server.uri


def test_state_deleted_under_a_running_daemon(node: Node, server: Server) -> None:
    with node.daemon() as daemon:
        registered(node)
        before = node.read("run/mkctl/state.json")
        for file in (node.root / "run/mkctl").iterdir():
            file.unlink()
        assert node.call("CheckIn").returncode == 0
        assert node.read("run/mkctl/state.json") == before
        assert len(daemon.said("the file is gone; written again")) == 1
        assert len(server.registrations()) == 1


def test_state_deleted_between_two_runs(node: Node, server: Server) -> None:
    with node.daemon():
        registered(node)
    (node.root / "run/mkctl/state.json").unlink()
    with node.daemon() as daemon:
        daemon.wait_for("state.json: the file is gone; going on as on the first start")
        wait_until(lambda: len(server.registrations()) == 2, "a registration")


def test_a_first_start_recovers_nothing(node: Node) -> None:
    with node.daemon() as daemon:
        registered(node)
        assert daemon.said("the file is gone|going on as on|cannot be") == []


def test_damaged_registered_facts(node: Node, server: Server) -> None:
    with node.daemon():
        registered(node)
    node.write("run/mkctl/registered-facts.json", "{")
    node.facts(generation=2, mk_hw_nic_count="3")
    with node.daemon() as daemon:
        daemon.wait_for("registered-facts.json.*written again with this registration")
        wait_until(lambda: len(server.registrations()) == 2, "a registration")


def test_a_full_or_missing_directory_costs_nothing_but_memory(node: Node, server: Server) -> None:
    shutil.rmtree(node.root / "run/mkctl")
    with node.daemon() as daemon:
        wait_until(server.registrations, "a registration")
        daemon.wait_for("state.json: cannot be written")
        daemon.wait_for("status.json: cannot be written")
        assert node.call("CheckIn").returncode == 0
        assert len(daemon.said("status.json: cannot be written")) == 1


def test_absent_facts_are_collected_and_checkins_go_on(node: Node, server: Server, systemd: FakeSystemd) -> None:
    (node.root / "run/mk-facts/facts.json").unlink()
    systemd.on_start = lambda unit: node.facts() if unit == "mk-facts.service" else None
    with node.daemon():
        registered(node)
    assert systemd.started == ["mk-facts.service"]
    assert server.requests()[1].method == "GET"  # the checkin went first


def test_facts_that_arrive_by_themselves_are_registered(node: Node, server: Server, systemd: FakeSystemd) -> None:
    """At boot mk-facts runs beside us: no start of ours, no wait for the next checkin."""
    node.facts(generation=0, complete=False)
    with node.daemon():
        node.wait_status(state="idle", registered_digest="")
        assert server.registrations() == []
        node.facts(generation=1)
        registered(node)
    assert systemd.started == []


def test_facts_that_cannot_be_collected(node: Node, server: Server, systemd: FakeSystemd) -> None:
    (node.root / "run/mk-facts/facts.json").unlink()
    systemd.refuse = "org.freedesktop.DBus.Error.AccessDenied"
    with node.daemon() as daemon:
        daemon.wait_for("facts not collected: .*AccessDenied")
        run = node.mkctl("register")
        assert run.returncode == 75, run.stdout + run.stderr
        assert node.call("CheckIn").returncode == 0
        assert len(daemon.said("facts not collected")) == 1
        node.facts()
        registered(node)


def test_old_facts_are_renewed_for_an_order(node: Node, server: Server, systemd: FakeSystemd) -> None:
    with node.daemon():
        registered(node)
        node.write("sys/kernel/uevent_seqnum", "101\n")  # hardware came or went since
        systemd.on_start = lambda unit: node.facts(generation=2, mk_hw_nic_count="5")
        server.commands = ["register"]
        assert node.call("CheckIn").returncode == 0
        wait_until(lambda: len(server.registrations()) == 2, "the ordered registration")
    assert systemd.started == ["mk-facts.service"]
    assert server.registered_facts()["mk_hw_nic_count"] == "5"


def test_b23_an_order_with_young_facts_collects_nothing(node: Node, server: Server, systemd: FakeSystemd) -> None:
    server.commands = ["register", "register", "register"]
    with node.daemon():
        registered(node)
        assert node.call("CheckIn").returncode == 0
        assert node.call("CheckIn").returncode == 0
        wait_until(lambda: len(server.registrations()) == 3, "the ordered registrations")
    assert systemd.started == []


def test_a_registration_waits_for_the_image_s_extensions(node: Node, server: Server, systemd: FakeSystemd) -> None:
    systemd.jobs = ["mk-fetch.service", "other.service"]
    with node.daemon():
        node.wait_status(state="idle")
        assert node.call("CheckIn").returncode == 0  # checkins go on
        assert server.registrations() == []
        systemd.jobs = ["mk-extensions.service"]
        assert node.call("CheckIn").returncode == 0
        assert server.registrations() == []
        systemd.jobs = []
        registered(node)


def test_a_registration_does_not_wait_for_ever(node: Node, server: Server, systemd: FakeSystemd) -> None:
    node.configure(server.uri, "[extensions]\nbuiltin_wait_s = 1\n")
    systemd.jobs = ["mk-fetch.service"]
    with node.daemon():
        registered(node)


@pytest.mark.parametrize("uuid", [None, "", "not a uuid", "03000200-0400-0500-0006-000700080009"])
def test_a_machine_without_a_uuid_of_its_own(node: Node, server: Server, uuid: str | None) -> None:
    path = node.write("sys/class/dmi/id/product_uuid", f"{uuid}\n")
    if uuid is None:
        path.unlink()
    with node.daemon() as daemon:
        registered(node)
        assert node.call("CheckIn").returncode == 0
        assert len(daemon.said("product_uuid.*checking in as 525400123456")) == 1
    assert server.checkins()[0]["uuid"] == [""]
    assert server.checkins()[0]["mac_id"] == ["525400123456"]


def test_a_machine_without_any_nic(node: Node, server: Server) -> None:
    shutil.rmtree(node.root / "sys/class/net")
    with node.daemon():
        registered(node)
    assert server.checkins()[0]["mac_id"] == [""]


def test_a_nic_that_appears_later_is_sent(node: Node, server: Server) -> None:
    with node.daemon():
        registered(node)
        node.add_nic("enp78s0", "52:54:00:12:34:57")
        assert node.call("CheckIn").returncode == 0
        wait_until(lambda: len(server.registrations()) == 2, "a registration with it")
    assert server.checkins()[1]["mac_id"] == ["525400123456_525400123457"]


def test_an_outage_of_ninety_seconds_is_no_burst(node: Node, server: Server) -> None:
    """The plan of the attempts, from status.json: each later than now, none further away than the ceiling."""
    with node.daemon():
        registered(node)
        server.play = Reset()
        for _ in range(6):
            assert node.call("CheckIn").returncode != 0
            wait_s = node.status()["next_checkin_usec"] / 1e6 - time.clock_gettime(time.CLOCK_BOOTTIME)
            assert wait_s <= 90
        assert node.status()["failed_checkins"] >= 6
        node.wait_status(state="server-lost")

"""The conversation with the server by the real daemon: first checkin, registration, orders, outages, bad answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bus.harness import FakeSystemd, Node, PrivateBus, wait_until
from tests.bus.server import HANLON, RAZOR, Server, answer
from tests.fakes import Drip, Play, Reset

CAPITAL_UUID = "564D1A2B-3C4D-5E6F-7081-92A3B4C5D6E7"


def registered(node: Node) -> None:
    """Wait until a registration has been taken and saved."""
    wait_until(lambda: node.status().get("registered_digest"), "a registration")


def test_first_contact_in_hanlon_s_words(node: Node, server: Server) -> None:
    server.commands = ["register"]
    with node.daemon():
        registered(node)
        assert node.call("CheckIn").returncode == 0
        wait_until(lambda: node.status()["state"] == "idle", "the end of the checkin")
        named = f"{node.root}/etc/mk/mk.toml"
        shown = node.mkctl("facts", "--diff")
        assert shown.stdout.startswith("nothing changed since the registration"), shown.stdout
        assert node.status()["sentence"].startswith(f"checked in with {server.uri}, named by {named} (acknowledge)")
    probe, first, registration, second = server.requests()
    assert probe.target == f"{HANLON}/checkin"
    query = f"uuid={CAPITAL_UUID}&mac_id=525400123456&last_state=idle"
    assert first.target == f"{HANLON}/checkin?{query}&first_checkin=true"
    assert registration.target == f"{HANLON}/register"
    assert registration.header("content-type") == "text/json"
    assert second.target == f"{HANLON}/checkin?{query}"
    facts = server.registered_facts()
    assert facts["processorcount"] == 2 and facts["is_virtual"] is True
    assert facts["mk_server_source"] == named
    assert str(first.header("user-agent")).startswith("mkctl/")


def test_first_contact_in_razor_s_words(node: Node, server: Server) -> None:
    server.dialect = "razor"
    server.commands = ["register"]
    with node.daemon() as daemon:
        registered(node)
        daemon.wait_for("is spoken to as razor")
        assert node.status()["dialect"] == "razor"
    targets = [each.target for each in server.requests() if each.target.startswith(RAZOR)]
    assert targets[1] == f"{RAZOR}/checkin?hw_id=525400123456&last_state=idle&first_checkin=true"
    assert server.registrations()[0].body.startswith(b"json_hash=%7b%22%40hw_id%22%3a%22525400123456%22")


def test_another_kind_of_server_at_the_same_address(node: Node, server: Server) -> None:
    with node.daemon():
        registered(node)
        server.dialect = "razor"
        node.mkctl("checkin")
        assert node.mkctl("checkin").returncode == 0
        node.wait_status(dialect="razor")
    assert node.read("run/mkctl/state.json")["dialects"] == {server.uri: "razor"}


def test_acknowledge_clears_the_first_checkin_flag(node: Node, server: Server) -> None:
    server.refusals = [answer({}, "500 Internal Server Error")] * 50
    with node.daemon():
        node.wait_status(first_checkin=False)
        assert node.call("CheckIn").returncode == 0
    assert ["first_checkin" in each for each in server.checkins()[:2]] == [True, False]


def test_kill_9_loses_nothing(node: Node, server: Server) -> None:
    server.commands = ["register"]
    with node.daemon() as daemon:
        registered(node)
        daemon.kill()
    before = len(server.requests())
    with node.daemon():
        wait_until(lambda: len(server.checkins()) == 2, "a checkin of the second process")
        node.wait_status(state="idle")
        assert node.call("CheckIn").returncode == 0
    later = server.requests()[before:]
    assert [each.method for each in later] == ["GET", "GET"]  # neither a probe for the dialect nor a registration
    assert all("first_checkin" not in each.target and "last_state" in each.target for each in later)


def test_kill_9_before_the_ordered_registration_was_taken(node: Node, server: Server) -> None:
    with node.daemon():
        registered(node)
        server.commands = ["register"]
        server.refusals = [answer({}, "503 Service Unavailable")] * 50
        assert node.call("CheckIn").returncode == 0
        wait_until(lambda: len(server.registrations()) >= 2, "the refused registration")
    server.refusals = []
    before = len(server.registrations())
    with node.daemon():
        wait_until(lambda: len(server.registrations()) > before, "the order, kept over the kill")


def test_a_refused_registration_is_tried_again(node: Node, server: Server) -> None:
    server.refusals = [answer({}, "500 Internal Server Error")]
    with node.daemon() as daemon:
        registered(node)
        assert len(server.registrations()) == 2
        assert len(daemon.said("registration refused")) >= 1


def test_changed_facts_are_registered_again_and_unchanged_ones_are_not(node: Node, server: Server) -> None:
    with node.daemon() as daemon:
        registered(node)
        node.facts(generation=2, uptime_seconds=5, memoryfree_mb=77)
        assert node.call("CheckIn").returncode == 0
        assert len(server.registrations()) == 1
        node.facts(generation=3, mk_hw_nic_count="2")
        assert node.call("CheckIn").returncode == 0
        wait_until(lambda: len(server.registrations()) == 2, "a second registration")
        daemon.wait_for("changed: mk_hw_nic_count")
    assert server.registered_facts()["mk_hw_nic_count"] == "2"
    assert node.read("run/mkctl/registered-facts.json")["facts"]["mk_hw_nic_count"] == "2"


@pytest.mark.parametrize("kind", ["reboot", "poweroff"])
def test_power_orders(node: Node, server: Server, systemd: FakeSystemd, kind: str) -> None:
    node.configure(server.uri, "[actions]\nallow_power_orders = true\n")
    server.command = kind
    with node.daemon() as daemon:
        wait_until(lambda: systemd.started, "the order")
        daemon.wait_for(f"{kind} as the server ordered")
    assert systemd.started == [f"{kind}.target"]


def test_power_orders_are_refused_unless_allowed(node: Node, server: Server, systemd: FakeSystemd) -> None:
    server.command = "reboot"
    with node.daemon() as daemon:
        daemon.wait_for("reboot refused: actions.allow_power_orders")
        assert node.call("CheckIn").returncode == 0
        assert len(daemon.said("reboot refused")) == 1
    assert systemd.started == []


def test_power_orders_go_to_the_host_of_a_container(
    node: Node, server: Server, systemd: FakeSystemd, tmp_path: Path
) -> None:
    """Only they: what the facts need is asked of the own systemd. A host that is not there is said."""
    (tmp_path / "host").mkdir()
    host = PrivateBus(tmp_path / "host")
    node.configure(server.uri, f"[actions]\nallow_power_orders = true\npower_through = '{host.socket}'\n")
    server.command = "reboot"
    with node.daemon() as daemon:
        daemon.wait_for("reboot: no connection to .*tried again")
        host.start()
        try:
            with FakeSystemd(host.address) as above:
                node.call("CheckIn")
                wait_until(lambda: above.started, "the order at the host")
                assert above.started == ["reboot.target"]
        finally:
            host.stop()
    assert systemd.started == []


def test_a_power_order_without_the_right(node: Node, server: Server, systemd: FakeSystemd) -> None:
    node.configure(server.uri, "[actions]\nallow_power_orders = true\n")
    systemd.refuse = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
    server.command = "reboot"
    with node.daemon() as daemon:
        daemon.wait_for("InteractiveAuthorizationRequired.*tried again")
        server.command = "acknowledge"
        assert node.call("CheckIn").returncode == 0


def test_unknown_commands_count_as_acknowledge(node: Node, server: Server) -> None:
    server.command = "dance"
    with node.daemon() as daemon:
        daemon.wait_for("command dance is not known here")
        node.wait_status(first_checkin=False)
        assert node.call("CheckIn").returncode == 0
        assert len(daemon.said("not known here")) == 1


def test_an_outage_is_told_once_and_survived(node: Node, server: Server) -> None:
    with node.daemon() as daemon:
        registered(node)
        server.play = Reset()
        for _ in range(3):
            run = node.mkctl("checkin")
            assert run.returncode == 69, run.stdout + run.stderr
        node.wait_status(state="server-lost")
        server.play = None
        assert node.mkctl("checkin").returncode == 0
        node.wait_status(state="idle", failed_checkins=0, last_error="")
        assert len(daemon.said("answers again after")) == 1
        assert len(daemon.said("trying again in")) >= 1


BAD: dict[str, Play] = {
    "garbage": b"\x00\xff\x00garbage\r\n\r\n",
    "not JSON": answer([1, 2]),
    "truncated": b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"errcode":0,',
    "too large": b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1_100_000,
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "wrong types": answer({"errcode": "0", "response": {"command_name": 5}}),
    "nested": answer({}) + b"",
    "server error": answer({"std_err_code": 131, "result": "boom"}, "500 Internal Server Error"),
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "dripping headers": Drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 4 + b"Content-Length: 2\r\n\r\n{}", 0.002),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_answers_are_one_line_each_and_the_node_goes_on(node: Node, server: Server, kind: str) -> None:
    with node.daemon() as daemon:
        registered(node)
        server.play = BAD[kind]
        before = len(daemon.lines)
        for _ in range(3):
            assert node.mkctl("checkin").returncode in (69, 76, 77)
        wait_until(lambda: node.status()["failed_checkins"] >= 3, "three failures")
        told = [line for line in daemon.lines[before:] if "trying again in" in line]
        assert len(told) == 1, daemon.lines[before:]
        server.play = None
        assert node.mkctl("checkin").returncode == 0
        assert node.status()["registered_digest"]


def test_a_server_that_is_down_at_the_start(node: Node, server: Server) -> None:
    server.wire.__exit__(None, None, None)
    with node.daemon() as daemon:
        daemon.wait_for("Connection refused; trying again in")
        wait_until(lambda: "READY=1" in node.notified, "what the service notified")
        server.wire = type(server.wire)(server._script)
        server.wire.port = int(node.status()["server_uri"].rpartition(":")[2])
        server.wire.__enter__()
        registered(node)


def test_the_bodies_of_a_registration_are_complete(node: Node, server: Server) -> None:
    node.facts(kernel="Linux", uptime="1:00", structured={"a": [1, None]}, umlaut="Gerät")
    with node.daemon():
        registered(node)
    facts = server.registered_facts()
    assert facts["structured"] == {"a": [1, None]} and facts["umlaut"] == "Gerät"
    assert "kernel" not in facts and "uptime" not in facts
    assert facts["macaddress_eth0"] == "52:54:00:12:34:56"
    assert json.loads(server.registrations()[0].body)["last_state"] == "idle"


ROUTES = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "enp77s0\t00000000\t0202000A\t0003\t0\t0\t1024\t00000000\t0\t0\t0\n"
)


@pytest.mark.parametrize("signalled", [True, False])
def test_a_route_is_waited_for(node: Node, systemd: FakeSystemd, signalled: bool) -> None:
    """Until there is one nothing is sent; networkd's signal starts the first checkin, and so does the clock."""
    # To us a name, which needs a route; to the resolver an address of this machine, which asks nobody and stays in.
    node.configure("http://0x7f.1:9")
    with node.daemon():
        node.wait_status(state="waiting-for-network")
        assert node.status()["failed_checkins"] == 0
        wait_until(lambda: any("waiting for a route" in each for each in node.notified), "the unit's status")
        assert node.status()["sentence"] == "waiting for a route to http://0x7f.1:9; no address on enp77s0"
        node.write("proc/net/route", ROUTES)
        if signalled:
            systemd.network_changed()
        wait_until(lambda: node.status()["failed_checkins"], "the first attempt")


def test_a_loopback_server_needs_no_route(node: Node) -> None:
    with node.daemon() as daemon:
        node.wait_status(state="idle")
        assert daemon.said("waiting for a route") == []


def test_the_start_skew_is_random_below_its_limit_and_ends_for_a_caller(node: Node, server: Server) -> None:
    node.configure(server.uri)
    node.write("etc/mk/mk.toml.d/skew.toml", "[checkin]\nskew_s = 300\n")
    skews = set()
    for _ in range(2):
        with node.daemon() as daemon:
            skews.add(float(daemon.wait_for("start skew").split()[-2]))
            wait_until(node.on_bus, "the name")
    assert len(skews) == 2 and all(0 <= each < 300 for each in skews)
    with node.daemon():
        wait_until(node.on_bus, "the name")
        assert node.call("CheckIn").returncode == 0
        assert len(server.checkins()) >= 1


def test_checkins_follow_at_a_fixed_rate_in_the_node_s_own_slot(node: Node, server: Server) -> None:
    node.configure(server.uri, interval_s=1)
    server.config = None
    slots: list[int] = []

    def three() -> bool:
        planned = node.status().get("next_checkin_usec", 0)
        if node.status().get("state") == "idle" and planned and planned not in slots:
            slots.append(planned)
        return len(slots) >= 3

    with node.daemon():
        wait_until(three, "three planned checkins")
    # A process that was slow skips slots; it never shifts them.
    assert all((later - first) % 1_000_000 in (0, 1, 999_999) for first, later in zip(slots, slots[1:]))


def test_register_by_hand(node: Node, server: Server) -> None:
    with node.daemon():
        registered(node)
        run = node.mkctl("register")
        assert run.returncode == 0 and run.stdout.startswith(f"registered with {server.uri}: digest "), run.stderr
        assert len(server.registrations()) == 2
        server.refusals = [answer({}, "500 Internal Server Error")] * 9
        run = node.mkctl("register", "--json")
        assert run.returncode == 77
        assert json.loads(run.stdout)["error_name"] == "ServerRefused"
        run = node.mkctl("checkin")
        assert run.stdout == f"checked in with {server.uri}: acknowledge\n"

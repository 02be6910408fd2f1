"""The daemon's face on the bus: the contract, properties, signals, errors, policy, LogControl1, a bus that restarts."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from dbus_next.aio import MessageBus
from dbus_next.constants import MessageType
from dbus_next.message import Message

from tests.bus.harness import DEADLINE_S, NAME, PATH, REPO, Node, PrivateBus, wait_until
from tests.bus.server import Server
from tests.fakes import Hang

LOG = ("org.freedesktop.LogControl1", "/org/freedesktop/LogControl1")
EMPTY_DIGEST = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def members(text: str) -> set[tuple[str, ...]]:
    """An interface's members as a set: kind, name, then direction and type of each argument, or type and access."""
    found: set[tuple[str, ...]] = set()
    for interface in ET.fromstring(text).iter("interface"):
        if interface.get("name") != NAME:
            continue
        for each in interface:
            name = each.get("name", "")
            if each.tag == "property":
                found.add(("property", name, each.get("type", ""), each.get("access", "")))
                continue
            default = "out" if each.tag == "signal" else "in"
            arguments = [f"{a.get('direction', default)} {a.get('type')}" for a in each.iter("arg")]
            found.add((each.tag, name, *arguments))
    return found


def test_what_is_exported_is_the_contract(node: Node) -> None:
    contract = (REPO / "units/dbus/org.mksuite.Controller1.xml").read_text(encoding="utf-8")
    with node.daemon():
        wait_until(node.on_bus, "the name")
        introspect = "org.freedesktop.DBus.Introspectable"
        run = node.bus.busctl("--json=short", "call", NAME, PATH, introspect, "Introspect")
        assert run.returncode == 0, run.stderr
        exported = members(json.loads(run.stdout)["data"][0])
    assert exported == members(contract)
    assert len(exported) == 3 + 9 + 2


def test_properties_after_the_first_checkin(node: Node, server: Server) -> None:
    with node.daemon():
        node.wait_status(state="idle", registration_pending="")
        wait_until(lambda: node.property("FactsDigest"), "a registration")
        assert node.property("State") == "idle"
        assert node.property("NodeUuid") == "564D1A2B-3C4D-5E6F-7081-92A3B4C5D6E7"
        assert node.property("ServerUri") == server.uri
        assert node.property("ServerSource").endswith("/etc/mk/mk.toml")
        assert node.property("LastCheckinUSec") > 1_600_000_000_000_000
        assert node.property("LastError") == ""
        assert node.property("ConfigDigest") == EMPTY_DIGEST
        assert node.property("ConfigError") == ""
        assert node.property("FactsDigest") == node.read("run/mkctl/state.json")["registered"]["digest"]


def test_describe_says_what_status_says(node: Node) -> None:
    with node.daemon():
        node.wait_status(state="idle")
        run = node.bus.busctl("--json=short", "call", NAME, PATH, NAME, "Describe")
        described = json.loads(json.loads(run.stdout)["data"][0])
        shown = json.loads(node.mkctl("status", "--json").stdout)
    changing = {"last_checkin_age_s", "next_checkin_in_s", "registered_age_s", "facts"}
    assert {k: v for k, v in described.items() if k not in changing} == {
        k: v for k, v in shown.items() if k not in changing
    }
    assert described["running"] is True
    assert described["facts"]["complete"] is True


def test_signals_of_a_checkin(node: Node, server: Server) -> None:
    """CommandReceived, Registered and PropertiesChanged reach a listener."""
    server.commands = ["acknowledge", "register"]

    async def listen() -> list[Message]:
        seen: list[Message] = []
        registered = asyncio.Event()

        def take(message: Message) -> None:
            if message.message_type is MessageType.SIGNAL:
                seen.append(message)
            if message.member == "Registered":
                registered.set()

        bus = await MessageBus(bus_address=node.bus_address).connect()
        dbus = "org.freedesktop.DBus"
        rule = f"type='signal',path='{PATH}'"
        match = Message(dbus, "/org/freedesktop/DBus", dbus, "AddMatch", signature="s", body=[rule])
        await bus.call(match)
        bus.add_message_handler(take)
        reply = await bus.call(Message(NAME, PATH, NAME, "CheckIn"))
        assert reply is not None and reply.message_type is MessageType.METHOD_RETURN, reply and reply.body
        await registered.wait()
        bus.disconnect()
        return seen

    with node.daemon():
        node.wait_status(state="idle", last_command="acknowledge")
        wait_until(lambda: node.status().get("registered_digest"), "the first registration")
        seen = asyncio.run(asyncio.wait_for(listen(), DEADLINE_S))
    commands = [m.body[0] for m in seen if m.interface == NAME and m.member == "CommandReceived"]
    assert commands == ["register"]
    digests = [m.body[0] for m in seen if m.interface == NAME and m.member == "Registered"]
    assert len(digests) == 1 and len(digests[0]) == 64
    changed: list[dict[str, Any]] = [m.body[1] for m in seen if m.member == "PropertiesChanged" and m.body[0] == NAME]
    assert any("LastCheckinUSec" in each for each in changed)
    assert "registering" in [each["State"].value for each in changed if "State" in each]


def test_an_error_has_the_suite_s_name(node: Node, server: Server) -> None:
    server.play = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnon"

    async def check_in() -> Message:
        bus = await MessageBus(bus_address=node.bus_address).connect()
        reply = await bus.call(Message(NAME, PATH, NAME, "CheckIn"))
        bus.disconnect()
        assert reply is not None
        return reply

    with node.daemon():
        node.wait_status(failed_checkins=1)
        reply = asyncio.run(asyncio.wait_for(check_in(), DEADLINE_S))
    assert reply.message_type is MessageType.ERROR
    assert reply.error_name == "org.mksuite.Error.BadAnswer"
    assert "not JSON" in reply.body[0]


def test_concurrent_calls_share_one_checkin(node: Node, server: Server) -> None:
    async def five() -> list[Any]:
        bus = await MessageBus(bus_address=node.bus_address).connect()
        replies = await asyncio.gather(*(bus.call(Message(NAME, PATH, NAME, "CheckIn")) for _ in range(5)))
        bus.disconnect()
        return replies

    with node.daemon():
        node.wait_status(state="idle", first_checkin=False)
        before = len(server.checkins())
        replies = asyncio.run(asyncio.wait_for(five(), DEADLINE_S))
        made = len(server.checkins()) - before
    assert all(reply.message_type is MessageType.METHOD_RETURN for reply in replies)
    assert 1 <= made < 5  # the first call may begin its checkin before the others are read


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="changing the user needs root and setpriv")
def test_others_may_read_and_not_call(node: Node, bus: PrivateBus) -> None:
    nobody = 65534
    with node.daemon():
        node.wait_status(state="idle")
        bus.socket.parent.chmod(0o755)
        for parent in bus.socket.parents:
            if parent.owner() == "root" and str(parent).startswith("/tmp/"):
                parent.chmod(parent.stat().st_mode | 0o055)
        read = bus.busctl("get-property", NAME, PATH, NAME, "State", uid=nobody)
        assert read.stdout.strip() == 's "idle"', read.stderr
        assert bus.busctl("introspect", NAME, PATH, uid=nobody).returncode == 0
        for method in ("CheckIn", "Register", "Describe"):
            refused = bus.busctl("call", NAME, PATH, NAME, method, uid=nobody)
            assert refused.returncode != 0 and "Access denied" in refused.stderr
        write = bus.busctl("set-property", NAME, LOG[1], LOG[0], "LogLevel", "s", "debug", uid=nobody)
        assert write.returncode != 0


def test_log_control(node: Node) -> None:
    def level(value: str) -> int:
        return node.bus.busctl("set-property", NAME, LOG[1], LOG[0], "LogLevel", "s", value).returncode

    def get(name: str) -> str:
        return node.bus.busctl("get-property", NAME, LOG[1], LOG[0], name).stdout.strip()

    with node.daemon() as daemon:
        node.wait_status(state="idle")
        assert get("SyslogIdentifier") == 's "mkctl"'
        assert get("LogTarget") == 's "console"'
        assert get("LogLevel") == 's "info"'
        assert level("debug") == 0 and get("LogLevel") == 's "debug"'
        assert node.call("CheckIn").returncode == 0
        assert level("err") == 0 and get("LogLevel") == 's "err"'
        assert node.call("CheckIn").returncode == 0
        assert level("loud") != 0 and get("LogLevel") == 's "err"'
        assert daemon.stop()[0] == 0  # and all that it has said was read
        assert len(daemon.said("GET http.*/node/checkin.*last_state=idle$")) == 1


def test_the_bus_restarts_and_the_service_goes_on(node: Node, bus: PrivateBus, server: Server) -> None:
    with node.daemon() as daemon:
        node.wait_status(state="idle")
        bus.stop()
        daemon.wait_for("the system bus went away")
        bus.start()
        wait_until(node.on_bus, "the name again")
        before = len(server.checkins())
        assert node.call("CheckIn").returncode == 0
        assert len(server.checkins()) == before + 1
        assert daemon.process.poll() is None


def test_without_a_bus(node: Node, bus: PrivateBus, server: Server) -> None:
    bus.stop()
    with node.daemon() as daemon:
        node.wait_status(state="idle", registration_pending="")
        wait_until(lambda: server.registrations(), "a registration")
        assert len(daemon.said("going on without it")) >= 1
        assert daemon.stop()[0] == 0


def test_sigterm_ends_it_while_the_server_is_silent(node: Node, server: Server) -> None:
    server.play = Hang()
    with node.daemon() as daemon:
        wait_until(server.checkins, "a checkin")
        status, took_s = daemon.stop()
    assert status == 0
    assert took_s < 10.0  # typically a tenth of a second; the silent server would be waited for twice as long
    wait_until(lambda: "STOPPING=1" in node.notified, "what the service notified")


def test_readiness_status_and_watchdog(node: Node, server: Server) -> None:
    """READY=1 does not wait for the server; WATCHDOG=1 goes on while it is silent."""
    server.play = Hang()
    with node.daemon():
        wait_until(lambda: "READY=1" in node.notified, "READY=1")
        wait_until(server.checkins, "a checkin")
        beats = node.notified.count("WATCHDOG=1")
        wait_until(lambda: node.notified.count("WATCHDOG=1") >= beats + 3, "watchdog beats during an exchange")
        wait_until(lambda: f"STATUS=checking in with {server.uri}" in node.notified, "what the service notified")

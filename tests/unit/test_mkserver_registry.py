"""Orders, bindings, silence, history and concurrency, through the running server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from mkserver_live import Live

from mkserver.schema import config_values
from mkserver.settings import Limits

NODE = "564D0C5D-0000-0000-0000-000000000001"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A server with one node, seven facts."""
    with Live(tmp_path) as running:
        running.checkin(NODE, first=True)
        running.register(NODE, {"hostname": "a1", "mk_hw_cpu_count": "2", "mk_hw_mem_size": "8GiB"})
        yield running


def _show(live: Live, name: str = NODE) -> Any:
    return live.get(f"/api/nodes/{name}").json


def _order(live: Live, name: str, order: str) -> int:
    return live.send("POST", f"/api/nodes/{name}/orders", {"order": order}).status


def _history(live: Live) -> list[str]:
    return [event["text"] for event in _show(live)["history"]]


@pytest.mark.parametrize("order", ["register", "reboot", "poweroff"])
def test_an_order_takes_the_next_checkin_and_is_gone(live: Live, order: str) -> None:
    assert _order(live, NODE, order) == 202
    assert _show(live)["order"] == order
    assert [live.command(NODE), live.command(NODE)] == [order, "acknowledge"]
    assert _show(live)["order"] is None
    assert f"told to {order}: ordered" in _history(live)


def test_an_order_waits_for_a_rebooted_node_to_register(live: Live) -> None:
    _order(live, NODE, "reboot")
    assert live.command(NODE, first=True) == "register"
    live.register(NODE, {"hostname": "a1"})
    assert live.command(NODE) == "reboot"


def test_a_new_order_replaces_the_old_and_can_be_withdrawn(live: Live) -> None:
    _order(live, NODE, "reboot")
    _order(live, NODE, "poweroff")
    assert live.ask("DELETE", f"/api/nodes/{NODE}/orders").status == 200
    assert live.command(NODE) == "acknowledge"
    assert live.ask("DELETE", f"/api/nodes/{NODE}/orders").status == 409


def test_wrong_orders_are_refused(live: Live) -> None:
    assert _order(live, NODE, "explode") == 400
    assert _order(live, "nobody", "reboot") == 404
    live.get("/hanlon/api/v1/boot?uuid=AAAA&dhcp_mac=x")
    assert _order(live, "AAAA", "reboot") == 409, "it has not registered"
    live.clock.now_s += 400
    assert _order(live, NODE, "reboot") == 409, "it has expired"


def test_an_order_that_waited_while_the_node_expired_is_not_carried_out(live: Live) -> None:
    _order(live, NODE, "poweroff")
    live.clock.now_s += 400
    assert live.command(NODE) == "register"
    live.register(NODE, {"hostname": "a1"})
    assert live.command(NODE) == "acknowledge"
    assert "poweroff withdrawn: the node had expired" in _history(live)


def test_a_node_bound_to_its_disk_reboots_once_and_does_not_expire(live: Live) -> None:
    assert live.send("PUT", f"/api/nodes/{NODE}/binding", {"binding": "local"}).status == 200
    assert live.command(NODE) == "reboot"
    script = live.get(f"/hanlon/api/v1/boot?uuid={NODE}&dhcp_mac=x").text
    assert "sanboot --no-describe --drive 0x80" in script
    assert live.command(NODE) == "acknowledge"
    live.clock.now_s += 5000
    assert _show(live)["state"] == "bound"
    assert len(live.get("/hanlon/api/v1/node").json["response"]) == 1
    live.send("PUT", f"/api/nodes/{NODE}/binding", {"binding": ""})
    assert "sanboot" not in live.get(f"/hanlon/api/v1/boot?uuid={NODE}&dhcp_mac=x").text


def test_silence_is_noticed_by_the_sweep_and_written_down(live: Live) -> None:
    live.clock.now_s += 130
    assert live.services.registry.sweep() == 1
    assert live.services.registry.sweep() == 0
    live.clock.now_s += 200
    assert live.services.registry.sweep() == 1
    assert _show(live)["state"] == "expired"
    live.register(NODE, {"hostname": "a1"})
    changes = [event["text"] for event in _show(live)["history"] if event["kind"] == "state"]
    assert changes == ["expired → active", "inactive → expired", "active → inactive", "new → active"]


def test_machines_that_never_registered_are_forgotten(live: Live) -> None:
    live.get("/hanlon/api/v1/boot?uuid=AAAA&dhcp_mac=x")
    assert live.get("/api/nodes").json["counts"]["new"] == 1
    assert live.get("/hanlon/api/v1/node?uuid=AAAA").status == 400, "the wire does not know it"
    live.clock.now_s += 301
    live.services.registry.sweep()
    assert live.get("/api/nodes").json["counts"]["new"] == 0


def test_machines_for_which_a_person_set_something_are_not(live: Live) -> None:
    """They boot with it, however long that takes."""
    for uuid in ("AAAA", "BBBB"):
        live.get(f"/hanlon/api/v1/boot?uuid={uuid}&dhcp_mac=x")
    live.send("PATCH", "/api/config", {"node": "AAAA", "set": {"boot_kernel_args": "own=1"}})
    live.clock.now_s += 301
    live.services.registry.sweep()
    assert live.get("/api/nodes").json["counts"]["new"] == 1
    with live.services.registry.database.read() as connection:
        assert connection.execute(sa.select(config_values.c.key)).scalar() == "boot_kernel_args"


def test_registration_replaces_facts_and_keeps_the_difference(live: Live) -> None:
    live.register(NODE, {"hostname": "a1", "mk_hw_cpu_count": "4", "new": {"a": [1, None, True]}})
    shown = _show(live)
    assert shown["facts"] == {"hostname": "a1", "mk_hw_cpu_count": "4", "new": {"a": [1, None, True]}}
    change = next(event for event in shown["history"] if event["kind"] == "facts_changed")
    assert change["detail"] == {
        "changed": {"mk_hw_cpu_count": ["2", "4"]},
        "added": {"new": '{"a": [1, null, true]}'},
        "removed": {"mk_hw_mem_size": "8GiB"},
        "more": 0,
    }
    live.register(NODE, {"hostname": "a1", "mk_hw_cpu_count": "4", "new": {"a": [1, None, True]}})
    assert sum(event["kind"] == "facts_changed" for event in _show(live)["history"]) == 1


def test_repeated_events_are_counted(live: Live) -> None:
    for _ in range(5):
        live.command(NODE, first=True)
    newest = _show(live)["history"][0]
    assert (newest["text"], newest["times"]) == ("told to register: first checkin after its boot", 5)


def test_history_is_bounded(tmp_path: Path) -> None:
    with Live(tmp_path, limits=Limits(history=10)) as live:
        for number in range(30):
            live.register(NODE, {"n": str(number)})
        assert len(_show(live)["history"]) == 10


def test_names_of_a_node(live: Live) -> None:
    node = _show(live)["id"]
    live.register("", {"hostname": "twin"}, mac_id="525400AA0001_525400AA0002")
    live.register("X-2", {"hostname": "twin"})
    for name in (node, NODE.lower(), "a1", "A1"):
        assert _show(live, name)["id"] == node
    assert _show(live, "52:54:00:aa:00:02")["hw_ids"] == ["525400AA0001", "525400AA0002"]
    ambiguous = live.get("/api/nodes/twin")
    assert (ambiguous.status, ambiguous.json["error"]) == (404, "twin: 2 nodes are called so; use an id")


def test_search_and_states(live: Live) -> None:
    live.register("X-2", {"hostname": "other", "serialnumber": "SER_100%"})
    found = live.get("/api/nodes?q=ser_100%25").json
    assert [node["inventory"]["hostname"] for node in found["nodes"]] == ["other"]
    assert live.get("/api/nodes?q=serx100").json["nodes"] == [], "_ and % are no wildcards"
    assert live.get("/api/nodes?state=expired").json["matching"] == 0
    assert live.get("/api/nodes?state=odd").status == 400
    assert len(live.get("/api/nodes?limit=1&start=1").json["nodes"]) == 1
    assert live.get("/api/nodes?limit=x").status == 400


def test_forget(live: Live) -> None:
    live.send("PATCH", "/api/config", {"node": NODE, "set": {"mk_checkin_interval": 10}})
    assert live.ask("DELETE", f"/api/nodes/{NODE}").status == 200
    assert live.get(f"/api/nodes/{NODE}").status == 404
    assert live.command(NODE) == "register"
    live.register(NODE, {"hostname": "a1"})
    assert live.checkin(NODE).json["client_config"]["mk_checkin_interval"] == 60


def test_settings_go_with_the_machine_that_they_were_for(live: Live) -> None:
    """Whether it has registered or not: when a person has it forgotten."""
    live.checkin("N2", first=True)
    for node in (NODE, "N2"):
        assert live.send("PATCH", "/api/config", {"node": node, "set": {"mk_checkin_interval": 10}}).status == 200
    for node in (NODE, "N2"):
        assert live.ask("DELETE", f"/api/nodes/{node}").status == 200
    with live.services.registry.database.read() as connection:
        assert connection.execute(sa.select(config_values)).first() is None


def test_everything_survives_a_restart(live: Live) -> None:
    _order(live, NODE, "reboot")
    before = _show(live)
    with Live(live.data, clock=live.clock) as again:
        after = _show(again)
        assert {**after, "now_ms": 0} == {**before, "now_ms": 0}
        assert again.command(NODE) == "reboot"


def _at_once(count: int, work: Any) -> list[Any]:
    results: list[Any] = [None] * count
    start = threading.Barrier(count)

    def one(number: int) -> None:
        start.wait()
        results[number] = work(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


def test_200_checkins_in_parallel_lose_nothing_and_an_order_is_given_once(live: Live) -> None:
    before = _show(live)["checkins"]
    _order(live, NODE, "reboot")
    told = Counter(_at_once(200, lambda _: live.command(NODE)))
    assert told == {"reboot": 1, "acknowledge": 199}
    assert _show(live)["checkins"] == before + 200


def test_100_nodes_that_register_at_once_are_100_nodes(live: Live) -> None:
    statuses = _at_once(100, lambda number: live.register(f"NODE-{number % 50}", {"n": str(number)}).status)
    assert set(statuses) == {201}
    assert live.get("/api/nodes").json["counts"]["active"] == 51
    assert sum(node["registrations"] for node in live.get("/api/nodes").json["nodes"]) == 101

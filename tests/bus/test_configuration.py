"""A pushed configuration as mkctl meets it: handing it to mkweb, probation, fallbacks; broken files of every kind."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mkcore.jsonfields import digest
from tests.bus.harness import Node, wait_until
from tests.bus.server import Server, answer
from tests.fakes import Play, Recorded, Reset, WireServer, json_answer, parse_request

SAVED = b"New configuration saved, Microkernel Controller restarted"
STORED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 57\r\n\r\n" + SAVED
RAZOR_PATTERN = (
    "(^facter.*$)|(^id$)|(^kernel.*$)|(^memoryfree$)|(^operating.*$)|(^osfamily$)|(^path$)|(^ps$)|(^ruby.*$)|"
    "(^selinux$)|(^ssh.*$)|(^swap.*$)|(^timezone$)|(^uniqueid$)|(^uptime.*$)|(.*json_str$)"
)
HANLON_PATTERN = RAZOR_PATTERN.replace("(^memoryfree$)", "(^memoryfree$)|(^memoryfree_mb$)").replace(
    "(^uptime.*$)", "(^.*uptime.*$)"
)


class Mkweb:
    """The port of mkweb, which answers `play`."""

    def __init__(self) -> None:
        self.play: Play = STORED
        self.wire = WireServer(lambda _request: self.play)

    def requests(self) -> list[Recorded]:
        return [parse_request(raw) for raw in list(self.wire.requests)]


@pytest.fixture
def mkweb(node: Node) -> Iterator[Mkweb]:
    """A mkweb that stores what it gets."""
    mkweb = Mkweb()
    with mkweb.wire as wire:
        node.mkweb_uri = wire.uri
        yield mkweb


def put_apply(node: Node, phase: str, pushed: dict[str, Any], age_s: float = 0.0) -> None:
    """Files as mkweb leaves them: config.json in use and an apply of it."""
    node.write("run/mkweb/config.json", json.dumps(pushed))
    usec = int((time.clock_gettime(time.CLOCK_BOOTTIME) - age_s) * 1e6)
    apply = {"version": 1, "digest": digest(pushed), "previous": digest({}), "phase": phase, "verdict": ""}
    node.write("run/mkweb/apply.json", json.dumps({**apply, "boottime_usec": usec, "refused_digests": []}))


def test_a_different_configuration_is_posted_after_the_state_was_saved(
    node: Node, server: Server, mkweb: Mkweb
) -> None:
    server.commands = ["register"]
    server.config = {"mk_checkin_interval": 30, "mk_future_key": "kept"}
    with node.daemon() as daemon:
        wait_until(mkweb.requests, "the post")
        # The first-checkin flag is stored and the registration done before anything can end this process.
        assert node.read("run/mkctl/state.json")["first_checkin"] is False
        node.wait_status(state="applying")
        status, took_s = daemon.stop()
    assert status == 0
    assert took_s < 8.0  # it has posted and does no more; for mkweb's restart it would wait ten seconds
    (post,) = mkweb.requests()
    assert (post.method, post.target) == ("POST", "/setMkConfig")
    assert post.header("host") == mkweb.wire.uri.removeprefix("http://")
    assert json.loads(post.body) == server.config
    assert len(server.registrations()) == 1


@pytest.mark.parametrize("dialect", ["razor", "hanlon"])
def test_a_stock_server_s_push_changes_nothing(node: Node, server: Server, mkweb: Mkweb, dialect: str) -> None:
    """Razor's 13 keys and Hanlon's 4 against an unconfigured node: no post in ten checkins (B19, B20, B21)."""
    server.dialect = dialect
    node.write("etc/mk/mk.toml", f'[server]\nuri = "{server.uri}"\n')
    common = {"mk_checkin_interval": 60, "mk_checkin_skew": 5, "mk_log_level": "Logger::ERROR"}
    mirror = "http://localhost:2157/tinycorelinux"
    server.config = {**common, "mk_fact_excl_pattern": HANLON_PATTERN}
    if dialect == "razor":
        server.config = {
            **common,
            "mk_fact_excl_pattern": RAZOR_PATTERN,
            "mk_uri": "http://192.0.2.66:8026",
            "mk_register_path": "/razor/api/node/register",
            "mk_checkin_path": "/razor/api/node/checkin",
            "mk_tce_mirror_port": 2157,
            "mk_tce_mirror_uri": mirror,
            "mk_tce_install_list_uri": f"{mirror}/tce-install-list",
            "mk_kmod_install_list_uri": f"{mirror}/kmod-install-list",
            "mk_gem_mirror_uri": "http://localhost:2158/gem-mirror",
            "mk_gemlist_uri": "http://localhost:2158/gem-mirror/gems/gem.list",
        }
    with node.daemon():
        wait_until(node.on_bus, "the name")
        for _ in range(10):
            assert node.call("CheckIn").returncode == 0
    assert mkweb.requests() == []


def test_a_refused_push_is_posted_once(node: Node, server: Server, mkweb: Mkweb) -> None:
    mkweb.play = answer({"error": "mk_checkin_interval: 0 is not in 1..3600"}, "422 Unprocessable Entity")
    server.config = {"mk_checkin_interval": 0}
    with node.daemon() as daemon:
        daemon.wait_for("not taken: mk_checkin_interval: 0 is not in 1..3600")
        for _ in range(3):
            assert node.call("CheckIn").returncode == 0
        assert len(mkweb.requests()) == 1
        server.config = {"mk_checkin_interval": -1}
        assert node.call("CheckIn").returncode == 0
        wait_until(lambda: len(mkweb.requests()) == 2, "the changed push")


def test_names_of_keys_are_the_server_s_words(node: Node, server: Server, mkweb: Mkweb) -> None:
    """A key may hold anything: nothing of it reaches a terminal, and the status stays readable."""
    server.config = {"mk_\x1b[2J\u009b2J\n" + "x" * 500_000: 1}
    with node.daemon():
        status = node.wait_status(state="applying")
        assert len(status["sentence"]) < 300 and status["sentence"].isprintable()
        wait_until(mkweb.requests, "the post")


def test_without_mkweb_the_node_goes_on(node: Node, server: Server) -> None:
    server.config = {"mk_checkin_interval": 30}
    with node.daemon() as daemon:
        daemon.wait_for("pushed configuration not taken: mkweb: .*sent again after")
        assert node.call("CheckIn").returncode == 0
        node.wait_status(state="idle")


@pytest.mark.parametrize("phase", ["restarting", "probation"])
def test_the_first_good_checkin_confirms(node: Node, server: Server, mkweb: Mkweb, phase: str) -> None:
    mkweb.play = answer({"phase": "confirmed"})
    pushed = {"mk_checkin_interval": 3600, "mk_checkin_skew": 0}
    put_apply(node, phase, pushed)
    with node.daemon():
        (confirm,) = wait_until(mkweb.requests, "the verdict")
        node.wait_status(config_digest=digest(pushed), state="idle")
        assert node.property("ConfigDigest") == digest(pushed)
    assert (confirm.target, json.loads(confirm.body)) == ("/confirm", {"digest": digest(pushed)})


def test_a_late_probation_is_refused(node: Node, server: Server, mkweb: Mkweb) -> None:
    pushed = {"mk_checkin_skew": 0}
    put_apply(node, "probation", pushed, age_s=301.0)
    server.play = Reset()
    with node.daemon():
        (refuse,) = wait_until(mkweb.requests, "the verdict")
    body = json.loads(refuse.body)
    assert refuse.target == "/refuse" and body["digest"] == digest(pushed)
    assert "no good checkin within 300 s" in body["reason"]


def test_three_failed_checkins_refuse(node: Node, server: Server, mkweb: Mkweb) -> None:
    pushed = {"mk_checkin_skew": 0}
    put_apply(node, "probation", pushed)
    server.play = Reset()
    with node.daemon():
        wait_until(node.on_bus, "the name")
        while len(server.checkins()) < 3 and not mkweb.requests():
            node.call("CheckIn")
        (refuse,) = wait_until(mkweb.requests, "the verdict")
    assert json.loads(refuse.body)["reason"].startswith("3 checkins failed with it")


def test_a_broken_pushed_file_falls_back_to_the_one_before(node: Node, server: Server) -> None:
    node.write("run/mkweb/config.json", '{"mk_checkin_interval": 5')
    node.write("run/mkweb/config.prev.json", '{"mk_checkin_interval": 3600, "mk_future_key": 1}')
    server.config = None
    with node.daemon() as daemon:
        node.wait_status(state="idle")
        assert "config.json: not JSON" in node.property("ConfigError")
        assert node.property("ConfigDigest") == digest({"mk_checkin_interval": 3600, "mk_future_key": 1})
        assert len(daemon.said("the configuration pushed before it is in use; going on")) == 1


def test_two_broken_pushed_files_leave_the_site_s_configuration(node: Node, server: Server) -> None:
    node.write("run/mkweb/config.json", "[]")
    node.write("run/mkweb/config.prev.json", "\x00")
    server.config = None
    with node.daemon():
        node.wait_status(state="idle")
        assert "the site's configuration alone is in use" in node.property("ConfigError")
        assert node.property("ConfigDigest") == digest({})


def test_single_bad_values_cost_only_themselves(node: Node, server: Server) -> None:
    node.configure(server.uri, '[facts]\nexclude = "(("\nmax_age_s = "much"\n[nonsense]\nx = 1\n')
    node.write("run/mkweb/config.json", '{"mk_checkin_interval": "often", "mk_checkin_skew": 0}')
    node.write("etc/mk/mk.toml.d/90-broken.toml", "[server\nuri = 5\n")
    server.config = None
    with node.daemon():
        node.wait_status(state="idle")
        error = node.property("ConfigError")
        for part in ("facts.exclude", "facts.max_age_s", "nonsense", "mk_checkin_interval", "90-broken.toml"):
            assert part in error
    shown = json.loads(node.mkctl("config", "--json").stdout)
    assert shown["values"]["checkin.interval_s"] == 3600
    assert len(shown["problems"]) == 5


def test_a_source_that_cannot_be_used_is_told_once(node: Node, server: Server) -> None:
    node.write("proc/cmdline", "quiet mk.ip=192.0.2.300\n")
    with node.daemon() as daemon:
        wait_until(node.on_bus, "the name")
        for _ in range(3):
            assert node.call("CheckIn").returncode == 0
        assert len(daemon.said("192.0.2.300.*not used")) == 1


def test_no_server_named_anywhere(node: Node, server: Server) -> None:
    node.write("etc/mk/mk.toml", "[checkin]\nskew_s = 0\n")
    with node.daemon() as daemon:
        daemon.wait_for("no server known")
        node.wait_status(state="waiting-for-server")
        wait_until(lambda: "READY=1" in node.notified, "what the service notified")
        run = node.mkctl("checkin")
        assert run.returncode == 75 and run.stderr.count("\n") == 1, run.stderr
    with node.daemon():  # named now, by the kernel line
        pass
    port = server.uri.rpartition(":")[2]
    node.write("proc/cmdline", f"quiet hanlon.ip=127.0.0.1 hanlon.port={port}\n")
    with node.daemon():
        node.wait_status(state="idle", server_source="kernel line (hanlon.ip=)")
        assert server.requests()[0].target.endswith("first_checkin=true")  # no probe: the source said which dialect


@pytest.mark.parametrize(("prefix", "dialect"), [("hanlon", "hanlon"), ("razor", "razor"), ("mk", "razor")])
def test_a_name_with_port_and_base_path_on_the_kernel_line(
    node: Node, server: Server, prefix: str, dialect: str
) -> None:
    """A name is resolved, and every request goes below that path, the question for the dialect too. (Rows 10, 14.)"""
    server.dialect, server.base = dialect, "/site/v9"
    server.commands = ["register"]
    port = server.uri.rpartition(":")[2]
    words = f"{prefix}.server=localhost {prefix}.port={port} {prefix}.base_uri=/site/v9"
    node.write("etc/mk/mk.toml", "[checkin]\nskew_s = 0\n")
    node.write("proc/cmdline", f"quiet {words}\n")
    with node.daemon():
        wait_until(lambda: node.status().get("registered_digest"), "a registration")
        node.wait_status(server_source=f"kernel line ({prefix}.server=)")
    targets = [each.target for each in server.requests()]
    assert all(target.startswith("/site/v9/node/") for target in targets), targets
    assert "/site/v9/node/register" in targets


def test_a_cloud_config_on_the_kernel_line_beats_a_file(node: Node, server: Server) -> None:
    """It is asked for although a server is written down, and nobody else is talked to before it came. (P 1.6, 9.3)"""
    text = f"#cloud-config\nwrite_files:\n  - path: /mk_conf.yaml\n    content: |\n      mk_uri: {server.uri}\n"
    with WireServer(json_answer(text.encode())) as cloud, WireServer(json_answer(b"{}")) as other:
        source = f"rancher.cloud_init.datasources=['url:{cloud.uri}/cloud-config']"
        node.write("proc/cmdline", f"quiet {source}\n")
        node.configure(other.uri)
        server.commands = ["register"]
        with node.daemon():
            wait_until(lambda: node.status().get("registered_digest"), "a registration")
            node.wait_status(server_uri=server.uri, server_source="kernel line (cloud-config)")
        assert other.requests == [] and len(cloud.requests) == 1
    assert server.registered_facts()["mk_server_source"] == "kernel line (cloud-config)"

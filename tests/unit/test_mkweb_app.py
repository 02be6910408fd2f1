"""The requests, over a real socket: the originals' bytes in, the documented answers out, strangers refused."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Optional

import pytest
from werkzeug.test import Client

from mkcore import journal, wsgi
from mkcore.config import read_site
from mkcore.errors import BadInput
from mkcore.jsonfields import digest
from mkcore.paths import paths_under
from mkweb.app import LIMIT_BYTES, ConfigApp
from mkweb.apply import Phase
from mkweb.controller import Look
from mkweb.store import Store
from mkweb.worker import Worker

DATA = Path(__file__).resolve().parent.parent / "data" / "mkweb"
SLOW_PATTERN = "(slow|er)+$"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


class Idle:
    """A systemd that is never asked: the worker's thread does not run in these tests."""

    def restart(self) -> str:
        raise AssertionError("asked for a restart")

    def look(self) -> Look:
        raise AssertionError("asked for a look")

    def last_words(self, look: Look) -> str:
        raise AssertionError("asked for last words")


class Site(NamedTuple):
    root: Path
    worker: Worker
    port: int
    clock: list[int]

    def ask(
        self, method: str, path: str, body: Optional[bytes] = None, *, host: str = "localhost:2156", **headers: str
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers={"Host": host, **sent})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        content = response.read()
        connection.close()
        assert method == "HEAD" or int(found["content-length"]) == len(content)
        return Answer(response.status, found, content)

    def push(self, value: object) -> Answer:
        return self.ask("POST", "/setMkConfig", json.dumps(value).encode())

    def settle(self, how: str = "/confirm") -> None:
        """Bring the open apply to its end as if mkctl had restarted."""
        apply = self.worker.state()[2]
        assert apply is not None
        path = self.root / "run/mkweb/apply.json"
        stored = json.loads(path.read_text())
        stored["phase"], stored["rolled_back"] = ("confirmed", False) if how == "/confirm" else ("refused", True)
        stored["refused_digests"] = [] if how == "/confirm" else [apply.digest]
        path.write_text(json.dumps(stored))


def build(root: Path, clock: list[int]) -> tuple[ConfigApp, Worker]:
    paths = paths_under(str(root))

    def try_pattern(pattern: str) -> None:
        if pattern == SLOW_PATTERN:
            raise BadInput("the pattern takes more than 5 s over 300 fact names")

    store = Store(paths.run_mkweb, "boot")
    worker = Worker(store, Idle(), min_spacing_s=lambda: 60, rand=lambda: 1.0, now_usec=lambda: clock[0])
    return ConfigApp(worker, lambda: read_site(paths), try_pattern), worker


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "run/mkweb").mkdir(parents=True)
    level = journal.level_name()  # a push sets that of the process
    clock = [1000 * 10**6]
    app, worker = build(tmp_path, clock)
    listener, stop = wsgi.bind("127.0.0.1", 0), threading.Event()
    port = listener.getsockname()[1]
    thread = threading.Thread(target=lambda: wsgi.serve(app, [listener], limit_bytes=LIMIT_BYTES, stop=stop))
    thread.start()
    yield Site(tmp_path, worker, port, clock)
    stop.set()
    with suppress(OSError):  # wakes the loop, if it has not ended yet
        socket.create_connection(("127.0.0.1", port)).close()
    thread.join(20)
    assert not thread.is_alive()
    journal.set_level(level)


def again(site: Site) -> Client:
    """The same files under a new process of mkweb."""
    app = build(site.root, site.clock)[0]
    return Client(lambda environ, start_response: app({"REMOTE_ADDR": "127.0.0.1", **environ}, start_response))


def exchange_raw(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("name", ["razor-set-config.http", "hanlon-set-config.http"])
def test_the_originals_requests_get_the_answer_they_were_meant_to_get(site: Site, name: str) -> None:
    head, body = exchange_raw(site.port, (DATA / name).read_bytes()).split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nContent-Type: text/plain\r\n" in head + b"\r\n"
    assert b"\r\nContent-Length: 57\r\n" in head + b"\r\n"
    assert body == b"New configuration saved, Microkernel Controller restarted"
    apply = site.worker.state()[2]
    assert apply is not None
    assert apply.phase is Phase.STORED
    assert json.loads((site.root / "run/mkweb/config.json").read_text()) == site.worker.state()[0] == apply.config


def test_unchanged_is_answered_with_the_length_of_the_answer(site: Site) -> None:
    site.push({"mk_checkin_interval": 30})
    site.settle()
    answer = again(site).post("/setMkConfig", data=b'{"mk_checkin_interval":"30","mk_uri":"http://192.0.2.1"}')
    assert answer.status_code == 200
    assert answer.json == {
        "json_received": {"mk_checkin_interval": "30", "mk_uri": "http://192.0.2.1"},
        "message": "Configuration unchanged; no update",
    }
    assert answer.headers["Content-Type"] == "application/json"
    assert int(answer.headers["Content-Length"]) == len(answer.data)


def test_any_path_below_takes_a_configuration_too(site: Site) -> None:
    assert site.ask("POST", "/setMkConfig/x/y", b'{"mk_checkin_interval":30}').status == 200
    assert site.ask("POST", "/setMkConfigs", b"{}").status == 404


def test_undecodable_is_400_invalid_is_422_and_nothing_changes(site: Site) -> None:
    for body, status, word in (
        (b"garbage", 400, "JSON"),
        (b"", 400, "empty"),
        (b"[]", 400, "object"),
        (b"\xff", 400, "UTF-8"),
        (b'{"mk_checkin_interval":0}', 422, "mk_checkin_interval"),
        (b'{"mk_checkin_interval":30,"mk_log_level":"LOUD"}', 422, "mk_log_level"),
        (b'{"a":1}', 422, "a"),
        (json.dumps({"mk_fact_excl_pattern": SLOW_PATTERN}).encode(), 422, "takes more than"),
    ):
        answer = site.ask("POST", "/setMkConfig", body)
        assert answer.status == status
        assert word in answer.json["error"]
        assert answer.body.count(b"\n") == 1
    assert site.worker.state() == ({}, {}, None)
    assert not list((site.root / "run/mkweb").iterdir())


def test_one_at_a_time_then_not_too_often_then_not_again(site: Site) -> None:
    assert site.push({"mk_checkin_interval": 30}).status == 200
    assert site.push({"mk_checkin_interval": 31}).status == 409
    assert site.push({"mk_checkin_interval": 30}).status == 409
    assert site.push({"mk_checkin_interval": 0}).status == 422  # what is invalid is said at any time
    site.settle("/refuse")
    early = again(site).post("/setMkConfig", data=b'{"mk_checkin_interval":31}')
    assert early.status_code == 429
    assert 1 <= int(early.headers["Retry-After"]) <= 61
    site.clock[0] += 7200 * 10**6
    before = again(site).post("/setMkConfig", data=b'{"mk_checkin_interval":30}')
    assert before.status_code == 422
    assert "rolled back before" in before.json["error"]
    assert again(site).post("/setMkConfig", data=b'{"mk_checkin_interval":31}').status_code == 200


def test_confirm_and_refuse(site: Site) -> None:
    site.push({"mk_checkin_interval": 30})
    wanted = digest({"mk_checkin_interval": 30})
    assert site.ask("POST", "/confirm", b'{"digest":"44136f"}').status == 409
    assert site.ask("POST", "/confirm", b"{}").status == 400
    assert site.ask("POST", "/refuse", b'{"digest":1}').status == 400
    answer = site.ask("POST", "/refuse", json.dumps({"digest": wanted, "reason": "no\nroute " + "x" * 999}).encode())
    assert (answer.status, answer.json) == (200, {"digest": wanted, "phase": "stored"})
    apply = site.worker.state()[2]
    assert apply is not None
    assert apply.reason.startswith("no route x")
    assert len(apply.reason) == 500


def test_config_shows_all(site: Site) -> None:
    assert site.ask("GET", "/config").json == {
        "config": {},
        "digest": digest({}),
        "previous_digest": digest({}),
        "apply": {},
        "protected": [],
    }
    sent = {"mk_checkin_interval": 30, "mk_uri": "http://192.0.2.1:8026"}
    site.push(sent)
    shown = site.ask("GET", "/config").json
    assert (shown["config"], shown["digest"], shown["protected"]) == (sent, digest(sent), ["mk_uri"])
    assert shown["apply"]["phase"] == "stored"
    assert shown["apply"]["digest"] == digest(sent)


def test_health_and_head(site: Site) -> None:
    assert site.ask("GET", "/health").json["status"] == "ok"
    head = site.ask("HEAD", "/health")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) > 0


def test_restart_once_a_minute(site: Site) -> None:
    assert site.ask("POST", "/restart").status == 200
    second = site.ask("POST", "/restart")
    assert second.status == 429
    assert int(second.headers["retry-after"]) <= 61
    assert site.worker.busy()


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/setMkConfig", 405, "POST, OPTIONS"),
        ("PUT", "/setMkConfig", 405, "POST, OPTIONS"),
        ("POST", "/config", 405, "GET, HEAD, OPTIONS"),
        ("DELETE", "/health", 405, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/setMkConfig", 200, "POST, OPTIONS"),
        ("GET", "/", 404, ""),
        ("GET", "/config/", 404, ""),
        ("GET", "/%00%0a<b>", 404, ""),
        ("POST", "/confirm/x", 404, ""),
    ],
)
def test_methods_and_paths(site: Site, method: str, path: str, status: int, allow: str) -> None:
    answer = site.ask(method, path)
    assert (answer.status, answer.headers.get("allow", "")) == (status, allow)
    if status != 200:
        assert "\n" not in answer.json["error"]


@pytest.mark.parametrize("host", ["localhost", "localhost:2156", "LOCALHOST:80", "127.0.0.1:2156", "[::1]:2156"])
def test_own_hosts(site: Site, host: str) -> None:
    assert site.ask("GET", "/health", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:2156", "localhost.evil", "127.0.0.1.evil", "", "localhost:x"]
)
def test_foreign_hosts(site: Site, host: str) -> None:
    assert site.ask("POST", "/setMkConfig", b'{"mk_checkin_interval":30}', host=host).status == 421
    assert site.worker.state()[2] is None


def test_a_page_of_another_site_cannot_push(site: Site) -> None:
    for origin in ("http://evil.example", "null", "http://localhost.evil"):
        answer = site.ask(
            "POST", "/setMkConfig", b'{"mk_checkin_interval":30}', Origin=origin, Content_Type="text/plain"
        )
        assert answer.status == 403
    assert site.worker.state()[2] is None
    assert site.ask("GET", "/health", Origin="http://localhost:2156").status == 200


@pytest.mark.parametrize(
    ("peer", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.0.2.1", 403), ("fe80::1", 403), ("", 403)]
)
def test_only_loopback_peers(site: Site, peer: str, status: int) -> None:
    answer = again(site).get("/health", environ_overrides={"REMOTE_ADDR": peer}, base_url="http://localhost:2156")
    assert answer.status_code == status


def test_a_large_body_is_413(site: Site) -> None:
    body = b'{"mk_x":"' + b"x" * LIMIT_BYTES + b'"}'
    assert again(site).post("/setMkConfig", data=body).status_code == 413
    head = b"POST /setMkConfig HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (10 << 20)
    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as connection:
        connection.sendall(head)
        assert b" 413 " in connection.recv(65536)
    assert site.ask("GET", "/health").status == 200


def test_a_coded_body_is_415(site: Site) -> None:
    assert site.ask("POST", "/setMkConfig", b"x", Content_Encoding="gzip").status == 415


def test_a_chunked_body_is_read(site: Site) -> None:
    body = b'{"mk_checkin_interval":30}'
    request = (
        b"POST /setMkConfig HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    request += b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert exchange_raw(site.port, request).startswith(b"HTTP/1.1 200 ")


def test_a_full_disk_is_503_and_changes_nothing(site: Site) -> None:
    (site.root / "run/mkweb").rename(site.root / "run/gone")
    answer = site.push({"mk_checkin_interval": 30})
    assert answer.status == 503
    assert "nothing changed" in answer.json["error"]
    assert site.worker.state() == ({}, {}, None)


def test_the_answer_is_out_before_the_restart_may_begin(site: Site) -> None:
    site.push({"mk_checkin_interval": 30})
    give_up = time.monotonic() + 20
    while (wait_s := site.worker.turn()) > 0 and time.monotonic() < give_up:
        time.sleep(0.01)  # the client may have read the answer before the server's thread says that it left
    assert wait_s == 0.0  # it was told that the answer left, and entered the next phase
    apply = site.worker.state()[2]
    assert apply is not None
    assert apply.phase is Phase.RESTARTING

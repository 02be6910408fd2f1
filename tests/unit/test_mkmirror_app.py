"""The mirror over real sockets: lists, files, conditions, ranges; nothing else reachable (rows 34, 35; B31)."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from werkzeug.test import Client

from mkcore import wsgi
from mkmirror.app import EXTENSIONS, PACKAGES, MirrorApp, file_of
from mkmirror.partial import Range, choose_range

CONTENT = bytes(range(256)) * 16
SIZE = len(CONTENT)
FILE = "/tinycorelinux/4.x/x86/tcz/a.tcz"
LIST = "/tinycorelinux/tce-install-list"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Site(NamedTuple):
    root: Path
    ports: dict[str, int]

    def ask(self, path: str, kind: str = EXTENSIONS, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[kind], timeout=20)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        body = response.read()
        connection.close()
        if method != "HEAD" and response.status != 304:
            assert int(found["content-length"]) == len(body)
        return Answer(response.status, found, body)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    tcz = tmp_path / "image/tinycorelinux/4.x/x86/tcz"
    gems = tmp_path / "image/gem-mirror/gems"
    tcz.mkdir(parents=True)
    gems.mkdir(parents=True)
    (tcz / "a.tcz").write_bytes(CONTENT)
    (tcz / "a.tcz.md5.txt").write_text("0" * 32 + "  a.tcz\n")
    (tcz / "empty.tcz").write_bytes(b"")
    (gems / "gem.list").write_text("facter\n")
    (tmp_path / "image/secret").write_text("secret")
    for path in (tcz / "a.tcz", gems / "gem.list"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    sockets = {kind: wsgi.bind("127.0.0.1", 0) for kind in (EXTENSIONS, PACKAGES)}
    ports = {kind: each.getsockname()[1] for kind, each in sockets.items()}
    app = MirrorApp((tmp_path / "admin", tmp_path / "image"), {str(port): kind for kind, port in ports.items()})
    stop = threading.Event()
    thread = threading.Thread(target=lambda: wsgi.serve(app, list(sockets.values()), stop=stop, threads=0))
    thread.start()
    yield Site(tmp_path, ports)
    stop.set()
    with suppress(OSError):  # wakes the loop, if it has not ended yet
        socket.create_connection(("127.0.0.1", ports[EXTENSIONS])).close()
    thread.join(20)
    assert not thread.is_alive()


def test_a_file_and_its_headers(site: Site) -> None:
    answer = site.ask(FILE)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert answer.headers["etag"].startswith('"')
    assert site.ask(FILE + ".md5.txt").headers["content-type"] == "text/plain; charset=utf-8"


def test_head_has_the_headers_of_get(site: Site) -> None:
    head, get = site.ask(FILE, method="HEAD"), site.ask(FILE)
    assert (head.status, head.body) == (200, b"")
    for name in ("content-length", "etag", "last-modified", "content-type", "accept-ranges"):
        assert head.headers[name] == get.headers[name]


def test_conditions(site: Site) -> None:
    etag = site.ask(FILE).headers["etag"]
    modified = "Tue, 14 Nov 2023 22:13:20 GMT"
    for headers, status in (
        ({"If_None_Match": etag}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": f'"other", {etag}'}, 304),
        ({"If_None_Match": '"other"'}, 200),
        ({"If_None_Match": '"other"', "If_Modified_Since": modified}, 200),
        ({"If_Modified_Since": modified}, 304),
        ({"If_Modified_Since": "Tue, 14 Nov 2023 22:13:19 GMT"}, 200),
        ({"If_Modified_Since": "yesterday"}, 200),
        ({"If_Match": '"other"'}, 412),
        ({"If_Match": etag}, 200),
        ({"If_None_Match": etag, "Range": "bytes=0-9"}, 304),
    ):
        answer = site.ask(FILE, **headers)
        assert answer.status == status, headers
        assert answer.body == (CONTENT if status == 200 else b"")
        if status == 304:
            assert answer.headers["etag"] == etag


RANGES = [
    ("bytes=0-9", Range(0, 10)),
    ("bytes=0-0", Range(0, 1)),
    ("bytes=90-", Range(90, 100)),
    ("bytes=90-1000", Range(90, 100)),
    ("bytes=-10", Range(90, 100)),
    ("bytes=-1000", Range(0, 100)),
    ("BYTES= 5-5 ", Range(5, 6)),
    ("bytes=100-", Range(0, 0)),
    ("bytes=100-200", Range(0, 0)),
    ("bytes=-0", Range(0, 0)),
    ("", Range(0, 100, whole=True)),
    ("bytes=", Range(0, 100, whole=True)),
    ("bytes=-", Range(0, 100, whole=True)),
    ("bytes=9-5", Range(0, 100, whole=True)),
    ("bytes=0-1,5-6", Range(0, 100, whole=True)),
    ("bytes=a-b", Range(0, 100, whole=True)),
    ("items=0-9", Range(0, 100, whole=True)),
    ("bytes=0-" + "9" * 40, Range(0, 100, whole=True)),
]


@pytest.mark.parametrize(("header", "wanted"), RANGES)
def test_choose_range(header: str, wanted: Range) -> None:
    assert choose_range(header, 100) == wanted


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=4000-", 4000, SIZE), ("bytes=-1", SIZE - 1, SIZE), ("bytes=100-99999", 100, SIZE)],
)
def test_a_part(site: Site, header: str, start: int, stop: int) -> None:
    answer = site.ask(FILE, Range=header)
    assert (answer.status, answer.body) == (206, CONTENT[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"


def test_parts_that_cannot_be_or_are_not_understood(site: Site) -> None:
    beyond = site.ask(FILE, Range=f"bytes={SIZE}-")
    assert (beyond.status, beyond.headers["content-range"], beyond.body) == (416, f"bytes */{SIZE}", b"")
    assert site.ask(FILE, Range="bytes=0-1,3-4").status == 200
    assert site.ask(FILE, method="HEAD", Range="bytes=0-1").status == 200  # a range is for GET alone
    empty = site.ask(FILE.replace("a.tcz", "empty.tcz"))
    assert (empty.status, empty.body) == (200, b"")
    assert site.ask(FILE.replace("a.tcz", "empty.tcz"), Range="bytes=0-").status == 416


def test_if_range(site: Site) -> None:
    answer = site.ask(FILE)
    for condition, status in (
        (answer.headers["etag"], 206),
        (answer.headers["last-modified"], 206),
        ('"other"', 200),
        ("Tue, 14 Nov 2023 22:13:19 GMT", 200),
    ):
        assert site.ask(FILE, Range="bytes=0-9", If_Range=condition).status == status, condition


def test_lists(site: Site) -> None:
    assert (site.ask(LIST).status, site.ask(LIST).body) == (200, b"[]")
    path = site.root / "image/tinycorelinux/tce-install-list.yaml"
    path.write_text("---\n- open_vm_tools.tcz\n")
    answer = site.ask(LIST)
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body) == ["open_vm_tools.tcz"]
    assert site.ask(LIST, If_None_Match=answer.headers["etag"]).status == 304
    path.write_text("- other.tcz\n")  # read anew at each request
    assert json.loads(site.ask(LIST, If_None_Match=answer.headers["etag"]).body) == ["other.tcz"]
    assert site.ask("/tinycorelinux/kmod-install-list").body == b"[]"


def test_an_unreadable_list_is_500_and_one_event(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    (site.root / "image/tinycorelinux/kmod-install-list.yaml").write_text("- a\nb: c\n")
    answer = site.ask("/tinycorelinux/kmod-install-list")
    assert answer.status == 500
    assert b"kmod-install-list.yaml:2" in answer.body
    assert answer.body.count(b"\n") == 1
    told = [getattr(record, "journal_fields", {}) for record in caplog.records if record.name == "mkmirror.app"]
    found = [(fields["MK_EVENT"], fields["MK_LIST"]) for fields in told if fields]
    assert found == [("LIST_UNREADABLE", "kmod-install-list")]


def test_packages_and_their_alias(site: Site) -> None:
    for path in ("/gem-mirror/gems/gem.list", "/packages/gems/gem.list"):
        answer = site.ask(path, PACKAGES)
        assert (answer.status, answer.body) == (200, b"facter\n")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", EXTENSIONS),
        ("/", PACKAGES),
        ("/secret", EXTENSIONS),
        ("/gem-mirror/gems/gem.list", EXTENSIONS),
        (FILE, PACKAGES),
        (LIST, PACKAGES),
        (LIST + ".yaml", EXTENSIONS),
        (LIST + "/", EXTENSIONS),
        ("/tinycorelinux/", EXTENSIONS),
        ("/tinycorelinux/4.x/x86/tcz/", EXTENSIONS),
        ("/tinycorelinux/4.x/x86/tcz", EXTENSIONS),
        ("/tinycorelinux/4.x/x86/other/a.tcz", EXTENSIONS),
        ("/tinycorelinux/4.x/x86/tcz/none.tcz", EXTENSIONS),
        ("/tinycorelinux/4.x/x86/tcz/../tcz/a.tcz", EXTENSIONS),
        ("/tinycorelinux/4.x/x86/tcz/..%2ftcz%2fa.tcz", EXTENSIONS),
        ("/tinycorelinux/../../x86/tcz/a.tcz", EXTENSIONS),
        ("/tinycorelinux/%2e%2e/x86/tcz/a.tcz", EXTENSIONS),
        ("/gem-mirror/../secret", PACKAGES),
        ("/gem-mirror/%2e%2e/secret", PACKAGES),
        ("/gem-mirror/..%2fsecret", PACKAGES),
        ("/gem-mirror//etc/passwd", PACKAGES),
        ("/gem-mirror/%2fetc/passwd", PACKAGES),
        ("/gem-mirror/gems/gem.list%00.txt", PACKAGES),
        ("/gem-mirror/gems/%ff", PACKAGES),
        ("/gem-mirror/gems", PACKAGES),
        ("/gem-mirror/" + "x" * 5000, PACKAGES),
        ("/gem-mirror/" + "x/" * 1000, PACKAGES),
        ("/gem-mirror", PACKAGES),
        ("/" + quote("ключ"), PACKAGES),
    ],
)
def test_nothing_else_is_reachable(site: Site, path: str, kind: str) -> None:
    answer = site.ask(path, kind)
    assert answer.status == 404
    assert b"secret" not in answer.body
    assert answer.body.count(b"\n") == 1


def test_file_of_knows_no_other_kind_of_socket() -> None:
    assert file_of("", ("gem-mirror", "x")) is None
    assert file_of(PACKAGES, ("packages", "a", "b")) == ("gem-mirror", "a", "b")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_it_is_read_only(site: Site, method: str) -> None:
    answer = site.ask(FILE, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_only_loopback_peers(site: Site) -> None:
    app = MirrorApp((site.root / "image",), {"2157": EXTENSIONS})
    for peer, status in (("127.0.0.1", 200), ("::1", 200), ("192.0.2.1", 403), ("", 403)):
        answer = Client(app).get(FILE, environ_overrides={"REMOTE_ADDR": peer}, base_url="http://localhost:2157")
        assert answer.status_code == status


@pytest.fixture
def nobodys_tree() -> Iterator[Path]:
    """A tree with files that this process may not read: it becomes nobody for the test where it is root."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        (top / "gem-mirror/closed").mkdir(parents=True)
        (top / "tinycorelinux").mkdir()
        for path in (top / "gem-mirror/file", top / "gem-mirror/closed/file", top / "tinycorelinux/tce-install-list"):
            path.write_text("secret")
            path.chmod(0)
        (top / "gem-mirror/closed").chmod(0)
        top.chmod(0o755)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        yield top
        if root:
            os.seteuid(0)
        (top / "gem-mirror/closed").chmod(0o700)


def test_what_may_not_be_read_is_said_and_told(nobodys_tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = Client(MirrorApp((nobodys_tree,), {"2157": EXTENSIONS, "2158": PACKAGES}))
    for path, port, status in (
        ("/gem-mirror/file", 2158, 403),
        ("/gem-mirror/closed/file", 2158, 403),
        (LIST, 2157, 500),
    ):
        caplog.clear()
        url = f"http://localhost:{port}"
        answer = client.get(path, environ_overrides={"REMOTE_ADDR": "127.0.0.1"}, base_url=url)
        assert answer.status_code == status
        assert b"secret" not in answer.data
        assert len(caplog.records) == 1


def test_slow_readers_hold_up_nobody(site: Site) -> None:
    large = site.root / "image/tinycorelinux/4.x/x86/tcz/large.tcz"
    with large.open("wb") as stream:
        stream.truncate(64 << 20)
    slow = [socket.create_connection(("127.0.0.1", site.ports[EXTENSIONS]), timeout=20) for _ in range(12)]
    for number, each in enumerate(slow):
        ranged = b"Range: bytes=1-\r\n" if number % 2 else b""
        each.sendall(b"GET /tinycorelinux/4.x/x86/tcz/large.tcz HTTP/1.1\r\nHost: localhost\r\n" + ranged + b"\r\n")
        assert each.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 206")
    began = time.monotonic()
    assert site.ask(FILE).status == 200  # more slow readers than threads
    assert time.monotonic() - began < 5
    for each in slow:
        each.close()


def test_large_files_come_whole_to_several_at_once(site: Site) -> None:
    content = os.urandom(1 << 20) * 9 + b"end"
    (site.root / "image/tinycorelinux/4.x/x86/tcz/large.tcz").write_bytes(content)
    wanted = [(0, len(content)), (1, len(content)), (5_000_001, 7_000_002), (len(content) - 3, len(content))] * 2
    with ThreadPoolExecutor(len(wanted)) as pool:
        parts = [{"Range": f"bytes={start}-{stop - 1}"} for start, stop in wanted]
        answers = pool.map(lambda headers: site.ask(FILE.replace("a.tcz", "large.tcz"), **headers), parts)
    for (start, stop), answer in zip(wanted, answers):
        assert (answer.status, answer.body == content[start:stop]) == (206, True)


def test_a_file_that_becomes_shorter_while_it_is_sent_ends_the_connection(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    large = site.root / "image/tinycorelinux/4.x/x86/tcz/large.tcz"
    with large.open("wb") as stream:
        stream.truncate(64 << 20)
    with socket.create_connection(("127.0.0.1", site.ports[EXTENSIONS]), timeout=20) as connection:
        connection.sendall(b"GET /tinycorelinux/4.x/x86/tcz/large.tcz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        came = len(connection.recv(1000))
        os.truncate(large, 100)
        while True:
            data = connection.recv(1 << 20)
            if not data:
                break
            came += len(data)
    assert came < 64 << 20
    assert "became shorter" in caplog.text
    assert site.ask(FILE).status == 200

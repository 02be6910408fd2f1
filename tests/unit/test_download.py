"""mkcore.download: files over real sockets, whole or continued, and every way in which a server can be bad."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Optional

import pytest

from mkcore.download import Downloaded, discard, download, note_path
from mkcore.errors import BadAnswer, MkError, ServerRefused, Unreachable
from tests.fakes import Drip, Endless, Hang, Play, Recorded, Reset, WireServer, in_turn, parse_request

REPO = Path(__file__).resolve().parent.parent.parent
DATA = bytes(range(256)) * 2000
LIMIT = 1_000_000
TAG = '"v1"'


def answer(body: bytes, *headers: str, status: str = "200 OK", length: Optional[int] = None) -> bytes:
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


def rest(request: Recorded, data: bytes = DATA, tag: str = TAG) -> bytes:
    """Answer as a good server does: the rest where it was asked for and the version is this one."""
    wanted = re.fullmatch(r"bytes=(\d+)-", request.header("range") or "")
    if wanted is None or request.header("if-range") != tag:
        return answer(data, f"ETag: {tag}")
    start = int(wanted[1])
    place = f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}"
    return answer(data[start:], f"ETag: {tag}", place, status="206 Partial Content")


def good(raw: bytes) -> Play:
    return rest(parse_request(raw))


def get(server: WireServer, partial: Path, size_bytes: Optional[int] = None) -> Downloaded:
    return download(f"{server.uri}/a.tcz", partial, limit_bytes=LIMIT, size_bytes=size_bytes, silence_s=5)


def test_a_file_comes_whole(tmp_path: Path) -> None:
    seen: list[tuple[int, Optional[int]]] = []
    partial = tmp_path / "a.part"
    with WireServer(good) as server:
        done = download(
            f"{server.uri}/a.tcz", partial, limit_bytes=LIMIT, size_bytes=len(DATA), moved=lambda *at: seen.append(at)
        )
        (raw,) = server.wait_for(1)
    assert done == Downloaded(len(DATA), 0)
    assert partial.read_bytes() == DATA
    assert parse_request(raw).header("range") is None
    assert parse_request(raw).header("accept-encoding") is None
    assert seen[-1] == (len(DATA), len(DATA))
    assert [at for at, _ in seen] == sorted(at for at, _ in seen)
    discard(partial)
    assert list(tmp_path.iterdir()) == []


CUT = answer(DATA[:100_000], f"ETag: {TAG}", length=len(DATA))


@pytest.mark.parametrize(
    "first", [CUT, Reset(CUT), Hang(CUT)], ids=["closed", "reset", "silent"]
)
def test_a_download_that_ended_early_goes_on(tmp_path: Path, first: Play) -> None:
    partial = tmp_path / "a.part"
    plays = iter([first])
    with WireServer(lambda raw: next(plays, None) or good(raw)) as server:
        with pytest.raises((Unreachable, BadAnswer)):
            download(f"{server.uri}/a.tcz", partial, limit_bytes=LIMIT, silence_s=0.5)
        there = partial.stat().st_size
        assert partial.read_bytes() == DATA[:there]
        done = get(server, partial)
        request = parse_request(server.wait_for(2)[1])
    if there:  # a reset may destroy what had come
        assert (request.header("range"), request.header("if-range")) == (f"bytes={there}-", TAG)
    assert done == Downloaded(len(DATA), there)
    assert partial.read_bytes() == DATA


def begin(server: WireServer, partial: Path, there: int = 1000, validator: str = TAG) -> None:
    """Have what an earlier attempt left."""
    partial.write_bytes(DATA[:there])
    uri = f"{server.uri}/a.tcz"
    note_path(partial).write_text(json.dumps({"uri": uri, "validator": validator, "size_bytes": len(DATA)}))


ANEW: dict[str, Callable[[Recorded], bytes]] = {
    "changed": lambda request: rest(request, tag='"v2"'),
    "no ranges": lambda _: answer(DATA),
    "416": lambda request: answer(b"", status="416 No") if request.header("range") else answer(DATA),
    "other part": lambda request: (
        answer(DATA[:9], "Content-Range: bytes 0-8/512000", status="206 P") if request.header("range") else answer(DATA)
    ),
    "wrong length": lambda request: (
        answer(DATA[1000:1010], "Content-Range: bytes 1000-1020/512000", status="206 P")
        if request.header("range")
        else answer(DATA)
    ),
}


@pytest.mark.parametrize("kind", ANEW)
def test_what_cannot_go_on_comes_anew(tmp_path: Path, kind: str) -> None:
    partial = tmp_path / "a.part"
    with WireServer(lambda raw: ANEW[kind](parse_request(raw))) as server:
        begin(server, partial)
        assert get(server, partial) == Downloaded(len(DATA), 0)
    assert partial.read_bytes() == DATA


@pytest.mark.parametrize("note", ["", "{", "[]", "{}", '{"uri":"http://other/","validator":"x","size_bytes":9}'])
def test_a_note_that_does_not_fit_is_as_good_as_none(tmp_path: Path, note: str) -> None:
    partial = tmp_path / "a.part"
    partial.write_bytes(b"something else")
    note_path(partial).write_text(note)
    with WireServer(good) as server:
        assert get(server, partial).resumed_bytes == 0
        assert parse_request(server.wait_for(1)[0]).header("range") is None
    assert partial.read_bytes() == DATA


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        (["ETag: W/\"x\"", "Last-Modified: Sat, 01 Jan 2022 00:00:00 GMT"], "Sat, 01 Jan 2022 00:00:00 GMT"),
        (['ETag: "x"', "Last-Modified: y"], '"x"'),
        (["ETag: W/\"x\""], ""),
        ([], ""),
    ],
)
def test_only_what_names_a_version_is_used_to_go_on(tmp_path: Path, headers: list[str], validator: str) -> None:
    partial = tmp_path / "a.part"
    with WireServer(in_turn(answer(DATA[:50_000], *headers, length=len(DATA)), answer(DATA))) as server:
        with pytest.raises(MkError):
            get(server, partial)
        get(server, partial)
        assert (parse_request(server.wait_for(2)[1]).header("if-range") or "") == validator
    assert partial.read_bytes() == DATA


BAD: list[tuple[str, Play, type[MkError], str]] = [
    ("404", answer(b"no", status="404 Not Found"), ServerRefused, "status 404"),
    ("503", answer(b"", "Retry-After: 7", status="503 Busy"), ServerRefused, "status 503"),
    ("redirect", answer(b"", "Location: http://elsewhere/", status="302 Found"), BadAnswer, "redirects to http"),
    ("declared too large", answer(b"", length=LIMIT + 1), BadAnswer, "larger than 1000000 bytes"),
    ("endless", Endless(b"HTTP/1.1 200 OK\r\n\r\n"), BadAnswer, "larger than 1000000 bytes"),
    ("other size", answer(b"x" * 5), BadAnswer, "has 5 bytes, 512000 are wanted"),
    ("short, undeclared", b"HTTP/1.1 200 OK\r\n\r\nabc", BadAnswer, "3 of 512000 bytes came"),
    ("unasked part", answer(b"x", "Content-Range: bytes 0-0/9", status="206 P"), BadAnswer, "was not asked for"),
    ("compressed", answer(b"x", "Content-Encoding: gzip"), BadAnswer, "compressed"),
    ("no HTTP", b"SSH-2.0\r\n\r\n", BadAnswer, "not an HTTP answer"),
]
SLOW: list[tuple[str, Play]] = [
    ("silent", Hang()),
    ("silent in the body", Hang(answer(b"abc", length=len(DATA)))),
    ("dripping head", Drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500, 0.05)),
]


@pytest.mark.parametrize(("play", "kind", "text"), [each[1:] for each in BAD], ids=[each[0] for each in BAD])
def test_bad_servers(tmp_path: Path, play: Play, kind: type[MkError], text: str) -> None:
    partial = tmp_path / "a.part"
    with WireServer(play) as server, pytest.raises(kind, match=text) as caught:
        download(f"{server.uri}/a", partial, limit_bytes=LIMIT, size_bytes=len(DATA), silence_s=30, deadline_s=60)
    assert server.uri.removeprefix("http://") in str(caught.value)
    assert not partial.exists() or partial.stat().st_size <= LIMIT
    if isinstance(caught.value, ServerRefused):
        assert caught.value.status in (404, 503)
        assert caught.value.retry_after_s == (7.0 if caught.value.status == 503 else None)


@pytest.mark.parametrize("play", [each[1] for each in SLOW], ids=[each[0] for each in SLOW])
def test_silent_servers_are_left(tmp_path: Path, play: Play) -> None:
    """Both limits are of the same length: either may be the first to end it."""
    began = time.monotonic()
    with WireServer(play) as server, pytest.raises(Unreachable, match=r"within 0\.5 s|timed out") as caught:
        download(f"{server.uri}/a", tmp_path / "a.part", limit_bytes=LIMIT, size_bytes=len(DATA), silence_s=0.5)
    assert time.monotonic() - began < 20
    assert server.uri.removeprefix("http://") in str(caught.value)


def test_a_body_that_drips_ends_at_the_deadline(tmp_path: Path) -> None:
    drip = Drip(answer(b"x" * 2000, length=len(DATA)), 0.01)
    with WireServer(drip) as server, pytest.raises(Unreachable, match="no complete answer within 6 s"):
        download(f"{server.uri}/a", tmp_path / "x", limit_bytes=LIMIT, silence_s=5, deadline_s=6)


def test_nobody_there_and_no_address(tmp_path: Path) -> None:
    for uri in ("http://127.0.0.1:1/x", "ftp://x/y", "http://", "nonsense"):
        with pytest.raises(Unreachable):
            download(uri, tmp_path / "x", limit_bytes=9)


def test_a_full_file_system_is_no_fault_of_the_network(tmp_path: Path) -> None:
    """The process may write 64 KiB to a file and no more: the error is the file's own, and what came is kept."""
    with WireServer(good) as server:
        code = (
            "import resource, signal, sys; from pathlib import Path; from mkcore.download import download\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
            "try:\n    download(sys.argv[1], Path(sys.argv[2]), limit_bytes=1000000)\n"
            "except OSError as error:\n    sys.exit(error.errno)\n"
        )
        command = [sys.executable, "-c", code, f"{server.uri}/a", str(tmp_path / "a.part")]
        done = subprocess.run(command, check=False, timeout=60, env={**os.environ, "PYTHONPATH": str(REPO)})
    assert done.returncode == errno.EFBIG
    assert (tmp_path / "a.part").stat().st_size <= 65536


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with WireServer(good) as server, pytest.raises(FileNotFoundError):
        get(server, tmp_path / "none/a.part")


def test_a_link_in_place_of_the_partial_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a.part").symlink_to("secret")
    with WireServer(good) as server, pytest.raises(OSError, match="symbolic links"):
        get(server, tmp_path / "a.part")
    assert (tmp_path / "secret").read_text() == "secret"

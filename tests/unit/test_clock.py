"""The clock: what a server may say of the time, and what becomes of it.

The clock itself is not set here: `set_clock` is a list's append instead, as all clocks of a container are its host's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore.errors import TlsFailed
from mkcore.http import exchange
from mkcore.paths import paths_under
from mkcore.trust import Trust
from mkctl.clock import ask_time
from mkctl.stepclock import TEN_YEARS_S, judge, step
from tests.unit.tls_server import Authority, TlsServer

BUILT = 1_750_000_000
SERVER = "https://192.0.2.1/"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    yield Authority(tmp_path_factory.mktemp("ca") / "site")


@pytest.mark.parametrize(
    ("wanted", "now", "said"),
    [
        (BUILT + 60, BUILT, ""),
        (BUILT + TEN_YEARS_S, BUILT, ""),
        (BUILT + TEN_YEARS_S + 1, BUILT, "is more than ten years after 2025-06-15 15:06:40 UTC"),
        (2**62, BUILT, "4611686018427387904 s is more than ten years after"),
        (BUILT, BUILT, "is not ahead of this machine's clock"),
        (0, BUILT, "1970-01-01 00:00:00 UTC is not ahead"),
        (BUILT - 60, BUILT - 3600, ""),
    ],
)
def test_forward_alone_and_not_beyond_ten_years(wanted: int, now: int, said: str) -> None:
    assert (judge(wanted, now, BUILT) == "") == (said == "")
    assert said in judge(wanted, now, BUILT)


def run(folder: Path, order: object, clock: list[float], now: float = BUILT) -> int:
    """Run mk-clock with what mkctl left."""
    (folder / "clock.json").write_text(order if isinstance(order, str) else json.dumps(order))
    (folder / "mk-clock").mkdir(exist_ok=True)
    return step(folder / "clock.json", folder / "mk-clock/stepped.json", BUILT, now, clock.append)


def test_once_per_boot(tmp_path: Path) -> None:
    clock: list[float] = []
    assert run(tmp_path, {"time_s": BUILT + 60, "server": SERVER}, clock) == 0
    assert run(tmp_path, {"time_s": BUILT + 600, "server": SERVER}, clock) == 0
    assert clock == [BUILT + 60]


@pytest.mark.parametrize(
    "order",
    [
        *("", "{", "[]", "{}", '{"time_s": "now", "server": "x"}', '{"time_s": -1, "server": "x"}', "x" * 5000),
        *('{"time_s": 1e12, "server": "x"}', f'{{"time_s": {BUILT - 1}, "server": "x"}}'),
    ],
)
def test_what_is_no_time_changes_nothing(tmp_path: Path, order: str, caplog: pytest.LogCaptureFixture) -> None:
    clock: list[float] = []
    assert run(tmp_path, order, clock) == 65
    assert clock == [] and not (tmp_path / "mk-clock/stepped.json").exists()
    (record,) = [each for each in caplog.records if "the clock is not stepped" in each.getMessage()]
    assert "\n" not in record.getMessage()
    assert run(tmp_path, {"time_s": BUILT + 60, "server": SERVER}, clock) == 0  # a refusal uses nothing up
    assert clock == [BUILT + 60]


def test_the_event_says_from_when_to_when(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run(tmp_path, {"time_s": BUILT + 60, "server": SERVER}, [])
    assert [each.getMessage() for each in caplog.records] == [
        f"the clock was stepped from 2025-06-15 15:06:40 UTC to 2025-06-15 15:07:40 UTC, as {SERVER} says"
    ]


def test_the_server_s_time_is_asked_for_without_its_dates(ca: Authority, tmp_path: Path) -> None:
    """A real server whose certificate is not valid yet: refused as always, and asked for its Date all the same.

    It wants to see the site's certificate, as for everything else.
    """
    paths = paths_under(str(tmp_path))
    paths.run_mkctl.mkdir(parents=True)
    chain, key = ca.issue("node")
    trust = Trust(ca=str(ca.root), certificate=str(chain), key=str(key))
    early = ca.issue("early", since="20890101000000Z")
    with TlsServer(*early, date="Tue, 15 Nov 2033 08:12:31 GMT", client_ca=ca.root) as server:
        with pytest.raises(TlsFailed) as caught:
            exchange("GET", server.uri, trust=Trust(ca=str(ca.root)))
        assert caught.value.too_early
        assert ask_time(f"{server.uri}/", trust, paths) == 2_015_655_151
        (raw,) = server.requests
    assert re.match(rb"HEAD / HTTP/1.1\r\n", raw)
    assert json.loads(paths.clock.read_text()) == {"time_s": 2_015_655_151, "server": f"{server.uri}/"}
    assert paths.clock.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("case", ["other-ca", "other-name"])
def test_who_is_not_the_server_is_not_asked(ca: Authority, tmp_path: Path, case: str) -> None:
    other = Authority(tmp_path / "other")
    signer, names = (other, "IP:127.0.0.1") if case == "other-ca" else (ca, "DNS:elsewhere.example")
    paths = paths_under(str(tmp_path))
    paths.run_mkctl.mkdir(parents=True)
    with TlsServer(*signer.issue("liar", names=names, since="20890101000000Z")) as server:
        with pytest.raises(TlsFailed):
            ask_time(f"{server.uri}/", Trust(ca=str(ca.root)), paths)
        assert server.requests == [] and not paths.clock.exists()

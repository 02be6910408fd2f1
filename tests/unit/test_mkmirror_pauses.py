"""When mk-fetch asks again after a mirror did not answer: later and later, never for long, at once when asked to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mkcore.paths import paths_under
from mkmirror.fetch import asked_in, credentials_in
from mkmirror.pauses import UNKNOWN, Pause, Pauses, fingerprint, read_pause

RESTART_S = 30.0  # RestartSec= of mk-fetch.service


class Unit:
    """A service that systemd starts again, and a mirror that stays silent."""

    def __init__(self, path: Path, rand: float) -> None:
        self.path, self.rand, self.now_s, self.restarts, self.asked = path, rand, 1000.0, 0, "this"
        self.runs: list[float] = []

    def start(self) -> bool:
        """Start it; return whether the mirror was asked."""
        pauses = Pauses(self.path, self.asked, lambda: self.restarts, lambda: self.now_s, lambda: self.rand)
        if pauses.left_s():
            return False
        self.runs.append(self.now_s)
        pauses.note(failed=True)
        return True

    def restart_by_itself(self) -> bool:
        """Let the time go by after which systemd starts it."""
        self.now_s += RESTART_S
        self.restarts += 1
        return self.start()


@pytest.mark.parametrize(("rand", "waits"), [(0.0, [30, 30, 60, 120, 150, 150]), (1.0, [30, 60, 120, 240, 300, 300])])
def test_pauses_grow(tmp_path: Path, rand: float, waits: list[int]) -> None:
    unit = Unit(tmp_path / "pause.json", rand)
    unit.start()
    while len(unit.runs) < 7:
        unit.restart_by_itself()
    assert [int(after - before) for before, after in zip(unit.runs, unit.runs[1:])] == waits


def test_what_somebody_asks_for_is_not_put_off(tmp_path: Path) -> None:
    unit = Unit(tmp_path / "pause.json", 1.0)
    unit.start()
    for _ in range(8):
        unit.restart_by_itself()
    assert not unit.restart_by_itself()
    assert unit.start(), "systemctl restart: not counted as a restart of systemd's own"
    assert not unit.restart_by_itself()
    unit.asked = "that"
    assert unit.restart_by_itself(), "another request or configuration"
    unit.restarts = 0
    assert unit.start(), "started after it had ended well"


def test_where_systemd_cannot_be_asked_nothing_is_put_off(tmp_path: Path) -> None:
    unit = Unit(tmp_path / "pause.json", 1.0)
    unit.restarts = UNKNOWN
    assert unit.start() and unit.start()
    unit.restarts = 5
    assert unit.start(), "nothing is known of the time before"


def test_an_answer_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "pause.json"
    Unit(path, 1.0).start()
    assert read_pause(path) == Pause(1, 1030.0, 0, "this")
    Pauses(path, "this", lambda: 1).note(failed=False)
    assert not path.exists() and read_pause(path) == Pause()
    for text in ("", "{}", '{"failures": -1}', '{"failures": 1, "until_ms": 1, "restarts": 1, "asked": 3}'):
        path.write_text(text)
        assert read_pause(path) == Pause()


def test_what_was_asked(tmp_path: Path) -> None:
    """It changes with each file that comes, goes or is replaced."""
    paths = [tmp_path / "a", tmp_path / "b"]
    seen = {fingerprint(paths)}
    paths[0].write_text("1")
    seen.add(fingerprint(paths))
    other = tmp_path / "other"
    other.write_text("1")
    os.utime(other, ns=(1, 1))
    other.replace(paths[0])
    seen.add(fingerprint(paths))
    assert len(seen) == 3 and fingerprint(paths) in seen
    assert fingerprint(paths, remote=True) not in seen, "mirrors elsewhere may be asked now"


@pytest.mark.parametrize(
    "name",
    [
        "etc/mk/trust.d/site.gpg",
        "usr/lib/mk/trust.d/image.gpg",
        "run/credentials/mk.trust",
        "run/credentials/mk.trust.site",
        "run/credentials/mk.toml",
        "etc/mk/mk.toml.d/a.toml",
        "var/lib/mk/mirror/tinycorelinux/tce-install-list",
        "var/lib/mk/mirror/gem-mirror/gems/gem.list",
    ],
)
def test_another_key_or_wish_is_a_new_question(tmp_path: Path, name: str) -> None:
    """One that comes, and one that says something else."""
    paths = paths_under(str(tmp_path))

    def asked() -> str:
        return fingerprint(asked_in(paths), credentials_in(paths))

    path = tmp_path / name
    path.parent.mkdir(parents=True)
    seen = {asked()}
    path.write_text("x")
    seen.add(asked())
    path.write_text("other")
    seen.add(asked())
    assert len(seen) == 3 and asked() in seen


def test_credentials_that_are_made_anew_are_no_new_question(tmp_path: Path) -> None:
    """As systemd does at each start: what they say counts. Without any the current folder is not looked at."""
    paths = paths_under(str(tmp_path))
    key = paths.credentials / "mk.trust"
    key.parent.mkdir(parents=True)
    found: set[str] = set()
    for at in (1, 2):
        key.unlink(missing_ok=True)
        (tmp_path / f"inode-{at}").write_text("")
        key.write_text("a key")
        os.utime(key, ns=(at, at))
        found.add(fingerprint(asked_in(paths), credentials_in(paths)))
    assert len(found) == 1
    assert credentials_in(paths._replace(credentials=Path())) == []


def test_a_changed_key_ends_the_pause(tmp_path: Path) -> None:
    """Of the credential, as of the folders."""
    paths = paths_under(str(tmp_path))
    key = paths.credentials / "mk.trust"
    key.parent.mkdir(parents=True)
    key.write_text("old")
    unit = Unit(tmp_path / "pause.json", 1.0)
    unit.asked = fingerprint(asked_in(paths), credentials_in(paths))
    unit.start()
    for _ in range(3):
        unit.restart_by_itself()
    runs = len(unit.runs)
    key.write_text("new")
    unit.asked = fingerprint(asked_in(paths), credentials_in(paths))
    assert unit.restart_by_itself() and len(unit.runs) == runs + 1

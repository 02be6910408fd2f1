"""state.json and registered-facts.json: round trip, damage of every kind, what tells a loss from a first start."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mkcore.errors import BadInput
from mkcore.paths import paths_under
from mkctl.state import Memory, Registration, Saved, build_saved, parse_saved

SAVED = Saved(False, {"http://192.0.2.1:8026": "razor"}, Registration("9f86", "http://192.0.2.1:8026", 81230000))


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """The memory of a node below a root of its own."""
    (tmp_path / "run/mkctl").mkdir(parents=True)
    return Memory(paths_under(str(tmp_path)))


def test_round_trip(memory: Memory) -> None:
    memory.store(SAVED)
    assert memory.load() == (SAVED, "")
    assert memory.is_stored()
    assert stat.S_IMODE(memory.paths.state.stat().st_mode) == 0o640


def test_a_first_start_has_defaults_and_no_problem(memory: Memory) -> None:
    assert memory.load() == (Saved(first_checkin=True), "")
    assert not memory.is_stored()


def test_a_lost_file_is_a_problem_when_there_was_a_process_before(memory: Memory) -> None:
    memory.paths.status.write_text("{}")
    saved, problem = memory.load()
    assert saved == Saved() and "the file is gone" in problem


def test_unknown_keys_survive_reading() -> None:
    assert parse_saved({**build_saved(SAVED), "from_the_future": [1]}) == SAVED


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "not JSON"),
        ('{"version": 1', "not JSON"),
        ('{"version": 3, "first_checkin": true}', "version"),
        ('{"version": 1}', "first_checkin"),
        ('{"version": 1, "first_checkin": 1}', "first_checkin"),
        ('{"version": 1, "first_checkin": true, "dialects": []}', "dialects"),
        ('{"version": 1, "first_checkin": true, "dialects": {"x": 5}}', "dialects.x"),
        ('{"version": 1, "first_checkin": true, "registered": {"digest": ""}}', "registered.server"),
        (json.dumps({**build_saved(SAVED), "registered": {**build_saved(SAVED), "boottime_usec": -1}}), "digest"),
    ],
)
def test_damage_is_one_line_that_names_the_place(memory: Memory, text: str, where: str) -> None:
    memory.paths.state.write_text(text)
    saved, problem = memory.load()
    assert saved == Saved()
    assert problem.count(str(memory.paths.state)) == 1 and where in problem and "\n" not in problem


def test_a_state_that_cannot_be_read_is_a_problem(memory: Memory) -> None:
    memory.paths.state.mkdir()
    assert "Is a directory" in memory.load()[1]


def test_registered_facts_belong_to_their_server(memory: Memory) -> None:
    memory.store_facts("http://a", {"hostname": "x"})
    assert memory.load_facts("http://a") == ({"hostname": "x"}, "")
    assert memory.load_facts("http://b") == ({}, "")
    memory.paths.registered_facts.write_text('{"server": "http://a", "facts": 5}')
    facts, problem = memory.load_facts("http://a")
    assert facts == {} and "facts" in problem


def test_parse_saved_raises_bad_input() -> None:
    with pytest.raises(BadInput, match=r"state\.json\.version"):
        parse_saved({})

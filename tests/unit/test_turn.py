"""Whose turn it is: how long the one that answered is waited for, and what is remembered of those that did not."""

from __future__ import annotations

from mkctl.candidate import Candidate
from mkctl.turn import PATIENCE, Turn

A, B = Candidate("http://a", "DHCP option 224, eno1"), Candidate("http://b", "DNS name hanlon")


def fails(turn: Turn, times: int = 1) -> list[str]:
    """The server that is talked to after each of so many failures."""
    said = []
    for _ in range(times):
        turn.failed()
        said.append(getattr(turn.choose((A, B)), "uri", ""))
    return said


def test_one_that_answered_is_left_after_three_failures_and_has_three_again() -> None:
    turn = Turn()
    turn.choose((A, B))
    turn.answered()
    rest = PATIENCE - 1
    assert fails(turn, PATIENCE) == ["http://a"] * rest + ["http://b"]
    assert fails(turn, PATIENCE + 1) == ["http://a"] * PATIENCE + ["http://b"]


def test_marks_of_servers_that_nobody_names_any_more_are_forgotten() -> None:
    """A network may name another one at each look, and nobody ever answers."""
    turn = Turn()
    seen = [Candidate(f"http://name-{number}", "DNS, _mk._tcp") for number in range(1000)]
    for each in seen:
        turn.choose((each, A))
        turn.failed()
    kept = vars(turn)["_failed"]
    assert len(kept) <= 3

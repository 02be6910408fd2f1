"""Which of several servers is talked to: the best that has not failed, and the one that answered as long as it does.

A server that never answered is left after one failure, one that did after three, since servers restart. When all have
failed the turn begins again, so a server that comes back is found. A server stays the same one whatever names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from mkctl.candidate import Candidate
from mkctl.dialects import Routes

PATIENCE = 3

Mark = tuple[str, Routes]


def _mark(candidate: Optional[Candidate]) -> Optional[Mark]:
    return candidate.mark if candidate is not None else None


class Turn:
    """The turn of the candidates; `current` is the one in use, None while there is none."""

    def __init__(self) -> None:
        self.current: Optional[Candidate] = None
        self._candidates: tuple[Candidate, ...] = ()
        self._failed: set[Optional[Mark]] = set()
        self._answered: Optional[Mark] = None
        self._failures = 0

    def choose(self, candidates: Sequence[Candidate]) -> Optional[Candidate]:
        """Return the candidate to talk to next, None without any; the best come first in `candidates`."""
        self.offer(candidates)
        left = [each for each in candidates if each.mark not in self._failed]
        if not left:
            self._failed.clear()
            left = list(candidates)
        chosen = next((each for each in left if each.mark == self._answered), next(iter(left), None))
        if _mark(chosen) != _mark(self.current):
            self._failures = 0
        self.current = chosen
        return chosen

    def offer(self, candidates: Sequence[Candidate]) -> None:
        """Take note of the candidates, of which the next choice is made; the best come first."""
        self._candidates = tuple(candidates)
        self._failed &= {_mark(self.current), *(each.mark for each in candidates)}  # names may change at each look

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Those of which the next choice is made, the best first."""
        return self._candidates

    @property
    def overtaken(self) -> bool:
        """Whether the one in use never answered, while the best of the candidates is another server and has not
        failed.
        """
        if self.current is None or self.settled or not self._candidates:
            return False
        best = self._candidates[0]
        return best.mark not in (self.current.mark, *self._failed)

    def failed(self) -> None:
        """Note that the one in use did not answer as a server of ours does."""
        self._failures += 1
        patience = PATIENCE if self.settled else 1
        if self.current is not None and self._failures >= patience:
            self._failed.add(self.current.mark)

    def answered(self) -> None:
        """Note that the one in use is a server of ours."""
        self._answered = _mark(self.current)
        self._failed.clear()
        self._failures = 0

    @property
    def others(self) -> int:
        """How many have not failed since the last answer, beside the one in use."""
        return len([each for each in self._candidates if each.mark not in (_mark(self.current), *self._failed)])

    @property
    def settled(self) -> bool:
        """Whether the one in use has answered once."""
        return self.current is not None and self.current.mark == self._answered

    @property
    def moves_on(self) -> bool:
        """Whether another one is next: the one in use has failed, or is overtaken."""
        return (_mark(self.current) in self._failed and self.others > 0) or self.overtaken

"""Which of several servers is talked to: the best that has not failed, and the one that answered as long as it does.

A server that never answered is left after one failure, one that did after three, since servers restart. When all have
failed the turn begins again, so a server that comes back is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from mkctl.candidate import Candidate

PATIENCE = 3


class Turn:
    """The turn of the candidates; `current` is the one in use, None while there is none."""

    def __init__(self) -> None:
        self.current: Optional[Candidate] = None
        self._candidates: tuple[Candidate, ...] = ()
        self._failed: set[Candidate] = set()
        self._answered: Optional[Candidate] = None
        self._failures = 0

    def choose(self, candidates: Sequence[Candidate]) -> Optional[Candidate]:
        """Return the candidate to talk to next, None without any; the best come first in `candidates`."""
        self.offer(candidates)
        left = [each for each in candidates if each not in self._failed]
        if not left:
            self._failed.clear()
            left = list(candidates)
        chosen = self._answered if self._answered in left else next(iter(left), None)
        if chosen != self.current:
            self._failures = 0
        self.current = chosen
        return chosen

    def offer(self, candidates: Sequence[Candidate]) -> None:
        """Take note of the candidates, of which the next choice is made; the best come first."""
        self._candidates = tuple(candidates)

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
        return best.mark != self.current.mark and best not in self._failed

    def failed(self) -> None:
        """Note that the one in use did not answer as a server of ours does."""
        self._failures += 1
        patience = PATIENCE if self.current == self._answered else 1
        if self.current is not None and self._failures >= patience:
            self._failed.add(self.current)

    def answered(self) -> None:
        """Note that the one in use is a server of ours."""
        self._answered = self.current
        self._failed.clear()
        self._failures = 0

    @property
    def others(self) -> int:
        """How many have not failed since the last answer, beside the one in use."""
        return len([each for each in self._candidates if each != self.current and each not in self._failed])

    @property
    def settled(self) -> bool:
        """Whether the one in use has answered once."""
        return self.current is not None and self.current == self._answered

    @property
    def moves_on(self) -> bool:
        """Whether another one is next: the one in use has failed, or is overtaken."""
        return (self.current in self._failed and self.others > 0) or self.overtaken

"""Telling the world what mkctl is doing: status.json, STATUS= of the unit and the D-Bus properties, from one value.

Each change goes to all three at once, so that `mkctl status`, `systemctl status mkctl` and `busctl` never disagree.
"""

from __future__ import annotations

import logging
from typing import Callable, Union

from mkcore.files import write_json
from mkcore.paths import Paths
from mkctl.state import MODE
from mkctl.status import Phase, Status, build_status

log = logging.getLogger(__name__)


class Announcer:
    """Holds the current Status; `say` is STATUS=, `publish` the bus."""

    def __init__(
        self, paths: Paths, first: Status, say: Callable[[str], None], publish: Callable[[Status], None]
    ) -> None:
        self.status = first
        self._path = paths.status
        self._say = say
        self._publish = publish
        self._write_problem = ""

    def update(self, **changes: Union[str, int, bool, tuple[str, ...]]) -> None:
        """Change fields of the status by name and tell whoever listens, if anything did change."""
        new = self.status._replace(**changes)  # type: ignore[arg-type]
        if new == self.status:
            return
        said, self.status = self.status.sentence, new
        self._write()
        if new.sentence != said:
            self._say(new.sentence)
        self._publish(new)

    def phase(self, phase: Phase, sentence: str) -> None:
        """Change what mkctl is doing, with the sentence for people."""
        self.update(state=phase.value, sentence=sentence)

    def _write(self) -> None:
        try:
            write_json(self._path, build_status(self.status), mode=MODE)
            self._write_problem = ""
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != self._write_problem:  # a full or missing /run/mkctl blinds `mkctl status`, and nothing else
                self._write_problem = reason
                log.error("%s: cannot be written (%s); mkctl status shows old values until it can", self._path, reason)

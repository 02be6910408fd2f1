"""The files of mkweb in /run/mkweb: the configuration in use, the one before it, the apply, the last ordered restart.

apply.json is the one that counts: it holds both maps, so the two files that mkctl reads can always be made again from
it. A file that is missing or broken costs one event and the last good state, never a start.

Source: design 7 and 8.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from mkcore import events, files
from mkcore.errors import BadInput
from mkcore.journal import log_event
from mkcore.jsonfields import Json, get_bool, get_int, get_str
from mkweb.apply import Apply, Phase, build_apply, parse_apply

LIMIT_BYTES = 4 << 20
FILE_MODE = 0o644

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """A restart ordered by POST /restart."""

    boottime_usec: int
    owed: bool


class Store:
    """Reads and writes the files of `directory`; `boot_id` tells times of this boot from those of another."""

    def __init__(self, directory: Path, boot_id: str) -> None:
        self.directory = directory
        self.boot_id = boot_id
        self._config = directory / "config.json"
        self._previous = directory / "config.prev.json"
        self._apply = directory / "apply.json"
        self._order = directory / "restart.json"

    def read_apply(self, now_usec: int) -> Optional[Apply]:
        """Return the last apply, or None when there was none or its file is broken (an event says so)."""
        stored = self._read(self._apply)
        if stored is None:
            return None
        try:
            return parse_apply(stored, now_usec, self.boot_id)
        except BadInput as error:
            self._recovered(self._apply, str(error))
            return None

    def write_apply(self, apply: Apply) -> None:
        """Write apply.json; raise OSError when that fails."""
        files.write_json(self._apply, build_apply(apply), mode=FILE_MODE)

    def put_files(self, apply: Apply) -> dict[str, Json]:
        """Make the two files that mkctl reads say what `apply` says, and return the configuration; files that say
        so are left alone.

        Before the verdict and after a good one config.json is the pushed map; after a refusal it is the previous one
        again. Raises OSError.
        """
        config = apply.previous_config if apply.phase is Phase.REFUSED else apply.config
        for path, wanted in ((self._previous, apply.previous_config), (self._config, config)):
            if self._read(path) != wanted:
                files.write_json(path, wanted, mode=FILE_MODE)
        return config

    def read_config(self) -> dict[str, Json]:
        """Return the stored configuration if no apply tells: config.json, else config.prev.json, else an empty map."""
        for path in (self._config, self._previous):
            stored = self._read(path)
            if stored is not None:
                return stored
        return {}

    def read_previous(self) -> dict[str, Json]:
        """Return config.prev.json, or an empty map."""
        return self._read(self._previous) or {}

    def read_order(self, now_usec: int) -> Order:
        """Return the last ordered restart; one of another boot, or none, is as old as can be and not owed."""
        never = Order(-(1 << 62), False)
        stored = self._read(self._order)
        if stored is None:
            return never
        try:
            if get_str(stored, "boot_id", where="restart.json") != self.boot_id:
                return never
            ordered = get_int(stored, "boottime_usec", where="restart.json")
            return Order(min(ordered, now_usec), get_bool(stored, "owed", where="restart.json"))
        except BadInput as error:
            self._recovered(self._order, str(error))
            return never

    def write_order(self, order: Order) -> None:
        """Write restart.json; raise OSError when that fails."""
        stored: dict[str, Json] = {"boot_id": self.boot_id, "boottime_usec": order.boottime_usec, "owed": order.owed}
        files.write_json(self._order, stored, mode=FILE_MODE)

    def _read(self, path: Path) -> Optional[dict[str, Json]]:
        try:
            return files.read_object(path, LIMIT_BYTES)
        except FileNotFoundError:
            return None
        except (BadInput, OSError) as error:
            self._recovered(path, str(error))
            return None

    def _recovered(self, path: Path, why: str) -> None:
        log_event(
            log,
            events.STATE_RECOVERED,
            f"{path} cannot be used ({why}); the last good state is used instead",
            path=str(path),
        )

"""Bringing what was planned: each file once, whoever needs it, and a request only as a whole.

Source: protocol 5.3.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Optional

from mkcore.errors import MkError
from mkmirror.offers import Folder
from mkmirror.planning import beside
from mkmirror.progress import human
from mkmirror.staged import Item, Kind, Request
from mkmirror.staging import Staging

SHOW_S, LOG_S = 1.0, 10.0

log = logging.getLogger(__name__)


class Teller:
    """Tells how a download goes on: to `status` every second, to the journal every ten."""

    def __init__(self, status: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._status = status
        self._clock = clock
        self._shown = self._logged = clock()

    def say(self, text: str) -> None:
        """Show what is being done."""
        self._status(text)

    def moved(self, what: str, done: int, total: Optional[int]) -> None:
        """Show that so many bytes are there."""
        now = self._clock()
        if now - self._shown < SHOW_S:
            return
        share = f" of {human(total)} ({100 * done // total} %)" if total else ""
        text = f"Fetching {what}: {human(done)}{share}"
        self._shown = now
        self._status(text)
        if now - self._logged >= LOG_S:
            self._logged = now
            log.info("%s", text)


class Bringer:
    """Brings files into staging. uris: (id of a folder, name) -> address, where that is not in the folder itself."""

    def __init__(self, staging: Staging, teller: Teller) -> None:
        self.uris: dict[tuple[str, str], str] = {}
        self._staging = staging
        self._teller = teller
        self._brought: dict[tuple[str, str], Item] = {}
        self._failed: dict[tuple[str, str], MkError] = {}
        self._evidence: set[str] = set()

    def request(self, request: Request, folders: Mapping[str, Folder]) -> Request:
        """Bring all files of a request; return it with their sizes. Raises as Staging.bring, for the first that fails.

        folders: by id, those of its items.
        """
        items: list[Item] = []
        for number, item in enumerate(request.items, 1):
            folder = folders[item.folder]
            self._vouch(folder)
            for name, data in beside(folder, item.name).items() if item.kind is not Kind.WHEEL else ():
                self._staging.put(folder.id, name, data)
            items.append(self.item(item, folder, f"{number} of {len(request.items)} for {request.name}"))
        return replace(request, items=tuple(items))

    def wheel(self, item: Item, folder: Folder, uri: str) -> Path:
        """Bring a wheel that has to be looked into before anything else is known; return where it lies."""
        self.uris[item.folder, item.name] = uri
        self.item(item, folder, "to see what it needs")
        return self._staging.path(item.folder, item.name)

    def item(self, item: Item, folder: Folder, place: str) -> Item:
        """Bring one file unless it was; a file that failed is not tried again in this run."""
        key = (item.folder, item.name)
        if key in self._failed:
            raise self._failed[key]
        if key not in self._brought:
            self._teller.say(f"Fetching {item.name} ({place})")
            uri = self.uris.get(key) or folder.address(item.name)
            try:
                found = self._staging.bring(
                    item,
                    uri,
                    lambda done, total: self._teller.moved(item.name, done, total),
                    way=folder.mirror.way,
                )
            except MkError as error:
                self._failed[key] = error
                raise
            log.info("%s is staged (%s, %s) from %s", item.name, human(found.size_bytes), place, uri)
            self._brought[key] = found
        return replace(item, size_bytes=self._brought[key].size_bytes)

    def _vouch(self, folder: Folder) -> None:
        """Stage what vouches for a folder, as it came."""
        if folder.id in self._evidence:
            return
        for name, data in folder.evidence().items():
            self._staging.put(folder.id, name, data)
        self._evidence.add(folder.id)

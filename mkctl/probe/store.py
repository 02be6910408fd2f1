"""The content of facts.json while it grows.

Once written in a boot, the file never gets poorer: a collector's facts stay until the same collector brings new ones,
also when it fails or hangs the next time, and `complete` stays true. Otherwise a collection that runs every few minutes
would, for its seconds, take away facts from a node that registers just then, and a tool that hangs once would look to
the server like hardware that was pulled out. Status, duration and error always tell of the last run.

Each write costs as much as the whole document is long, so collectors that end together are written together, and what
changed nothing is written with the next write that is needed.
"""

from __future__ import annotations

import grp
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Callable

from mkcore.errors import BadInput
from mkcore.files import read_bytes, write_atomic, write_json
from mkcore.jsonfields import Json
from mkctl.probe.collect import Ended
from mkctl.probe.model import LIMIT_BYTES, CollectorState, FactsFile, Status, build_facts_file, parse_facts_file
from mkctl.probe.names import clean_name

log = logging.getLogger(__name__)

COLLECTED = "collected"
"""The mark beside facts.json."""
GROUP = "mkctl"
MODE = 0o640

Save = Callable[[Path, FactsFile], None]


def save_facts(path: Path, content: FactsFile) -> None:
    """Write facts.json for its readers, and once a collection has ended the mark that udev's rule looks for: until then
    each device that turns up is part of the first collection, and not worth a process. Raises OSError."""
    write_json(path, build_facts_file(content), mode=MODE, group=_group())
    mark = path.with_name(COLLECTED)
    if content.complete and not mark.exists():
        write_atomic(mark, b"")


def save_nothing(_path: Path, _content: FactsFile) -> None:
    """Keep the content in memory alone."""


class FactsStore:
    """Keeps what each collector brought and saves it: `save_facts` writes the file, `save_nothing` leaves no trace."""

    def __init__(self, path: Path, names: Sequence[str], save: Save = save_facts) -> None:
        self._path = path
        self._names = tuple(dict.fromkeys(names))  # two collectors may share a name; its place is the first one's
        self._save = save
        self._by_collector: dict[str, dict[str, Json]] = {}
        self._changed = False
        self.content = FactsFile(collectors={name: CollectorState(Status.PENDING) for name in self._names})

    def load(self, now_usec: int) -> None:
        """Take over what an earlier run of this boot left; a file that cannot be used is as good as none."""
        try:
            old = parse_facts_file(read_bytes(self._path, LIMIT_BYTES), str(self._path))
        except FileNotFoundError:
            return
        except (OSError, BadInput) as error:
            log.warning("%s; collecting everything anew", error)
            return
        if old.boottime_usec > now_usec:  # kept from an earlier boot
            return
        states = {name: old.collectors.get(name, CollectorState(Status.PENDING)) for name in self._names}
        for name, state in states.items():
            self._by_collector[name] = {fact: old.facts[fact] for fact in state.facts if fact in old.facts}
        self.content = old._replace(collectors=states, facts=self._join())

    def begin(self, names: Iterable[str]) -> None:
        """Write a first file, so that readers can tell "being collected" from "nobody collects".

        `names`: the collectors that run now; what another one brought before stays.
        """
        states = dict(self.content.collectors)
        for name in names:
            if states[name].status is Status.PENDING:
                states[name] = CollectorState(Status.RUNNING)
        self.content = self.content._replace(collectors=states)
        if not self.content.complete:
            self._write()

    def accept(self, batch: Iterable[Ended]) -> None:
        """Take the end of some collectors; `write` writes it if it changed anything."""
        states = dict(self.content.collectors)
        for ended in batch:
            states[ended.name] = self._state(ended, states[ended.name])
        self.content = self.content._replace(collectors=states, facts=self._join())

    def _state(self, ended: Ended, before: CollectorState) -> CollectorState:
        result, good = ended.result, ended.result.status is Status.OK
        if good:
            facts = {clean_name(fact): value for fact, value in result.facts.items()}
            self._changed |= facts != self._by_collector.get(ended.name)
            self._by_collector[ended.name] = facts
        after = CollectorState(
            result.status,
            ended.duration_ms,
            result.error,
            facts=tuple(self._by_collector.get(ended.name, {})),
            structured=result.structured if good else before.structured,
            inventory=result.inventory if good else before.inventory,
        )
        self._changed |= after != before._replace(duration_ms=after.duration_ms)
        return after

    def note_listening(self) -> None:
        """Remember for this boot that what is not awaited runs; the next write writes it."""
        self._changed |= not self.content.listened
        self.content = self.content._replace(listened=True)

    @property
    def changed(self) -> bool:
        """Something other than a duration changed since the last write."""
        return self._changed

    def write(self) -> None:
        """Write the file if something changed since the last write."""
        if self._changed:
            self._write()

    def finish(self, uevent_seqnum: int, udev_nsec: int, boottime_usec: int) -> None:
        """Close one collection and write the file: complete, the next generation."""
        self.content = self.content._replace(
            generation=self.content.generation + 1,
            complete=True,
            boottime_usec=boottime_usec,
            uevent_seqnum=uevent_seqnum,
            udev_nsec=udev_nsec,
        )
        self._write()

    def _join(self) -> dict[str, Json]:
        facts: dict[str, Json] = {}
        for name in self._names:
            facts.update(self._by_collector.get(name, {}))
        return facts

    def _write(self) -> None:
        self._changed = False
        self._save(self._path, self.content)


def _group() -> str:
    """Return the group to give the file to: none where it has it already (the unit's Group=) or does not exist."""
    try:
        return "" if grp.getgrnam(GROUP).gr_gid == os.getegid() else GROUP
    except KeyError:
        return ""

"""The content of facts.json while it grows.

Once written in a boot, the file never gets poorer: a collector's facts stay until the same collector brings new ones,
also when it fails or hangs the next time, and `complete` stays true. Otherwise a collection that runs every few minutes
would, for its seconds, take away facts from a node that registers just then, and a tool that hangs once would look to
the server like hardware that was pulled out. Status, duration and error always tell of the last run.
"""

from __future__ import annotations

import grp
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mkcore.errors import BadInput
from mkcore.files import read_bytes, write_json
from mkcore.jsonfields import Json
from mkctl.probe.collect import Ended
from mkctl.probe.model import LIMIT_BYTES, CollectorState, FactsFile, Status, build_facts_file, parse_facts_file
from mkctl.probe.names import clean_name

log = logging.getLogger(__name__)

GROUP = "mkctl"
MODE = 0o640


class FactsStore:
    """Keeps what each collector brought and writes the file; `write=False` for a look without a trace."""

    def __init__(self, path: Path, names: Sequence[str], *, write: bool = True) -> None:
        self._path = path
        self._names = tuple(names)
        self._write_file = write
        self._by_collector: dict[str, dict[str, Json]] = {}
        self.content = FactsFile(collectors={name: CollectorState(Status.RUNNING) for name in self._names})

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
        states = {name: old.collectors.get(name, CollectorState(Status.RUNNING)) for name in self._names}
        for name, state in states.items():
            self._by_collector[name] = {fact: old.facts[fact] for fact in state.facts if fact in old.facts}
        self.content = replace(old, collectors=states, facts=self._join())

    def begin(self) -> None:
        """Write a first file, so that readers can tell "being collected" from "nobody collects"."""
        if not self.content.complete:
            self._write()

    def accept(self, ended: Ended) -> None:
        """Take the end of one collector and write the file."""
        result = ended.result
        if result.status is Status.OK:
            self._by_collector[ended.name] = {clean_name(fact): value for fact, value in result.facts.items()}
        good = result.status is Status.OK
        before = self.content.collectors[ended.name]
        state = CollectorState(
            result.status,
            ended.duration_ms,
            result.error,
            facts=tuple(self._by_collector.get(ended.name, {})),
            structured=result.structured if good else before.structured,
            inventory=result.inventory if good else before.inventory,
        )
        self.content = replace(
            self.content, collectors={**self.content.collectors, ended.name: state}, facts=self._join()
        )
        self._write()

    def finish(self, uevent_seqnum: int, boottime_usec: int) -> None:
        """Close one collection and write the file: complete, the next generation."""
        self.content = replace(
            self.content,
            generation=self.content.generation + 1,
            complete=True,
            boottime_usec=boottime_usec,
            uevent_seqnum=uevent_seqnum,
        )
        self._write()

    def _join(self) -> dict[str, Json]:
        facts: dict[str, Json] = {}
        for name in self._names:
            facts.update(self._by_collector.get(name, {}))
        return facts

    def _write(self) -> None:
        if self._write_file:
            write_json(self._path, build_facts_file(self.content), mode=MODE, group=_group())


def _group() -> str:
    """Return the group to give the file to: none where it has it already (the unit's Group=) or does not exist."""
    try:
        return "" if grp.getgrnam(GROUP).gr_gid == os.getegid() else GROUP
    except KeyError:
        return ""

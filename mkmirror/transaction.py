"""Installing several requests together, each as a whole or not at all.

All are tried at once, since showing them takes one change of the system and that is what takes long. Where something in
them cannot be installed, the system is put back, whoever is to blame is refused, and the others are tried again; where
nobody knows who is, one after the other.

Source: protocol 5.3.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mkcore import files
from mkcore.errors import MkError, ToolFailed
from mkmirror import merge, packages, tce_install
from mkmirror.formats import tce, wheel
from mkmirror.layers import MAP, Layers, Shown
from mkmirror.native import MAX_UNITS_TEXT, Content
from mkmirror.staged import By
from mkmirror.verifying import Checked

ENTRY_BYTES = MAX_UNITS_TEXT + 1024
"""What is written down of one extension at most, beside names that its mirror gave it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A request that may be installed: the name that was asked for, by whom, and its checked files in order."""

    name: str
    by: By
    items: tuple[Checked, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its files."""
        return tuple(each.item.name for each in self.items)

    @property
    def record_bytes(self) -> int:
        """The most that it takes to write down that it is installed."""
        return sum(
            ENTRY_BYTES + len(each.item.name) + len(each.mirror) + sum(len(need) + 3 for need in each.item.needs)
            for each in self.items
        )


@dataclass
class Transaction:
    """One run's changes. shown: what is shown now, which grows; refused: name of a request -> why, in one line."""

    layers: Layers
    shown: Shown
    installed: list[Candidate] = field(default_factory=list[Candidate])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    contents: dict[str, Content] = field(default_factory=dict[str, Content])
    found: dict[str, tce_install.Found] = field(default_factory=dict[str, tce_install.Found])
    unpacked: dict[str, packages.Unpacked] = field(default_factory=dict[str, packages.Unpacked])

    def install(self, candidates: Sequence[Candidate]) -> None:
        """Install what can be; the outcome is in `installed` and `refused`.

        Raises ToolFailed and OSError when the system cannot be put back.
        """
        pending = list(candidates)
        while pending:
            failed = self._attempt(pending)
            if not failed:
                self.installed += pending
                return
            good = [each for each in pending if not any(name in failed for name in each.names)]
            for each in pending if len(pending) == 1 or good else ():
                if each not in good:
                    self._refuse(each, failed)
            if len(pending) > 1 and not good:
                for each in pending:
                    self.install([each])
                return
            pending = good

    def _refuse(self, candidate: Candidate, failed: dict[str, str]) -> None:
        """Say why; the reason of what it needs is named after it."""
        name = next(each for each in candidate.names if each in failed)
        reason = failed[name] if failed[name].startswith(name) else f"{name}: {failed[name]}"
        own = name == candidate.items[-1].item.name
        self.refused[candidate.name] = reason if own else f"{candidate.name}: {reason}"

    def _attempt(self, candidates: Sequence[Candidate]) -> dict[str, str]:
        """Try them together; return which files cannot be installed and why, with the system as it was then."""
        names = tuple(dict.fromkeys(name for each in candidates for name in each.names))
        new = self.shown.minus(self._replaced(names)).plus(names)
        coming = [name for name in names if name not in self.shown.all]
        failed = self._prepare(coming, new)
        if failed:
            self._forget(coming)
            return failed
        units = {name: content.units for name, content in self.contents.items()}
        before = self.shown
        failed = self._change(new, units)
        if failed:
            lost = self._change(before, units)
            if lost:
                raise ToolFailed(next(iter(lost.values())))
            self._forget(coming)
        return failed

    def _change(self, new: Shown, units: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Show `new` as Layers.change does; `shown` is what is shown afterwards, also when it raises."""
        old = self.shown
        try:
            failed = self.layers.change(old, new, units)
        except (MkError, OSError):
            self.shown = self.layers.shown_now(old, new, overlay=False)
            raise
        overlay = not any(name in failed for name in (*new.tcz, *new.wheels))
        self.shown = self.layers.shown_now(old, new, overlay=overlay)
        return failed

    def _prepare(self, names: Sequence[str], new: Shown) -> dict[str, str]:
        """Look through all of them that were not looked through before."""
        run, image = self.layers.run, self.layers.image
        native = {name: image(name) for name in new.native if name in names and name not in self.contents}
        failed: dict[str, str] = {}
        if native:
            contents, refused = merge.prepare(run, native, self.layers.root)
            self.contents.update(contents)
            failed.update(refused)
        tiny = {name: image(name) for name in names if name in new.tcz}
        if tiny:
            found, refused = tce_install.prepare(run, tiny, self.layers.root)
            self.found.update(found)
            failed.update(refused)
        coming = [name for name in names if name in new.wheels]
        for name in coming:
            problem = self._unpack(name)
            failed.update({name: problem} if problem else {})
        if coming and not failed:
            before = packages.read_all(run, self.shown.wheels)
            problem = packages.problem(run, packages.read_all(run, new.wheels), packages.system_version, before)
            blamed = [name for name in coming if problem.startswith(name)] or coming
            failed.update(dict.fromkeys(blamed, problem) if problem else {})
        return failed

    def _unpack(self, name: str) -> str:
        try:
            self.unpacked[name] = packages.prepare(self.layers.run, name, self.layers.image(name))
        except (MkError, OSError) as error:
            return str(error)
        return ""

    def _replaced(self, names: Iterable[str]) -> list[str]:
        """Return the wheels of other versions of the packages that come; an older one makes room for a newer one."""
        coming = {wheel.parse_wheel(name).name for name in names if is_wheel(name)}
        return [each for each in self.shown.wheels if each not in names and wheel.parse_wheel(each).name in coming]

    def _forget(self, names: Iterable[str]) -> None:
        """Let go of what was prepared and is not shown; native extensions stay looked through."""
        mounted = [name for name in names if self.found.pop(name, None)]
        if mounted:
            tce_install.discard(self.layers.run, mounted, self.layers.root)

    def bring_up(self) -> dict[str, str]:
        """Start what was installed in this run; return what failed, one line by name. It costs nothing else."""
        names = list(dict.fromkeys(name for each in self.installed for name in each.names))
        failed = merge.bring_up({name: self.contents[name] for name in names if name in self.contents})
        if any(name.endswith(tce.SUFFIX) for name in names):
            try:
                tce_install.refresh_libraries()
            except MkError as error:
                log.warning("libraries of extensions: %s", error)
        for name in names:
            if name in self.found and self.found[name].script:
                problem = tce_install.start(name)
                failed.update({name: problem} if problem else {})
        return failed


def take_in(layers: Layers, candidate: Candidate, taken: dict[str, str]) -> str:
    """Put a candidate's files where they stay; return why that cannot be, "" for nothing. taken: name -> SHA-256.

    The same name with another content is refused, since only one of them can be installed. Raises BadInput for the
    name of a wheel that is none, OSError.
    """
    for name in filter(is_wheel, candidate.names):
        wheel.parse_wheel(name)
    for each in candidate.items:
        if taken.get(each.item.name, each.sha256) != each.sha256:
            return f"{each.item.name}: two mirrors have it, with different contents"
    taken.update({each.item.name: each.sha256 for each in candidate.items})
    for each in candidate.items:
        _move(each.path, layers.image(each.item.name))
        if each.map is not None:
            _move(each.map, layers.image(each.item.name + MAP))
    return ""


def _move(source: Path, target: Path) -> None:
    files.make_dir(target.parent)
    if source.exists():  # else another candidate that shares it brought it already
        files.place(source, target)


def is_wheel(name: str) -> bool:
    """Tell whether a file is a Python package."""
    return name.endswith(wheel.SUFFIX)

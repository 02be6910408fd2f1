"""mkctl's view of the facts: facts.json as it is now, what of it would be sent, and the digest of that.

The file is read again only when it changed (a stat tells), so looking four times a second while the first facts are
awaited costs nothing. Addresses come fresh from the kernel whenever facts are built, because leases change faster
than hardware.
"""

from __future__ import annotations

from collections.abc import Sequence
from re import Pattern
from typing import Callable, Optional

from mkcore.config import Config
from mkcore.interfaces import address_facts, read_interfaces
from mkcore.jsonfields import Json
from mkcore.keys import is_pattern
from mkcore.paths import Paths
from mkcore.rubyregex import compile_ruby
from mkcore.uevents import is_newer, read_learnt, read_seqnum
from mkctl import plan, registration
from mkctl.cmdline import Token
from mkctl.describe import read_facts_file
from mkctl.probe.model import FactsFile


def compile_volatile(items: Sequence[str]) -> Callable[[str], bool]:
    """Return what tells whether a fact is volatile: whole names, and /patterns/, which are searched. Raises BadInput.

    Each pattern stays one of its own: joined, their groups' names and numbers would get in each other's way, and a list
    of good patterns could be a bad one.
    """
    names = frozenset(item for item in items if not is_pattern(item))
    patterns = [compile_ruby(item[1:-1]) for item in items if is_pattern(item)]
    return lambda name: name in names or any(pattern.search(name) for pattern in patterns)


def compile_exclude(pattern: str) -> Optional[Pattern[str]]:
    """Compile facts.exclude; None for an empty one. Raises BadInput."""
    return compile_ruby(pattern) if pattern else None


class FactsView:
    """facts.json and what a registration would send of it under `config`.

    host_name: the name that this machine was given since it was started, "" for none. server_source: what named the
    server, sent as `mk_server_source`; "" where nobody did.
    """

    def __init__(self, paths: Paths, tokens: Sequence[Token], now_s: Callable[[], float]) -> None:
        self.paths = paths
        self.content = FactsFile()
        self.problem = ""
        self.present = False
        self.host_name = ""
        self.server_source = ""
        self._tokens = tokens
        self._now_s = now_s
        self._stamp: Optional[tuple[int, int, int]] = None
        self._changed_s = 0.0
        self._exclude: Optional[Pattern[str]] = None
        self._steady = registration.Steady(compile_volatile(()))
        self._alias = True
        self._sets: frozenset[str] = frozenset()

    def configure(self, config: Config, sets: Sequence[str] = ()) -> None:
        """Take sets, exclusion pattern, volatile names and aliasing from the configuration in use; `sets`, if there are
        any, count instead of the configured ones."""
        self._exclude = compile_exclude(config.facts_exclude)
        self._alias = config.facts_boot_nic_as_eth0
        chosen = frozenset(sets or config.facts_sets)
        if chosen != self._sets and self.present:
            self._stamp = None  # read the file again: what another set needs was left out
        self._sets = chosen
        is_volatile = compile_volatile(config.facts_volatile)
        if "inventory" in self._sets:
            from mkctl.probe.schema import steady_inventory  # who does not send it need not have it in memory

            self._steady = registration.Steady(is_volatile, steady_inventory)
        else:
            self._steady = registration.Steady(is_volatile)

    def refresh(self) -> bool:
        """Look at the file; True when it changed since the last look."""
        stamp = self._stat()
        if stamp == self._stamp:
            return False
        self._stamp, self._changed_s = stamp, self._now_s()
        content, self.problem = read_facts_file(self.paths.facts)
        self.content = content.without({"structured", "inventory"} - self._sets)
        self.present = stamp is not None and not self.problem
        return True

    def arrived(self) -> bool:
        """Look at the file; True when a collection has ended since the last look.

        A collection under way writes the file as each collector ends; that is no reason to register half of what comes.
        """
        before = self.content
        self.refresh()
        return (self.content.generation, self.content.complete) != (before.generation, before.complete)

    def _stat(self) -> Optional[tuple[int, int, int]]:
        try:
            found = self.paths.facts.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def build(self) -> dict[str, Json]:
        """The facts to send now: those of the chosen sets with fresh addresses, less what is excluded."""
        chosen = registration.choose_facts(self.content, self._sets, self.host_name, self.server_source)
        if "facter" not in self._sets and "lldp" not in self._sets:
            return registration.build_facts(chosen.flat, {}, self._exclude, on_top=chosen.on_top)
        interfaces = read_interfaces(str(self.paths.sys), str(self.paths.proc))
        addresses = address_facts(interfaces, self.paths.proc)
        eth0 = registration.choose_eth0(interfaces, addresses, self._tokens) if self._alias else ""
        fresh = addresses if "facter" in self._sets else {}
        return registration.build_facts(chosen.flat, fresh, self._exclude, eth0, chosen.on_top)

    @property
    def sets(self) -> frozenset[str]:
        """Names of the chosen sets."""
        return self._sets

    def is_excluded(self, name: str) -> bool:
        """Tell whether the exclusion pattern keeps a fact of this name from being sent."""
        return bool(self._exclude and self._exclude.search(name))

    def steady(self, facts: dict[str, Json]) -> dict[str, Json]:
        """What of the facts counts: the digest's input."""
        return self._steady.facts(facts)

    def digest(self, facts: dict[str, Json]) -> str:
        """Digest of facts that `build` made, without what is volatile."""
        return self._steady.digest(facts)

    def changed_names(self, before: dict[str, Json], after: dict[str, Json]) -> list[str]:
        """Names of the facts whose change led to another digest."""
        return self._steady.changed_names(before, after)

    def summary(self) -> plan.Facts:
        """What decisions need to know."""
        if not self.present:
            return plan.Facts()
        collected_s = self.content.boottime_usec / 1e6 if self.content.complete else 0.0
        return plan.Facts(
            present=True,
            complete=self.content.complete,
            digest=self.digest(self.build()) if self.content.complete else "",
            age_s=max(0.0, self._now_s() - (collected_s or self._changed_s)),
            uevents_unchanged=not is_newer((self.content.uevent_seqnum, self.content.udev_nsec), self._uevents()),
        )

    def _uevents(self) -> tuple[int, int]:
        return read_seqnum(self.paths.sys) or self.content.uevent_seqnum, read_learnt(self.paths.udev)

"""From what is shown now to what shall be shown: native extensions, Tiny Core's, Python packages, as one change.

Installing, removing and undoing an installation that failed half-way are the same thing: the difference between two
states. Whatever comes is prepared before; whatever goes is stopped before.

Source: protocol 5.3; systemd-sysext(8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mkcore import files
from mkcore.errors import MkError
from mkmirror import merge, packages, tce_install
from mkmirror.formats import tce, wheel

MAP = ".map"


@dataclass(frozen=True)
class Shown:
    """File names of what is shown: native extensions, Tiny Core's (the newest first), wheels."""

    native: tuple[str, ...] = ()
    tcz: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()

    def plus(self, names: Iterable[str]) -> Shown:
        """Return it with these, the newest last in `names`."""
        found = self
        for name in names:
            if name in self.all:
                continue
            if name.endswith(tce.SUFFIX):
                found = replace(found, tcz=(name, *found.tcz))
            elif name.endswith(wheel.SUFFIX):
                found = replace(found, wheels=(*found.wheels, name))
            else:
                found = replace(found, native=(*found.native, name))
        return found

    def minus(self, names: Iterable[str]) -> Shown:
        """Return it without these."""
        gone = frozenset(names)
        return Shown(
            *(tuple(name for name in each if name not in gone) for each in (self.native, self.tcz, self.wheels))
        )

    @property
    def all(self) -> frozenset[str]:
        """All names."""
        return frozenset((*self.native, *self.tcz, *self.wheels))


@dataclass(frozen=True)
class Layers:
    """The system's folders. run: `/run/mk-extensions`; root: `/`."""

    run: Path
    root: Path = Path("/")

    def image(self, name: str) -> Path:
        """Return where the image of an installed extension lies."""
        return self.run / merge.IMAGES / name

    def sweep(self, shown: Shown) -> None:
        """Remove what nothing shown needs: files, and links of a run that was ended before it wrote down what it did.

        Unpacked wheels are of use without their files; those of no shown one go. A link without its file would make
        each later merge fail. Raises OSError.
        """
        mine = frozenset(merge.link_of(name, self.root) for name in shown.native)
        for top in (self.root / folder for folder in merge.FOLDERS.values()):
            for link in (top / name for name in files.list_names(top)):
                if link not in mine and link.is_symlink() and link.readlink().parent == self.run / merge.IMAGES:
                    files.remove(link)
        folder = self.run / merge.IMAGES
        needed = {*shown.native, *shown.tcz, *(f"{name}{MAP}" for name in shown.tcz)}
        for file in files.list_names(folder):
            if file not in needed:
                files.remove(folder / file)
        packages.sweep(self.run, shown.wheels)

    def change(self, old: Shown, new: Shown, units: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Show `new` instead of `old`; return which of the new names cannot be shown, with the reason.

        units: of native extensions that may have to go. Those that cannot be shown are left out; when it is one of
        several and nobody knows which, all of them are named, and none is shown; of Tiny Core's and wheels the old ones
        are shown then. Raises ToolFailed and OSError when something cannot be taken away or put back.
        """
        failed: dict[str, str] = {}
        self._take_out([name for name in old.native if name not in new.native], units)
        native = [name for name in new.native if name not in old.native]
        if native:
            failed.update(merge.commit(native, {name: self.image(name) for name in native}, self.root))
        if (old.tcz, old.wheels) != (new.tcz, new.wheels):
            failed.update(self._overlay(old, new))
        return failed

    def _take_out(self, names: Sequence[str], units: Mapping[str, Sequence[str]]) -> None:
        if names:
            stopped = merge.stop(unit for name in names for unit in units.get(name, ()))
            merge.take_out(names, self.root)
            merge.settle(stopped)

    def _overlay(self, old: Shown, new: Shown) -> dict[str, str]:
        leaving = [name for name in old.tcz if name not in new.tcz]
        coming = [name for name in (*new.tcz, *new.wheels) if name not in old.all]
        before = packages.seen(self.run)
        tce_install.stop(leaving)
        try:
            packages.commit(self.run, new.wheels)
            tce_install.merge(self.run, new.tcz, self.root)
        except (MkError, OSError) as error:
            packages.see(self.run, before)
            if not coming:
                raise
            tce_install.merge(self.run, old.tcz, self.root)
            return {name: f"{name}: {error}" for name in coming}
        tce_install.discard(self.run, leaving, self.root)
        packages.forget_old(self.run)
        return {}

    def shown_now(self, old: Shown, new: Shown, *, overlay: bool) -> Shown:
        """Return what is shown after `change`: overlay tells whether that could show what belongs to `new`."""
        native = tuple(name for name in dict.fromkeys((*old.native, *new.native)) if self._is_linked(name))
        return replace(new if overlay else old, native=native)

    def _is_linked(self, name: str) -> bool:
        return merge.link_of(name, self.root).is_symlink()

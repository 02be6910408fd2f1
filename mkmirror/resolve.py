"""In which order extensions are installed: what one needs before it, each once, nothing that is installed already.

Pure: where the dependencies come from is the caller's affair. What was downloaded but is not installed is installed
(defect B27), so only `installed` leaves anything out.

Source: protocol 5.3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Optional

from mkcore.errors import BadInput
from mkmirror.formats import sysext, tce
from mkmirror.lists import lines_of
from mkmirror.names import require_name

MAX_EXTENSIONS = 5_000

Needs = Callable[[str], Optional[Sequence[str]]]
"""Returns what an extension needs, in order; None when the mirror has no such extension."""


class Cycle(BadInput):
    """Extensions need each other; the text names the cycle."""


class Missing(BadInput):
    """An extension is not in the mirror; the text names who wants it."""


def parse_needs(owner: str, text: str, kernel: str, where: str) -> tuple[str, ...]:
    """Parse the `.dep` of the extension file `owner`, e.g. `a.tcz` or `a.raw`; names without an ending are of its kind.

    kernel: what -KERNEL in a name stands for. Raises BadInput naming the line.
    """
    if not owner.endswith(sysext.SUFFIX):
        return tce.parse_dep(text, kernel, where)
    found: dict[str, None] = {}
    for line, place in lines_of(text, where):
        ending = "" if line.endswith((sysext.SUFFIX, tce.SUFFIX)) else sysext.SUFFIX
        found.setdefault(require_name(line + ending, place))
    return tuple(found)


def resolve(wanted: Iterable[str], needs: Needs, installed: Collection[str] = ()) -> list[str]:
    """Return what to install, in the order to do it: the deepest dependency first, each name once.

    `needs` is asked once for each name that is not installed. Raises Cycle, Missing, and BadInput beyond
    MAX_EXTENSIONS.
    """
    order: dict[str, None] = {}
    for name in wanted:
        _visit(name, needs, frozenset(installed), order)
    return list(order)


def _visit(first: str, needs: Needs, installed: frozenset[str], order: dict[str, None]) -> None:
    """Walk depth first without recursion, since a chain may be longer than Python's stack."""
    path: dict[str, None] = {}
    pending: list[tuple[str, list[str]]] = []

    def enter(name: str) -> None:
        """Go one level deeper; raise Missing, or BadInput where there are too many."""
        found = needs(name)
        if found is None:
            by = f"; {next(reversed(path))} needs it" if path else ""
            raise Missing(f"{name} is not in the mirror{by}")
        path[name] = None
        pending.append((name, list(reversed(found))))
        if len(order) + len(path) > MAX_EXTENSIONS:
            raise BadInput(f"{first} needs more than {MAX_EXTENSIONS} extensions")

    if first not in installed and first not in order:
        enter(first)
    while pending:
        name, left = pending[-1]
        if not left:
            pending.pop()
            del path[name]
            order[name] = None
            continue
        need = left.pop()
        if need in path:
            raise Cycle(f"extensions need each other: {_show_cycle(list(path), need)}")
        if need not in installed and need not in order:
            enter(need)


def _show_cycle(path: list[str], again: str) -> str:
    names = [*path[path.index(again) :], again]
    if len(names) > 12:
        names = [*names[:6], "…", *names[-5:]]
    return " -> ".join(names)

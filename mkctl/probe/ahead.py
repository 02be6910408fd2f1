"""Tools that run before anybody asked for them.

One run of mk-facts would take as long as lshw and then as long as the import of the rest of the program, unless the two
went side by side: so the slow tools start first, before this program's own imports, and whoever runs one of them later
takes over the one that is under way. Each serves once; a second collection runs its tools anew, as hardware may have
changed. Imports nothing that costs time.
"""

from __future__ import annotations

from mkcore import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mkcore.proc import Finished


class Ahead:
    """Programs under way, by their command."""

    def __init__(self, commands: Iterable[tuple[str, ...]] = ()) -> None:
        """Start the commands; one that cannot be started is left to `run`, which says so."""
        self._children: dict[tuple[str, ...], spawn.Child] = {}
        for command in commands:
            self._start(command)

    def _start(self, command: tuple[str, ...]) -> None:
        try:
            self._children[command] = spawn.start(command)
        except OSError:
            return

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Finished:
        """Run a program as `mkcore.proc.run` does, or take over the one of this command that is under way."""
        from mkcore import proc  # by now a start was made

        child = self._children.pop(tuple(argv), None)
        return proc.run(argv, timeout_s=timeout_s) if child is None else proc.finish(child, timeout_s=timeout_s)

    def drop(self) -> None:
        """End what nobody took over."""
        from mkcore import proc

        while self._children:
            proc.finish(self._children.popitem()[1], timeout_s=0.0)

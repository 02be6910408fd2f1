"""What a command tells while it works: a moving line on a terminal, few lines elsewhere, warnings always."""

from __future__ import annotations

import io

import pytest

from mkmirror.progress import Progress, human


class Screen(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        """Tell what was asked for."""
        return self._terminal


def play(terminal: bool, quiet: bool = False) -> str:
    """Copy a file of 100 MB in 100 steps of a second, then say so and warn."""
    now = [0.0]
    screen = Screen(terminal)
    progress = Progress(screen, quiet=quiet, clock=lambda: now[0])
    for step in range(1, 101):
        now[0] += 1
        progress.moved("a.tcz", step * 1_000_000, 100_000_000)
    progress.say("a.tcz: copied")
    progress.warn("b.tcz is not there")
    return screen.getvalue()


def test_on_a_terminal_one_line_moves() -> None:
    said = play(terminal=True)
    assert said.count("\r") == 101
    assert "\ra.tcz: 50.0 MB of 100.0 MB (50 %)\x1b[K" in said
    assert said.endswith("\r\x1b[Ka.tcz: copied\nwarning: b.tcz is not there\n")


def test_elsewhere_a_line_every_ten_seconds() -> None:
    lines = play(terminal=False).splitlines()
    assert len(lines) == 12
    assert lines[0] == "a.tcz: 10.0 MB of 100.0 MB (10 %)"


def test_quiet() -> None:
    assert play(terminal=True, quiet=True) == "warning: b.tcz is not there\n"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (20_500_000, "20.5 MB"), (1000, "1.0 kB"), (3.2e12, "3200.00 GB")]
)
def test_sizes(size: float, text: str) -> None:
    assert human(size) == text

"""The order of installation: dependencies first, cycles and gaps named, what is installed left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkmirror.resolve import MAX_EXTENSIONS, Cycle, Missing, resolve

MIRROR = {
    "a.tcz": ["b.tcz", "c.tcz"],
    "b.tcz": ["d.tcz"],
    "c.tcz": ["d.tcz", "b.tcz"],
    "d.tcz": [],
    "lost.tcz": ["a.tcz", "gone.tcz"],
    "self.tcz": ["self.tcz"],
    "x.tcz": ["y.tcz"],
    "y.tcz": ["z.tcz"],
    "z.tcz": ["y.tcz"],
}


@pytest.mark.parametrize(
    ("wanted", "installed", "order"),
    [
        ([], [], []),
        (["d.tcz"], [], ["d.tcz"]),
        (["a.tcz"], [], ["d.tcz", "b.tcz", "c.tcz", "a.tcz"]),
        (["d.tcz", "a.tcz", "d.tcz"], [], ["d.tcz", "b.tcz", "c.tcz", "a.tcz"]),
        (["a.tcz"], ["b.tcz"], ["d.tcz", "c.tcz", "a.tcz"]),
        (["a.tcz"], ["d.tcz", "b.tcz", "c.tcz"], ["a.tcz"]),
        (["a.tcz"], ["a.tcz"], []),
        (["z.tcz"], ["y.tcz"], ["z.tcz"]),
    ],
)
def test_deepest_first_and_what_is_not_installed(wanted: list[str], installed: list[str], order: list[str]) -> None:
    assert resolve(wanted, MIRROR.get, installed) == order


def test_a_cycle_is_named() -> None:
    with pytest.raises(Cycle, match=r"^extensions need each other: y\.tcz -> z\.tcz -> y\.tcz$"):
        resolve(["a.tcz", "x.tcz"], MIRROR.get)
    with pytest.raises(Cycle, match=r"self\.tcz -> self\.tcz$"):
        resolve(["self.tcz"], MIRROR.get)


def test_who_wants_what_is_missing_is_named() -> None:
    with pytest.raises(Missing, match=r"^gone\.tcz is not in the mirror; lost\.tcz needs it$"):
        resolve(["lost.tcz"], MIRROR.get)
    with pytest.raises(Missing, match=r"^gone\.tcz is not in the mirror$"):
        resolve(["gone.tcz"], MIRROR.get)


def test_each_is_asked_once() -> None:
    asked: list[str] = []

    def needs(name: str) -> list[str]:
        asked.append(name)
        return MIRROR[name]

    resolve(["a.tcz", "c.tcz", "a.tcz"], needs, ["d.tcz"])
    assert sorted(asked) == ["a.tcz", "b.tcz", "c.tcz"]


def test_long_chains_and_endless_ones() -> None:
    order = resolve(["0"], lambda name: [str(int(name) + 1)] if int(name) < 4000 else [])
    assert order == [str(number) for number in range(4000, -1, -1)]
    with pytest.raises(BadInput, match=f"more than {MAX_EXTENSIONS}"):
        resolve(["0"], lambda name: [str(int(name) + 1)])
    with pytest.raises(Cycle, match="…"):
        resolve(["0"], lambda name: [str((int(name) + 1) % 100)])


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=4)), st.sets(st.integers(0, 12)))
def test_any_graph(graph: dict[int, list[int]], installed: set[int]) -> None:
    mirror = {str(key): [str(value) for value in values] for key, values in graph.items()}
    there = {str(value) for value in installed}
    try:
        order = resolve(sorted(mirror), mirror.get, there)
    except (Cycle, Missing):
        return
    assert len(set(order)) == len(order)
    assert not set(order) & there
    for place, name in enumerate(order):
        assert set(mirror[name]) <= set(order[:place]) | there
    assert set(order) | there >= set(mirror)

"""Comparing what was found with what was declared, field by field, in words that say which field differs.

What is declared may say less than what was found, but never more; where nothing else may be there, it says so with
`Whole`. What only the running machine can know has a rule instead of a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable


@dataclass(frozen=True)
class Rule:
    """Stands where a value is not declared to the last digit: words for a person, and whether a value is such a one."""

    words: str
    holds: Callable[[Any], bool]

    def __repr__(self) -> str:
        """Return the words."""
        return self.words


class Whole(dict[str, Any]):
    """An object that has these keys and no others."""


ABSENT = Rule("nothing", lambda _: False)
"""The key is not there at all."""
SOME_TEXT = Rule("some text", lambda value: isinstance(value, str) and bool(value))


def between(low: float, high: float) -> Rule:
    """Make the rule for a number in a range."""
    return Rule(
        f"{low:g} to {high:g}",
        lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high,
    )


def containing(*wanted: Any) -> Rule:
    """Make the rule for a list that has at least these."""
    return Rule(
        f"a list with {', '.join(map(repr, wanted))}",
        lambda value: isinstance(value, list) and all(each in value for each in wanted),
    )


def list_differences(declared: Any, found: Any, where: str = "") -> list[str]:
    """Return one line for each field that differs: "disks.sda.serial: declared 'A', found 'B'"."""
    if isinstance(declared, Rule):
        return [] if declared.holds(found) else [_line(where, declared, found)]
    if isinstance(declared, Mapping):
        return _of_object(declared, found, where)
    if isinstance(declared, (list, tuple)):
        return _of_list(declared, found, where)
    same = type(declared) is type(found) and declared == found
    return [] if same else [_line(where, declared, found)]


def _line(where: str, declared: object, found: object) -> str:
    return f"{where or 'all'}: declared {declared!r}, found {found!r}"


def _of_object(declared: Mapping[str, Any], found: Any, where: str) -> list[str]:
    if not isinstance(found, Mapping):
        return [_line(where, dict(declared), found)]
    lines = []
    for key, value in declared.items():
        path = f"{where}.{key}" if where else key
        if value is ABSENT:
            lines += [_line(path, ABSENT, found[key])] if key in found else []
        elif key not in found:
            lines.append(f"{path}: declared {value!r}, not found")
        else:
            lines += list_differences(value, found[key], path)
    if isinstance(declared, Whole):
        lines += [f"{where}.{key}: not declared, found {found[key]!r}" for key in found if key not in declared]
    return lines


def _of_list(declared: Sequence[Any], found: Any, where: str) -> list[str]:
    if not isinstance(found, list) or len(found) != len(declared):
        return [_line(where, declared, found)]
    pairs = enumerate(zip(declared, found))
    return [line for number, (one, other) in pairs for line in list_differences(one, other, f"{where}[{number}]")]


def key_by(objects: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return objects under one of their own values; their keys (names that the kernel gave) become their "name".

    Objects without that value stand under their key.
    """
    return {str(value.get(name, key)): {**value, "name": key} for key, value in objects.items()}


def key_declared(inventory: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inventory with what the kernel named under what was declared of it."""
    disks = {}
    for name, disk in inventory.get("disks", {}).items():
        namespace = f"/{disk['namespace']['nsid']}" if "namespace" in disk else ""
        disks[disk.get("serial", name) + namespace] = disk
    usb = {"usb": key_by(inventory["usb"], "serial")} if "usb" in inventory else {}
    nics = key_by({name: nic for name, nic in inventory["nics"].items() if name != "lo"}, "mac")
    return {**inventory, "disks": disks, "nics": {**nics, "lo": inventory["nics"].get("lo")}, **usb}

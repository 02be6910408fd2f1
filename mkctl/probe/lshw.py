"""The tree that `lshw -json` prints, with every value in the words of the tool's text listing.

The historic agents parsed five class listings of the text; its indentation does not carry the tree, which cost them
whole groups of facts (protocol 6.5; defects B38 to B44). One JSON run holds all classes with the structure intact, and
one run is a fifth of the time, because a class listing costs the whole scan. Here the JSON becomes nodes; `flatten`
makes facts of them.

What the tool's JSON needs: the root is an object or a list, depending on the version; strings are escaped only for
quotes and line ends, so a backslash or a control character from a vendor's DMI string makes the document invalid; bytes
of firmware strings need not be UTF-8; some versions print warnings on standard output. Source: lshw(1), versions 02.17
to 02.20.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Optional

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, parse_json
from mkctl.probe.amounts import format_amount, format_clock

log = logging.getLogger(__name__)

_TEXT_FIELDS = (
    ("description", "description"),
    ("product", "product"),
    ("vendor", "vendor"),
    ("physid", "physical_id"),
    ("businfo", "bus_info"),
    ("version", "version"),
    ("date", "date"),
    ("serial", "serial"),
    ("slot", "slot"),
)
WHERE = "lshw -json"
_MAX_STARTS = 5
# texts, not compiled: of most machines no document needs repair
_BAD_ESCAPE = r'\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})'
_LITERAL_BACKSLASH_AT_END = r'(?m)(?<!\\)\\(",?[ \t]*)$'
_CONTROL = r"[\x00-\x09\x0b-\x1f]"


class Node(NamedTuple):
    """One device.

    name: the id without its index, "cpu" of "cpu:0". indexed: the id has one. node_class: "processor", "network", ""
    when the tool gave none. claimed: a driver, or the tool itself, takes care of it.
    fields: what the text listing shows, under cleaned keys (`physical_id`, `bus_info`), sizes scaled ("4GiB").
    size: the bare number, 0 when unknown. logical_names: in the tool's order ("/dev/cdrom", "/dev/sr0").
    """

    name: str
    node_class: str
    disabled: bool
    claimed: bool
    size: int
    fields: Mapping[str, str]
    logical_names: tuple[str, ...]
    capabilities: tuple[str, ...]
    configuration: Mapping[str, str]
    children: tuple[Node, ...]
    indexed: bool = False

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it in the order in which the text listing prints them."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse_lshw(output: bytes, left_out: Optional[list[str]] = None) -> tuple[Node, ...]:
    """Parse what `lshw -json` printed into its root nodes (one in all known versions).

    A device that is not what a device must be costs itself and what is below it; its place goes into `left_out`. Raises
    BadInput when the output is no JSON or a root is no device.
    """
    roots = _parse_document(output.decode("utf-8", "replace"))
    problems: list[str] = [] if left_out is None else left_out
    return tuple(_parse_node(root, WHERE, problems) for root in roots)


def _parse_document(text: str) -> list[Json]:
    """Find the document in the output: after warnings, with the repairs that the tool's missing escapes call for."""
    end = max(text.rfind("}"), text.rfind("]")) + 1
    problem = BadInput("no JSON in its output", WHERE)
    for start in itertools.islice(_root_starts(text[:end]), _MAX_STARTS):
        document = text[start:end]
        for mend in (str, repair):  # only what cannot be read is repaired
            try:
                value = parse_json(mend(document), WHERE)
            except BadInput as error:
                problem = error
                continue
            roots: list[Json] = value if isinstance(value, list) else [value]
            if roots and all(isinstance(root, dict) for root in roots):
                return roots
            problem = BadInput("must be an object or a list of objects", WHERE)
    raise problem


def _root_starts(text: str) -> Iterator[int]:
    """Yield the places where a line begins with a bracket, blanks apart."""
    line = 0
    while line < len(text):
        end = text.find("\n", line) + 1 or len(text)
        start = text[line:end].lstrip(" \t")[:1]
        if start in ("{", "["):
            yield line
        line = end


def repair(document: str) -> str:
    """Escape what lshw leaves bare in strings: backslashes that start no escape, control characters (become blanks).

    A backslash right before a string's closing quote is told from an escaped quote by the tool's layout: one field to a
    line, so that the last quote of a line is the closing one.
    """
    document = re.sub(_CONTROL, " ", document)
    document = re.sub(_LITERAL_BACKSLASH_AT_END, r"\\\\\1", document)
    return re.sub(_BAD_ESCAPE, r"\\\\", document)


def _parse_node(value: Json, where: str, left_out: list[str]) -> Node:
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        raise BadInput("a device must be an object with an id", where)
    where = f"{where}/{value['id']}"
    name, colon, _ = str(value["id"]).partition(":")
    node_class = _text(value, "class", where)
    capabilities = tuple(_mapping(value, "capabilities", where))
    configuration = {key: str(item) for key, item in sorted(_mapping(value, "configuration", where).items())}
    return Node(
        name=name,
        indexed=bool(colon),
        node_class=node_class,
        disabled=value.get("disabled") is True,
        claimed=value.get("claimed") is True,
        size=_number(value, "size", where),
        fields=_fields(value, node_class, where),
        logical_names=_names(value.get("logicalname"), where),
        capabilities=capabilities,
        configuration=configuration,
        children=_parse_children(value, where, left_out),
    )


def _parse_children(value: dict[str, Json], where: str, left_out: list[str]) -> tuple[Node, ...]:
    children = value.get("children", [])
    if not isinstance(children, list):
        left_out.append(f"{where}: children: must be a list")
        return ()
    return tuple(node for child in children for node in _parse_child(child, where, left_out))


def _parse_child(child: Json, where: str, left_out: list[str]) -> tuple[Node, ...]:
    try:
        return (_parse_node(child, where, left_out),)
    except BadInput as error:
        left_out.append(str(error))
        return ()


def _fields(value: dict[str, Json], node_class: str, where: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for key, name in _TEXT_FIELDS:
        text = _text(value, key, where)
        if text:
            fields[name] = text
    for key in ("size", "capacity"):
        amount = _number(value, key, where)
        if amount > 0:
            fields[key] = format_amount(amount, node_class)
    width = _number(value, "width", where)
    if width > 0:
        fields["width"] = f"{width} bits"
    clock_hz = _number(value, "clock", where)
    if clock_hz > 0:
        fields["clock"] = format_clock(clock_hz, node_class)
    return fields


def _text(value: dict[str, Json], key: str, where: str) -> str:
    item = value.get(key, "")
    if isinstance(item, str):
        return item.strip()
    log.debug("%s.%s: left out, not a text: %r", where, key, item)
    return ""


def _number(value: dict[str, Json], key: str, where: str) -> int:
    item = value.get(key, 0)
    if isinstance(item, int) and not isinstance(item, bool):
        return item
    log.debug("%s.%s: left out, not a whole number: %r", where, key, item)
    return 0


def _mapping(value: dict[str, Json], key: str, where: str) -> dict[str, Json]:
    item = value.get(key, {})
    if isinstance(item, dict):
        return item
    log.debug("%s.%s: left out, not an object: %r", where, key, item)
    return {}


def _names(item: Json, where: str) -> tuple[str, ...]:
    names = item if isinstance(item, list) else [item]
    if item is not None and not all(isinstance(name, str) for name in names):
        log.debug("%s.logicalname: left out what is not a text: %r", where, item)
    return tuple(name for name in names if isinstance(name, str) and name)

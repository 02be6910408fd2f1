"""Documents for the tests of lshw's parsers, as the tool's JSON has them."""

from __future__ import annotations


def node(name: str, node_class: str = "generic", *children: dict, **fields: object) -> dict:
    """A device as lshw's JSON has it."""
    return {
        "id": name,
        "class": node_class,
        "claimed": True,
        **fields,
        **({"children": list(children)} if children else {}),
    }


def machine(*children: dict) -> dict:
    """A machine whose main board holds these devices."""
    return node("host", "system", node("core", "bus", *children, physid="0"))

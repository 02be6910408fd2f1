"""Plain text for the command line: tables of nodes and one node's sheet.

Everything that a node said passes `clean`: a terminal obeys control characters, and strangers write these texts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mkcore.jsonfields import Json

_HISTORY_ROWS = 15


def clean(value: Json) -> str:
    """Text of a JSON value in which nothing is left that a terminal would act on."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def ago(at_ms: int, now_ms: int) -> str:
    """How long ago, in the largest fitting unit: `12 s`, `3 min`, `5 h`, `2 d`."""
    seconds = max(0, (now_ms - at_ms) // 1000)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two blanks between them."""
    lines = [list(head), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _inventory(node: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = node.get("inventory") or {}
    return made


def nodes_text(listing: Mapping[str, Any]) -> str:
    """The table of `mkserver nodes`."""
    nodes, now_ms = listing["nodes"], listing["now_ms"]
    if not nodes:
        return "No nodes yet. Have a machine boot from the network: mkserver ipxe --help says how."
    rows: list[list[str]] = []
    for node in nodes:
        has = _inventory(node)
        machine = " ".join(clean(has.get(key, "")) for key in ("vendor", "product")).strip()
        order = f" ({node['order']} waits)" if node["order"] else ""
        name = clean(has.get("hostname") or (node["hw_ids"] or ["-"])[0])
        counts = [clean(has.get(key) or "-") for key in ("cpu_count", "memory", "disk_count", "nic_count")]
        contact = ago(node["last_seen_ms"], now_ms) + " ago"
        rows.append([node["id"], name, node["state"] + order, contact, machine or "-", *counts])
    head = ["NODE", "NAME", "STATE", "LAST CONTACT", "MACHINE", "CPUS", "MEMORY", "DISKS", "NICS"]
    return table(head, rows)


def node_text(node: Mapping[str, Any], *, all_facts: bool) -> str:
    """The sheet of `mkserver show`."""
    has, now_ms = _inventory(node), node["now_ms"]
    cpus = f"{has.get('cpu_count') or '-'} x {has.get('cpu_model') or '-'}"
    pairs = [
        ("node", node["id"]),
        ("hardware ids", ", ".join(node["hw_ids"])),
        ("state", node["state"] + (f", {node['order']} waits" if node["order"] else "")),
        ("last contact", f"{ago(node['last_seen_ms'], now_ms)} ago from {node['address']} ({node['dialect']})"),
        ("host name", has.get("hostname", "")),
        ("machine", f"{has.get('vendor', '')} {has.get('product', '')}".strip()),
        ("serial", has.get("serial", "")),
        ("CPUs", cpus),
        ("memory", has.get("memory", "")),
    ]
    pairs += [("disk", _joined(disk, "name", "size", "model", "serial")) for disk in has.get("disks", [])]
    pairs += [("NIC", _joined(nic, "name", "mac", "address", "speed")) for nic in has.get("nics", [])]
    pairs += [("tags", " ".join(node["tags"]))]
    pairs += [("setting", f"{key} = {clean(value)}") for key, value in node["config"].items()]
    lines = [f"{name:13} {clean(text)}" for name, text in pairs if text]
    lines += ["", "History, newest first:"]
    for event in node["history"][: None if all_facts else _HISTORY_ROWS]:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["at_ms"] / 1000))
        again = f" ({event['times']} times)" if event["times"] > 1 else ""
        lines.append(f"  {stamp}  {clean(event['text'])}{again}")
    if all_facts:
        lines += ["", "Facts:", *[f"  {clean(name)} = {clean(node['facts'][name])}" for name in sorted(node["facts"])]]
    else:
        lines += ["", f"{len(node['facts'])} facts: add --facts to see them"]
    return "\n".join(lines)


def _joined(part: Mapping[str, Any], *names: str) -> str:
    return "  ".join(str(part[name]) for name in names if part.get(name))


def config_text(config: Mapping[str, Any]) -> str:
    """What `mkserver config get` prints: settings made by people, then what nodes get."""
    lines = [f"{key} = {clean(value)}" for key, value in config["set"].items()] or ["(nothing set here)"]
    lines += [f"{key} = {clean(value)}  (for all nodes)" for key, value in config["inherited"].items()]
    lines += ["", "Server:", *[f"  {key} = {clean(value)}" for key, value in config["server"].items()]]
    for dialect, pushed in config["client_config"].items():
        lines += ["", f"Pushed to {dialect} nodes:", *[f"  {key} = {clean(pushed[key])}" for key in sorted(pushed)]]
    return "\n".join(lines)

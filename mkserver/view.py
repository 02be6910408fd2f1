"""What the page's templates show, made from the desk's JSON; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Optional
from urllib.parse import quote

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, parse_json

from .cells import natural
from .hardware import FACT, build_tables, read_document
from .nodes import Node
from .policy import BOOT_FORMS, State
from .pushed import check_value, parse_value
from .report import ago as ago_text
from .software import software_tables

_GROUPS: list[tuple[str, str]] = [
    ("Management", r"mk_ipmi_|ipmi|bmc"),
    ("Processors", r"mk_hw_cpu|mk_hw_lscpu|mk_hw_proc|processor|physicalprocessor|hardwareisa"),
    ("Memory", r"mk_hw_mem|memory|swap"),
    ("Disks", r"mk_hw_disk|mk_hw_volume|blockdevice|disks|partitions|filesystems"),
    (
        "Network",
        r"mk_hw_nic|mk_hw_nw|interfaces|ipaddress|macaddress|netmask|network|mtu_|lldp|hostname|fqdn|domain|dhcp|scope6",
    ),
    (
        "Machine",
        r"mk_hw_bus|mk_hw_fw|mk_hw_sys|bios|board|manufacturer|product|serialnumber|uuid|type$|virtual|is_virtual",
    ),
]
_COMPILED = [(title, re.compile(pattern)) for title, pattern in _GROUPS]
_ORDER = ["Machine", "Processors", "Memory", "Disks", "Network", "Management", "System"]

FIELDS: list[dict[str, Any]] = [
    {
        "key": "mk_checkin_interval",
        "label": "Checkin interval",
        "unit": "seconds",
        "kind": "number",
        "hint": "1 to 3600",
    },
    {"key": "mk_checkin_skew", "label": "Start skew", "unit": "seconds", "kind": "number", "hint": "0 to 300"},
    {
        "key": "mk_log_level",
        "label": "Log level",
        "kind": "choice",
        "choices": [f"Logger::{level}" for level in ("FATAL", "ERROR", "WARN", "INFO", "DEBUG")],
    },
    {"key": "mk_fact_excl_pattern", "label": "Facts left out", "kind": "text", "hint": "a Ruby regular expression"},
    {"key": "boot_kernel_args", "label": "Kernel arguments", "kind": "text", "hint": "added at the next boot"},
    {"key": "boot_debug_level", "label": "Boot messages", "kind": "choice", "choices": ["quiet", "debug"]},
    {"key": "boot_form", "label": "Boot by", "kind": "choice", "choices": list(BOOT_FORMS)},
]
SERVER_FIELDS: list[dict[str, Any]] = [
    {"key": "register_timeout", "label": "Register again after", "unit": "seconds of silence", "kind": "number"},
    {"key": "node_expire_timeout", "label": "Expire after", "unit": "seconds of silence", "kind": "number"},
]
FORM_KEYS = [field["key"] for field in [*FIELDS, *SERVER_FIELDS]]


def ago(at_ms: Optional[int], now_ms: int) -> str:
    """`12 s ago`, or never."""
    return "never" if at_ms is None else f"{ago_text(at_ms, now_ms)} ago"


def stamp(at_ms: Optional[int]) -> str:
    """UTC time as HTML's <time datetime> wants it; empty for never."""
    if at_ms is None:
        return ""
    return datetime.fromtimestamp(at_ms // 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def capitalize_first(text: str) -> str:
    """First letter upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


def diff_line(detail: Mapping[str, Any]) -> str:
    """What a difference holds, in numbers: `2 changed, 1 new`."""
    counts = [(len(detail["changed"]), "changed"), (len(detail["added"]), "new"), (len(detail["removed"]), "gone")]
    parts = [f"{count} {word}" for count, word in counts if count]
    return ", ".join(parts) + (f", {detail['more']} more not shown" if detail["more"] else "")


def node_url(name: str) -> str:
    """Address of a node's page."""
    return "/nodes/" + quote(name, safe="")


def _name(inventory: Mapping[str, Any], hw_ids: Any, node_id: str) -> str:
    return inventory.get("hostname") or (hw_ids[0] if hw_ids else node_id)


def _plural(count: str, singular: str) -> str:
    return f"{count} {singular}" if count == "1" else f"{count} {singular}s"


def node_row(node: Node, state: State) -> dict[str, Any]:
    """One row of the list."""
    has: dict[str, Any] = dict(node.inventory)
    return {
        "id": node.id,
        "version": node.version,
        "state": state.value,
        "name": _name(has, node.hw_ids, node.id),
        "label": node.hw_ids[0] if node.hw_ids else node.id,
        "order": node.order_name,
        "seen_ms": node.seen_ms,
        "address": node.address,
        "vendor": has.get("vendor", ""),
        "product": has.get("product", ""),
        "cpus": has.get("cpu_count", ""),
        "cpu_model": has.get("cpu_model", ""),
        "memory": has.get("memory", ""),
        "disks": has.get("disk_count", ""),
        "disk_sizes": ", ".join(disk["size"] for disk in has.get("disks", [])[:4] if disk["size"]),
        "nics": has.get("nic_count", ""),
        "nic_macs": ", ".join(nic["mac"] for nic in has.get("nics", [])[:2] if nic["mac"]),
    }


def group_of(name: str) -> str:
    """Heading under which a fact is shown."""
    for title, pattern in _COMPILED:
        if pattern.match(name):
            return title
    return "System"


def fact_value(value: Json) -> str:
    """A fact as the page shows it: texts as they are, structures as indented JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, (dict, list)) else None)


def group_facts(facts: Mapping[str, Json]) -> list[dict[str, Any]]:
    """Facts under their headings, sorted by name: [{"title", "facts": [(name, text)]}]. The inventory, one long text,
    is shown as the structure that it is."""
    document = read_document(facts)
    if document is not None:
        facts = {**facts, FACT: document}
    made: dict[str, list[tuple[str, str]]] = {title: [] for title in _ORDER}
    for name in sorted(facts, key=natural):
        made[group_of(name)].append((name, fact_value(facts[name])))
    return [{"title": title, "facts": rows} for title, rows in made.items() if rows]


def node_sheet(node: Mapping[str, Any]) -> dict[str, Any]:
    """One node's page, from `Desk.show`."""
    has: dict[str, Any] = dict(node["inventory"])
    document = read_document(node["facts"]) or {}
    return {
        **node,
        "version": node["version"],
        "name": _name(has, node["hw_ids"], node["id"]),
        "has": has,
        "groups": group_facts(node["facts"]),
        "tables": build_tables(document) + software_tables(document, node["facts"]),
        "fact_count": len(node["facts"]),
        "can_order": node["state"] in ("active", "inactive", "bound"),
        "cpu_line": _plural(has["cpu_count"], "processor") if has.get("cpu_count") else "",
    }


def config_form(config: Mapping[str, Any], fields: Optional[Mapping[str, str]]) -> dict[str, Any]:
    """Fields of a configuration form with what is set, or with what was just sent and refused."""
    is_node = config["node"] is not None
    shown = FIELDS if is_node else [*FIELDS, *SERVER_FIELDS]
    known = [field["key"] for field in shown]
    inherited: dict[str, Any] = {**next(iter(config["client_config"].values())), **config["server"]}
    other = [other_line(key, value) for key, value in config["set"].items() if key not in known]
    made: list[dict[str, Any]] = []
    for field in shown:
        key = field["key"]
        value = fields.get(key, "") if fields is not None else _plain(config["set"].get(key, ""))
        made.append({**field, "value": value, "default": _plain(inherited.get(key, "")) or "none"})
    return {
        "fields": made,
        "other": fields.get("other", "") if fields is not None else "\n".join(other),
        "is_node": is_node,
        "set_count": len(config["set"]),
    }


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_LIKE_JSON = re.compile(r"[\[{\"]|-?[0-9]|(true|false|null)\Z")


def parse_other(key: str, text: str) -> Json:
    """Value of a free KEY=VALUE line: JSON where it reads as JSON, else text. Raises BadInput for an impossible key."""
    check_value(key, "", force=True)
    if _LIKE_JSON.match(text):
        try:
            return parse_json(text, key)
        except BadInput:
            return text
    return parse_value(key, text)


def other_line(key: str, value: Json) -> str:
    """The line that `parse_other` reads back as this value."""
    plain = _plain(value)
    is_safe = isinstance(value, str) and not _LIKE_JSON.match(plain) and plain == plain.strip() and plain.isprintable()
    return f"{key}={plain if is_safe else json.dumps(value)}"

"""The hardware of a node in tables, read from the inventory document that it sent as the fact mk_inventory.

The document is JSON text of a stranger, so nothing in it is taken for granted: what has another type than expected is
left out, texts and tables are cut, and a text that is no document gives no tables. What a node does not know stays
empty. The page shows the tables above the facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from mkcore.errors import BadInput, one_line
from mkcore.jsonfields import Json, parse_object

from .inventory import size_text

FACT = "mk_inventory"
_ROWS = 256
_CHARS = 200

Object = dict[str, Json]


def read_document(facts: Mapping[str, Json]) -> Optional[Object]:
    """Return the inventory document among the facts, None where there is none that can be read."""
    text = facts.get(FACT)
    if not isinstance(text, str):
        return None
    try:
        return parse_object(text, FACT)
    except BadInput:
        return None


def spread_documents(old: Mapping[str, Json], new: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """Two maps of facts for comparing: where both have an inventory, each value of it as a fact of its own
    (`mk_inventory.disks.sda.serial`)."""
    before, after = read_document(old), read_document(new)
    if before is None or after is None:
        return dict(old), dict(new)
    return _spread(old, before), _spread(new, after)


def _spread(facts: Mapping[str, Json], document: Object) -> dict[str, Json]:
    spread = {name: value for name, value in facts.items() if name != FACT}
    waiting: list[tuple[str, Json]] = [(FACT, document)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += [(f"{path}.{key}", inside) for key, inside in value.items()]
        else:
            spread[path] = value
    return spread


def build_tables(document: Object) -> list[dict[str, Any]]:
    """Return the tables to show, those without content left out.

    Each is {"id", "title", "note", "pairs": [(label, text)], "columns": [label], "rows": [[text]]}, of which either
    pairs or rows are filled; a cell's text may hold line breaks.
    """
    made = (
        _table("system", "System", pairs=_system(document)),
        _table("cpus", "CPUs", columns=_CPU_COLUMNS, rows=_cpus(document)),
        _table("dimms", "Memory modules", note=_memory_note(document), columns=_DIMM_COLUMNS, rows=_dimms(document)),
        _table("disks", "Disks", columns=_DISK_COLUMNS, rows=_disks(document)),
        _table("nics", "NICs", columns=_NIC_COLUMNS, rows=_nics(document)),
        _table("driverless", "Devices without driver", columns=_PCI_COLUMNS, rows=_driverless(document)),
        _table("bmc", "Management controller (BMC)", pairs=_bmc(document)),
    )
    return [table for table in made if table["pairs"] or table["rows"]]


_CPU_COLUMNS = ["Package", "Model", "Cores", "Threads", "Maximum", "NUMA nodes", "Caches"]
_DIMM_COLUMNS = ["Slot", "Size", "Type", "Speed", "Vendor", "Part", "Serial"]
_DISK_COLUMNS = ["Name", "Size", "Model", "Serial", "Kind", "Firmware", "Health"]
_NIC_COLUMNS = ["Name", "MAC", "Link", "Device", "Driver", "NUMA", "Neighbour"]
_PCI_COLUMNS = ["Address", "Class", "Device", "Ids"]


def _table(
    key: str,
    title: str,
    note: str = "",
    pairs: Iterable[tuple[str, str]] = (),
    columns: Iterable[str] = (),
    rows: Iterable[list[str]] = (),
) -> dict[str, Any]:
    every = list(rows)
    more = f"{len(every) - _ROWS} more are not shown" if len(every) > _ROWS else ""
    return {
        "id": f"hw-{key}",
        "title": title,
        "count": len(every),
        "note": "; ".join(filter(None, (note, more))),
        "pairs": [(label, text) for label, text in pairs if text],
        "columns": list(columns),
        "rows": every[:_ROWS],
    }


def _object(holder: Json, key: str) -> Object:
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, dict) else {}


def _objects(holder: Json, key: str) -> list[Object]:
    value = holder.get(key) if isinstance(holder, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _keyed(document: Object, key: str) -> list[tuple[str, Object]]:
    """Members of a section that are objects, in the order in which people count."""
    found = [(name, each) for name, each in _object(document, key).items() if isinstance(each, dict)]
    return sorted(found, key=lambda item: natural(item[0]))


def natural(name: str) -> list[Any]:
    """Sort key under which nic2 comes before nic10."""
    return [(0, int(part), "") if part.isdecimal() and len(part) < 9 else (1, 0, part) for part in _PARTS.split(name)]


_PARTS = re.compile(r"([0-9]+)")


def _text(holder: Object, *keys: str) -> str:
    """The values of the keys in one text; what is no plain value is left out."""
    return " ".join(filter(None, (_plain(holder.get(key)) for key in keys)))


def _plain(value: Json) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)[:_CHARS]
    return one_line(value[: 4 * _CHARS])[:_CHARS] if isinstance(value, str) else ""


def _either(value: Json, yes: str, no: str) -> str:
    """One of two words for true and false, "" for everything else."""
    return (yes if value else no) if isinstance(value, bool) else ""


def _with(text: str, unit: str) -> str:
    return f"{text} {unit}" if text else ""


def _labelled(label: str, text: str) -> str:
    return f"{label} {text}" if text else ""


def _lines(*parts: str) -> str:
    return "\n".join(filter(None, parts))


def _list(value: Json) -> list[str]:
    return [text for text in map(_plain, value[:_ROWS]) if text] if isinstance(value, list) else []


def _size(holder: Object, key: str) -> str:
    value = holder.get(key)
    return size_text(str(value)) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else ""


def _system(document: Object) -> list[tuple[str, str]]:
    system, board, chassis = (_object(document, key) for key in ("system", "board", "chassis"))
    firmware, identity, kernel = (_object(document, key) for key in ("firmware", "identity", "kernel"))
    tpm, virtualization = _object(document, "tpm"), _object(document, "virtualization")
    secure = _either(firmware.get("secure_boot"), "Secure Boot on", "Secure Boot off")
    mode = {"uefi": "UEFI", "bios": "BIOS"}.get(_text(firmware, "boot_mode"), "")
    weak = _text(identity, "confidence")
    return [
        ("Machine", _text(system, "manufacturer", "product", "version")),
        ("Serial", _text(system, "serial")),
        ("UUID", _text(system, "uuid")),
        ("Identity", _lines(weak, *_list(identity.get("problems"))) if weak != "strong" else weak),
        ("Board", _lines(_text(board, "manufacturer", "product", "version"),
                         _labelled("Serial", _text(board, "serial")))),
        ("Chassis", _lines(_text(chassis, "manufacturer", "type"), _labelled("Serial", _text(chassis, "serial")),
                           _labelled("Asset tag", _text(chassis, "asset_tag")))),
        ("Firmware", _lines(_text(firmware, "vendor", "version", "date"), ", ".join(filter(None, (mode, secure))))),
        ("TPM", _text(tpm, "version", "vendor", "firmware_version") or ("present" if tpm else "")),
        ("Virtualization", _text(virtualization, "kind")),
        ("Graphics", _lines(*(_text(gpu, "vendor", "model") for _, gpu in _keyed(document, "gpus")[:_ROWS]))),
        ("Kernel", _text(kernel, "release", "machine")),
    ]  # fmt: skip


def _cpus(document: Object) -> list[list[str]]:
    processors = _object(document, "processors")
    return [
        [
            name,
            _text(each, "model_name"),
            _text(each, "cores"),
            _text(each, "threads"),
            _with(_text(each, "max_mhz"), "MHz"),
            ", ".join(_list(each.get("numa_nodes"))),
            _lines(*(_cache(cache) for cache in _objects(each, "caches")[:16])),
        ]
        for name, each in _keyed(processors, "packages")
    ]


def _cache(cache: Object) -> str:
    kind = {"Data": "d", "Instruction": "i"}.get(_text(cache, "type").capitalize(), "")
    text = f"L{_text(cache, 'level')}{kind} {_text(cache, 'count') or '1'} x {_size(cache, 'size_bytes')}"
    return text.replace(" ", "\u00a0")


def _memory_note(document: Object) -> str:
    memory = _object(document, "memory")
    slots = _objects(memory, "slots")
    empty = sum(1 for slot in slots if slot.get("populated") is False)
    parts = [_with(_size(memory, "installed_bytes"), "installed"), _with(_size(memory, "total_bytes"), "usable")]
    return ", ".join(filter(None, [*parts, f"{empty} of {len(slots)} slots empty" if empty else ""]))


def _dimms(document: Object) -> list[list[str]]:
    return [
        [
            _text(slot, "locator", "bank_locator"),
            "empty" if slot.get("populated") is False else _size(slot, "size_bytes"),
            _text(slot, "type", "form_factor"),
            _with(_text(slot, "configured_speed_mts") or _text(slot, "speed_mts"), "MT/s"),
            _text(slot, "manufacturer"),
            _text(slot, "part_number"),
            _text(slot, "serial"),
        ]
        for slot in _objects(_object(document, "memory"), "slots")
    ]


def _disks(document: Object) -> list[list[str]]:
    return [
        [
            name,
            _size(disk, "size_bytes"),
            _text(disk, "vendor", "model"),
            _lines(_text(disk, "serial"), _text(disk, "wwn")),
            f"{_text(disk, 'transport', 'kind')} {_turning(disk)}".strip(),
            _text(disk, "firmware_version"),
            _health(_object(disk, "health")),
        ]
        for name, disk in _keyed(document, "disks")
    ]


def _turning(disk: Object) -> str:
    return _either(disk.get("rotational"), "rotational", "solid state")


def _health(health: Object) -> str:
    return _lines(
        _either(health.get("passed"), "passed", "failed"),
        _with(_text(health, "temperature_c"), "°C"),
        _with(_text(health, "percentage_used"), "% used"),
        _with(_text(health, "power_on_hours"), "h on"),
        *_list(health.get("problems")),
    )


def _nics(document: Object) -> list[list[str]]:
    neighbours = _object(document, "lldp_neighbors")
    return [
        [
            f"{name} (boot)" if nic.get("boot") is True else name,
            _text(nic, "permanent_mac") or _text(nic, "mac"),
            _link(nic),
            _lines(_text(nic, "vendor", "model"), _text(nic, "pci_address")),
            _lines(_text(nic, "driver"), _labelled("firmware", _text(nic, "firmware_version"))),
            _text(nic, "numa_node"),
            _lines(*(_neighbour(each) for each in _objects(neighbours, name)[:8])),
        ]
        for name, nic in _keyed(document, "nics")
        if _text(nic, "type") != "loopback"
    ]


def _link(nic: Object) -> str:
    state = _either(nic.get("carrier"), "link", "no link")
    return state if state == "no link" else _with(_text(nic, "speed_mbps"), "Mbit/s") or state


def _neighbour(each: Object) -> str:
    who = _text(each, "system_name") or _text(each, "chassis_id")
    where = _text(each, "port_id") or _text(each, "port_description")
    vlan = _labelled("VLAN", _text(each, "vlan_id"))
    return ", ".join(filter(None, (f"{who} {where}".strip(), vlan)))


def _driverless(document: Object) -> list[list[str]]:
    pci = _object(document, "pci")
    rows: list[list[str]] = []
    for address in _list(document.get("devices_without_driver")):
        device = _object(pci, address)
        name = _text(device, "class") or _text(device, "class_id")
        ids = ":".join(filter(None, (_text(device, "vendor_id"), _text(device, "device_id"))))
        rows.append([address, name, _text(device, "vendor", "device"), ids])
    return rows


def _bmc(document: Object) -> list[tuple[str, str]]:
    bmc = _object(document, "bmc")
    pairs = [
        ("Controller", _text(bmc, "manufacturer", "product")),
        ("Firmware", _text(bmc, "firmware_version")),
        ("IPMI", _text(bmc, "ipmi_version")),
    ]
    for channel, lan in _keyed(bmc, "lan")[:16]:
        gateway = _labelled("gateway", _text(lan, "gateway"))
        vlan = _labelled("VLAN", _text(lan, "vlan_id"))
        address = " ".join(filter(None, (_text(lan, "ipv4"), _text(lan, "netmask"), gateway)))
        pairs.append((f"LAN {channel}"[:40], _lines(address, *_list(lan.get("ipv6")), _text(lan, "mac"), vlan)))
    for fru in _objects(bmc, "fru")[:16]:
        names = (_text(fru, "board_manufacturer", "board_product"), _text(fru, "product_manufacturer", "product_name"))
        serials = [_labelled("Serial", _text(fru, key)) for key in ("board_serial", "product_serial", "chassis_serial")]
        pairs.append((_text(fru, "description")[:40] or "FRU", _lines(*names, *serials)))
    return pairs

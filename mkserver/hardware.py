"""The hardware of a node in tables, read from the inventory document that it sent as the fact mk_inventory.

The document is JSON text of a stranger, so nothing in it is taken for granted: what has another type than expected is
left out, texts and tables are cut, and a text that is no document gives no tables. What a node does not know stays
empty. The page shows the tables above the facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, parse_object

from .cells import (
    ROWS,
    Object,
    addressed,
    either,
    keyed,
    labelled,
    lines,
    section,
    sections,
    size_of,
    text_of,
    texts,
    with_unit,
)

FACT = "mk_inventory"


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
        _table("cpus", "CPUs", note=_socket_note(document), columns=_CPU_COLUMNS, rows=_cpus(document)),
        _table("dimms", "Memory modules", note=_memory_note(document), columns=_DIMM_COLUMNS, rows=_dimms(document)),
        _table("disks", "Disks", columns=_DISK_COLUMNS, rows=_disks(document)),
        _table("controllers", "Storage controllers", columns=_CONTROLLER_COLUMNS, rows=_controllers(document)),
        _table("volumes", "Volumes", columns=_VOLUME_COLUMNS, rows=_volumes(document)),
        _table("nics", "NICs", columns=_NIC_COLUMNS, rows=_nics(document)),
        _table("driverless", "Devices without driver", columns=_PCI_COLUMNS, rows=_driverless(document)),
        _table("bmc", "Management controller (BMC)", pairs=_bmc(document)),
    )
    return [table for table in made if table["pairs"] or table["rows"]]


_CPU_COLUMNS = ["Package", "Model", "Cores", "Threads", "Maximum", "NUMA nodes", "Caches"]
_DIMM_COLUMNS = ["Slot", "Size", "Type", "Speed", "Vendor", "Part", "Serial"]
_DISK_COLUMNS = ["Name", "Size", "Model", "Serial", "Kind", "Firmware", "Health"]
_CONTROLLER_COLUMNS = ["Address", "Kind", "Device", "Driver", "NUMA", "Volumes"]
_VOLUME_COLUMNS = ["Name", "Size", "Level", "State", "Members"]
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
    more = f"{len(every) - ROWS} more are not shown" if len(every) > ROWS else ""
    return {
        "id": f"hw-{key}",
        "title": title,
        "count": len(every),
        "note": "; ".join(filter(None, (note, more))),
        "pairs": [(label, text) for label, text in pairs if text],
        "columns": list(columns),
        "rows": every[:ROWS],
    }


def _system(document: Object) -> list[tuple[str, str]]:
    system, board, chassis = (section(document, key) for key in ("system", "board", "chassis"))
    firmware, identity, kernel = (section(document, key) for key in ("firmware", "identity", "kernel"))
    tpm, virtualization = section(document, "tpm"), section(document, "virtualization")
    secure = either(firmware.get("secure_boot"), "Secure Boot on", "Secure Boot off")
    mode = {"uefi": "UEFI", "bios": "BIOS"}.get(text_of(firmware, "boot_mode"), "")
    weak = text_of(identity, "confidence")
    return [
        ("Machine", text_of(system, "manufacturer", "product", "version")),
        ("Serial", text_of(system, "serial")),
        ("UUID", text_of(system, "uuid")),
        ("Identity", lines(weak, *texts(identity.get("problems"))) if weak != "strong" else weak),
        ("Board", lines(text_of(board, "manufacturer", "product", "version"),
                         labelled("Serial", text_of(board, "serial")))),
        ("Chassis", lines(text_of(chassis, "manufacturer", "type"), labelled("Serial", text_of(chassis, "serial")),
                           labelled("Asset tag", text_of(chassis, "asset_tag")))),
        ("Firmware", lines(text_of(firmware, "vendor", "version", "date"), ", ".join(filter(None, (mode, secure))))),
        ("TPM", text_of(tpm, "version", "vendor", "firmware_version") or ("present" if tpm else "")),
        ("Virtualization", text_of(virtualization, "kind")),
        ("Graphics", lines(*_graphics(document))),
        ("Kernel", text_of(kernel, "release", "machine")),
    ]  # fmt: skip


def _graphics(document: Object) -> list[str]:
    """The cards; the dozens of virtual functions that one may have are no cards."""
    cards = [(address, card) for address, card in addressed(document, "gpus") if not card.get("physical_function")]
    return [text_of(card, "vendor", "model") or f"{text_of(card, 'kind')} {address}" for address, card in cards[:ROWS]]


def _cpus(document: Object) -> list[list[str]]:
    processors = section(document, "processors")
    return [
        [
            name,
            text_of(each, "model_name"),
            text_of(each, "cores"),
            text_of(each, "threads"),
            with_unit(text_of(each, "max_mhz"), "MHz"),
            ", ".join(texts(each.get("numa_nodes"))),
            lines(*(_cache(cache) for cache in sections(each, "caches")[:16])),
        ]
        for name, each in keyed(processors, "packages")
    ]


def _cache(cache: Object) -> str:
    kind = {"Data": "d", "Instruction": "i"}.get(text_of(cache, "type").capitalize(), "")
    text = f"L{text_of(cache, 'level')}{kind} {text_of(cache, 'count') or '1'} x {size_of(cache, 'size_bytes')}"
    return text.replace(" ", "\u00a0")


def _socket_note(document: Object) -> str:
    """What the firmware says of sockets whose processors the kernel does not see."""
    sockets = sections(section(document, "processors"), "sockets")
    empty = sum(1 for socket in sockets if socket.get("populated") is False)
    off = [
        f"{text_of(socket, 'designation') or 'one'} turned off by the {text_of(socket, 'disabled_by')}"
        for socket in sockets[:ROWS]
        if text_of(socket, "disabled_by")
    ]
    return ", ".join(filter(None, [f"{empty} of {len(sockets)} sockets empty" if empty else "", *off]))


def _memory_note(document: Object) -> str:
    memory = section(document, "memory")
    slots = sections(memory, "slots")
    empty = sum(1 for slot in slots if slot.get("populated") is False)
    kinds = (("installed_bytes", "installed"), ("persistent_bytes", "persistent"), ("total_bytes", "usable"))
    parts = [with_unit(size_of(memory, key), words) for key, words in kinds]
    return ", ".join(filter(None, [*parts, f"{empty} of {len(slots)} slots empty" if empty else ""]))


def _dimms(document: Object) -> list[list[str]]:
    return [
        [
            text_of(slot, "locator", "bank_locator"),
            "empty" if slot.get("populated") is False else size_of(slot, "size_bytes"),
            text_of(slot, "type", "form_factor"),
            with_unit(text_of(slot, "configured_speed_mts") or text_of(slot, "speed_mts"), "MT/s"),
            text_of(slot, "manufacturer"),
            text_of(slot, "part_number"),
            text_of(slot, "serial"),
        ]
        for slot in sections(section(document, "memory"), "slots")
    ]


def _disks(document: Object) -> list[list[str]]:
    return [
        [
            lines(name, text_of(section(disk, "bay"), "name")),
            size_of(disk, "size_bytes"),
            text_of(disk, "vendor", "model"),
            lines(text_of(disk, "serial"), text_of(disk, "wwn")),
            f"{text_of(disk, 'transport', 'kind')} {_turning(disk)}".strip(),
            text_of(disk, "firmware_version"),
            _health(section(disk, "health")),
        ]
        for name, disk in keyed(document, "disks")
    ]


def _turning(disk: Object) -> str:
    return either(disk.get("rotational"), "rotational", "solid state")


def _health(health: Object) -> str:
    return lines(
        either(health.get("passed"), "passed", "failed"),
        with_unit(text_of(health, "temperature_c"), "°C"),
        with_unit(text_of(health, "percentage_used"), "% used"),
        with_unit(text_of(health, "power_on_hours"), "h on"),
        *texts(health.get("problems")),
    )


def _controllers(document: Object) -> list[list[str]]:
    return [
        [
            address,
            text_of(each, "kind"),
            lines(_card(each, document, address), *_ports(each)),
            text_of(each, "driver"),
            text_of(each, "numa_node"),
            lines(*(text_of(volume, "disk", "level", "state") for volume in sections(each, "volumes")[:ROWS])),
        ]
        for address, each in addressed(document, "storage_controllers")
    ]


def _ports(controller: Object) -> list[str]:
    return [labelled("WWPN", text_of(port, "wwpn")) for port in sections(controller, "fc_ports")[:ROWS]]


def _volumes(document: Object) -> list[list[str]]:
    return [
        [
            name,
            size_of(each, "size_bytes"),
            text_of(each, "level"),
            lines(text_of(each, "state"), _missing(each.get("degraded"))),
            ", ".join(texts(each.get("members"))),
        ]
        for name, each in keyed(document, "volumes")
    ]


def _missing(degraded: Json) -> str:
    is_count = isinstance(degraded, int) and not isinstance(degraded, bool) and 0 < degraded < ROWS
    return f"{degraded} missing" if is_count else ""


def _nics(document: Object) -> list[list[str]]:
    neighbours = section(document, "lldp_neighbors")
    return [
        [
            f"{name} (boot)" if nic.get("boot") is True else name,
            text_of(nic, "permanent_mac") or text_of(nic, "mac"),
            lines(_link(nic), *_membership(nic)),
            lines(_card(nic, document, text_of(nic, "pci_address")), text_of(nic, "pci_address")),
            lines(text_of(nic, "driver"), labelled("firmware", text_of(nic, "firmware_version"))),
            text_of(nic, "numa_node"),
            lines(*(_neighbour(each) for each in sections(neighbours, name)[:8])),
        ]
        for name, nic in keyed(document, "nics")
        if text_of(nic, "type") != "loopback"
    ]


def _card(each: Object, document: Object, address: str) -> str:
    """Vendor and model of a card: its own section's, else those of the PCI function that it is."""
    function = section(section(document, "pci"), address)
    return text_of(each, "vendor", "model") or text_of(function, "vendor", "device")


def _link(nic: Object) -> str:
    state = either(nic.get("carrier"), "link", "no link")
    return state if state == "no link" else with_unit(text_of(nic, "speed_mbps"), "Mbit/s") or state


def _membership(nic: Object) -> list[str]:
    """What an interface belongs to or is made of: "in bond0", "802.3ad of eno1, eno2", "VLAN 5 on eno1"."""
    bond, bridge, vlan, sriov = (section(nic, key) for key in ("bond", "bridge", "vlan", "sriov"))
    slaves, ports = ", ".join(texts(bond.get("slaves"))), ", ".join(texts(bridge.get("ports")))
    return [
        labelled("in", text_of(bond, "master") or text_of(bridge, "master")),
        with_unit(text_of(bond, "mode") or ("bond" if slaves else ""), f"of {slaves}" if slaves else ""),
        labelled("bridge of", ports),
        " ".join(filter(None, (labelled("VLAN", text_of(vlan, "id")), labelled("on", text_of(vlan, "parent"))))),
        labelled("virtual function of", text_of(sriov, "physical_function")),
    ]


def _neighbour(each: Object) -> str:
    who = text_of(each, "system_name") or text_of(each, "chassis_id")
    where = text_of(each, "port_id") or text_of(each, "port_description")
    vlan = labelled("VLAN", text_of(each, "vlan_id"))
    return ", ".join(filter(None, (f"{who} {where}".strip(), vlan)))


def _driverless(document: Object) -> list[list[str]]:
    pci = section(document, "pci")
    rows: list[list[str]] = []
    for address in texts(document.get("devices_without_driver")):
        device = section(pci, address)
        name = text_of(device, "class") or text_of(device, "class_id")
        ids = ":".join(filter(None, (text_of(device, "vendor_id"), text_of(device, "device_id"))))
        rows.append([address, name, text_of(device, "vendor", "device"), ids])
    return rows


def _bmc(document: Object) -> list[tuple[str, str]]:
    bmc = section(document, "bmc")
    pairs = [
        ("Controller", text_of(bmc, "manufacturer", "product")),
        ("Firmware", text_of(bmc, "firmware_version")),
        ("IPMI", text_of(bmc, "ipmi_version")),
    ]
    for channel, lan in keyed(bmc, "lan")[:16]:
        gateway = labelled("gateway", text_of(lan, "gateway"))
        vlan = labelled("VLAN", text_of(lan, "vlan_id"))
        address = " ".join(filter(None, (text_of(lan, "ipv4"), text_of(lan, "netmask"), gateway)))
        pairs.append((f"LAN {channel}"[:40], lines(address, *texts(lan.get("ipv6")), text_of(lan, "mac"), vlan)))
    for fru in sections(bmc, "fru")[:16]:
        makers = (("board_manufacturer", "board_product"), ("product_manufacturer", "product_name"))
        names = [text_of(fru, *keys) for keys in makers]
        serials = [labelled("Serial", text_of(fru, f"{part}_serial")) for part in ("board", "product", "chassis")]
        pairs.append((text_of(fru, "description")[:40] or "FRU", lines(*names, *serials)))
    return pairs

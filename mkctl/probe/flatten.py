"""Hardware facts from the tree of `lshw`: `mk_hw_bus_*`, `_fw_*`, `_mem_*`, `_disk*_*`, `_cpu*_*`, `_nic*_*`.

Names, order and the words of the values are those that the historic agents sent and that servers' rules match (protocol
6.5 to 6.7, 6.10); what they got wrong for want of the tree is right here: a single CPU counts (B41), a virtio device is
one NIC or disk with the name and address of its child (B42, B43), NVMe namespaces are disks with the serial of their
controller (B43), several memories add up (B44), slots are counted where they hang (B45), nothing gets lost beside it
(B38 to B40). All values are strings, counts too: "2". Counts start at the first device; none, no count, as ever.
`groups` makes the optional JSON facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mkctl.probe.amounts import format_amount, format_binary
from mkctl.probe.lshw import Node
from mkctl.probe.sysfs import BlockDevice

BUS_KEYS = ("description", "product", "vendor", "version", "serial", "physical_id")
FIRMWARE_KEYS = ("description", "vendor", "physical_id", "version", "date", "size", "capabilities", "capacity")
MEMORY_KEYS = ("description", "physical_id", "slot", "size")
DISK_KEYS = (
    "description",
    "product",
    "physical_id",
    "bus_info",
    "logical_name",
    "version",
    "serial",
    "size",
    "configuration",
)
CPU_KEYS = (
    "description",
    "product",
    "vendor",
    "physical_id",
    "bus_info",
    "version",
    "serial",
    "slot",
    "size",
    "capacity",
    "width",
    "clock",
    "capabilities",
    "configuration",
)
NIC_KEYS = (
    "description",
    "physical_id",
    "bus_info",
    "logical_name",
    "version",
    "serial",
    "size",
    "capacity",
    "width",
    "clock",
    "capabilities",
    "configuration",
)

_PCI_KEYS = ("physical_id", "bus_info", "version", "width", "clock")


def flatten_lshw(roots: Sequence[Node], *, board: Mapping[str, str], block: Sequence[BlockDevice]) -> dict[str, str]:
    """Make all `mk_hw_*` facts of the tree.

    board: what sysfs says of the main board under the keys of BUS_KEYS; fills what lshw leaves open. block: what the
    kernel has for block devices; fills serial and size likewise, and a disk that lshw does not list at all follows the
    others: lshw finds SCSI and SATA disks by /dev/sg* alone, which a kernel need not have, and eMMC not at all.
    """
    nodes = [node for root in roots for node in root.walk()]
    facts = _facts("mk_hw_bus", _board(nodes, board), BUS_KEYS)
    for firmware in _named(nodes, "memory", "firmware")[:1]:
        facts.update(_facts("mk_hw_fw", describe(firmware), FIRMWARE_KEYS))
    facts.update(_memory_facts(nodes))
    groups = (
        ("disk", DISK_KEYS, _disk_fields(find_disks(roots), block)),
        ("cpu", CPU_KEYS, [describe(node) for node in find_cpus(roots)]),
        ("nic", NIC_KEYS, [describe(node) for node in find_nics(roots)]),
    )
    for group, keys, devices in groups:
        facts.update(_group_facts(f"mk_hw_{group}", devices, keys))
    return facts


def describe(node: Node) -> dict[str, str]:
    """Return all fields of a node as its text listing has them, lists written out."""
    fields = dict(node.fields)
    if node.logical_names:
        fields["logical_name"] = _logical_name(node.logical_names)
    if node.capabilities:
        fields["capabilities"] = " ".join(node.capabilities)
    if node.configuration:
        fields["configuration"] = " ".join(f"{key}={value}" for key, value in node.configuration.items())
    return fields


def find_cpus(roots: Iterable[Node]) -> list[Node]:
    """Return the CPU packages, an empty socket (which lshw calls disabled) left out."""
    return [
        node
        for root in roots
        for node in root.walk()
        if node.node_class == "processor" and node.name == "cpu" and not node.disabled
    ]


def find_nics(roots: Iterable[Node]) -> list[Node]:
    """Return the network interfaces, disabled ones left out, unclaimed ones (no driver) included.

    A controller without an interface of its own whose children are interfaces (virtio) becomes one NIC for each child.
    """
    return [node for root in roots for node in _nics(root)]


def find_disks(roots: Iterable[Node]) -> list[Node]:
    """Return the disks, without optical drives and media; a namespace has its controller's product, version, serial.

    Several ports of an NVMe disk lead to the same namespace, which is one disk.
    """
    found: list[Node] = []
    namespaces: set[str] = set()
    for node in (node for root in roots for node in _disks(root)):
        if node.name == "namespace":
            if node.logical_names[0] in namespaces:
                continue
            namespaces.add(node.logical_names[0])
        found.append(node)
    return found


def _nics(node: Node) -> Iterator[Node]:
    interfaces: tuple[Node, ...] = ()
    if node.node_class == "network":
        if not node.logical_names:
            interfaces = tuple(child for child in node.children if child.node_class == "network")
        candidates = [_join(node, child) for child in interfaces] or [node]
        yield from (candidate for candidate in candidates if not candidate.disabled)
    for child in node.children:
        if any(child is interface for interface in interfaces):
            for grandchild in child.children:
                yield from _nics(grandchild)
        else:
            yield from _nics(child)


def _join(controller: Node, interface: Node) -> Node:
    """Join a PCI function with the interface below it: place and bus from the function, the rest from the interface."""
    fields = {**controller.fields, **interface.fields}
    fields.update({key: controller.fields[key] for key in _PCI_KEYS if key in controller.fields})
    more = tuple(item for item in interface.capabilities if item not in controller.capabilities)
    return interface._replace(
        disabled=controller.disabled or interface.disabled,
        fields=fields,
        capabilities=controller.capabilities + more,
        configuration=dict(sorted({**controller.configuration, **interface.configuration}.items())),
    )


def _disks(node: Node, controller: Mapping[str, str] = {}) -> Iterator[Node]:
    if node.node_class == "disk" and not node.disabled and _is_disk_name(node.name):
        if node.name != "namespace":
            yield node
        else:
            yield from _namespace(node, controller)
    given = {key: node.fields[key] for key in ("product", "version", "serial") if key in node.fields}
    for child in node.children:
        yield from _disks(child, given if node.node_class == "storage" else {})


def _namespace(node: Node, controller: Mapping[str, str]) -> Iterator[Node]:
    """Yield a namespace under the name that its disk has; what else is called so (hwmon0, ng0n1) is none.

    Where the kernel joins the ports of a disk, lshw lists the hidden path, "nvme1c0n1", which has no device node.
    """
    for name in node.logical_names:
        match = re.fullmatch(r"(?:/dev/)?(nvme\d+)(?:c\d+)?(n\d+)", name, re.ASCII)
        if match:
            names = (f"/dev/{match[1]}{match[2]}",)
            yield node._replace(fields={**controller, **node.fields}, logical_names=names)
            return


def _is_disk_name(name: str) -> bool:
    return name in ("disk", "namespace") or (name.startswith("virtio") and name[6:].isdigit())


def _disk_fields(nodes: Iterable[Node], block: Sequence[BlockDevice]) -> list[dict[str, str]]:
    known = {f"/dev/{device.name}": device for device in block}
    listed = [describe(node) for node in nodes]
    for fields in listed:
        device = known.pop(fields.get("logical_name", ""), None)
        if device is not None and device.serial:
            fields.setdefault("serial", device.serial)
        if device is not None and device.size_bytes > 0:
            fields.setdefault("size", format_amount(device.size_bytes, "disk"))
    return listed + [_describe_device(device) for device in known.values() if device.disk]


def _describe_device(device: BlockDevice) -> dict[str, str]:
    """Describe a disk that sysfs alone knows, in lshw's words."""
    host, _, rest = device.address.partition(":")
    kinds = (("nvme", "NVMe disk"), ("sd", "ATA Disk" if device.vendor == "ATA" else "SCSI Disk"))
    return {
        "description": next((text for start, text in kinds if device.name.startswith(start)), "Disk"),
        "product": device.model,
        "physical_id": rest.replace(":", "."),
        "bus_info": f"scsi@{host}:{rest.replace(':', '.')}" if rest else "",
        "logical_name": f"/dev/{device.name}",
        "version": device.revision,
        "serial": device.serial,
        "size": format_amount(device.size_bytes, "disk"),
    }


def _logical_name(names: tuple[str, ...]) -> str:
    """Pick the last name, as ever ("/dev/sr0" after "/dev/cdrom"), but not the mount point of a disk in use."""
    devices = [name for name in names if name.startswith("/dev/")]
    return (devices or list(names))[-1]


def _board(nodes: Iterable[Node], board: Mapping[str, str]) -> dict[str, str]:
    for node in nodes:
        if node.name == "core" and node.node_class in {"bus", ""}:
            return {**board, **describe(node)}
    return dict(board)


def _memory_facts(nodes: Sequence[Node]) -> dict[str, str]:
    memories = _named(nodes, "memory", "memory")
    system = [node for node in memories if node.fields.get("description", "").lower() == "system memory"]
    # without SMBIOS words there is one memory of unknown use; what sits on a bus is a controller, not the memory
    system = system or [node for node in memories if node.size > 0 and "bus_info" not in node.fields][:1]
    if not system:
        return {}
    fields = describe(system[0])
    banks = [bank for node in system for bank in node.children if bank.name == "bank"]
    filled = [bank for bank in banks if bank.size > 0]
    total = sum(node.size or sum(bank.size for bank in node.children if bank in filled) for node in system)
    if total > 0:
        fields["size"] = format_binary(total)
    facts = _facts("mk_hw_mem", fields, MEMORY_KEYS)
    if banks:
        facts["mk_hw_mem_slot_count"] = str(len(filled))
    for number, bank in enumerate(filled):
        facts.update(_facts(f"mk_hw_mem_slot{number}", describe(bank), MEMORY_KEYS))
    return facts


def _named(nodes: Iterable[Node], node_class: str, name: str) -> list[Node]:
    return [node for node in nodes if node.node_class == node_class and node.name == name and not node.disabled]


def _group_facts(prefix: str, devices: Sequence[Mapping[str, str]], keys: Sequence[str]) -> dict[str, str]:
    facts = {f"{prefix}_count": str(len(devices))} if devices else {}
    for number, device in enumerate(devices):
        facts.update(_facts(f"{prefix}{number}", device, keys))
    return facts


def _facts(prefix: str, fields: Mapping[str, str], keys: Sequence[str]) -> dict[str, str]:
    return {f"{prefix}_{key}": fields[key] for key in keys if fields.get(key)}

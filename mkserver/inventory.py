"""What people want to know of a machine first, read from its facts whatever dialect or Facter generation sent them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from mkcore.jsonfields import Json

from .tags import fact_text

_SHOWN_PARTS = 64


@dataclass(frozen=True)
class Disk:
    """One disk; texts as the node gave them, empty where it gave none."""

    name: str
    model: str
    serial: str
    size: str


@dataclass(frozen=True)
class Nic:
    """One network interface; `speed` as lshw prints it."""

    name: str
    mac: str
    address: str
    speed: str


@dataclass(frozen=True)
class Inventory:
    """First things to know of a machine; every text may be empty, counts are the node's own words."""

    hostname: str = ""
    vendor: str = ""
    product: str = ""
    serial: str = ""
    uuid: str = ""
    virtual: str = ""
    cpu_count: str = ""
    cpu_model: str = ""
    logical_cpus: str = ""
    memory: str = ""
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    disk_count: str = ""
    nic_count: str = ""

    def as_json(self) -> dict[str, Json]:
        """Plain JSON object with lists for the disks and NICs."""
        made: dict[str, Json] = asdict(self)
        made["disks"] = [asdict(disk) for disk in self.disks]
        made["nics"] = [asdict(nic) for nic in self.nics]
        return made


def _first(facts: Mapping[str, Json], *names: str) -> str:
    for name in names:
        text = fact_text(facts, name)
        if text:
            return text[:200]
    return ""


def _count(text: str) -> int:
    return min(int(text), _SHOWN_PARTS) if text.isdecimal() and len(text) < 6 else 0


def _disks(facts: Mapping[str, Json]) -> tuple[Disk, ...]:
    found: list[Disk] = []
    for number in range(_count(fact_text(facts, "mk_hw_disk_count"))):
        prefix = f"mk_hw_disk{number}_"
        name = _first(facts, prefix + "logical_name").rpartition("/")[2]
        model = " ".join(filter(None, (_first(facts, prefix + "vendor"), _first(facts, prefix + "product"))))
        found.append(Disk(name, model, _first(facts, prefix + "serial"), _first(facts, prefix + "size")))
    if found:
        return tuple(found)
    names = [name for name in _first(facts, "blockdevices").split(",") if name and not name.startswith(("loop", "sr"))]
    for name in names[:_SHOWN_PARTS]:
        prefix = f"blockdevice_{name}_"
        model = " ".join(filter(None, (_first(facts, prefix + "vendor"), _first(facts, prefix + "model"))))
        found.append(Disk(name, model, _first(facts, prefix + "serial"), size_text(_first(facts, prefix + "size"))))
    return tuple(found)


def size_text(text: str) -> str:
    """Bytes as people write them; any other text as it is."""
    if not text.isdecimal() or len(text) > 24:
        return text
    size = float(text)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if size == int(size) else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _nics(facts: Mapping[str, Json]) -> tuple[Nic, ...]:
    found: dict[str, Nic] = {}
    for number in range(_count(fact_text(facts, "mk_hw_nic_count"))):
        prefix = f"mk_hw_nic{number}_"
        name = _first(facts, prefix + "logical_name") or f"nic{number}"
        mac = _first(facts, prefix + "serial") or _first(facts, f"macaddress_{name}")
        speed = _first(facts, prefix + "size", prefix + "capacity")
        found.setdefault(name, Nic(name, mac.lower(), _first(facts, f"ipaddress_{name}"), speed))
    if not found:
        for name in [n for n in _first(facts, "interfaces").split(",") if n and n != "lo"][:_SHOWN_PARTS]:
            mac = _first(facts, f"macaddress_{name}")
            if mac:
                found[name] = Nic(name, mac.lower(), _first(facts, f"ipaddress_{name}"), "")
    return tuple(found.values())


def build_inventory(facts: Mapping[str, Json]) -> Inventory:
    """Read the facts of protocol 6.6 to 6.8; what a node does not say stays empty."""
    disks, nics = _disks(facts), _nics(facts)
    return Inventory(
        hostname=_first(facts, "hostname"),
        vendor=_first(facts, "manufacturer", "mk_hw_bus_vendor", "boardmanufacturer"),
        product=_first(facts, "productname", "mk_hw_bus_product", "boardproductname"),
        serial=_first(facts, "serialnumber", "mk_hw_bus_serial", "boardserialnumber"),
        uuid=_first(facts, "uuid"),
        virtual=_first(facts, "virtual") if fact_text(facts, "is_virtual") == "true" else "",
        cpu_count=_first(facts, "mk_hw_cpu_count", "physicalprocessorcount"),
        cpu_model=" ".join(_first(facts, "mk_hw_cpu0_product", "processor0", "mk_hw_lscpu_Model_name").split()),
        logical_cpus=_first(facts, "processorcount"),
        memory=_first(facts, "mk_hw_mem_size", "memorysize"),
        disks=disks,
        nics=nics,
        disk_count=_first(facts, "mk_hw_disk_count") or (str(len(disks)) if disks else ""),
        nic_count=_first(facts, "mk_hw_nic_count") or (str(len(nics)) if nics else ""),
    )


def search_text(inventory: Inventory, hw_ids: tuple[str, ...]) -> str:
    """Lower-case text in which the page's and the API's search for nodes looks."""
    parts = [inventory.hostname, inventory.vendor, inventory.product, inventory.serial, inventory.uuid, *hw_ids]
    parts += [f"{nic.mac} {nic.mac.replace(':', '')} {nic.address}" for nic in inventory.nics]
    parts += [f"{disk.serial} {disk.model}" for disk in inventory.disks]
    return "\n".join(part for part in parts if part).lower()[:4000]

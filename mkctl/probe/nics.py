"""The inventory's network interfaces: all of them by type and address, the physical ones in full.

Names and vendors of the cards stand in the section "pci", under the address given here. An InfiniBand port that no
network driver serves has no interface and stands under the name of its device.

Source: Documentation/ABI/testing/sysfs-class-net, sysfs-bus-pci (sriov_*, physfn, numa_node), sysfs-class-infiniband;
Documentation/networking/bonding.rst (bonding/*); DEVTYPE in uevent, as the kernel's drivers set it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from mkcore.ethtool import DriverInfo
from mkcore.files import link_name, list_names, read_attribute, read_line
from mkcore.interfaces import ARPHRD_ETHER, Interface
from mkcore.jsonfields import Json
from mkctl.probe.junk import is_junk
from mkctl.probe.texts import clean_text

ARPHRD_INFINIBAND = 32
ARPHRD_LOOPBACK = 772
_BY_DEVTYPE = {"bond": "bond", "bridge": "bridge", "vlan": "vlan", "wlan": "wireless"}
_PCI = r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]"
_GUID = r"[0-9a-f]{4}(:[0-9a-f]{4}){3}"
_NO_SPEED_MBPS = 1 << 31  # an unknown speed is -1, as an unsigned number in old kernels

Vlan = tuple[int, str]
"""VLAN id and the interface below."""


def read_nics(
    sys_root: str,
    interfaces: Sequence[Interface],
    vlans: Mapping[str, Vlan],
    boot: str,
    driver_info: Callable[[str], DriverInfo],
) -> dict[str, Json]:
    """Return the section "nics" {"eno1": {"type": "ethernet", "mac": ...}}.

    boot: the name of the NIC that the machine booted from, "" for unknown.
    """
    nics: dict[str, Json] = {}
    infiniband, covered = read_infiniband(sys_root), set[str]()
    for each in interfaces:
        base = f"{sys_root}/class/net/{each.name}"
        nic = _common(base, each)
        address = pci_address(base) if each.physical else ""
        if each.physical:
            nic.update(_physical(sys_root, base, each, address, driver_info))
            if each.type == ARPHRD_INFINIBAND:
                nic.update(_own_port(infiniband.values(), address, str(nic.get("mac", ""))))
        nic.update(_membership(base, each, str(nic["type"]), vlans))
        if each.name == boot:
            nic["boot"] = True
        nics[each.name] = nic
        if "infiniband" in nic:
            covered.add(address)
    nics.update((name, device) for name, device in infiniband.items() if device.get("pci_address") not in covered)
    return nics


def pci_address(base: str) -> str:
    """Return the PCI address of the device below /sys/class/X/NAME, e.g. "0000:00:1f.6"; "" when it is no PCI device.

    A virtio device stands below its PCI device and has that one's; an adapter on USB has none.
    """
    try:
        path = os.readlink(base).split("/")[:-2]  # ../../devices/pci0000:00/0000:00:03.0/virtio0/net/eth0
    except OSError:
        path = os.path.realpath(f"{base}/device").split("/")
    for part in reversed(path[-2:]):
        if re.fullmatch(_PCI, part):
            return part
    return ""


def _common(base: str, interface: Interface) -> dict[str, Json]:
    mac = interface.mac or (read_line(f"{base}/address").lower() if interface.type == ARPHRD_INFINIBAND else "")
    found: dict[str, Json] = {"type": _type(base, interface)}
    if mac:
        found["mac"] = mac
    if interface.mtu:
        found["mtu"] = interface.mtu
    if interface.carrier is not None:
        found["carrier"] = interface.carrier
    return found


def _type(base: str, interface: Interface) -> str:
    if interface.type == ARPHRD_LOOPBACK:
        return "loopback"
    for line in read_attribute(f"{base}/uevent").decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        if key == "DEVTYPE" and value in _BY_DEVTYPE:
            return _BY_DEVTYPE[value]
    if interface.type == ARPHRD_INFINIBAND:
        return "infiniband"
    if not interface.physical:
        return "virtual"
    return "ethernet" if interface.type == ARPHRD_ETHER else "other"


def _physical(
    sys_root: str, base: str, interface: Interface, address: str, driver_info: Callable[[str], DriverInfo]
) -> dict[str, Json]:
    info = driver_info(interface.name)
    texts = {
        "permanent_mac": interface.permanent_mac,
        "driver": interface.driver or clean_text(info.driver),
        "driver_version": clean_text(info.version),
        "firmware_version": clean_text(info.firmware_version),
        "pci_address": address,
        "duplex": interface.duplex if interface.duplex in ("full", "half") else "",
    }
    found: dict[str, Json] = {key: text for key, text in texts.items() if text and not is_junk(text)}
    found.update(_numa_node(sys_root, base, address))
    if 0 < interface.speed_mbps < _NO_SPEED_MBPS:
        found["speed_mbps"] = interface.speed_mbps
    sriov = _sriov(base) if address else {}
    if sriov:
        found["sriov"] = sriov
    return found


def _numa_node(sys_root: str, base: str, address: str) -> dict[str, Json]:
    device = f"{sys_root}/bus/pci/devices/{address}" if address else f"{base}/device"
    node = read_line(f"{device}/numa_node")  # -1: the firmware does not say
    return {"numa_node": int(node)} if _is_count(node) else {}


def _sriov(base: str) -> dict[str, Json]:
    total, used = read_line(f"{base}/device/sriov_totalvfs"), read_line(f"{base}/device/sriov_numvfs")
    found: dict[str, Json] = {}
    if _is_count(total):
        found["total_vfs"] = int(total)
    if _is_count(used):
        found["vfs"] = int(used)
    function = link_name(f"{base}/device/physfn")
    if function:
        found["physical_function"] = function
    return found


def _membership(base: str, interface: Interface, kind: str, vlans: Mapping[str, Vlan]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    if kind == "bond":
        slaves: list[Json] = [*sorted(read_line(f"{base}/bonding/slaves").split())]
        found["bond"] = {"slaves": slaves}
        mode = read_line(f"{base}/bonding/mode").split()  # "802.3ad 4"
        if mode:
            found["bond"] = {"mode": mode[0], "slaves": slaves}
    elif interface.bond_master:
        found["bond"] = {"master": interface.bond_master}
    if kind == "bridge":
        found["bridge"] = {"ports": [*list_names(f"{base}/brif")]}
    elif os.path.exists(f"{base}/brport") and link_name(f"{base}/master"):
        found["bridge"] = {"master": link_name(f"{base}/master")}
    if interface.name in vlans:
        number, parent = vlans[interface.name]
        found["vlan"] = {"id": number, "parent": parent}
    elif kind == "vlan":
        below = [name[6:] for name in list_names(base) if name.startswith("lower_")]
        found["vlan"] = {"parent": below[0]} if below else {}
    return found


def read_infiniband(sys_root: str) -> dict[str, dict[str, Json]]:
    """Return the devices with InfiniBand ports, each as one of the section's: {"mlx5_0": {"infiniband": {...}}}."""
    found: dict[str, dict[str, Json]] = {}
    for name in list_names(f"{sys_root}/class/infiniband"):
        base = f"{sys_root}/class/infiniband/{name}"
        guids: list[Json] = []
        for port in sorted(list_names(f"{base}/ports"), key=lambda text: (len(text), text)):
            guid = read_line(f"{base}/ports/{port}/gids/0").lower()[-19:]  # a GID: subnet prefix, then the port's GUID
            if read_line(f"{base}/ports/{port}/link_layer") == "InfiniBand" and _is_guid(guid):
                guids.append(guid)
        if guids:
            address, node = pci_address(base), read_line(f"{base}/node_guid").lower()
            described: dict[str, Json] = {"port_guids": guids}
            if _is_guid(node):
                described["node_guid"] = node
            found[name] = {"type": "infiniband", "infiniband": described, **_numa_node(sys_root, base, address)}
            if address:
                found[name]["pci_address"] = address
    return found


def _own_port(devices: Iterable[Mapping[str, Json]], pci_address: str, mac: str) -> dict[str, Json]:
    """Return what an interface has of its card's device: of two ports that share a PCI function only its own.

    Its address of 20 octets ends with the port's GUID: "80:00:...:00:02:c9:03:00:0a:0b:0d" -> 0002:c903:000a:0b0d.
    """
    digits = mac.replace(":", "")[-16:]
    own: Json = ":".join(digits[start : start + 4] for start in range(0, 16, 4))
    for device in devices:
        described = device.get("infiniband")
        if device.get("pci_address") == pci_address and isinstance(described, dict):
            guids = described.get("port_guids")
            narrowed: dict[str, Json] = {"port_guids": [own]} if isinstance(guids, list) and own in guids else {}
            return {"infiniband": {**described, **narrowed}}
    return {}


def _is_guid(text: str) -> bool:
    return bool(re.fullmatch(_GUID, text)) and bool(text.strip("0:"))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10

"""LLDP frames: what a neighbour on the cable says of itself.

A frame comes from whoever is on the other end, so no length in it is believed: what lies beyond the end of the frame,
or has an odd size, is left out, and what stands before it counts. A frame without its three mandatory parts is no LLDP.
Values are what the neighbour sent, whichever subtype it chose: the historic code knew chassis ids that are MACs and
port ids that are names alone, and read the VLAN id as a decimal number (defects B49, B50).

Source: IEEE 802.1AB-2016 clauses 8 and 9 (TLVs, subtypes), IEEE 802.1Q annex D.2.1 (Port VLAN ID, OUI 00-80-C2), IEEE
802.3 clause 79.3.4 (Maximum Frame Size, OUI 00-12-0F), IANA's address family numbers. Files of systemd-networkd before
255: frames, each after its size in eight bytes, little-endian.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple

from mkcore.errors import BadInput
from mkctl.probe.texts import clean_text

ETHERTYPE_LLDP = 0x88CC
_HEADER_BYTES = 14
_END, _CHASSIS_ID, _PORT_ID, _TTL, _PORT_DESCRIPTION, _SYSTEM_NAME, _SYSTEM_DESCRIPTION, _CAPABILITIES = range(8)
_MANAGEMENT_ADDRESS, _ORGANIZATION = 8, 127
_PORT_VLAN_ID = b"\x00\x80\xc2\x01"
_MAX_FRAME_SIZE = b"\x00\x12\x0f\x04"
_IPV4, _IPV6, _ALL_802 = 1, 2, 6
MAX_VLAN_ID = 4094

CHASSIS_ID_TYPES = (
    "", "chassis_component", "interface_alias", "port_component", "mac", "network_address", "interface_name", "local",
)  # fmt: skip
PORT_ID_TYPES = (
    "", "interface_alias", "port_component", "mac", "network_address", "interface_name", "agent_circuit_id", "local",
)  # fmt: skip
CAPABILITIES = (
    "other", "repeater", "bridge", "wlan_access_point", "router", "telephone", "docsis_cable_device", "station",
    "c_vlan_component", "s_vlan_component", "two_port_mac_relay",
)  # fmt: skip


class Neighbor(NamedTuple):
    """One neighbour. Texts are clean and "" when not sent, as is 0 for vlan_id, max_frame_bytes and ttl_s.

    chassis_id, port_id: "00:1c:73:0a:0b:0c", "Ethernet12", "192.0.2.7"; bytes that are no text as "0a:ff:01". Their
    types are of CHASSIS_ID_TYPES and PORT_ID_TYPES. vlan_id: the port's untagged VLAN, 1 to 4094. ttl_s: how long the
    neighbour wants to be remembered; 0 is its farewell. source: who received it.
    """

    chassis_id: str
    port_id: str
    chassis_id_type: str = ""
    port_id_type: str = ""
    ttl_s: int = 0
    port_description: str = ""
    system_name: str = ""
    system_description: str = ""
    capabilities: tuple[str, ...] = ()
    enabled_capabilities: tuple[str, ...] = ()
    management_addresses: tuple[str, ...] = ()
    vlan_id: int = 0
    max_frame_bytes: int = 0
    source: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What tells two neighbours on one cable apart: chassis and port."""
        return self.chassis_id, self.port_id


def parse_frame(frame: bytes) -> Neighbor:
    """Parse an Ethernet frame, header included. Raises BadInput where it is no LLDP or lacks a mandatory part."""
    if int.from_bytes(frame[12:14], "big") != ETHERTYPE_LLDP:
        raise BadInput("is no LLDP frame", "ethertype")
    chassis = port = ("", "")
    found, ttl_s = Neighbor("", ""), -1
    for kind, value in split_tlvs(frame[_HEADER_BYTES:]):
        if kind == _CHASSIS_ID:
            chassis = chassis if chassis[0] else parse_id(value, CHASSIS_ID_TYPES)
        elif kind == _PORT_ID:
            port = port if port[0] else parse_id(value, PORT_ID_TYPES)
        elif kind == _TTL and len(value) >= 2:
            ttl_s = int.from_bytes(value[:2], "big")
        else:
            found = _add(found, kind, value)
    for missing, name in ((not chassis[0], "chassis ID"), (not port[0], "port ID"), (ttl_s < 0, "time to live")):
        if missing:
            raise BadInput(f"has no {name}", "LLDP frame")
    return found._replace(
        chassis_id=chassis[0], chassis_id_type=chassis[1], port_id=port[0], port_id_type=port[1], ttl_s=ttl_s
    )


def split_tlvs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value) of each complete TLV up to the end mark, or up to one that is longer than the frame."""
    offset = 0
    while offset + 2 <= len(data):
        head = int.from_bytes(data[offset : offset + 2], "big")
        kind, size = head >> 9, head & 0x1FF
        offset += 2
        if kind == _END or offset + size > len(data):
            return
        yield kind, data[offset : offset + size]
        offset += size


def parse_id(value: bytes, types: tuple[str, ...]) -> tuple[str, str]:
    r"""Return a chassis or port id and its type: b"\4\x52\x54..." -> ("52:54:...", "mac"); ("", "") of nothing."""
    if len(value) < 2:
        return "", ""
    kind = types[value[0]] if value[0] < len(types) else ""
    data = value[1:]
    if kind == "mac":
        return _octets(data), kind
    if kind == "network_address":
        return parse_address(data) or _octets(data), kind
    return _text_or_octets(data), kind


def parse_address(value: bytes) -> str:
    r"""Return an address after its IANA family number: b"\1\x0a\0\0\x0c" -> "10.0.0.12"; "" when it is none."""
    family, data = value[:1], value[1:]
    if (family, len(data)) in ((bytes([_IPV4]), 4), (bytes([_IPV6]), 16)):
        return str(ipaddress.ip_address(data)) if any(data) else ""
    if family == bytes([_ALL_802]) and len(data) == 6:
        return _octets(data) if any(data) else ""
    return ""


def capability_names(bits: int) -> tuple[str, ...]:
    """Return the names of a capability map: 0x14 -> ("bridge", "router"); reserved bits have none."""
    return tuple(name for number, name in enumerate(CAPABILITIES) if bits >> number & 1)


def split_raw_file(data: bytes) -> Iterator[bytes]:
    """Yield the frames of one of networkd's files, up to the first that is not complete."""
    offset = 0
    while offset + 8 <= len(data):
        size = int.from_bytes(data[offset : offset + 8], "little")
        offset += 8
        if size > len(data) - offset:
            return
        yield data[offset : offset + size]
        offset += size


def _add(found: Neighbor, kind: int, value: bytes) -> Neighbor:
    """Take in one optional TLV; of a repeated one, management addresses apart, the first counts."""
    if kind == _PORT_DESCRIPTION and not found.port_description:
        return found._replace(port_description=clean_text(value))
    if kind == _SYSTEM_NAME and not found.system_name:
        return found._replace(system_name=clean_text(value))
    if kind == _SYSTEM_DESCRIPTION and not found.system_description:
        return found._replace(system_description=clean_text(value))
    if kind == _CAPABILITIES and len(value) >= 4 and not found.capabilities:
        can, does = int.from_bytes(value[:2], "big"), int.from_bytes(value[2:4], "big")
        return found._replace(capabilities=capability_names(can), enabled_capabilities=capability_names(does))
    if kind == _MANAGEMENT_ADDRESS and value:
        address = parse_address(value[1 : 1 + value[0]])
        if address and address not in found.management_addresses:
            return found._replace(management_addresses=(*found.management_addresses, address))
    if kind == _ORGANIZATION and len(value) >= 6:
        number = int.from_bytes(value[4:6], "big")
        if value[:4] == _PORT_VLAN_ID and 1 <= number <= MAX_VLAN_ID and not found.vlan_id:
            return found._replace(vlan_id=number)
        if value[:4] == _MAX_FRAME_SIZE and not found.max_frame_bytes:
            return found._replace(max_frame_bytes=number)
    return found


def _octets(data: bytes) -> str:
    return data.hex(":")


def _text_or_octets(data: bytes) -> str:
    try:
        text = data.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError:
        return _octets(data)
    return text.strip() if text.strip() and text.isprintable() else _octets(data)

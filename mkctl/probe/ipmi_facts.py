"""Facts and inventory of the management controller (BMC).

The flat facts, `mk_ipmi_*`, have the names and words of protocol 6.6 and 6.11; Hanlon's power control reads
`mk_ipmi_IP_Address`. Of a FRU device only the keys that the agents meant to report are (defect B46), and the SNMP
community, which opens the controller to whoever reads it, is a fact only where the site asks for it (B53). The
inventory has the same in one form: addresses in lower case, what is unset or a filler left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mkcore.jsonfields import Json
from mkctl.probe.ipmi_text import FRU_HEADING
from mkctl.probe.junk import is_junk
from mkctl.probe.names import clean_key

BMC_KEYS = (
    "Device ID",
    "Device Revision",
    "Firmware Revision",
    "IPMI Version",
    "Manufacturer ID",
    "Manufacturer Name",
    "Product ID",
    "Product Name",
    "Device Available",
    "Provides Device SDRs",
)
COMMUNITY = "SNMP Community String"
LAN_KEYS = (
    "IP Address Source",
    "IP Address",
    "Subnet Mask",
    "MAC Address",
    COMMUNITY,
    "IP Header",
    "BMC ARP Control",
    "Gratuitous ARP Intrvl",
    "Default Gateway IP",
    "Default Gateway MAC",
    "Backup Gateway IP",
    "Backup Gateway MAC",
    "802.1q VLAN ID",
    "802.1q VLAN Priority",
)
FRU_KEYS = (
    "Chassis Type",
    "Chassis Part Number",
    "Chassis Serial",
    "Board Mfg Date",
    "Board Mfg",
    "Board Product",
    "Board Serial",
    "Board Part Number",
)
_FRU_FIELDS = (
    ("Chassis Type", "chassis_type"),
    ("Chassis Part Number", "chassis_part_number"),
    ("Chassis Serial", "chassis_serial"),
    ("Board Mfg", "board_manufacturer"),
    ("Board Product", "board_product"),
    ("Board Serial", "board_serial"),
    ("Board Part Number", "board_part_number"),
    ("Product Manufacturer", "product_manufacturer"),
    ("Product Name", "product_name"),
    ("Product Part Number", "product_part_number"),
    ("Product Version", "product_version"),
    ("Product Serial", "product_serial"),
    ("Product Asset Tag", "product_asset_tag"),
)
_BMC_FIELDS = (
    ("Firmware Revision", "firmware_version"),
    ("IPMI Version", "ipmi_version"),
    ("Manufacturer Name", "manufacturer"),
    ("Product Name", "product"),
)
_SOURCES = {"Static Address": "static", "DHCP Address": "dhcp", "BIOS Assigned Address": "bios"}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NO_DATE = "1996-01-01"  # zero minutes after the epoch of FRU dates: not set
_VLANS = 4095


def bmc_facts(pairs: Mapping[str, str]) -> dict[str, Json]:
    """Make the facts of `bmc info`: {"mk_ipmi_Firmware_Revision": "0.54"}."""
    return _facts("mk_ipmi", pairs, BMC_KEYS)


def lan_facts(pairs: Mapping[str, str], with_community: bool = False) -> dict[str, Json]:
    """Make the facts of `lan print`: {"mk_ipmi_MAC_Address": "00:15:17:fa:e0:36"}; the community only on request."""
    return _facts("mk_ipmi", pairs, [key for key in LAN_KEYS if key != COMMUNITY or with_community])


def fru_facts(devices: Sequence[Mapping[str, str]]) -> dict[str, Json]:
    """Make the facts of `fru print`; the number in the name is the device's place in the listing."""
    facts: dict[str, Json] = {}
    for number, device in enumerate(devices):
        facts.update(_facts(f"mk_ipmi_fru_{number}", device, FRU_KEYS))
    return facts


def pick_channel(channels: Iterable[Mapping[str, str]]) -> Mapping[str, str]:
    """Pick the channel that the facts describe: the first that has an address, else the first; {} of none.

    `lan print` takes the first one, which on boards with a dedicated port is often the shared one, not in use.
    """
    found = list(channels)
    return next((each for each in found if _is_ipv4(each.get("IP Address", ""))), found[0] if found else {})


def build_bmc(pairs: Mapping[str, str]) -> dict[str, Json]:
    """Build the inventory of `bmc info`; a name that the tool does not know ("Unknown (0x3E)") is left out."""
    bmc: dict[str, Json] = {}
    for key, name in _BMC_FIELDS:
        value = pairs.get(key, "")
        if value and not value.startswith("Unknown"):
            bmc[name] = value
    for key, name in (("Manufacturer ID", "manufacturer_id"), ("Product ID", "product_id")):
        number = pairs.get(key, "").split(" ")[0]
        if _is_number(number):
            bmc[name] = int(number)
    return bmc


def build_lan(pairs: Mapping[str, str], ipv6: Sequence[str]) -> dict[str, Json]:
    """Build the inventory of one LAN channel; what is not set is left out."""
    lan: dict[str, Json] = {}
    for key, name in (("IP Address", "ipv4"), ("Subnet Mask", "netmask"), ("Default Gateway IP", "gateway")):
        if _is_ipv4(pairs.get(key, "")):
            lan[name] = pairs[key]
    mac = pairs.get("MAC Address", "").lower()
    if _is_mac(mac):
        lan["mac"] = mac
    source = _SOURCES.get(pairs.get("IP Address Source", ""))
    if source:
        lan["ipv4_source"] = source
    vlan = pairs.get("802.1q VLAN ID", "")
    if _is_number(vlan) and 0 < int(vlan) < _VLANS:
        lan["vlan_id"] = int(vlan)
    if ipv6:
        lan["ipv6"] = list[Json](ipv6)
    return lan


def build_fru(devices: Iterable[Mapping[str, str]]) -> list[Json]:
    """Build the inventory of the FRU devices that say anything of a chassis, board or product."""
    found: list[Json] = []
    for device in devices:
        fields: dict[str, Json] = {name: device[key] for key, name in _FRU_FIELDS if not _filler(device.get(key, ""))}
        date = parse_date(device.get("Board Mfg Date", ""))
        if date:
            fields["board_date"] = date
        if not fields:
            continue
        description, _, number = device.get(FRU_HEADING, "").partition(" (ID ")
        if description:
            fields["description"] = description
        if _is_number(number.rstrip(")")):
            fields["id"] = int(number.rstrip(")"))
        found.append(fields)
    return found


def _is_number(text: str) -> bool:
    """Tell whether int() takes the text: it refuses some of Unicode's digits, and more than 4,300 of any."""
    return len(text) <= 10 and text.isascii() and text.isdigit()


def parse_date(text: str) -> str:
    """Return the day of a FRU date: "Tue Oct 12 21:54:00 2010 UTC" -> "2010-10-12"; "" for none."""
    words = text.split()
    if len(words) not in (5, 6) or words[1] not in _MONTHS or not all(map(_is_number, (words[2], words[4]))):
        return ""
    date = f"{int(words[4]):04}-{_MONTHS.index(words[1]) + 1:02}-{int(words[2]):02}"
    return "" if date == _NO_DATE else date


def _filler(text: str) -> bool:
    """Tell whether a field says nothing; programming tools fill unused ones with dots."""
    return is_junk(text.strip(". "))


def _is_ipv4(text: str) -> bool:
    """Tell whether a text is an IPv4 address, and one that is set."""
    parts = text.split(".")
    return len(parts) == 4 and all(_is_number(part) and int(part) < 256 for part in parts) and text.strip("0.") != ""


def _is_mac(text: str) -> bool:
    """Tell whether a text in lower case is a MAC address, and one that is set."""
    parts = text.split(":")
    return (
        [len(part) for part in parts] == [2] * 6
        and not set(text) - set("0123456789abcdef:")
        and text.strip("0:") != ""
        and text.strip("f:") != ""
    )


def _facts(prefix: str, pairs: Mapping[str, str], keys: Sequence[str]) -> dict[str, Json]:
    return {f"{prefix}_{clean_key(key)}": pairs[key] for key in keys if pairs.get(key)}

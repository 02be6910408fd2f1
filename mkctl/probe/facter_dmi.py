"""`dmi` of Facter 4, and `hypervisors` with what DMI says of a cloud.

    dmi {"bios": {"vendor", "version", "release_date"}, "board": {"manufacturer", "product", "serial_number",
         "asset_tag"}, "chassis": {"type", "asset_tag"}, "manufacturer", "product": {"name", "serial_number", "uuid"}}
    hypervisors {"kvm": {}} or {"kvm": {"google": true}}, {"xen": {"context": "hvm", "privileged": false}},
                {"vmware": {}}

Made of the kernel's attributes in /sys/class/dmi/id; fillers such as "To Be Filled By O.E.M." stay. The chassis' type
is spelt as Facter 4 does it, unlike dmidecode in seven cases, and unknown from 33 on. Source: outputs of Facter 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mkcore.files import read_attribute
from mkcore.jsonfields import Json
from mkctl.probe.dmi import chassis_text
from mkctl.probe.texts import clean_text

_BIOS = (("release_date", "bios_date"), ("vendor", "bios_vendor"), ("version", "bios_version"))
_BOARD = (
    ("asset_tag", "board_asset_tag"),
    ("manufacturer", "board_vendor"),
    ("product", "board_name"),
    ("serial_number", "board_serial"),
)
_PRODUCT = (("name", "product_name"), ("serial_number", "product_serial"), ("uuid", "product_uuid"))
_SPELT_OTHERWISE = {
    "13": "All in One",
    "15": "Space-Saving",
    "17": "Main System Chassis",
    "19": "SubChassis",
    "22": "Storage Chassis",
    "24": "Sealed-Case PC",
    "29": "Blade Enclosure",
}
_LAST_CHASSIS = 32
_UNKNOWN_CHASSIS = 2
_CLOUDS = (("Google", "google"), ("Amazon EC2", "amazon"), ("OpenStack", "openstack"))
_KVM = frozenset({"kvm", "gce"})


def read_attributes(sys_root: Path) -> dict[str, str]:
    """Read the attributes of /sys/class/dmi/id that `dmi` is made of, those that have a value."""
    names = (*(name for _, name in _BIOS + _BOARD + _PRODUCT), "sys_vendor", "chassis_asset_tag", "chassis_type")
    found = {name: clean_text(read_attribute(f"{sys_root}/class/dmi/id/{name}")) for name in names}
    return {name: value for name, value in found.items() if value}


def structured_dmi(dmi: Mapping[str, str]) -> dict[str, Json]:
    """Make `dmi` of the attributes that have a value, "sys_vendor": "Dell Inc."; empty without any."""
    chassis = {"asset_tag": dmi.get("chassis_asset_tag", ""), "type": _chassis(dmi.get("chassis_type", ""))}
    parts: dict[str, dict[str, str]] = {
        "bios": {key: dmi.get(name, "") for key, name in _BIOS},
        "board": {key: dmi.get(name, "") for key, name in _BOARD},
        "chassis": chassis,
        "product": {key: dmi.get(name, "") for key, name in _PRODUCT},
    }
    facts: dict[str, Json] = {}
    for key, values in parts.items():
        known = {name: value for name, value in values.items() if value}
        if known:
            facts[key] = dict[str, Json](known)
    if dmi.get("sys_vendor"):
        facts["manufacturer"] = dmi["sys_vendor"]
    return facts


def structured_hypervisors(machine: str, container: str, dmi: Mapping[str, str], machine_id: str) -> dict[str, Json]:
    """Make `hypervisors`: what the machine runs in, and the container in it; "" for none. machine_id(5) names an nspawn
    container."""
    facts: dict[str, Json] = {}
    if machine in _KVM:
        texts = "|".join(dmi.get(name, "") for name in ("bios_vendor", "sys_vendor", "product_name"))
        facts["kvm"] = {key: True for text, key in _CLOUDS if text in texts}
    elif machine in {"xen0", "xenu", "xenhvm"}:
        facts["xen"] = {"context": "hvm" if machine == "xenhvm" else "pv", "privileged": machine == "xen0"}
    elif machine in {"vmware", "virtualbox", "hyperv"}:
        facts[machine] = {}
    if container in {"lxc", "docker"}:
        facts[container] = {}
    elif container == "systemd_nspawn":
        facts[container] = {"id": machine_id} if machine_id else {}
    return facts


def _chassis(number: str) -> str:
    known = number.isascii() and number.isdigit() and 1 <= int(number) <= _LAST_CHASSIS
    if not known or int(number) == _UNKNOWN_CHASSIS:
        return ""
    return _SPELT_OTHERWISE.get(number) or chassis_text(number)

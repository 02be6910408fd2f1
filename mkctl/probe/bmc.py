"""The management controller (BMC): whether there is one, and what the kernel knows of it.

It is asked only where the kernel has a device for it, under the three names that ipmitool tries; otherwise a collector
costs three calls of stat(2), starts nothing, and what talks to the tool is not even loaded. The kernel's own view needs
no process. Source: drivers/char/ipmi/ipmi_msghandler.c (the attributes of a BMC in sysfs); ipmitool(1).
"""

from __future__ import annotations

import os
from functools import partial
from typing import NamedTuple

from mkcore.files import read_line
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkctl.probe.collect import Collected, Collector

DEVICES = ("ipmi0", "ipmi/0", "ipmidev/0")
_ATTRIBUTES = (("firmware_revision", "firmware_version"), ("ipmi_version", "ipmi_version"), ("guid", "guid"))
_NUMBERS = ("manufacturer_id", "product_id")


class IpmiLimits(NamedTuple):
    """Time limits in seconds: of reading sysfs, of `bmc info`, of all questions about LANs, of the FRU listing."""

    kernel_s: float = 30.0
    bmc_s: float = 15.0
    lan_s: float = 30.0
    fru_s: float = 60.0


LIMITS = IpmiLimits()


def build_ipmi(root: str, paths: Paths, limits: IpmiLimits = LIMITS) -> list[Collector]:
    """Return the collectors of the BMC, for the machine or for the tree below `root`."""
    margin_s = 5.0
    return [
        Collector("bmc", limits.kernel_s, partial(collect_kernel, root, paths)),
        Collector("ipmi", limits.bmc_s + margin_s, partial(collect_product, root, limits.bmc_s)),
        Collector("ipmi_lan", limits.lan_s + margin_s, partial(collect_lan, root, paths, limits.lan_s)),
        Collector("ipmi_fru", limits.fru_s + margin_s, partial(collect_fru, root, limits.fru_s)),
    ]


def find_device(root: str) -> str:
    """Return the BMC's device, "/dev/ipmi0"; "" for a machine without one."""
    return next((f"/dev/{name}" for name in DEVICES if os.path.exists(f"{root}/dev/{name}")), "")


def collect_kernel(root: str, paths: Paths) -> Collected:
    """Collect what the kernel read from the BMC when it found it."""
    device = find_device(root)
    if not device:
        return Collected()
    bmc: dict[str, Json] = {"present": True, "device": device}
    folder = f"{paths.sys}/class/ipmi/ipmi0/device/bmc"
    for attribute, name in _ATTRIBUTES:
        value = read_line(f"{folder}/{attribute}")
        if value.strip("0-"):
            bmc[name] = value
    for name in _NUMBERS:
        number = _parse_hex(read_line(f"{folder}/{name}"))
        if number > 0:
            bmc[name] = number
    return Collected(inventory={"bmc": bmc})


def collect_product(root: str, timeout_s: float) -> Collected:
    """Ask for product and firmware, if there is a BMC."""
    if not find_device(root):
        return Collected()
    from mkctl.probe import ipmi

    return ipmi.collect_bmc(timeout_s)


def collect_lan(root: str, paths: Paths, timeout_s: float) -> Collected:
    """Ask for the settings of the LAN channels, if there is a BMC."""
    if not find_device(root):
        return Collected()
    from mkctl.probe import ipmi

    return ipmi.collect_lan(paths, timeout_s)


def collect_fru(root: str, timeout_s: float) -> Collected:
    """Ask for the FRU devices, if there is a BMC."""
    if not find_device(root):
        return Collected()
    from mkctl.probe import ipmi

    return ipmi.collect_fru(timeout_s)


def _parse_hex(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0

"""How far this machine's ids may be trusted to be its own.

Boards leave the factory with zero, all-F and template UUIDs and serial numbers; a server that takes one for an identity
merges all those machines into one node. The inventory therefore says how good the ids are and what is wrong with them,
before somebody finds out by two nodes that overwrite each other. Source: protocol 6.1; SMBIOS 3.7 section 7.2.1.
"""

from __future__ import annotations

from pathlib import Path

from mkcore.files import link_name, list_names, read_line
from mkcore.jsonfields import Json
from mkctl.probe.junk import is_junk

_ETHERNET = "1"
_PERMANENT = "0"
_LOCAL = frozenset("2367abef")  # second digit of an address: locally administered, or of a group
_BOND_KEEPS = "bonding_slave/perm_hwaddr"  # a bond gives all of its NICs one address, and theirs back when it ends


def build_identity(uuid: str, serial: str, board_serial: str, has_address: bool) -> dict[str, Json]:
    """Make the inventory's `identity`: {"confidence": "weak", "problems": ["the system UUID is a placeholder: 0300…"]}.

    uuid, serial, board_serial: as the firmware has them, "" for none. has_address: a NIC has a burnt-in address, which
    matters only without a good UUID. "strong": a UUID of its own; "weak": only a serial number or addresses; "none":
    nothing tells this machine from its neighbour.
    """
    problems: list[Json] = []
    for name, value in (("system UUID", uuid), ("system serial number", serial), ("board serial number", board_serial)):
        if value and is_junk(value):
            problems.append(f"the {name} is a placeholder: {value}")
        elif not value and name != "board serial number":
            problems.append(f"there is no {name}")
    if not is_junk(uuid):
        confidence = "strong"
    elif has_address or not is_junk(serial) or not is_junk(board_serial):
        confidence = "weak"
    else:
        confidence = "none"
        problems.append("no NIC has an address of its own")
    return {"confidence": confidence, "problems": problems}


def read_has_address(sys_root: Path) -> bool:
    """Tell whether a physical Ethernet NIC has the address that it was made with."""
    base = sys_root / "class/net"
    return any(_has_address(base / name) for name in list_names(base))


def _has_address(folder: Path) -> bool:
    return (
        (folder / "device").exists()
        and read_line(folder / "type") == _ETHERNET
        and (read_line(folder / "addr_assign_type") in (_PERMANENT, "") or (folder / _BOND_KEEPS).exists())
        and not is_junk(read_line(folder / "address"))
        and not _is_shared(folder)
    )


def _is_shared(folder: Path) -> bool:
    """Tell whether a NIC is on USB with an address that nobody assigned to its maker: BMCs plug such a one into each of
    their machines, some all with the same address."""
    device = link_name(folder / "device")  # "1-3.1:2.0" on USB, "0000:01:00.0" on PCI
    return ":" in device and "-" in device and read_line(folder / "address")[1:2].lower() in _LOCAL

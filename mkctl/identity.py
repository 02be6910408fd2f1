"""Who this machine is, in the words a server knows it by: SMBIOS UUID and Ethernet addresses.

The server matches a checkin with what the firmware's iPXE sent at boot, so the same values must come out here: the UUID
that the boot script put on the kernel line wins over sysfs (some machines report another byte order there), and the
addresses are the permanent ones in a fixed order. Source: protocol 6.1 (the PORT rule), 3.8; B33.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mkcore.files import read_line
from mkcore.interfaces import Interface, identity_interfaces, read_interfaces
from mkcore.paths import Paths
from mkcore.placeholders import is_junk_uuid
from mkctl.cmdline import Token, only_value

UUID = re.compile(r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}")

JUNK_MACS = frozenset({"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"})


@dataclass(frozen=True)
class Identity:
    """The identity that is sent.

    `uuid` is upper case with hyphens, "" where the machine has none of its own. `macs` are lower case with colons, in
    the order of the interfaces' names. `uuid_source` is `kernel line`, `sysfs` or "". `weak` holds one line for each
    reason why this identity may not be unique or may not be the one that iPXE sent.
    """

    uuid: str = ""
    macs: tuple[str, ...] = ()
    uuid_source: str = ""
    weak: tuple[str, ...] = ()

    @property
    def hw_id(self) -> str:
        """The addresses as Razor's `hw_id` and Hanlon's `mac_id` have them: `000C29C952BA_000C29C952C4`."""
        return "_".join(mac.replace(":", "").upper() for mac in self.macs)

    @property
    def name(self) -> str:
        """What people and the bus call this node: the UUID, else the first address, else "" (nothing identifies it)."""
        return self.uuid or (self.macs[0] if self.macs else "")

    @property
    def seed(self) -> str:
        """A text that is stable for this machine and differs between machines, for the phase of checkins."""
        return self.uuid or self.hw_id


def parse_uuid(text: str) -> tuple[str, str]:
    """Return (UUID, "") or ("", reason). The UUID is upper case; a missing, malformed or junk one gives the reason."""
    uuid = text.strip().upper()
    if not uuid:
        return "", "is empty"
    if not UUID.fullmatch(uuid):
        return "", f"is no UUID: {text.strip()[:60]!r}"
    if is_junk_uuid(uuid):
        return "", f"is a placeholder that many machines share: {uuid}"
    return uuid, ""


def choose_uuid(tokens: Sequence[Token], product_uuid: str) -> tuple[str, str, tuple[str, ...]]:
    """Return (uuid, source, reasons) from the kernel line's tokens and sysfs' product_uuid ("" when absent)."""
    given, problem = only_value(tokens, "smbios_uuid")
    reasons: list[str] = [problem] if problem else []
    if given:
        uuid, reason = parse_uuid(given)
        if uuid:
            return uuid, "kernel line", ()
        reasons.append(f"smbios_uuid= {reason}")
    uuid, reason = parse_uuid(product_uuid)
    if uuid:
        return uuid, "sysfs", tuple(reasons)
    return "", "", (*reasons, f"product_uuid {reason}")


def choose_macs(interfaces: Iterable[Interface], pattern: str = "") -> tuple[str, ...]:
    """Return the identifying addresses: physical Ethernet, sorted by interface name, permanent, each once.

    `pattern` restricts the interfaces by a Ruby regular expression found in the name (`^eth[0-9]+$` is the originals'
    choice), "" is all. Raises BadInput when the pattern cannot be used.
    """
    macs = [nic.permanent_mac for nic in identity_interfaces(interfaces, pattern)]
    return tuple(dict.fromkeys(mac for mac in macs if mac not in JUNK_MACS))


def identify(
    tokens: Sequence[Token], product_uuid: str, interfaces: Iterable[Interface], pattern: str = ""
) -> Identity:
    """Combine the sources to one identity. Raises BadInput for a pattern that cannot be compiled."""
    uuid, source, reasons = choose_uuid(tokens, product_uuid)
    macs = choose_macs(interfaces, pattern)
    weak = list(reasons)
    if not uuid and not macs:
        weak.append("no Ethernet address either: nothing identifies this machine")
    return Identity(uuid, macs, source, tuple(weak))


def read_identity(paths: Paths, tokens: Sequence[Token], interfaces_pattern: str = "") -> Identity:
    """Read the identity of this machine; `tokens` are those of the kernel line (`mkctl.cmdline`).

    Missing or unreadable files are an absent UUID, which the result's `weak` tells. Raises BadInput for a bad pattern.
    """
    product_uuid = read_line(paths.sys / "class/dmi/id/product_uuid")
    interfaces = read_interfaces(paths.sys, paths.proc)
    return identify(tokens, product_uuid, interfaces, interfaces_pattern)

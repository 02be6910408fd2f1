"""Hardware identity as each dialect reads it from a request (protocol 3.8, 6.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mkcore.errors import BadInput

_HARDWARE_ID = re.compile(r"[0-9A-Za-z.:-]{1,64}\Z")


@dataclass(frozen=True)
class Identity:
    """A node's names for itself; `uuid` is empty where none was sent. Razor knows only `macs`."""

    uuid: str = ""
    macs: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.uuid or self.macs)

    @property
    def stored(self) -> tuple[str, ...]:
        """What a registration keeps: the UUID alone when there is one, else the MACs."""
        return (self.uuid,) if self.uuid else self.macs


def _check(hw_id: str, where: str) -> str:
    if not _HARDWARE_ID.match(hw_id):
        raise BadInput(f"{where}: not a hardware identifier")
    return hw_id


def _split(text: str, where: str, most: int) -> tuple[str, ...]:
    parts = [part for part in text.split("_") if part]
    if len(parts) > most:
        raise BadInput(f"{where}: more than {most} hardware identifiers")
    return tuple(dict.fromkeys(_check(part, where) for part in parts))


def parse_hanlon(uuid: str, mac_id: str, *, most: int = 64) -> Identity:
    """Read Hanlon's parameters: upper case, MACs without colons, in the order sent. Raises BadInput.

    >>> parse_hanlon("564d0c5d-0000-0000-0000-000000000001", "52:54:00:aa:00:01__").macs
    ('525400AA0001',)
    """
    macs = _split(mac_id.upper().replace(":", ""), "mac_id", most)
    return Identity(_check(uuid.upper(), "uuid") if uuid else "", macs)


def parse_razor(hw_id: str, *, most: int = 64, boot: bool = False) -> Identity:
    """Read Razor's `hw_id`: compared as sent; a boot request, made by firmware, is put in the microkernel's form."""
    text = hw_id.upper().replace(":", "") if boot else hw_id
    return Identity("", _split(text, "hw_id", most))

"""Bays: where in an enclosure a disk sits, for whoever has to pull it out.

Only enclosures that speak SES, behind a SAS controller, say so; the kernel's `ses` driver asks them once, when they
appear, and links each bay with the disk in it. Nothing is asked here. Source: drivers/misc/enclosure.c and
drivers/scsi/ses.c of the kernel (/sys/class/enclosure/HOST:CHANNEL:TARGET:LUN/BAY/{device,slot}).
"""

from __future__ import annotations

from pathlib import Path

from mkcore.files import link_name, list_names, read_line
from mkcore.jsonfields import Json
from mkctl.probe.disk_place import is_scsi_address
from mkctl.probe.texts import clean_text

_MAX_SLOT = 1 << 16


def read_bays(sys_root: Path) -> dict[str, dict[str, Json]]:
    """Return the bays by the SCSI address of the disk in each: {"6:0:1:0": {"enclosure": "0x5…", "name": "Slot 01"}}.

    slot: the bay's number, where the enclosure gives one. Most machines have no such enclosure. Raises nothing.
    """
    folder = f"{sys_root}/class/enclosure"
    bays: dict[str, dict[str, Json]] = {}
    for enclosure in list_names(folder):
        number = clean_text(read_line(f"{folder}/{enclosure}/id"))
        for name in list_names(f"{folder}/{enclosure}"):
            disk = link_name(f"{folder}/{enclosure}/{name}/device")
            if not is_scsi_address(disk):  # an empty bay, or an attribute of the enclosure
                continue
            bay: dict[str, Json] = {
                key: text for key, text in (("enclosure", number), ("name", clean_text(name))) if text
            }
            slot = read_line(f"{folder}/{enclosure}/{name}/slot")
            if slot.isascii() and slot.isdigit() and len(slot) < 6 and int(slot) < _MAX_SLOT:
                bay["slot"] = int(slot)
            bays[disk] = bay
    return bays

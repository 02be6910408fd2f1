"""Run systemd-networkd on a cable of its own, send it LLDP frames, print what the probe makes of its answer.

Started by `unshare --mount --net`, so that neither its mounts nor its interfaces are seen outside. The first argument
is the root of the system whose networkd is run, "/" for this machine's.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import lldp_wire as wire
from networkd_root import networkd, prepare_root, run

from mkctl.probe.lldp import collect_lldp

NETWORK = "[Match]\nName=ours\n[Network]\nLLDP=yes\nLinkLocalAddressing=no\n"


def prepare(root: Path) -> None:
    """Give the system an empty /run with the configuration, and this network a veth pair."""
    folder = prepare_root(root)
    if root != Path("/"):  # the probe, which runs outside, reads of this network, too
        run(["mount", "-t", "sysfs", "-o", "ro", "sysfs", "/sys"])
    (folder / "10-ours.network").write_text(NETWORK, encoding="ascii")
    wire.make_cable("ours", "theirs")


def main(root: Path) -> None:
    prepare(root)
    with networkd(root), wire.sender("theirs", wire.SWITCH):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            got = collect_lldp(root, Path("/sys"), lambda _: {})
            if got.facts:
                break
            time.sleep(0.1)
    json.dump({"facts": got.facts, "inventory": got.inventory, "error": got.error}, sys.stdout)


main(Path(sys.argv[1]))

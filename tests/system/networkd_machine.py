"""A machine that is nothing but the image's way to a network, on cables of its own: generator, our script, networkd.

Started by `unshare --mount --net`, so that neither its mounts nor its interfaces are seen outside. Arguments: the root
of the system whose programs it runs, the machine ID, the kernel line, the text of the credential
network.network.50-site ("" for none). It says "ready" when cables may be plugged, starts networkd at the first line of
its input, and ends at the second.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from networkd_root import networkd, prepare_root, run

REPO = Path(__file__).resolve().parent.parent.parent
OWN = REPO / "units/networkd/80-mk.network"
SCRIPT = REPO / "packaging/image/mkosi.extra/usr/lib/mk/network"


def prepare(root: Path, machine_id: str, line: str, credential: str) -> None:
    """Give the system an empty /run, this machine ID, and what kernel line and credential make of its network."""
    folder = prepare_root(root)
    (root / "run/machine-id").write_text(f"{machine_id}\n", encoding="ascii")
    run(["mount", "--bind", str(root / "run/machine-id"), str(root / "etc/machine-id")])
    (root / "run/credentials").mkdir()
    if credential:
        (root / "run/credentials/network.network.50-site").write_text(credential, encoding="ascii")
    os.environ["CREDENTIALS_DIRECTORY"] = "/run/credentials"
    run(["chroot", str(root), "/usr/lib/systemd/systemd-network-generator", "--", *line.split()])
    for source in (OWN, SCRIPT):
        shutil.copy(source, root / "run" / source.name)
    (root / "run/cmdline").write_text(f"{line}\n", encoding="ascii")
    arguments = ["/run/cmdline", "/run/systemd/network", f"/run/{OWN.name}", "/sys/class/net", "0"]
    run(["chroot", str(root), "sh", "/run/network", *arguments])
    shutil.copy(OWN, folder)
    for made in folder.glob("*.network"):  # cables are no cards
        made.write_text(made.read_text(encoding="utf-8").replace("Kind=!*\nMAC", "Kind=veth\nMAC"), encoding="utf-8")
    own = folder / OWN.name
    own.write_text(own.read_text(encoding="utf-8").replace("Kind=!*", "Kind=veth"), encoding="utf-8")


def main(root: Path, machine_id: str, line: str, credential: str) -> None:
    prepare(root, machine_id, line, credential)
    del os.environ["CREDENTIALS_DIRECTORY"]
    print("ready", flush=True)
    sys.stdin.readline()
    with networkd(root, sys.stderr):
        sys.stdin.readline()


main(Path(sys.argv[1]), *sys.argv[2:])

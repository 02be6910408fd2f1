"""What runs inside a test machine, injected from outside: the image under test stays the shipped one, to the byte.

Given to the guest's systemd as an SMBIOS credential and started by a unit that is a credential too. It offers two
virtio-serial ports: ``journal`` streams the journal of our services as JSON, from the start of each boot; ``bus`` runs
commands, one JSON line each way.
"""

import json
import os
import subprocess
import time

PORTS = "/dev/virtio-ports/"
UNITS = (
    *("mkctl", "mkweb", "mkmirror", "mk-facts", "mk-fetch", "mk-extensions", "mk-clock", "mk-console", "mk-network"),
    *("mk-probe-cards", "mk-authorized-keys", "mk-container"),
)
"""Whose journal is wanted. Not mk*: that stands for the units that are in the journal when it is opened."""
JOURNAL = [
    *("journalctl", "--follow", "--no-tail", "--all", "--output=json", "--unit=init.scope"),
    *(f"--unit={name}.service" for name in UNITS),
]


def open_port(name: str) -> int:
    """Open a port as soon as udev has named it; there is no unit to wait for that would not also need udev's tag."""
    while not os.path.exists(PORTS + name):  # noqa: PTH110 - pathlib costs an emulated processor a tenth of a second
        time.sleep(0.05)
    return os.open(PORTS + name, os.O_RDWR)


ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""A person's, not this service's: its credentials directory and its journal stream are not theirs."""


def run(request: dict) -> dict:
    """Run one command; its outputs as text, whatever bytes they are."""
    try:
        done = subprocess.run(
            request["argv"],
            input=request["stdin"].encode(),
            capture_output=True,
            timeout=request["timeout_s"],
            check=False,
            env=ENVIRONMENT,
        )
        status, out, err = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as error:
        status, out, err = 124, error.stdout or b"", b"timed out"
    except OSError as error:
        status, out, err = 127, b"", str(error).encode()
    return {
        "id": request["id"],
        "status": status,
        "stdout": out.decode(errors="replace"),
        "stderr": err.decode(errors="replace"),
    }


def main() -> None:
    """Serve until the machine goes down."""
    port = open_port("bus")
    subprocess.Popen(JOURNAL, stdout=open_port("journal"), stdin=subprocess.DEVNULL)
    pending = b""
    while True:
        data = os.read(port, 65536)
        if not data:  # nobody is connected outside
            time.sleep(0.1)
            continue
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            try:
                request = json.loads(line)
            except ValueError:  # the rest of a line whose beginning went to the system before a reset
                continue
            answer = json.dumps(run(request)).encode() + b"\n"
            while answer:
                answer = answer[os.write(port, answer) :]


if __name__ == "__main__":
    main()

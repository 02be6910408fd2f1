"""What stands beside a machine: a BMC (OpenIPMI's simulator) and a TPM (swtpm), each a process of its own.

QEMU's own `ipmi-bmc-sim` knows no LAN configuration; `ipmi-bmc-extern` talks to a simulator that does. Both are started
before the machine and end with it.

Source: ipmi_sim(1), ipmi_lan(5), ipmi_sim_cmd(5); QEMU's docs/specs/tpm.rst; swtpm(8).
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Callable, Optional

from .fru import Fru, build_fru
from .qemu import MachineError

BMC_PORT = 9002
_LAN_PORT = 9001
TPM_SOCKET = "tpm/socket"
_START_S = 20.0


@dataclass(frozen=True)
class Bmc:
    """What a BMC says of itself; MAC addresses in lower case."""

    device_id: int
    firmware_major: int
    firmware_minor: int
    """As `mc info` prints it, two digits: 3.17 is 3 and 17."""
    manufacturer_id: int
    manufacturer: str
    product_id: int
    ipv4: str
    netmask: str
    mac: str
    gateway: str
    gateway_mac: str
    guid: str
    """32 hexadecimal digits."""
    frus: tuple[tuple[str, Fru], ...]
    """Name and content of each FRU device; the first is the controller's own, whose name ipmitool gives."""


_LAN = """\
name "mk"
set_working_mc 0x20
startlan 1
  addr 127.0.0.1 {lan_port}
  priv_limit admin
  allowed_auths_admin none md5 straight
  guid {bmc.guid}
  lan_config_program "{folder}/lan-values"
endlan
serial kcs 127.0.0.1 {bmc_port} codec VM
startnow false
user 1 true "" "" user 10 none md5 straight
"""
_MC = """\
mc_setbmc 0x20
mc_add 0x20 {bmc.device_id:#x} no-device-sdrs 0x01 {bmc.firmware_major:#x} 0x{bmc.firmware_minor:02} 0x9f \
{bmc.manufacturer_id:#x} {bmc.product_id:#x} persist_sdr
mc_set_guid 0x20 {bmc.guid}
sel_enable 0x20 1000 0x0a
{frus}mc_enable 0x20
"""
_FRU = """\
mc_add_fru_data 0x20 {number} {size} file 0 "{folder}/fru{number}.bin"
main_sdr_add 0x20 {record}
"""
_VALUES = """\
#!/bin/sh
# The simulator asks for each value by name and takes it from these lines.
[ "$1" = get ] || exit 0
cat <<'VALUES'
ip_addr_src:static
ip_addr:{bmc.ipv4}
subnet_mask:{bmc.netmask}
mac_addr:{bmc.mac}
default_gw_ip_addr:{bmc.gateway}
default_gw_mac_addr:{bmc.gateway_mac}
backup_gw_ip_addr:0.0.0.0
backup_gw_mac_addr:00:00:00:00:00:00
VALUES
"""


class Companion:
    """A process beside a machine; leaving its `with` block ends it."""

    def __init__(self, argv: Sequence[str], folder: Path, ready: Callable[[], bool]) -> None:
        """Prepare ``argv``, whose words go to ``folder``/log; ``ready`` says whether it can be connected to."""
        self._argv, self._folder, self._ready = argv, folder, ready
        self._process: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> Companion:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._argv, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                said = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
                raise MachineError(f"{' '.join(self._argv)} did not start: {said.strip() or 'it said nothing'}")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _locate(number: int, name: str) -> str:
    """Build the record that tells of a FRU device, as the simulator's file has bytes. Source: IPMI 2.0, 43.8."""
    text = bytes([0xC0 | len(name)]) + name.encode()
    body = struct.pack("<BBBBBBBBBB", 0x20, number, 0x80, 0, 0, 0x10, 0, 7, number, 0) + text
    record = struct.pack("<HBBB", number + 1, 0x51, 0x11, len(body)) + body
    return " ".join(f"0x{byte:02x}" for byte in record)


def _write_frus(bmc: Bmc, folder: Path) -> str:
    """Write each FRU device's storage and return the simulator's commands for them.

    Without any record ipmitool would take the repository for one that has to be filled, and erase it first.
    """
    commands = ""
    for number, (name, fru) in enumerate(bmc.frus):
        storage = build_fru(fru)
        (folder / f"fru{number}.bin").write_bytes(storage)
        commands += _FRU.format(number=number, size=len(storage), folder=folder, record=_locate(number, name))
    return commands


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def build_bmc(bmc: Bmc, folder: Path, prefix: Sequence[str], call: Callable[[Callable[[], bool]], bool]) -> Companion:
    """Build the simulator of a BMC: QEMU reaches it on 127.0.0.1, port BMC_PORT, inside the machine's namespace.

    ``prefix`` is a command that runs it there, ``call`` runs a function there.
    """
    _fresh(folder)
    values = {"folder": folder, "bmc": bmc, "lan_port": _LAN_PORT, "bmc_port": BMC_PORT}
    (folder / "lan").write_text(_LAN.format(**values), encoding="ascii")
    (folder / "mc").write_text(_MC.format(**values, frus=_write_frus(bmc, folder)), encoding="ascii")
    program = folder / "lan-values"
    program.write_text(_VALUES.format(bmc=bmc), encoding="ascii")
    program.chmod(0o755)
    argv = [*prefix, "ipmi_sim", "--nostdio", "--config-file", "lan", "--command-file", "mc"]

    def listens() -> bool:  # not by a connection: there is one place for a machine in it
        lines = Path("/proc/thread-self/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        return any(line.split()[1:4:2] == [f"0100007F:{BMC_PORT:04X}", "0A"] for line in lines)

    return Companion([*argv, "--state-dir", str(folder / "state")], folder, lambda: call(listens))


def build_tpm(folder: Path) -> Companion:
    """Build a TPM 2.0 with an empty state, its socket in ``folder``."""
    _fresh(folder)
    argv = ["swtpm", "socket", "--tpm2", "--tpmstate", "dir=.", "--ctrl", "type=unixio,path=socket", "--terminate"]
    return Companion(argv, folder, (folder / "socket").exists)
